"""Packing, features and crops: python tests/benchmarks/packs.py [--folder /dev/shm] [--hours 0.5] [--jobs 2].

For recordings of 8 s as wav, flac and ogg, prints the hours of audio that packing and features process per minute on
one core (in processor time, so that other work on the machine matters little), and the share of plain reading by
soundfile in the time of packing. Then prints random crops of 2 s per second with `--jobs` processes from the page cache
(in wall time and processor time), and utterances per second of the sequential reader.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from spkver.datadir import DataDir, from_columns
from spkver.features import FrontEndConfig
from spkver.packs import Pack, make_features, pack_audio
from spkver.training.data.batches import Sampler

RATE, SECONDS = 16000, 8


def recordings(folder: Path, suffix: str, count: int) -> DataDir:
    """Recordings of noise with roughly the spectrum and the pauses of speech, as input for codecs."""
    folder.mkdir()
    random = np.random.default_rng(0)
    paths = [str(folder / f"{number:05}.{suffix}") for number in range(count)]
    for path in paths:
        noise = np.convolve(random.normal(size=RATE * SECONDS), np.ones(8) / 8, "same")
        level = np.repeat(random.uniform(0, 0.2, size=SECONDS * 4), RATE // 4)
        soundfile.write(path, (noise * level).astype(np.float32), RATE)
    return from_columns([Path(path).name for path in paths], paths, [f"s{n % 20}" for n in range(count)])


def processor_time(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def crops(path: Path, seconds: float) -> tuple[float, float]:
    """Crops of 2 s in batches of 64 in this process, per second and per second of processor time."""
    sampler = Sampler(Pack.open(path), batch_size=64, crop=2 * RATE, speeds=(1.0,), seed=0)
    step, start, busy = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        sampler.batch(step)
        step += 1
    return 64 * step / (time.perf_counter() - start), 64 * step / (time.process_time() - busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="Where the files go, some 0.2 GB an hour (the system's temporary folder).")
    parser.add_argument("--hours", type=float, default=0.5)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="packs-", dir=options.folder))
    count = round(options.hours * 3600 / SECONDS)
    per_minute = 60 * count * SECONDS / 3600  # divided by seconds of processor time: hours a minute
    try:
        for suffix in ("wav", "flac", "ogg"):
            data = recordings(root / suffix, suffix, count)
            plain = processor_time(lambda: [soundfile.read(path, dtype="int16") for path in data.paths])  # noqa: B023
            for coding in ("pcm", "flac"):
                out = root / f"{suffix}-{coding}"
                took = processor_time(lambda: pack_audio(data, out, coding=coding))  # noqa: B023
                size = sum(shard.bytes for shard in Pack.open(out).shards) / (count * SECONDS * RATE * 2)
                print(
                    f"{suffix} to {coding}: {per_minute / took:.0f} h/min on a core; plain reading "
                    f"{per_minute / plain:.0f}, {plain / took:.0%} of the time; {size:.0%} of the bytes of pcm"
                )
        front_end = FrontEndConfig()
        make_features(root / "wav-pcm", root / "warm", front_end)
        took = processor_time(lambda: make_features(root / "wav-pcm", root / "features", front_end))
        print(f"features: {per_minute / took:.0f} h/min on a core")
        for kind in ("wav-pcm", "wav-flac"):
            crops(root / kind, 0.3)
            with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
                rates = pool.starmap(crops, [(root / kind, 3.0)] * options.jobs)
            wall, busy = (sum(rate) for rate in zip(*rates))
            print(
                f"random crops, {kind}, {options.jobs} processes: {wall:.0f} a second; {busy:.0f} if they had the cores"
            )
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
