"""A model for verification: an encoder that also compares recordings and decides with its stored threshold."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from spkver import audio
from spkver.embeddings import Embeddings, unit
from spkver.encoder import FILE, SINGLE, Encoder, Recording
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.interop import hub
from spkver.modeldir import default_model
from spkver.verify.cohort import Cohort, Voices, compare, cosines
from spkver.verify.decision import Decision, read_cohort, read_decision
from spkver.verify.doubts import doubts, speech_seconds
from spkver.verify.lengths import Lengths
from spkver.verify.verdict import Verdict, verdict

if TYPE_CHECKING:
    from typing_extensions import Self

    from spkver.verify.conversations import Diarization


class Heard(NamedTuple):
    """A recording.

    vector: its embedding of length 1, float32 (dim,); digest: a hash of its audio; doubts: warnings, one line each;
    seconds: seconds of speech
    """

    vector: np.ndarray
    digest: str
    doubts: list[str]
    seconds: float


class Verifier(Encoder):
    """An encoder with `verify` and `score`.

    decision: the stored threshold and calibration, or None; cohort: the stored cohort of S-norm, or None
    """

    decision: Decision | None = None
    cohort: Cohort | None = None

    @classmethod
    def open(cls, path: StrPath, device: str = "cpu") -> Self:
        """Open a model directory and its decision. Raises InputError also for the decision of another model."""
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
        """Verify that `test` has the speaker of the enrolment, which is one recording or a list of one speaker's.

        Several enrolment recordings are combined as the mean of their embeddings, each scaled to length 1. Recordings,
        sample_rate and errors are those of `embed`.

        threshold: replaces the model's
        prior: prior probability of the same speaker
        channel: channel of multi-channel files (0-based)
        """
        several = [enrolment] if isinstance(enrolment, SINGLE) else enrolment
        if not several:
            raise InputError("the enrolment is an empty list: give at least one recording of the speaker")
        heard = [self.listen(one, sample_rate, channel) for one in [*several, test]]
        return self.judge(heard[:-1], heard[-1], threshold=threshold, prior=prior)

    def judge(
        self, enrolment: Sequence[Heard], test: Heard, *, threshold: float | None = None, prior: float = 0.5
    ) -> Verdict:
        """As `verify`, for recordings that `listen` has read."""
        one, other = (
            Voices.of(mean_direction([each.vector for each in side])[None], self.cohort, _seconds(side))
            for side in (enrolment, [test])
        )
        found = verdict(float(compare(one, other, self.lengths)[0, 0]), self.decision, threshold, prior)
        doubts = [line for each in [*enrolment, test] for line in each.doubts]
        return replace(found, cosine=float(cosines(one, other)[0, 0]), doubts=doubts)

    @property
    def lengths(self) -> Lengths | None:
        """The correction for seconds of speech that the decision assumes, if any."""
        return None if self.decision is None else self.decision.lengths

    @property
    def scale(self) -> float | None:
        """The scale of the calibration, if any: a difference of scores, times it, is one of likelihood ratios."""
        return None if self.decision is None else self.decision.calibration.scale

    def required_threshold(self, given: float | None = None) -> float:
        """The threshold that is given, or else the model's. Raises InputError if there is none."""
        if given is not None:
            if math.isnan(given):
                raise InputError("the threshold must be a number, got nan")
            return given
        if self.decision is None:
            raise InputError(
                "the model has no stored threshold: give --threshold, or store one with spkver threshold --model"
            )
        return self.decision.threshold

    def score(
        self, enrolment: Sequence[Recording], test: Sequence[Recording], sample_rate: int | None = None
    ) -> np.ndarray:
        """Cosines of every enrolment recording with every test recording, float32 (enrolment, test).

        Unlike the score of `verify`, never normalised by a cohort. Recordings, sample_rate and errors are those of
        `embed`.
        """
        sides = [
            unit(self.embed(list(side), sample_rate), [f"recording {row + 1}" for row in range(len(side))], "embedding")
            for side in (enrolment, test)
        ]
        return (sides[0] @ sides[1].T).clip(-1, 1)

    def diarize(
        self,
        recording: Recording | Sequence[Recording],
        sample_rate: int | None = None,
        *,
        speakers: int | None = None,
        min_speakers: int | None = None,
        max_speakers: int | None = None,
        threshold: float | None = None,
        plda: StrPath | None = None,
        vad: str | None = None,
        clustering: str | None = None,
        segmentation: StrPath | None = None,
        book: StrPath | None = None,
        channel: int | None = None,
    ) -> Diarization:
        """Find who speaks when in a recording, or in each of a list.

        Recordings and sample_rate are those of `embed`; files may have any length.

        speakers, or min_speakers and max_speakers: the number of speakers, or its bounds, if known
        threshold: of the cosines of clusters; vad, clustering, segmentation: these replace the stored ones
        plda: directory of a PLDA model, for the clustering vbx
        segmentation: directory of a segmentation network, which finds overlapping speech
        book: directory of a speaker book that names the speakers; others are `unknown 1`, ... in all recordings
        channel: channel of multi-channel files (0-based), which are mixed by default
        Raises InputError if no recording can be used, and if the model has no settings and no threshold is given.
        """
        from spkver.verify import conversations

        network = segmentation and str(segmentation)
        settings = conversations.settings_of(
            self, threshold, plda, vad=vad, clustering=clustering, segmentation=network
        )
        number = conversations.number_of(speakers, min_speakers, max_speakers)
        several = [recording] if isinstance(recording, SINGLE) else recording
        files = [one for one in several if isinstance(one, FILE) and not isinstance(one, audio.Content)]
        if len(files) == len(several):
            return conversations.diarize(self, files, settings, number, book=book, channel=channel)
        waveforms = [(f"waveform {row + 1}", self.waveform(one, sample_rate)) for row, one in enumerate(several)]
        opened = ((name, lambda one=one: (len(one), lambda a, b: one[a:b])) for name, one in waveforms)
        return conversations.diarize_opened(self, opened, settings, number, book=book)

    def listen(self, recording: Recording, sample_rate: int | None = None, channel: int | None = None) -> Heard:
        """The embedding of a recording, a hash of its audio, and warnings.

        channel: channel of a multi-channel file (0-based). Other arguments and errors are those of `embed`.
        """
        if isinstance(recording, FILE):
            name = str(recording)
            samples, rate = audio.read(recording, channel=channel)
        else:
            name, rate = "the waveform", sample_rate or self.sample_rate
            samples = recording  # type: ignore[assignment]
        waveform = self.waveform(samples, rate, name)
        raw = samples.detach().cpu().numpy() if isinstance(samples, Tensor) else samples
        raw = audio.from_int16(raw) if raw.dtype == np.int16 else raw.astype(np.float32)
        raw = raw.reshape(-1)
        seconds = speech_seconds(raw, rate)
        return Heard(
            vector=unit(self.embed_batch(waveform[None]), [name], "embedding")[0],
            digest=digest(waveform),
            doubts=[f"{name}: {doubt}" for doubt in doubts(raw, rate, self.sample_rate, seconds)],
            seconds=seconds,
        )


