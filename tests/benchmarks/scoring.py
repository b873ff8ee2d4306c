"""Cosine scoring of trial lists by complete commands: python tests/benchmarks/scoring.py [LIST...].

Lists (default: all): voxceleb1-h, 551 thousand trials as text; cnceleb, 3.5 million as text, every enrolment with every
test utterance; text, 20 million as text; parquet, 100 million as Parquet. Embeddings have 256 values, ids the length of
those of the corpora; all are random. For each list, prints wall time, CPU time of the process (less affected by other
work on the machine) and peak memory; trials per second; the time relative to a loop that calls scikit-learn's cosine
for each trial, as some toolkits do; and the dot products alone, with their share of the memory bandwidth (of a copy)
for reading two vectors per trial.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from sklearn.metrics.pairwise import cosine_similarity

from spkver.embeddings import Embeddings, write_embeddings
from spkver.metrics import eer, min_dcf
from spkver.scoring import cosine
from spkver.trials import Scores, Trials, score_writer

DIM = 256
PART = 1 << 22
# enrolments, tests, trials (0: every pair), file name
LISTS = {
    "voxceleb1-h": (137_924, 137_924, 550_894, "trials"),
    "cnceleb": (196, 17_777, 0, "trials"),
    "text": (137_924, 137_924, 20_000_000, "trials"),
    "parquet": (137_924, 137_924, 100_000_000, "trials.parquet"),
}
TIMED = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
wall = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)
"""


def main(names: list[str]) -> None:
    copied = bandwidth()
    print(f"a copy in memory: {copied / 1e9:.1f} GB/s read and written")
    loop = per_trial_loop()
    print(f"scikit-learn called for each trial: {1e6 * loop:.0f} µs a trial")
    for name in names or LISTS:
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARK_TMP")) as folder:
            measure(name, Path(folder), copied, loop)


def measure(name: str, folder: Path, copied: float, loop: float) -> None:
    enrolments, tests, count, file = LISTS[name]
    embeddings = make(folder, enrolments, tests, count or enrolments * tests, file, every=not count)
    count = count or enrolments * tests
    out = folder / ("scores.parquet" if file.endswith(".parquet") else "scores.txt")
    command = [sys.executable, "-m", "spkver", "score", *map(str, (folder / file, folder / "e.parquet", out))]
    # from a small process: one that is started by a large one counts that one's memory as its own
    done = subprocess.run([sys.executable, "-c", TIMED, *command], capture_output=True, text=True, check=True)
    wall, cpu, memory = map(float, done.stdout.split())
    print(f"\n{name}: {count} trials, {file}")
    print(f"  the command: {wall:.2f} s, {cpu:.2f} s of CPU, {memory:.2f} GiB")
    print(f"  {count / wall / 1e6:.2f} million trials a second, {loop * count / wall:.0f} times the loop's speed")
    products(embeddings, count, every=name == "cnceleb", copied=copied)


def products(embeddings: Embeddings, count: int, *, every: bool, copied: float) -> None:
    """Only the dot products, in memory."""
    rng = np.random.default_rng(1)
    compared = cosine.sides(embeddings)
    part = min(count, PART)
    if every:
        one, other = np.divmod(np.arange(part), len(embeddings) - 196)
        other += 196
    else:
        one, other = rng.integers(len(embeddings), size=(2, part))
    trials = Trials(compared.enrol.column(one), compared.test.column(other), rng.random(part) < 0.1)
    start = time.perf_counter()
    scores = compared.score(trials)
    seconds = time.perf_counter() - start
    moved = 2 * 4 * DIM * part / seconds
    print(f"  the products: {1e9 * seconds / part:.0f} ns a trial, {100 * moved / copied:.0f} % of the bandwidth")
    start = time.perf_counter()
    eer(scores, trials.target)
    min_dcf(scores, trials.target)
    print(f"  EER and minDCF of {part} trials, each from the start: {time.perf_counter() - start:.2f} s")


def make(folder: Path, enrolments: int, tests: int, count: int, file: str, *, every: bool) -> Embeddings:
    """Write embeddings and a trial list to a folder."""
    rng = np.random.default_rng(0)
    ids = [f"id{10001 + i % 1190}/{i * 7919:011x}/{i % 300:05}.wav" for i in range(tests)]
    if every:
        ids = [f"id{i:05}-enroll" for i in range(enrolments)] + ids
    embeddings = Embeddings(ids, rng.standard_normal((len(ids), DIM), dtype=np.float32))
    write_embeddings(folder / "e.parquet", embeddings)
    column = pa.array(ids)
    if file.endswith(".parquet"):
        with score_writer(folder / file) as write:  # its score column is not read
            for start in range(0, count, PART):
                size = min(PART, count - start)
                one, other = rng.integers(len(ids), size=(2, size)).astype(np.int32)
                sides = (pa.DictionaryArray.from_arrays(pa.array(rows), column) for rows in (one, other))
                write(Scores(Trials(*sides, rng.random(size) < 0.1), np.zeros(size, np.float32)))
        return embeddings
    with open(folder / file, "w") as stream:
        for start in range(0, count, PART):
            rows = np.arange(start, min(start + PART, count))
            if every:
                one, other = rows // tests, enrolments + rows % tests
            else:
                one, other = rng.integers(len(ids), size=(2, len(rows)))
            for enrol, test in zip(one.tolist(), other.tolist()):
                stream.write(f"{enrol & 1} {ids[enrol]} {ids[test]}\n")
    return embeddings


def bandwidth() -> float:
    """Bytes per second that a copy of a large array reads and writes, the best of three."""
    source = np.ones(1 << 27, np.float32)
    target = np.zeros_like(source)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(times)


def per_trial_loop(count: int = 2000) -> float:
    """Seconds per trial of a loop that looks up two embeddings and calls scikit-learn."""
    vectors = dict(enumerate(np.random.default_rng(0).standard_normal((100, DIM), dtype=np.float32)))
    pairs = np.random.default_rng(1).integers(100, size=(count, 2)).tolist()
    start = time.perf_counter()
    for one, other in pairs:
        cosine_similarity(vectors[one][None], vectors[other][None])[0, 0]
    return (time.perf_counter() - start) / count


if __name__ == "__main__":
    main(sys.argv[1:])
