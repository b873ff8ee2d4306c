"""Work in parts: its cost, memory and speed-up, and the highest scores compared with FAISS.

python tests/benchmarks/work.py plan --utterances 1200000    # planning and gathering a pack, without audio
python tests/benchmarks/work.py memory --utterances 10000 100000 1000000 10000000
python tests/benchmarks/work.py workers [--on ray]           # 1 and 2 workers
python tests/benchmarks/work.py top --enrol 4096 --test 200000 --top 100 [--on ray]

Processor seconds are those of this process and of all that it started, so that other programs change them little.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spkver.processes import available_cpus
from spkver.work import Local, Work, Written, engine, run
from spkver.work.parts import rows_per_part


def plan(arguments: argparse.Namespace) -> None:
    """A pack of utterances that all share one short recording."""
    import soundfile

    from spkver.datadir import from_columns
    from spkver.files import fingerprint
    from spkver.packs.build import finish
    from spkver.packs.recordings import _Rows, _Settings, _Tasks

    for count in arguments.utterances:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            soundfile.write(folder / "a.wav", np.zeros(1600), 16000)
            ids = [f"id{row // 200:05d}/video{row:08d}/00001.wav" for row in range(count)]
            data = from_columns(ids, [str(folder / "a.wav")] * count, [one[:7] for one in ids])
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            begin, own = time.perf_counter(), time.process_time()
            rows = _Rows(data)
            tasks = _Tasks(rows, (1.0,), 1000, _Settings(16000, 0.3, 3600.0, None, False), None)
            pieces = (rows[at : at + 4096] for at in range(0, count, 4096))
            mark = fingerprint("audio", rows=(row.parts[0] for piece in pieces for row in piece))
            parts = sum(task.rows for task in tasks) // 1000
            planned, used = time.perf_counter(), time.process_time() - own
            part = folder / "p.partial"
            (part / "records").mkdir(parents=True)
            for number in range(len(tasks)):
                speakers = sorted({row.parts[0].speaker for row in rows[number * 1000 : number * 1000 + 1000]})
                facts = {"rows": 1000, "length": 1, "speakers": speakers}
                record = {"stamp": "", "bytes": 1, "sha256": "0" * 64, "rows": 1000, "facts": facts, "rejected": []}
                record["file"] = f"shard-{number:05d}.arrow"
                (part / "records" / f"shard-{number:05d}.json").write_text(json.dumps(record))
            begin_gather, own = time.perf_counter(), time.process_time()
            finish(folder / "p", part, mark, {"kind": "audio", "sample_rate": 16000})
            gathered, own = time.perf_counter() - begin_gather, time.process_time() - own
            more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            print(
                f"{count} utterances, {parts} parts: planned in {planned - begin:.1f} s ({used:.1f} processor s), "
                f"gathered in {gathered:.1f} s ({own:.1f} processor s); the columns of the data directory take "
                f"{data.table.nbytes / count:.0f} bytes an utterance, planning and gathering {more / 1024:.0f} MiB more"
            )


class _Simulated:
    """Makes empty parts."""

    def name(self, number: int) -> str:
        return f"part-{number:05d}.txt"

    def stamp(self, part: int) -> str:
        return ""

    def write(self, part: int, path: Path, cores: int) -> Written:
        return Written(1000)

    def repaired(self, part: int, rejected: Sequence[Any]) -> bool:
        return False


def memory(arguments: argparse.Namespace) -> None:
    """Peak memory of the driver: each number of utterances in a process of its own."""
    for count in arguments.utterances:
        subprocess.run([sys.executable, __file__, "driver", "--utterances", str(count)], check=True)


def driver(arguments: argparse.Namespace) -> None:
    """One run with simulated parts of 1000 utterances."""
    count = arguments.utterances[0]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.perf_counter()
        work = Work(Path(folder, "out.txt"), "scores", "mark", range(count // 1000), count, _Simulated())
        run(work, Local())
        took = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        more = (peak - before) / 1024
        print(f"{count} utterances, {count // 1000} parts: {took:.1f} s, {peak / 1024:.0f} MiB ({more:.0f} more)")


def workers(arguments: argparse.Namespace) -> None:
    """Packing and features of noise, with 1 and 2 workers."""
    import soundfile

    from spkver.datadir import from_columns
    from spkver.features import FrontEndConfig
    from spkver.packs import make_features, pack_audio

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random = np.random.default_rng(0)
        paths = []
        for number in range(arguments.recordings):
            paths.append(str(folder / f"{number:05}.wav"))
            soundfile.write(paths[-1], 0.1 * random.normal(size=16000 * 10), 16000)
        data = from_columns([Path(path).name for path in paths], paths, [f"s{row % 20}" for row in range(len(paths))])
        hours = len(paths) * 10 / 3600
        pack_audio(data, folder / "warm", on=Local())
        local: dict[tuple[str, int], _Meter] = {}
        if arguments.on == "ray":
            _start_ray()
        for on in ("local", *(["ray"] if arguments.on == "ray" else [])):
            for jobs in (1, 2):
                for what in ("pack", "features"):
                    out = folder / f"{on}.{jobs}.{what}"
                    with _Meter() as meter:
                        if what == "pack":
                            pack_audio(data, out, on=engine(on, jobs))
                        else:
                            make_features(folder / "warm", out, FrontEndConfig(), on=engine(on, jobs))
                    rate = hours / meter.seconds * 60
                    first = local.setdefault((what, jobs), meter)
                    one = local[what, 1]
                    print(
                        f"{what} on {on}, {jobs} workers: {meter}, {rate:.1f} hours of audio a minute, "
                        f"{first.seconds / meter.seconds:.2f} of local, {one.seconds / meter.seconds:.2f} of one local "
                        f"worker; by processor seconds {first.processor / meter.processor:.2f} of local"
                    )


def top(arguments: argparse.Namespace) -> None:
    """The highest scores of random embeddings, and FAISS's exact search of the same."""
    import faiss

    from spkver.embeddings import Embeddings, write_parts
    from spkver.scoring.backend import BackEnd
    from spkver.scoring.highest import Search, score_top
    from spkver.trials import read_scores

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def parts(side: str, count: int) -> Any:
            for first in range(0, count, 1 << 16):
                rows = range(first, min(first + (1 << 16), count))
                vectors = random.normal(size=(len(rows), arguments.dim)).astype(np.float32)
                yield Embeddings([f"{side}{row:08d}" for row in rows], vectors)

        for side, count in (("enrol", arguments.enrol), ("test", arguments.test)):
            write_parts(folder / f"{side}.parquet", parts(side, count))
        search = Search(BackEnd(), folder / "enrol.parquet", folder / "test.parquet")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with _Meter() as ours:
            score_top(search, arguments.top, folder / "out.parquet")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        flop = 2.0 * arguments.enrol * arguments.test * arguments.dim
        size = 4.0 * arguments.test * arguments.dim * -(-arguments.enrol // 4096)
        print(f"{flop / 1e12:.2f} TFLOP, {size / 1e9:.2f} GB read")
        print(f"spkver, out of memory: {ours}; peak {peak / 1024:.0f} MiB more")
        if arguments.on == "ray":
            _start_ray()
            with _Meter() as cluster:
                score_top(search, arguments.top, folder / "ray.parquet", on=engine("ray"))
            same_bytes = (folder / "ray.parquet").read_bytes() == (folder / "out.parquet").read_bytes()
            print(f"spkver on Ray: {cluster}; the same bytes: {same_bytes}")
        one, other = (_vectors(folder / f"{side}.parquet") for side in ("enrol", "test"))
        index = faiss.IndexFlatIP(arguments.dim)

        def search_all() -> tuple[np.ndarray, np.ndarray]:
            faiss.normalize_L2(one)
            faiss.normalize_L2(other)
            index.add(other)
            return index.search(one, arguments.top)

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with _Meter() as theirs:
            scores, rows = search_all()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        held = (one.nbytes + other.nbytes + peak * 1024) / (1 << 20)
        print(f"FAISS IndexFlatIP, in memory: {theirs}; {held:.0f} MiB with the embeddings")
        part = other[: 1 << 14]
        with _Meter() as products:
            for start in range(0, len(one), 512):
                for first in range(0, len(part), 4096):
                    one[start : start + 512] @ part[first : first + 4096].T
        floor = products.processor * len(other) / len(part)
        print(f"products alone (the floor): {floor:.2f} processor s, {flop / floor / 1e9:.0f} GFLOP/s")
        of_floor, of_faiss = ours.processor / floor, ours.processor / theirs.processor
        print(f"spkver takes {of_floor:.2f} of the floor and {of_faiss:.2f} of FAISS, by processor seconds")
        found = read_scores(folder / "out.parquet")
        same = np.mean(np.array([f"test{row:08d}" for row in rows.ravel()]) == np.array(found.trials.test.to_pylist()))
        differ = np.abs(found.values - scores.ravel()).max()
        print(f"same rivals at the same rank: {same:.6f}; largest difference of a score {differ:.1e}")


class _Meter(contextlib.AbstractContextManager["_Meter"]):
    """Seconds, and processor seconds of this process and of all that it started, on Linux."""

    def __enter__(self) -> _Meter:
        self._spent: dict[int, float] = {}
        self._look()
        self._before = dict(self._spent)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._begin = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begin
        self._end.set()
        self._thread.join()
        self._look()
        self.processor = sum(self._spent.values()) - sum(self._before.values())

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.processor:.1f} processor s"

    def _watch(self) -> None:
        while not self._end.wait(0.5):
            self._look()

    def _look(self) -> None:
        parents, spent = {}, {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                process = int(stat.parent.name)
                parents[process] = int(fields[1])
                spent[process] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for process, seconds in spent.items():
            above = process
            while above not in (0, os.getpid()):
                above = parents.get(above, 0)
            if above:
                self._spent[process] = max(seconds, self._spent.get(process, 0.0))


def _start_ray() -> None:
    """Start Ray and a worker, so that the starts are not measured."""
    with _Meter() as meter:
        list(engine("ray").map(_nothing, range(1)))
    print(f"Ray starts in {meter}")


def _nothing(item: int, cores: int) -> None:
    pass


def _vectors(path: Path) -> np.ndarray:
    from spkver.embeddings import read_in_parts

    return np.concatenate([block.vectors for block in read_in_parts(path, 1 << 16)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["plan", "memory", "driver", "workers", "top"])
    parser.add_argument("--utterances", type=int, nargs="+", default=[1_200_000])
    parser.add_argument("--recordings", type=int, default=600)
    parser.add_argument("--on", choices=["local", "ray"], default="local")
    parser.add_argument("--enrol", type=int, default=4096)
    parser.add_argument("--test", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--top", type=int, default=100)
    arguments = parser.parse_args()
    print(f"{available_cpus()} cores; parts of {rows_per_part(10**6)} utterances")
    globals()[arguments.what](arguments)


if __name__ == "__main__":
    main()
