"""A model directory whose embeddings are another's through a chain of affine transforms: fewer dimensions, say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from spkver.config import Component
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.models.projected import ProjectedConfig
from spkver.scoring.chain import read_chain


class ProjectedExportConfig(Component):
    """What the embeddings go through."""

    name: Literal["model"] = "model"
    chain: str | None = Field(None, description="directory that `spkver transform fit` wrote, without the step length")


class ProjectedExport:
    """The same encoder with the chain behind it, as one affine layer."""

    Config = ProjectedExportConfig

    def __init__(self, config: ProjectedExportConfig) -> None:
        self.config = config

    def write(self, encoder: Encoder, path: StrPath) -> list[str]:
        """Write the directory. Raises InputError for a chain that is not affine, or is of another model."""
        if self.config.chain is None:
            raise InputError(f"{path}: a model from a model is with something behind it: give --chain")
        if Path(path).exists():
            raise InputError(f"{path}: it is there already; give another name, or remove it")
        chain = read_chain(self.config.chain)
        if chain.model != encoder.model_id:
            raise InputError(
                f"{self.config.chain}: learnt on embeddings of the model '{chain.model}', this is "
                f"'{encoder.model_id}'; learn it on embeddings of this one"
            )
        matrix, offset = chain.affine(encoder.dim)
        model = ProjectedConfig(network=encoder.config.model, dim=len(offset))
        projected = Encoder(EncoderConfig(front_end=encoder.config.front_end, model=model))
        projected.network.network.load_state_dict(encoder.network.state_dict())
        with torch.no_grad():
            projected.network.projection.weight.copy_(torch.from_numpy(matrix.T))
            projected.network.projection.bias.copy_(torch.from_numpy(offset))
        steps = ", ".join(step.name for step in chain.steps)
        what = f"embeddings of {encoder.dim} values brought to {len(offset)} by {steps}"
        name = encoder.config.model.name
        projected.save(path, f"# {name}, projected\n\nThe model {encoder.model_id}, its {what}.\n")
        return [f"{path}: {name}, {what}"]