def digest(waveform: np.ndarray) -> str:
    """The hash of the audio of a recording, at the sample rate of a model: float32 (time,)."""
    return hashlib.blake2b(audio.to_int16(waveform).tobytes(), digest_size=16).hexdigest()


def _seconds(heard: Sequence[Heard]) -> np.ndarray:
    return np.array([sum(one.seconds for one in heard)])


def embeddings_of(verifier: Verifier, heard: Sequence[Heard]) -> Embeddings:
    """Embeddings as stored in a book: each recording once, with the hash of its audio as its id."""
    once = {one.digest: one.vector for one in heard}
    front_end = verifier.config.front_end.model_dump(mode="json")
    return Embeddings(list(once), np.stack(list(once.values())), None, verifier.model_id, front_end)


def mean_direction(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of several embeddings of length 1, scaled to length 1, float32 (dim,)."""
    return unit(np.mean(vectors, axis=0)[None], ["the enrolment"], "mean embedding")[0]


def load_model(path: StrPath | None = None, device: str = "cpu") -> Verifier:
    """Open a model directory: an encoder with `embed`, `verify` and `score`.

    path: the `model` folder of an experiment, or the name of a published model (see `spkver import`); by default the
        packaged model
    device: cpu, cuda, or auto (the GPU if there is one)
    Raises InputError if a file is missing or does not fit.
    """
    return Verifier.open(default_model() if path is None else hub.local(path), device)
