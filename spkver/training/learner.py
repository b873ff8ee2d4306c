"""What is learnt and how: one step of training, from a batch as it lies in the pack to new weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from spkver.encoder import Encoder, load_weights, pick_device
from spkver.losses import SCHEDULES
from spkver.losses.loss import Loss
from spkver.losses.schedules import Run
from spkver.training import checkpoint
from spkver.training.batches import Batch, Sampler
from spkver.training.compiling import forward_of
from spkver.training.config import TrainingConfig
from spkver.training.ema import EMA
from spkver.training.head import Class, SavedHead, head_file
from spkver.training.inputs import Augmentations, Inputs
from spkver.training.optim import OPTIMIZERS
from spkver.training.parameters import freeze, lr_factors


class Learner:
    """Network, loss and optimizer. Everything random in a step is a function of the seed and the step."""

    def __init__(
        self,
        config: TrainingConfig,
        encoder: Encoder,
        loss: Loss,
        sampler: Sampler,
        augmentations: Augmentations,
        *,
        classes: Sequence[Class],
        say: Callable[[str], None],
    ) -> None:
        self.config, self.sampler = config, sampler
        self.device = pick_device(config.device)
        # channels-last is the layout in which convolutions over the plane run fastest, on CPU and GPU
        self.classes = classes
        self.encoder: Encoder = encoder.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.forward = forward_of(self.encoder.network, config, self.device, say)
        self.inputs = Inputs(sampler, augmentations, self.encoder.front_end)
        self.loss = loss.to(self.device)
        self.modules = nn.ModuleDict({"network": self.encoder.network, "loss": self.loss})
        self._still = freeze(self.modules, config.freeze)
        self.parameters = dict(self.modules.named_parameters())
        factors = lr_factors(self.parameters, config.lr_factors)
        scaled = [(parameter, factors[name]) for name, parameter in self.parameters.items()]
        self.optimizer: torch.optim.Optimizer = OPTIMIZERS.build(config.optimizer, scaled)
        self.ema = None if config.ema is None else EMA(config.ema, self.modules)
        self.peak_lr = float(config.optimizer.lr)
        self.lr_schedule = SCHEDULES.build(config.lr_schedule, Run(config.steps, sampler.steps_per_epoch))
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and computes_in_bf16(self.device))

    def train(self) -> None:
        """Training mode, but for what is frozen."""
        self.encoder.train()
        self.loss.train()
        for module in self._still:
            module.eval()

    def step(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """Learn from a batch; scalars by the names of the log, which nothing here waits for."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr(step) * group["factor"]
        features = self.inputs.features(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            embeddings = self.forward(features)
        output = self.loss(embeddings, batch.labels, step / self.config.steps)
        self.optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        limit = self.config.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), limit)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(step)
        return {**output.logged(), "gradient_norm": norm.detach()}

    def lr(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        # the first of n steps is at 1/n of the run, so that a warm-up from 0 does not waste it
        return self.peak_lr * self.lr_schedule.at((step + 1) / self.config.steps)

    def moving(self, step: int) -> dict[str, float]:
        """The numbers that schedules move, as they were in a step, by the names of the log."""
        return {"lr": self.lr(step)} | self.loss.moving(step / self.config.steps)

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name; not copied."""
        tensors = {f"state.{name}": tensor for name, tensor in self.modules.state_dict().items()}
        optimizer = checkpoint.optimizer_state(self.optimizer, self.parameters)
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer.items()}
        if self.ema is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.state().items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return tensors

    def judged(self) -> AbstractContextManager[None]:
        """The weights that dev EER and the model are of: their average, where there is one."""
        return contextlib.nullcontext() if self.ema is None else self.ema.applied()

    def adopt(self, weights: dict[str, Tensor], source: str) -> None:
        """Take other weights as the last of the run, for `save`; source names them where they do not fit."""
        load_weights(self.modules, weights, source)
        self.ema = None

    def save(self, model: Path, card: str) -> None:
        """Write the encoder as a model directory, and the head beside it."""
        with self.judged():
            SavedHead(head_file(model), self.classes, self.loss.state_dict()).write()
            self.encoder.save(model, card)

    def restore(self, tensors: dict[str, Tensor], source: str) -> None:
        """Go on from a `state`; source names it where it does not fit, which raises InputError."""
        load_weights(self.modules, checkpoint.part(tensors, "state."), source)
        checkpoint.load_optimizer_state(self.optimizer, self.parameters, checkpoint.part(tensors, "optimizer."))
        if self.ema is not None:
            self.ema.restore(checkpoint.part(tensors, "ema."))
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively (elsewhere it is slower than float32)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None) or getattr(torch.cpu, "_is_avx512_bf16", None)
    return bool(device.type == "cpu" and supported is not None and supported())
