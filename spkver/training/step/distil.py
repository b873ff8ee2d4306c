"""Distillation: a small model learns from a large model's embeddings of the same crop or of the whole recording.

Embeddings are compared by cosine, as in the embedding-level distillation of Wang, Yang, Wang, Qian & Yu, "Knowledge
distillation for small foot-print deep speaker embedding", ICASSP 2019. The pairwise cosines of a batch are compared as
in Tung & Mori, "Similarity-preserving knowledge distillation", ICCV 2019.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spkver.config import first_difference
from spkver.embeddings import read_embeddings
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.features.base import FrontEndModule
from spkver.storage import located
from spkver.training.config import DistilConfig
from spkver.training.data.batches import Batch, Sampler
from spkver.training.data.inputs import Inputs
from spkver.training.state.start import IGNORED


class Teaching(Protocol):
    """The source of the targets of a batch: a trained model, its stored embeddings, or the average of the weights."""

    def inputs(self, inputs: Inputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """The student's features of a batch, and what the targets are made from, (batch, ...)."""

    def __call__(self, given: Tensor, rows: Tensor, *, bf16: bool) -> Tensor:
        """The targets (batch, ...), without gradient, float32.

        rows: int64 (batch,) on the host, the crops' rows of the pack
        """


CENTRE = 512  # crops of each pack whose mean is subtracted


