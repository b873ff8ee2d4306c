"""The momentum teacher: the moving average of the weights gives the targets of a batch, as in DINO."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from spkver.losses.loss import SelfTaught
from spkver.training.data.batches import Batch
from spkver.training.data.inputs import Inputs
from spkver.training.step.ema import EMA


class Momentum:
    """The network and the projection of the loss with the averaged weights. Not trained.

    Like the student, it normalises with the statistics of the batch.
    """

    def __init__(self, network: nn.Module, loss: SelfTaught, ema: EMA) -> None:
        self._network, self._loss, self._ema = network, loss, ema

    def inputs(self, inputs: Inputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """See Teaching.inputs: the same features for both."""
        features = inputs.features(batch)
        return features, features

    @torch.no_grad()
    def __call__(self, given: Tensor, rows: Tensor, *, bf16: bool) -> Tensor:
        """See Teaching.__call__: outputs of the projection."""
        with torch.autocast(given.device.type, torch.bfloat16, enabled=bf16):
            embeddings: Tensor = functional_call(self._network, self._averaged(self._network, "network."), given)
        projection = self._loss.projection
        outputs: Tensor = functional_call(
            projection, self._averaged(projection, "loss.projection."), embeddings.float()
        )
        return outputs

    def _averaged(self, module: nn.Module, prefix: str) -> dict[str, Tensor]:
        average = self._ema.state()
        weights = {name: average[prefix + name] for name, _ in module.named_parameters()}
        # copies, because the pass updates running statistics, which are averages of the student's
        return weights | {name: buffer.clone() for name, buffer in module.named_buffers()}
