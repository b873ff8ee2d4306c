"""Audio packs: the recordings of a data directory as 16-bit PCM at one sample rate."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver import audio
from spkver.datadir import DataDir
from spkver.datadir.seconds import known_durations
from spkver.errors import InputError
from spkver.files import StrPath, file_state, fingerprint
from spkver.packs.build import Rejected, Summary, build
from spkver.packs.layout import Coding, Header
from spkver.packs.reader import Pack, open_audio
from spkver.packs.speeds import at_speed, check_speeds
from spkver.packs.writer import ShardWriter
from spkver.work import Engine, Share, rows_per_part

if TYPE_CHECKING:
    from spkver.augment.simulate import Simulation, SimulationConfig

_PIECE = 1 << 12  # rows made at a time
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


class _Row(NamedTuple):
    """A row of the pack: one utterance, or several joined ones of one speaker and session, at a speed."""

    id: str
    parts: tuple[_Utterance, ...]
    speed: float = 1.0


@dataclass(frozen=True)
class _Settings:
    sample_rate: int
    min_seconds: float
    max_seconds: float
    channel: int | None
    allow_pipes: bool


@dataclass(frozen=True)
class _AudioTask:
    content: tuple[_Row, ...]
    settings: _Settings
    simulation: SimulationConfig | None

    @property
    def rows(self) -> int:
        return sum(len(row.parts) for row in self.content)

    def stamp(self) -> str:
        paths = dict.fromkeys(part.path for row in self.content for part in row.parts)
        return fingerprint([file_state(path) for path in paths])

    def repaired(self, rejected: Sequence[str]) -> bool:
        """Whether a rejected recording can be read now: a pipe shows no change, and a codec may be installed."""
        again = set(rejected)
        for part in (part for row in self.content for part in row.parts if part.id in again):
            with contextlib.suppress(InputError):
                self._read(part)
                return True
        return False

    def write(self, shard: ShardWriter) -> list[Rejected]:
        rejected: list[Rejected] = []
        simulation = self._simulation()
        for row in self.content:
            read: list[np.ndarray] = []
            for part in row.parts:
                try:
                    read.append(self._read(part))
                except InputError as error:
                    rejected.append(_rejected(part, error))
            if not read:
                continue
            try:
                samples = self._changed(_joined(read), row, simulation)
            except InputError as error:
                rejected.extend(_rejected(part, error) for part in row.parts)
            else:
                first = row.parts[0]
                shard.add(at_speed(row.id, row.speed), at_speed(first.speaker, row.speed), first.session, samples)
        return rejected

    def _simulation(self) -> Simulation | None:
        if self.simulation is None:
            return None
        import torch

        from spkver.augment.simulate import Simulation

        torch.set_num_threads(1)  # the processes share the cores
        rate = self.settings.sample_rate
        return Simulation(self.simulation, rate, partial(open_audio, sample_rate=rate))

    def _read(self, utterance: _Utterance) -> np.ndarray:
        """int16 if it was recorded so, or float32. Raises InputError for an unusable recording."""
        settings, before = self.settings, file_state(utterance.path)
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
        if file_state(utterance.path) != before:
            raise InputError("changed while it was read; run again when it is complete")
        if reason := audio.unusable(waveform, rate, settings.min_seconds):
            raise InputError(reason)
        return waveform

    def _changed(self, waveform: np.ndarray, row: _Row, simulation: Simulation | None) -> np.ndarray:
        """int16 at the row's speed and after simulation. Raises InputError if nothing usable is left."""
        if row.speed == 1.0 and simulation is None:
            return audio.to_int16(waveform)
        if waveform.dtype == np.int16:
            waveform = audio.from_int16(waveform)
        if row.speed != 1.0:
            waveform = _played(waveform, row.speed)
        if simulation is not None:
            waveform = simulation(waveform, at_speed(row.id, row.speed))
        changed = audio.to_int16(waveform)
        if reason := audio.unusable(changed, self.settings.sample_rate, self.settings.min_seconds):
            # a codec may turn very quiet audio into silence
            raise InputError(f"{reason}, after {'the change of speed' if simulation is None else 'simulation'}")
        return changed