class Teacher:
    """A trained model whose embeddings are targets. Its network is not trained, saved or averaged.

    Raises InputError for a model that is missing or damaged, for another sample rate, and for another front end if the
    student is trained from features.
    """

    def __init__(self, config: DistilConfig, student: EncoderConfig, kind: str) -> None:
        """kind: kind of the training packs, audio or features."""
        self.config = config
        self._centres: tuple[Tensor, Tensor] | None = None  # of the packs, (packs, dim); the pack of each row, (rows,)
        assert config.model is not None
        if located(config.model).is_file():
            raise InputError(f"distil.model: {config.model} is a file; give a model directory")
        # initial weights are random, too: the run must draw the same numbers as without a teacher
        with torch.random.fork_rng(devices=[]):
            self.encoder: Encoder = Encoder.open(config.model).requires_grad_(False)
        of_teacher, of_student = (EncoderConfig(front_end=one.front_end) for one in (self.encoder.config, student))
        difference = first_difference(of_teacher, of_student, IGNORED)
        self.alike = difference is None
        if self.encoder.sample_rate != student.front_end.sample_rate:
            raise InputError(
                f"distil.model: {config.model} takes {self.encoder.sample_rate} Hz, the config has "
                f"{student.front_end.sample_rate} Hz; they must be the same"
            )
        if difference is not None and kind == "features":
            key, before, after = difference
            raise InputError(
                f"distil.model: {config.model} has {key} {before}, the config has {after}; train from an audio pack, "
                "so that both get their own features"
            )

    @property
    def front_end(self) -> FrontEndModule | None:
        """The teacher's front end, or None if it uses the student's features."""
        return None if self.alike and not self.config.clean else self.encoder.front_end

    @property
    def dim(self) -> int:
        """Size of the teacher's embeddings."""
        return self.encoder.dim

    def prepare(self, inputs: Inputs, device: torch.device, *, bf16: bool) -> None:
        """Move the teacher to a device, and embed a part of each pack if its mean is to be subtracted."""
        self.encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.config.centre:
            pack_of = torch.from_numpy(inputs.sampler.pack.pack_of).long()
            sums = torch.zeros(int(pack_of.max()) + 1, self.dim, device=device)
            number = torch.zeros(len(sums), 1, device=device)
            for pack, batch in inputs.sampler.examples(CENTRE):
                given = inputs.pair(batch.each(lambda tensor: tensor.to(device)), self.front_end, clean=True)[1]
                sums[pack] += functional.normalize(self._embed(given, bf16=bf16), dim=1).sum(0)
                number[pack] += len(given)
            self._centres = sums / number.clamp_min(1), pack_of.to(device)

    def inputs(self, inputs: Inputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """See Teaching.inputs."""
        return inputs.pair(batch, self.front_end, clean=self.config.clean)

    def __call__(self, given: Tensor, rows: Tensor, *, bf16: bool) -> Tensor:
        """See Teaching.__call__: embeddings (batch, dim)."""
        embeddings = self._embed(given, bf16=bf16)
        if self._centres is None:
            return embeddings
        means, pack_of = self._centres
        return functional.normalize(embeddings, dim=1) - means[pack_of[rows.to(means.device)]]

    @torch.no_grad()
    def _embed(self, given: Tensor, *, bf16: bool) -> Tensor:
        with torch.autocast(given.device.type, torch.bfloat16, enabled=bf16):
            embeddings: Tensor = self.encoder.network(given)
        return embeddings.float()

    def __str__(self) -> str:
        return f"{self.config.model} ({self.encoder.model_id})"


class Targets:
    """A teacher's embeddings of whole recordings, from files: the same target for every crop of a recording.

    Copies of a recording through another channel have the same id, and so the same target.
    Raises InputError for recordings without an embedding, for files of different models, and for speeds drawn in
    training, which would change the voice.
    """

    def __init__(self, config: DistilConfig, sampler: Sampler) -> None:
        if sampler.speeds != (1.0,):
            raise InputError(
                "distil.embeddings are of recordings at one speed; instead of augment.speeds pack the copies with "
                "'spkver pack --speed' and embed them too"
            )
        files = [read_embeddings(path) for path in config.embeddings]
        if len({(file.model, file.vectors.shape[1]) for file in files}) > 1:
            raise InputError(f"distil.embeddings: {config.teacher} are of different models")
        row = {name: number for number, name in enumerate(name for file in files for name in file.ids)}
        if lacking := [name for name in sampler.pack.ids if name not in row]:
            raise InputError(
                f"distil.embeddings: {len(lacking)} recordings of data.train have none, the first is '{lacking[0]}'"
            )
        vectors = np.concatenate([_centred(file.vectors) if config.centre else file.vectors for file in files])
        self.config = config
        self._of_row = torch.from_numpy(vectors[[row[name] for name in sampler.pack.ids]])
        self.dim = vectors.shape[1]

    def prepare(self, inputs: Inputs, device: torch.device, *, bf16: bool) -> None:
        """Move the embeddings to a device."""
        self._of_row = self._of_row.to(device)

    def inputs(self, inputs: Inputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """See Teaching.inputs: the targets themselves, (batch, dim)."""
        rows = torch.from_numpy(batch.rows).to(self._of_row.device, non_blocking=True)
        return inputs.features(batch), self._of_row.index_select(0, rows)

    def __call__(self, given: Tensor, rows: Tensor, *, bf16: bool) -> Tensor:
        """See Teaching.__call__."""
        return given

    def __str__(self) -> str:
        return self.config.teacher


def _centred(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return (unit - unit.mean(axis=0, dtype=np.float64)).astype(np.float32)


class Distillation(nn.Module):
    """weight · (1 - cosine(student, teacher)), the mean over the batch, and relations · the mean squared difference of
    the cosines of all pairs in the batch.

    If the sizes differ, a linear map takes the student's embeddings (batch, dim) to the size of the teacher's for the
    first term. It is trained with the student and not part of the model.
    """

    def __init__(self, config: DistilConfig, dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):  # so that other random numbers are the same as without distillation
            self.map = nn.Identity() if dim == teacher_dim else nn.Linear(dim, teacher_dim, bias=False)

    def forward(self, embeddings: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss (scalar, with gradient) and the mean cosine (without gradient).

        Only the first embeddings have targets, if there are short crops, see Batch.local.
        """
        embeddings = embeddings[: len(targets)].float()
        cosine = functional.cosine_similarity(self.map(embeddings), targets, dim=1).mean()
        loss = self.config.weight * (1 - cosine)
        if self.config.relations:
            loss = loss + self.config.relations * (_relations(embeddings) - _relations(targets)).square().mean()
        return loss, cosine.detach()


def _relations(embeddings: Tensor) -> Tensor:
    """The cosines of all pairs, (batch, batch)."""
    unit = functional.normalize(embeddings, dim=1)
    return unit @ unit.T
