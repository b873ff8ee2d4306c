"""Convert a model directory: float16 weights, a chain of affine transforms appended, or both."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from spkver.config import Component
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.models.projected import Projected, ProjectedConfig
from spkver.scoring.chain import read_chain
from spkver.storage import located


class ModelExportConfig(Component):
    """A chain to apply to the embeddings, and the storage type of the weights (computation is in float32)."""

    name: Literal["model"] = "model"
    chain: str | None = Field(None, description="directory that `spkver transform fit` wrote, without the step length")
    weights: Literal["float32", "float16"] = "float32"


class ModelExport:
    """The same encoder, with the chain appended as an affine layer."""

    Config = ModelExportConfig

    def __init__(self, config: ModelExportConfig) -> None:
        self.config = config

    def write(self, encoder: Encoder, path: StrPath) -> list[str]:
        """Write the directory. Raises InputError for a chain that is not affine, or is of another model."""
        half = self.config.weights == "float16"
        if self.config.chain is None and not half:
            raise InputError(f"{path}: nothing to change; give --chain or --half")
        if located(path).exists():
            raise InputError(f"{path}: exists already; remove it or choose another path")
        name, changes, made = encoder.config.model.name, [], encoder
        if self.config.chain is not None:
            made, what = projected(encoder, self.config.chain)
            changes.append(what)
        if half:
            changes.append("weights in float16")
        title = name if made is encoder else f"{name}, projected"
        told = "; ".join(changes)
        made.save(path, f"# {title}\n\nThe model {encoder.model_id}, its {told}.\n", half=half)
        return [f"{path}: {name}, {told}"]


def projected(encoder: Encoder, path: str) -> tuple[Encoder, str]:
    """The encoder with the chain appended, and a description of the change."""
    chain = read_chain(path)
    if chain.model != encoder.model_id:
        raise InputError(
            f"{path}: fitted on embeddings of the model '{chain.model}', but this is "
            f"'{encoder.model_id}'; fit it on embeddings of this model"
        )
    matrix, offset = chain.affine(encoder.dim)
    model = ProjectedConfig(network=encoder.config.model, dim=len(offset))
    made = Encoder(EncoderConfig(front_end=encoder.config.front_end, model=model))
    network = made.network
    assert isinstance(network, Projected)
    network.network.load_state_dict(encoder.network.state_dict())
    with torch.no_grad():
        network.projection.weight.copy_(torch.from_numpy(matrix.T))
        network.projection.bias.copy_(torch.from_numpy(offset))
    steps = ", ".join(step.name for step in chain.steps)
    return made, f"embeddings reduced from {encoder.dim} to {len(offset)} values by {steps}"