def _joined(waveforms: list[np.ndarray]) -> np.ndarray:
    """Concatenate waveforms; int16 if all are."""
    if len({waveform.dtype for waveform in waveforms}) > 1:
        waveforms = [audio.from_int16(one) if one.dtype == np.int16 else one for one in waveforms]
    return np.concatenate(waveforms)


def _played(waveform: np.ndarray, speed: float) -> np.ndarray:
    """The waveform at `speed` times its speed, float32 (time,)."""
    import torch

    from spkver.augment.speed import change_speed

    torch.set_num_threads(1)  # the processes share the cores
    return change_speed(torch.from_numpy(waveform)[None], speed)[0].numpy()


def _rejected(utterance: _Utterance, error: InputError) -> Rejected:
    return Rejected(utterance.id, utterance.path, str(error).removeprefix(f"{utterance.path}: "))


def pack_audio(
    data: DataDir,
    out: StrPath,
    *,
    sample_rate: int = 16000,
    jobs: int = 1,
    on: Engine | None = None,
    share: Share | None = None,
    min_seconds: float = 0.3,
    max_seconds: float = audio.MAX_SECONDS,
    max_rejected: float = 0.1,
    channel: int | None = None,
    allow_pipes: bool = False,
    rows_per_shard: int | None = None,
    coding: Coding = "pcm",
    speeds: Sequence[float] = (),
    combine: float | None = None,
    simulation: SimulationConfig | None = None,
    say: Callable[[str], None] | None = None,
) -> Summary | None:
    """Pack a data directory: every utterance as mono int16 at `sample_rate` (Hz), in the order of the ids.

    16-bit recordings at that rate are stored unchanged. Recordings that cannot be decoded, are empty, not finite,
    silent, shorter than `min_seconds` or longer than `max_seconds` (which bounds memory) are listed in rejected.jsonl
    with the reason. An interrupted run resumes, and a finished one is not repeated (see `packs.build`).

    jobs: number of processes; on: another engine; share: make only this share of the shards (see `packs.build`)
    max_rejected: maximum share of rejected utterances
    channel: 0-based channel of multi-channel files for which the data directory names none
    rows_per_shard: None: by the number of utterances
    coding: flac needs about two thirds of the disk space of pcm, but crops must be decoded
    speeds: factors of additional speed-perturbed copies; each copy is a new speaker, as in `make_features`
    combine: join shorter utterances of one speaker and session, in random order, to rows of about this many seconds, as
        Kaldi's combine_short_segments.sh does. The id of a joined row is that of its first utterance with the prefix
        `comb6-` for 6 s. An unusable utterance is rejected alone
    simulation: augmentation applied to every row, after joining and speeds; it is recorded in pack.json
    say: receives the estimated size (that of pcm) before the work starts, and a warning about low sample rates
    Raises InputError if the disk is too full; RunError if more than `max_rejected` are rejected.
    """
    if say and (odd := audio.rate_warning(audio.sample_rates(data.paths), sample_rate)):
        say(f"warning: {odd}")
    settings = _Settings(sample_rate, min_seconds, max_seconds, channel, allow_pipes)
    check_speeds(speeds)
    rows = _Rows(data) if combine is None else _combined(_Rows(data)[:], known_durations(data), combine)
    size = rows_per_shard or rows_per_part(len(rows) * (1 + len(speeds)))
    tasks = _Tasks(rows, (1.0, *speeds), size, settings, simulation)
    done = None if simulation is None else _description(simulation, sample_rate)
    header = Header("audio", sample_rate, coding=coding, simulation=done)
    special: list[Any] = ["flac"] if coding == "flac" else []
    special += [] if done is None else [done]
    special += [f"combine {combine:g}"] if combine is not None else []
    special += [f"speed {speed:g}" for speed in speeds]
    utterances = itertools.chain.from_iterable(_in_pieces(_Rows(data)))
    mark = fingerprint("audio", asdict(settings), *special, size, rows=(row.parts[0] for row in utterances))
    expected = (
        None
        if (total := expected_seconds(data)) is None
        else round(total * sum(1 / speed for speed in (1.0, *speeds)) * sample_rate * 2)
    )
    return build(
        out,
        header,
        tasks,
        mark,
        rows=len(data) * (1 + len(speeds)),
        jobs=jobs,
        on=on,
        share=share,
        max_rejected=max_rejected,
        size=expected,
        say=say,
    )


