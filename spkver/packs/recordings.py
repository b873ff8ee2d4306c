"""Audio packs: the recordings of a data directory as 16-bit PCM at one sample rate."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver import audio
from spkver.datadir import DataDir
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.packs.build import Rejected, Summary, build
from spkver.packs.layout import Coding, Header, fingerprint
from spkver.packs.reader import Pack, open_audio
from spkver.packs.writer import ShardWriter

if TYPE_CHECKING:
    from spkver.augment.simulate import Simulation, SimulationConfig

LOOKED_AT = 200  # recordings whose headers are read to estimate the total duration


class _Utterance(NamedTuple):
    id: str
    speaker: str
    session: str
    path: str
    start: float
    end: float | None
    channel: int | None
    seconds: float | None  # from utt2dur; only for the fingerprint, where it reveals a replaced corpus


@dataclass(frozen=True)
class _Settings:
    sample_rate: int
    min_seconds: float
    max_seconds: float
    channel: int | None
    allow_pipes: bool


@dataclass(frozen=True)
class _AudioTask:
    utterances: tuple[_Utterance, ...]
    settings: _Settings
    simulation: SimulationConfig | None

    @property
    def rows(self) -> int:
        return len(self.utterances)

    def stamp(self) -> str:
        paths = dict.fromkeys(utterance.path for utterance in self.utterances)
        return fingerprint([_state(path) for path in paths])

    def write(self, shard: ShardWriter) -> list[Rejected]:
        rejected = []
        simulation = self._simulation()
        for utterance in self.utterances:
            try:
                samples = self._samples(utterance, simulation)
            except InputError as error:
                reason = str(error).removeprefix(f"{utterance.path}: ")
                rejected.append(Rejected(utterance.id, utterance.path, reason))
            else:
                shard.add(utterance.id, utterance.speaker, utterance.session, samples)
        return rejected

    def _simulation(self) -> Simulation | None:
        if self.simulation is None:
            return None
        import torch

        from spkver.augment.simulate import Simulation

        torch.set_num_threads(1)  # the processes share the cores
        rate = self.settings.sample_rate
        return Simulation(self.simulation, rate, partial(open_audio, sample_rate=rate))

    def _samples(self, utterance: _Utterance, simulation: Simulation | None) -> np.ndarray:
        settings, before = self.settings, _state(utterance.path)
        waveform, rate = audio.read(
            utterance.path,
            settings.sample_rate,
            start=utterance.start,
            end=utterance.end,
            channel=settings.channel if utterance.channel is None else utterance.channel,
            max_seconds=settings.max_seconds,
            allow_pipes=settings.allow_pipes,
            keep_int16=True,
        )
        if _state(utterance.path) != before:
            raise InputError("changed while it was read; run again when it is complete")
        if reason := audio.unusable(waveform, rate, settings.min_seconds):
            raise InputError(reason)
        if simulation is None:
            return audio.to_int16(waveform)
        plain = audio.from_int16(waveform) if waveform.dtype == np.int16 else waveform
        changed = audio.to_int16(simulation(plain, utterance.id))
        if reason := audio.unusable(changed, rate, settings.min_seconds):
            raise InputError(f"{reason}, after simulation")  # a codec may turn very quiet audio into silence
        return changed


def _state(path: str) -> tuple[int, int] | None:
    """Size and modification time of a file, to detect changes; None if there is no file."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def pack_audio(
    data: DataDir,
    out: StrPath,
    *,
    sample_rate: int = 16000,
    jobs: int = 1,
    min_seconds: float = 0.3,
    max_seconds: float = audio.MAX_SECONDS,
    max_rejected: float = 0.1,
    channel: int | None = None,
    allow_pipes: bool = False,
    rows_per_shard: int | None = None,
    coding: Coding = "pcm",
    simulation: SimulationConfig | None = None,
    say: Callable[[str], None] | None = None,
) -> Summary:
    """Pack a data directory: every utterance as mono int16 at `sample_rate` (Hz), in the order of the ids.

    16-bit recordings at that rate are stored unchanged. Recordings that cannot be decoded, are empty, not finite,
    silent, shorter than `min_seconds` or longer than `max_seconds` (which bounds memory) are listed in rejected.jsonl
    with the reason. An interrupted run resumes, and a finished one is not repeated (see `packs.build`).

    max_rejected: maximum share of rejected utterances
    channel: 0-based channel of multi-channel files for which the data directory names none
    rows_per_shard: None: by the number of utterances
    coding: flac needs about two thirds of the disk space of pcm, but crops must be decoded
    simulation: augmentation applied to every recording; it is recorded in pack.json
    say: receives the estimated size (that of pcm) before the work starts, and a warning about low sample rates
    Raises InputError if the disk is too full; RunError if more than `max_rejected` are rejected.
    """
    if say and (odd := audio.rate_warning(audio.sample_rates(data.paths), sample_rate)):
        say(f"warning: {odd}")
    settings = _Settings(sample_rate, min_seconds, max_seconds, channel, allow_pipes)
    utterances = _utterances(data)
    size = rows_per_shard or _rows_per_shard(len(utterances))
    parts = [tuple(utterances[at : at + size]) for at in range(0, len(utterances), size)]
    tasks = [_AudioTask(part, settings, simulation) for part in parts]
    done = None if simulation is None else _description(simulation, sample_rate)
    header = Header("audio", sample_rate, coding=coding, simulation=done)
    special = [*(["flac"] if coding == "flac" else []), *([] if done is None else [done])]
    mark = fingerprint("audio", asdict(settings), *special, size, *utterances)
    expected = None if (total := expected_seconds(data)) is None else round(total * sample_rate * 2)
    return build(out, header, tasks, mark, jobs=jobs, max_rejected=max_rejected, size=expected, say=say)


