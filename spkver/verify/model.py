"""A model as its users need it: an encoder that also compares, and decides by the threshold kept with it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from spkver import audio
from spkver.embeddings import Embeddings
from spkver.encoder import SINGLE, Encoder, Recording
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.modeldir import default_model
from spkver.scoring.cosine import unit
from spkver.verify.cohort import Cohort, Voices, compare, cosines
from spkver.verify.decision import Decision, read_cohort, read_decision
from spkver.verify.doubts import doubts
from spkver.verify.verdict import Verdict, verdict

if TYPE_CHECKING:
    from typing_extensions import Self


class Heard(NamedTuple):
    """A recording: its embedding at length 1, float32 (dim,); a hash of what was heard; doubts, one line each."""

    vector: np.ndarray
    digest: str
    doubts: list[str]


class Verifier(Encoder):
    """An encoder with `verify` and `score`.

    decision: the threshold and calibration kept with the model, or None; cohort: what its scores are normalised by
    """

    decision: Decision | None = None
    cohort: Cohort | None = None

    @classmethod
    def open(cls, path: StrPath, device: str = "cpu") -> Self:
        """Open a model directory, with its decision. Raises InputError also for the decision of another model."""
        verifier = super().open(path, device)
        verifier.decision = read_decision(path, verifier.model_id)
        verifier.cohort = None if verifier.decision is None else read_cohort(path, verifier.decision)
        return verifier

    def verify(
        self,
        enrolment: Recording | Sequence[Recording],
        test: Recording,
        sample_rate: int | None = None,
        *,
        threshold: float | None = None,
        prior: float = 0.5,
        channel: int | None = None,
    ) -> Verdict:
        """Does `test` hold the speaker of the enrolment: one recording, or a list of one speaker's?

        Several are one by the mean of their embeddings, each at length 1. Recordings, sample_rate and errors are those
        of `embed`. threshold: instead of the model's; prior: the share of pairs that are of one speaker; channel:
        which of several, counted from 0, of files.
        """
        several = [enrolment] if isinstance(enrolment, SINGLE) else enrolment
        if not several:
            raise InputError("the enrolment is an empty list: give a recording of the speaker, or several")
        heard = [self.listen(one, sample_rate, channel) for one in [*several, test]]
        sides = mean_direction([one.vector for one in heard[:-1]]), heard[-1].vector
        one, other = (Voices.of(vector[None], self.cohort) for vector in sides)
        found = verdict(float(compare(one, other)[0, 0]), self.decision, threshold, prior)
        doubts = [line for each in heard for line in each.doubts]
        return replace(found, cosine=float(cosines(one, other)[0, 0]), doubts=doubts)

    def score(
        self, enrolment: Sequence[Recording], test: Sequence[Recording], sample_rate: int | None = None
    ) -> np.ndarray:
        """The cosine of every recording of one list with every one of another, float32 (enrolment, test).

        Not normalised by a cohort, as those of `verify` may be. Recordings, sample_rate and errors are as in `embed`.
        """
        sides = [
            unit(self.embed(list(side), sample_rate), [f"recording {row + 1}" for row in range(len(side))], "embedding")
            for side in (enrolment, test)
        ]
        return (sides[0] @ sides[1].T).clip(-1, 1)

    def listen(self, recording: Recording, sample_rate: int | None = None, channel: int | None = None) -> Heard:
        """The embedding of a recording, and what else there is to know of it.

        channel: which of several, counted from 0, of a file. Otherwise as `embed`.
        """
        if isinstance(recording, str | os.PathLike):
            name = str(recording)
            samples, rate = audio.read(recording, channel=channel)
        else:
            name, rate = "the waveform", sample_rate or self.sample_rate
            samples = recording  # type: ignore[assignment]
        waveform = self.waveform(samples, rate, name)
        raw = samples.detach().cpu().numpy() if isinstance(samples, Tensor) else samples
        raw = audio.from_int16(raw) if raw.dtype == np.int16 else raw.astype(np.float32)
        return Heard(
            vector=unit(self.embed_batch(waveform[None]), [name], "embedding")[0],
            digest=hashlib.blake2b(audio.to_int16(waveform).tobytes(), digest_size=16).hexdigest(),
            doubts=[f"{name}: {doubt}" for doubt in doubts(raw.reshape(-1), rate, self.sample_rate)],
        )


def embeddings_of(verifier: Verifier, heard: Sequence[Heard]) -> Embeddings:
    """Recordings as a book keeps them: each once, its id the hash of what was heard."""
    once = {one.digest: one.vector for one in heard}
    front_end = verifier.config.front_end.model_dump(mode="json")
    return Embeddings(list(once), np.stack(list(once.values())), None, verifier.model_id, front_end)


def mean_direction(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """One enrolment of several embeddings of length 1: their mean, at length 1, float32 (dim,)."""
    return unit(np.mean(vectors, axis=0)[None], ["the enrolment"], "mean embedding")[0]


def load_model(path: StrPath | None = None, device: str = "cpu") -> Verifier:
    """Open a model directory: an encoder with `embed`, `verify` and `score`.

    path: the `model` folder of an experiment; by default the model that comes with the package
    device: cpu, cuda, or auto for the GPU where there is one
    Raises InputError naming what is missing or does not fit.
    """
    return Verifier.open(default_model() if path is None else path, device)
