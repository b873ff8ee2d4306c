"""Data directories of VoxCeleb2's size: python tests/benchmarks/datadir.py [--utterances 1200000] [--headers 40000].

Each step is a user's command in a separate process, with the times and peak memory of that process. No recordings are
made: the corpus is a listing of paths like those of VoxCeleb2 (6,112 speakers, videos, clips) and its speaker table.
Steps that depend on the disk are measured separately, per file: listing a tree of empty files, and reading durations
from the headers of real files, with one process and with one per core.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

from data_prep._tree import Tree
from spkver import audio, datadir
from spkver.processes import available_cpus

SPEAKERS, VIDEOS = 6112, 24.6  # a speaker's videos: 150,480 in all


def listing(utterances: int) -> list[str]:
    """Paths like those of VoxCeleb2, in random order, as a file system lists them."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"))
    speakers = rng.choice(np.arange(12, 9273), SPEAKERS, replace=False)
    names = ["".join(row) for row in letters[rng.integers(64, size=(int(SPEAKERS * VIDEOS), 11))]]
    clips = rng.permutation(utterances)
    videos = clips % len(names)
    return [
        f"dev/aac/id{speakers[video % SPEAKERS]:05d}/{names[video]}/{clip // len(names):05d}.m4a"
        for video, clip in zip(videos.tolist(), clips.tolist())
    ]


def run(what: str, *command: object) -> None:
    """Run a command; print its time and peak memory."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *map(str, command)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{what}: failed")
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{what:<54}{seconds:7.1f} s{cpu:7.1f} s of CPU{usage.ru_maxrss / 2**20:7.2f} GiB", flush=True)


def steps(root: Path, utterances: int) -> None:
    (root / "corpus").mkdir()
    names = listing(utterances)
    (root / "listing").write_text("".join(f"{name}\n" for name in names))
    speakers = sorted({name[8:15] for name in names})
    rows = [f"{name} ,n{number:06d} ,{'mf'[number % 2]} ,dev " for number, name in enumerate(speakers)]
    (root / "corpus" / "vox2_meta.csv").write_text("\n".join(["VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set ", *rows]) + "\n")
    (root / "listing").open("a").write("vox2_meta.csv\n")
    print(f"{utterances} utterances, {len(speakers)} speakers")
    data = root / "data" / "dev"
    prepare = ("data_prep.voxceleb2", root / "corpus", root / "data", "--files", root / "listing", "--no-durations")
    run("prepare: data_prep.voxceleb2 --files --no-durations", *prepare)
    run("validate: spkver data validate --quick", "spkver", "data", "validate", data, "--quick")
    run("split: spkver data split --share 0.3", "spkver", "data", "split", data, root / "a", root / "b", "--share", 0.3)
    run("join: spkver data join", "spkver", "data", "join", root / "c", root / "a", root / "b")
    run(
        "subset: spkver data subset --per-speaker 10", "spkver", "data", "subset", data, root / "d", "--per-speaker", 10
    )
    for file in ("wav.scp", "utt2spk", "utt2session", "spk2gender"):
        assert (root / "c" / file).read_bytes() == (data / file).read_bytes()


def disk(root: Path, files: int) -> None:
    for number in range(files):
        folder = root / "tree" / f"id{number // 200:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:08d}.m4a").touch()
    start = time.perf_counter()
    count = len(Tree.read(root / "tree").names)
    print(f"walk of {count} files: {(time.perf_counter() - start) / count * 1e6:.0f} us a file")
    for suffix in ("wav", "flac"):
        path = root / f"a.{suffix}"
        audio.write(path, np.random.default_rng(0).normal(scale=0.1, size=8 * 16000).astype(np.float32), 16000)
        paths = [str(path)] * files
        for jobs in sorted({1, available_cpus()}):
            with mock.patch("spkver.datadir.seconds.available_cpus", return_value=jobs):
                start = time.perf_counter()
                datadir.read_seconds(paths)
            each = (time.perf_counter() - start) / files
            print(f"durations of {files} {suffix} files, {jobs} processes: {each * 1e6:.0f} us a file")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=1_200_000)
    parser.add_argument("--headers", type=int, default=40_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps(Path(folder), options.utterances)
        disk(Path(folder), options.headers)


if __name__ == "__main__":
    main()