def _description(simulation: SimulationConfig, sample_rate: int) -> dict[str, Any]:
    """The config as plain values, with the hashes of the packs of noise and rooms."""
    from spkver.augment.simulate import Simulation

    hashes: dict[str, str] = {}

    def opened(path: str) -> Pack:
        pack = open_audio(path, sample_rate)
        hashes[path] = fingerprint([shard.sha256 for shard in pack.shards])
        return pack

    Simulation(simulation, sample_rate, opened)
    return simulation.model_dump(mode="json") | ({"packs": hashes} if hashes else {})


def expected_seconds(data: DataDir) -> float | None:
    """Estimated seconds of audio, from utt2dur, segments, or the headers of some recordings; None if unknown."""
    unknown = pa.nulls(len(data), pa.float64())
    columns = {name: data.table[name] for name in ("seconds", "start", "end") if name in data.table.column_names}
    seconds = columns.get("seconds", unknown)
    if "start" in columns:
        seconds = pc.coalesce(seconds, pc.subtract(columns["end"], columns["start"]))
    known = np.array(seconds, dtype=np.float64)
    rows = np.flatnonzero(np.isnan(known))
    some = data.table.take(pa.array(rows[:: max(1, len(rows) // LOOKED_AT)]))
    starts = some["start"].to_pylist() if "start" in columns else [0.0] * len(some)
    looked_at = []
    for path, start in zip(some["path"].to_pylist(), starts):
        with contextlib.suppress(InputError):
            looked_at.append(audio.seconds(path) - start)
    if len(rows) and not looked_at:
        return None
    return float(np.nansum(known) + (np.mean(looked_at) * len(rows) if looked_at else 0.0))


def _rows_per_shard(utterances: int) -> int:
    """1000, or fewer for a small corpus so that all processes have work; independent of their number."""
    return min(1000, max(100, math.ceil(utterances / 16)))


def _utterances(data: DataDir) -> list[_Utterance]:
    nothing = [None] * len(data)
    sessions, seconds = data.sessions or nothing, data.column("seconds") or nothing
    columns = zip(data.ids, data.speakers, sessions, data.places(), seconds)
    return [
        _Utterance(name, speaker, session or "", *place, duration)
        for name, speaker, session, place, duration in columns
    ]
