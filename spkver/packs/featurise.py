"""Feature packs: filterbank features of an audio pack, in float16 after CMN."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spkver import audio
from spkver.errors import InputError
from spkver.files import StrPath, fingerprint
from spkver.packs.build import Rejected, Summary, build
from spkver.packs.layout import Header
from spkver.packs.reader import Pack
from spkver.packs.speeds import at_speed, check_speeds
from spkver.packs.writer import ShardWriter
from spkver.storage import located
from spkver.work import Engine, Share

if TYPE_CHECKING:
    from spkver.features import FrontEndConfig


@dataclass(frozen=True)
class _FeatureTask:
    """One shard of an audio pack, at one speed."""

    source: Path
    number: int
    rows: int
    front_end: FrontEndConfig
    speed: float

    def stamp(self) -> str:
        return ""  # the fingerprint of the run includes the hashes of the source

    def repaired(self, rejected: Sequence[str]) -> bool:
        return False  # the same audio gives the same features

    def write(self, shard: ShardWriter) -> list[Rejected]:
        import torch

        from spkver.augment.speed import change_speed
        from spkver.features import FrontEnd

        torch.set_num_threads(1)  # the processes share the cores
        pack = _open_once(self.source)
        pack.verify_shard(self.number)  # damaged samples would go unnoticed in features
        front_end = FrontEnd(self.front_end).eval()
        rejected = []
        with torch.inference_mode():
            for row in pack.rows_of_shard(self.number):
                waveform = torch.from_numpy(audio.from_int16(pack[row]))[None]
                if self.speed != 1.0:
                    waveform = change_speed(waveform, self.speed)
                name, speaker = (at_speed(word, self.speed) for word in (pack.ids[row], pack.speakers[row]))
                if waveform.shape[1] < self.front_end.samples(1):
                    rejected.append(Rejected(name, str(self.source), "too short for one frame"))
                    continue
                with np.errstate(over="ignore"):
                    features = front_end(waveform)[0].numpy().astype("<f2")
                if not np.isfinite(features).all():
                    rejected.append(Rejected(name, str(self.source), "features exceed the range of float16"))
                    continue
                shard.add(name, speaker, pack.sessions[row], features)
        return rejected


def make_features(
    pack: StrPath,
    out: StrPath,
    front_end: FrontEndConfig,
    *,
    jobs: int = 1,
    on: Engine | None = None,
    share: Share | None = None,
    speeds: Sequence[float] = (),
    say: Callable[[str], None] | None = None,
) -> Summary | None:
    """Make a feature pack of an audio pack: float16 (frames, bins) per utterance.

    speeds: factors of additional speed-perturbed copies of every utterance; each copy is a new speaker: its id and
        speaker get the prefix `sp0.9-`
    jobs: number of processes; on: another engine; share: make only this share of the shards (see `packs.build`)
    say: receives the size as a message before the work starts
    An interrupted run resumes, and a finished one is not repeated (see `packs.build`).
    Raises InputError for a feature pack, for another sample rate than that of the front end, for dither (random
    features), for a damaged source, and if the disk is too full.
    """
    source = Pack.open(pack)
    _check(source, front_end, speeds)
    config = front_end.model_dump(mode="json", exclude_none=True)  # a key added later changes no fingerprint
    header = Header("features", source.sample_rate, config, simulation=source.header.simulation)
    tasks = [
        _FeatureTask(located(pack).resolve(), number, shard.rows, front_end, speed)
        for speed in (1.0, *speeds)
        for number, shard in enumerate(source.shards)
    ]
    mark = fingerprint("features", config, list(speeds), [shard.sha256 for shard in source.shards])
    frames = source.seconds.sum() * sum(1.0 / speed for speed in (1.0, *speeds)) * header.units_per_second
    size = round(frames) * front_end.bins * header.dtype.itemsize
    rows = len(source) * (1 + len(speeds))
    return build(
        out, header, tasks, mark, rows=rows, jobs=jobs, on=on, share=share, what="features", size=size, say=say
    )


def _check(source: Pack, front_end: FrontEndConfig, speeds: Sequence[float]) -> None:
    if source.kind != "audio":
        raise InputError(f"{source.path}: a feature pack; features are made from an audio pack")
    if source.sample_rate != front_end.sample_rate:
        raise InputError(
            f"{source.path}: {source.sample_rate} Hz, the front end takes {front_end.sample_rate} Hz; "
            f"pack it again with --sample-rate {front_end.sample_rate}, or set sample_rate={source.sample_rate}"
        )
    if front_end.dither:
        raise InputError("dither makes features random; set dither=0, or train from the audio pack")
    check_speeds(speeds)


@functools.lru_cache(maxsize=1)
def _open_once(path: Path) -> Pack:
    """The source, opened once per process."""
    return Pack.open(path)
