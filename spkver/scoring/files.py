"""Score a trial list, or every enrolment with every test utterance, and write a score file."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from spkver.files import StrPath, atomic_file
from spkver.progress import bar
from spkver.scoring.sides import Sides
from spkver.storage import located
from spkver.trials import Scores, Trials, score_writer, stream_trials

Item = TypeVar("Item")


def score_list(trials: StrPath, sides: Sides, out: StrPath) -> int:
    """Score a trial list of any length and write the scores with its labels to `out`; returns the number of trials.

    Raises InputError if the list cannot be read, for ids without an embedding, and for ids that `out` cannot hold.
    """
    total = 0
    with bar(total=None, what="scoring", unit=" trials") as progress, score_writer(out) as write:
        for scores in _ahead(sides.stream(_ahead(stream_trials(trials)))):
            write(scores)
            total += len(scores)
            progress.update(len(scores))
    return total


def score_all(sides: Sides, out: StrPath) -> int:
    """Write the scores of every enrolment with every test utterance; returns their number.

    out: a score file (text, .csv, .parquet), or .npz with the arrays `enrol`, `test` (ids) and `scores`, float32
    (enrolments, tests)
    """
    total = len(sides.enrol) * len(sides.test)
    with bar(total=total, what="scoring", unit=" trials") as progress:
        (_write_matrix if located(out).suffix == ".npz" else _write_list)(sides, out, progress.update)
    return total


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; a thread computes the next one ahead."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]


def _write_list(sides: Sides, out: StrPath, done: Callable[[int], object]) -> None:
    tests = np.arange(len(sides.test), dtype=np.int32)
    with score_writer(out) as write:
        for rows, block in sides.blocks():
            enrol = np.repeat(np.arange(rows.start, rows.stop, dtype=np.int32), len(tests))
            trials = Trials(sides.enrol.column(enrol), sides.test.column(np.tile(tests, len(block))))
            write(Scores(trials, block.ravel()))
            done(block.size)


def _write_matrix(sides: Sides, out: StrPath, done: Callable[[int], object]) -> None:
    """Write an .npz file like numpy.savez, with the matrix block by block."""
    shape = (len(sides.enrol), len(sides.test))
    with atomic_file(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, side in (("enrol", sides.enrol), ("test", sides.test)):
            with archive.open(f"{name}.npy", "w") as stream:
                np.save(stream, np.array(side.ids.to_pylist(), np.str_))
        with archive.open("scores.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for _, block in sides.blocks():
                stream.write(block.astype("<f4", copy=False).data)
                done(block.size)
