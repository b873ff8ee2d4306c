"""Distillation: a large model's embeddings as targets of a small one's.

Embeddings are compared by cosine, as in the embedding-level distillation of Wang, Yang, Wang, Qian & Yu, "Knowledge
distillation for small foot-print deep speaker embedding", ICASSP 2019.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from spkver.config import flat
from spkver.encoder import Encoder, EncoderConfig, load_model
from spkver.errors import InputError
from spkver.features import FrontEnd
from spkver.training.config import DistilConfig

FREE = {"front_end.dither"}
"""What may differ between two front ends that hear the same: in evaluation there is none."""


class Teacher:
    """A finished model that stays as it is. Its network is no part of what is trained, saved or averaged.

    Raises InputError for what is not there, cannot be read, or cannot hear what the student hears: another front end
    needs audio, at its own rate.
    """

    def __init__(self, config: DistilConfig, student: EncoderConfig, kind: str) -> None:
        """kind: of the packs that the student is trained from, audio or features."""
        self.config = config
        if Path(config.model).is_file():
            raise InputError(f"distil.model: {config.model} is a file; give a model directory")
        # the weights that a network is born with are drawn too: the run is to draw as it would without a teacher
        with torch.random.fork_rng(devices=[]):
            self.encoder: Encoder = load_model(config.model).requires_grad_(False)
        before, after = (flat(EncoderConfig(front_end=one.front_end)) for one in (self.encoder.config, student))
        other = [key for key in sorted((before | after).keys() - FREE) if before.get(key) != after.get(key)]
        self.alike = not other
        if self.encoder.sample_rate != student.front_end.sample_rate:
            raise InputError(
                f"distil.model: {config.model} hears {self.encoder.sample_rate} Hz, the config has "
                f"{student.front_end.sample_rate} Hz; they must be the same"
            )
        if other and kind == "features":
            raise InputError(
                f"distil.model: {config.model} has {other[0]} {before.get(other[0])}, the config "
                f"{after.get(other[0])}; train from an audio pack, where each has features of its own"
            )

    @property
    def front_end(self) -> FrontEnd | None:
        """Its own, where it needs other features than the student, or those of the crop before augmentation."""
        return None if self.alike and not self.config.clean else self.encoder.front_end

    def to(self, device: torch.device) -> None:
        """Compute there from now on."""
        self.encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, features: Tensor, *, bf16: bool) -> Tensor:
        """Embeddings (batch, dim) float32 of features (batch, frames, bins)."""
        with torch.autocast(features.device.type, torch.bfloat16, enabled=bf16):
            embeddings: Tensor = self.encoder.network(features)
        return embeddings.float()

    def __str__(self) -> str:
        return f"{self.config.model} ({self.encoder.model_id})"


class Distillation(nn.Module):
    """weight · (1 - cosine(student, teacher)), the mean over the batch.

    Where the sizes differ a linear map, which is learnt with the student and left behind with the run, takes the
    student's embeddings (batch, dim) to the size of the teacher's.
    """

    def __init__(self, weight: float, dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.weight = weight
        with torch.random.fork_rng(devices=[]):  # so that all else is drawn as without it
            self.map = nn.Identity() if dim == teacher_dim else nn.Linear(dim, teacher_dim, bias=False)

    def forward(self, embeddings: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, a scalar with gradient, and the mean cosine without."""
        cosine = functional.cosine_similarity(self.map(embeddings.float()), targets, dim=1).mean()
        return self.weight * (1 - cosine), cosine.detach()