class _Rows(Sequence[_Row]):
    """The utterances of a data directory as rows, made from its columns when they are needed."""

    def __init__(self, data: DataDir) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    @overload
    def __getitem__(self, at: int) -> _Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[_Row]: ...
    def __getitem__(self, at: int | slice) -> _Row | list[_Row]:
        if isinstance(at, int):
            return self[at : at + 1][0]
        first, last, _ = at.indices(len(self))
        data = DataDir(self._data.table.slice(first, last - first))
        nothing = [None] * len(data)
        sessions, seconds = data.sessions or nothing, data.column("seconds") or nothing
        columns = zip(data.ids, data.speakers, sessions, data.places(), seconds)
        return [
            _Row(name, (_Utterance(name, speaker, session or "", *place, duration),))
            for name, speaker, session, place, duration in columns
        ]


def _in_pieces(rows: _Rows) -> Iterator[list[_Row]]:
    return (rows[first : first + _PIECE] for first in range(0, len(rows), _PIECE))


@dataclass(frozen=True)
class _Tasks(Sequence[_AudioTask]):
    """The rows at every speed, `size` in a task, which is made when it is needed."""

    rows: Sequence[_Row]
    speeds: tuple[float, ...]
    size: int
    settings: _Settings
    simulation: SimulationConfig | None

    def __len__(self) -> int:
        return -(-len(self.rows) * len(self.speeds) // self.size)

    @overload
    def __getitem__(self, at: int) -> _AudioTask: ...
    @overload
    def __getitem__(self, at: slice) -> list[_AudioTask]: ...
    def __getitem__(self, at: int | slice) -> _AudioTask | list[_AudioTask]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        first, last = at * self.size, min((at + 1) * self.size, len(self.rows) * len(self.speeds))
        content: list[_Row] = []
        while first < last:
            copy, row = divmod(first, len(self.rows))
            chosen = self.rows[row : row + last - first]
            content += chosen if not copy else [one._replace(speed=self.speeds[copy]) for one in chosen]
            first += len(chosen)
        return _AudioTask(tuple(content), self.settings, self.simulation)


def _combined(rows: list[_Row], seconds: np.ndarray, least: float) -> list[_Row]:
    """Join utterances shorter than `least` seconds, within speaker and session, to rows of at least about that length.

    The order within a speaker is random and always the same. The remainder goes to the last row. Utterances of unknown
    length (NaN) are not joined.
    """
    if not least > 0:
        raise InputError(f"combine {least:g}: expected a number of seconds above 0")
    groups: dict[tuple[str, str], list[int]] = {}
    for number in np.flatnonzero(seconds < least).tolist():
        groups.setdefault((rows[number].parts[0].speaker, rows[number].parts[0].session), []).append(number)
    whole = [row for row, length in zip(rows, seconds) if not length < least]
    for (speaker, session), members in groups.items():
        members = np.random.default_rng(list(f"{speaker} {session}".encode())).permutation(members).tolist()
        before = np.cumsum(seconds[members]) - seconds[members]
        number = np.minimum(before // least, max(1, seconds[members].sum() // least) - 1)
        for place in np.unique(number):
            parts = [rows[member].parts[0] for member, at in zip(members, number) if at == place]
            name = f"comb{least:g}-{parts[0].id}" if len(parts) > 1 else parts[0].id
            whole.append(_Row(name, tuple(parts)))
    return sorted(whole, key=lambda row: row.id.encode())


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
