"""Likely problems of a corpus: duplicate audio, speakers in two sets, wrong labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spkver import audio
from spkver.errors import InputError, load_optional
from spkver.progress import bar
from spkver.source import Source
from spkver.stats.measure import Measures

if TYPE_CHECKING:
    from spkver.encoder import Encoder

# Range of the median pitch in Hz that is plausible for a gender: adult men speak at about 85 to 155 Hz, women at 165 to
# 255 Hz (Titze, Principles of Voice Production, 1994). The ranges overlap, since medians in between are inconclusive.
PITCH_LIMITS = {"m": (0.0, 185.0), "f": (140.0, 400.0)}
ADULT = 18  # years; children have high voices, whatever their gender
PITCH_RANGE = (60.0, 400.0)  # search range, Hz
PITCH_SECONDS = 4.0


@dataclass(frozen=True)
class Twice:
    """Utterances with the same samples: their rows, and whether their speakers differ."""

    rows: tuple[int, ...]
    across_speakers: bool


def duplicates(source: Source, measures: Measures) -> list[Twice]:
    """Groups of utterances with equal samples, groups of several speakers first."""
    order = np.argsort(measures.digest, kind="stable")
    edges = np.flatnonzero(measures.digest[order][1:] != measures.digest[order][:-1]) + 1
    groups = [measures.rows[same].tolist() for same in np.split(order, edges) if len(same) > 1]
    found = [Twice(tuple(rows), len({source.speakers[row] for row in rows}) > 1) for rows in groups]
    return sorted(found, key=lambda one: (not one.across_speakers, one.rows))


def shared(source: Source, others: Iterable[Source]) -> dict[str, tuple[list[str], list[str]]]:
    """The speakers and utterance ids that the source shares with each of the other sets, by name of the set."""
    speakers, ids = set(source.speakers), set(source.ids)
    return {one.name: (sorted(speakers & set(one.speakers)), sorted(ids & set(one.ids))) for one in others}


@dataclass(frozen=True)
class Voice:
    """A speaker whose median pitch (Hz) contradicts the gender."""

    speaker: str
    gender: str
    pitch: float


def odd_voices(source: Source, *, per_speaker: int = 3) -> list[Voice]:
    """Speakers of known gender (m or f) whose median pitch over a few recordings is outside PITCH_LIMITS.

    Children are left out if ages are known. Raises InputError if the source has no genders.
    """
    if "gender" not in source.tags:
        raise InputError(f"{source.name}: no spk2gender; --pitch compares voices with the gender of their speakers")
    found = []
    groups = _rows_of_speakers(source, per_speaker)
    for speaker, rows in bar(total=len(groups), what="pitch", unit="spk", iterable=groups.items()):
        gender = str(source.tags["gender"][rows[0]] or "").lower()[:1]
        if gender not in PITCH_LIMITS or _is_child(source, rows[0]):
            continue
        pitches = [pitch for row in rows if (pitch := _pitch_of(source, row)) is not None]
        low, high = PITCH_LIMITS[gender]
        if pitches and not low <= (middle := float(np.median(pitches))) <= high:
            found.append(Voice(speaker, gender, middle))
    return found


def _rows_of_speakers(source: Source, most: int) -> dict[str, list[int]]:
    """At most `most` rows of each speaker, evenly spaced in the source."""
    rows: dict[str, list[int]] = {}
    for row, speaker in enumerate(source.speakers):
        rows.setdefault(speaker, []).append(row)
    return {speaker: own[:: max(1, -(-len(own) // most))] for speaker, own in rows.items()}


def _is_child(source: Source, row: int) -> bool:
    age = str(source.tags["age"][row]) if "age" in source.tags else ""
    return age.isdecimal() and int(age) < ADULT


def _pitch_of(source: Source, row: int) -> float | None:
    try:
        waveform, rate = source.read(row)
    except InputError:
        return None
    return pitch(waveform[: round(PITCH_SECONDS * rate)], rate)


def pitch(waveform: np.ndarray, rate: int) -> float | None:
    """Median fundamental frequency in Hz of the louder half of the frames (YIN); None where there is no sound.

    Raises InputError without librosa, the extra `pitch`.
    """
    librosa = load_optional("librosa", "pitch")
    length = round(rate * 0.064)
    if len(waveform) < length or not np.any(waveform):
        return None
    found = librosa.yin(waveform, fmin=PITCH_RANGE[0], fmax=PITCH_RANGE[1], sr=rate, frame_length=length)
    energy = librosa.feature.rms(y=waveform, frame_length=length, hop_length=length // 4)[0][: len(found)]
    loud = found[: len(energy)][energy >= np.median(energy)]
    voiced = loud[(loud > 1.05 * PITCH_RANGE[0]) & (loud < 0.95 * PITCH_RANGE[1])]  # values at the limits are not pitch
    return float(np.median(voiced)) if len(voiced) else None


@dataclass(frozen=True)
class Stranger:
    """An utterance closer to another speaker: row, cosines to its own and to the nearest other speaker, its name."""

    row: int
    own: float
    other: float
    nearest: str


def strangers(source: Source, encoder: Encoder, *, per_speaker: int = 10) -> list[Stranger]:
    """Utterances that are closer to the mean embedding of another speaker, of at most `per_speaker` of each speaker.

    The mean of the own speaker leaves out the utterance itself. Speakers with one utterance are left out.
    """
    groups = _rows_of_speakers(source, per_speaker)
    rows = [row for own in groups.values() if len(own) > 1 for row in own]
    vectors = {}
    for row in bar(total=len(rows), what="embed", unit="utt", iterable=rows):
        try:
            waveform, rate = source.read(row)
        except InputError:
            continue
        waveform = audio.resample(waveform, rate, encoder.sample_rate)
        if encoder.unusable(waveform) is None:
            vectors[row] = encoder.embed_batch(waveform[None])[0]
    return compare({row: source.speakers[row] for row in vectors}, vectors)


def compare(speakers: dict[int, str], vectors: dict[int, np.ndarray]) -> list[Stranger]:
    """The utterances closer to another speaker, sorted by the difference of the cosines.

    speakers, vectors: speaker and embedding (dim,) of each row
    """
    rows = np.array(sorted(vectors), dtype=np.int64)
    if not len(rows):
        return []
    names, own = np.unique([speakers[row] for row in rows.tolist()], return_inverse=True)
    unit = _unit(np.stack([vectors[row] for row in rows.tolist()]).astype(np.float64))
    sums = np.zeros((len(names), unit.shape[1]))
    np.add.at(sums, own, unit)
    cosines = unit @ _unit(sums).T
    rest = np.sum(unit * _unit(sums[own] - unit), axis=1)
    cosines[np.arange(len(rows)), own] = -np.inf
    cosines[:, np.bincount(own) < 2] = -np.inf
    other = cosines.argmax(axis=1)
    best = cosines.max(axis=1)
    counted = np.bincount(own)[own] > 1
    odd = np.flatnonzero(counted & (best > rest))
    found = [Stranger(int(rows[at]), float(rest[at]), float(best[at]), str(names[other[at]])) for at in odd]
    return sorted(found, key=lambda one: one.own - one.other)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
