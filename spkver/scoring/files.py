"""Score a trial list, or every enrolment with every test utterance, and write a score file.

Both are made in parts (see `spkver.work`), which are files of the same form as the output.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spkver.files import StrPath, atomic_file, file_state, fingerprint
from spkver.processes import available_cpus, one_thread, prefetched
from spkver.scoring.sides import Sides
from spkver.storage import located
from spkver.trials import Scores, Span, Trials, join_files, score_writer, spans, stream_trials
from spkver.work import Engine, Local, Share, Work, Written, run
from spkver.work.parts import records

_CELLS = 1 << 26  # scores of a part of all scores


def score_list(
    trials: StrPath, sides: Sides, out: StrPath, *, on: Engine | None = None, share: Share | None = None
) -> int | None:
    """Score a trial list of any length and write the scores with its labels to `out`; returns the number of trials.

    on: an engine, by default this process; share: make only this share of the parts, to be gathered later
    Raises InputError if the list cannot be read, for ids without an embedding, and for ids that `out` cannot hold.
    """
    maker = _List(sides, located(trials), located(out).suffix)
    mark = fingerprint("scores", str(maker.trials), file_state(trials), maker.suffix, sides.fingerprint())
    return write_scores_of(out, maker, spans(trials), mark, on, share)


def score_all(sides: Sides, out: StrPath, *, on: Engine | None = None, share: Share | None = None) -> int | None:
    """Write the scores of every enrolment with every test utterance; returns their number.

    out: a score file (text, .csv, .parquet), or .npz with the arrays `enrol`, `test` (ids) and `scores`, float32
    (enrolments, tests)
    on, share: as for `score_list`
    """
    maker = _All(sides, located(out).suffix)
    step = sides.rows_of_block * max(1, _CELLS // max(1, sides.rows_of_block * len(sides.test)))
    parts = ranges(len(sides.enrol), step)
    return write_scores_of(out, maker, parts, fingerprint("all", maker.suffix, sides.fingerprint()), on, share)


def ranges(rows: int, step: int) -> list[tuple[int, int]]:
    """First and last row of parts of `step` rows; one empty part if there are no rows."""
    return [(first, min(first + step, rows)) for first in range(0, rows or 1, step)]


def write_scores_of(
    out: StrPath, maker: Any, parts: Sequence[Any], mark: str, on: Engine | None, share: Share | None
) -> int | None:
    """Write a score file with a maker of its parts; returns the number of scores, or None for a share."""
    work = Work(located(out), "scores", mark, parts, 0, maker, what="scoring", unit="trials")
    made = run(work, on or Local(1, available_cpus()), share)
    return made.result if made else None


def gather(out: Path, folder: Path, mark: str, about: Mapping[str, Any]) -> int:
    """Join the parts of a score file (a gatherer of `spkver.work`); returns the number of scores."""
    rows = 0

    def files() -> Iterator[Path]:
        nonlocal rows
        for record in records(folder):
            rows += record.rows
            yield folder / record.file

    if out.suffix == ".npz":
        _join_matrices(out, list(files()))
    else:
        with atomic_file(out) as whole:
            join_files(files(), whole)
    return rows


class Parts:
    """What makers of parts of scoring have in common; see `work.Maker`."""

    suffix: str

    def name(self, number: int) -> str:
        """See `work.Maker`."""
        return f"part-{number:05d}{self.suffix}"

    def stamp(self, part: Any) -> str:
        """See `work.Maker`. The mark has the state of the input."""
        return ""

    def repaired(self, part: Any, rejected: Sequence[Mapping[str, str]]) -> bool:
        """See `work.Maker`. Nothing is rejected."""
        return False


@dataclass(frozen=True)
class _List(Parts):
    """The scores of a part of a trial list."""

    sides: Sides
    trials: Path
    suffix: str

    def write(self, part: Span | None, path: Path, cores: int) -> Written:
        total = 0
        with one_thread(), score_writer(path) as write:
            for scores in prefetched(self.sides.stream(prefetched(stream_trials(self.trials, part)), cores)):
                write(scores)
                total += len(scores)
        return Written(total)


@dataclass(frozen=True)
class _All(Parts):
    """The scores of some enrolments with all test utterances."""

    sides: Sides
    suffix: str

    def write(self, part: tuple[int, int], path: Path, cores: int) -> Written:
        first, last = part
        with one_thread():
            blocks = self.sides.blocks(first, last, cores)
            if self.suffix == ".npz":
                self._write_matrix(path, first, last, blocks)
            else:
                self._write_list(path, blocks)
        return Written((last - first) * len(self.sides.test))

    def _write_list(self, path: Path, blocks: Iterator[tuple[slice, np.ndarray]]) -> None:
        tests = np.arange(len(self.sides.test), dtype=np.int32)
        with score_writer(path) as write:
            for rows, block in blocks:
                enrol = np.repeat(np.arange(rows.start, rows.stop, dtype=np.int32), len(tests))
                trials = Trials(self.sides.enrol.column(enrol), self.sides.test.column(np.tile(tests, len(block))))
                write(Scores(trials, block.ravel()))

    def _write_matrix(self, path: Path, first: int, last: int, blocks: Iterator[tuple[slice, np.ndarray]]) -> None:
        ids = {"enrol": self.sides.enrol.ids[first:last], "test": self.sides.test.ids[: 0 if first else None]}
        names = {name: np.array(column.to_pylist(), np.str_) for name, column in ids.items()}
        _write_npz(path, names, (last - first, len(self.sides.test)), (block for _, block in blocks))


def _join_matrices(out: Path, files: Sequence[Path]) -> None:
    names = {}
    for name in ("enrol", "test"):
        columns = []
        for file in files:
            with np.load(file) as content:
                columns.append(content[name])
        names[name] = np.concatenate([column for column in columns if len(column)] or columns[:1])

    def blocks() -> Iterator[np.ndarray]:
        for file in files:
            with np.load(file) as content:
                yield content["scores"]

    _write_npz(out, names, (len(names["enrol"]), len(names["test"])), blocks())


def _write_npz(
    out: Path, names: Mapping[str, np.ndarray], shape: tuple[int, int], blocks: Iterator[np.ndarray]
) -> None:
    """Write an .npz file like numpy.savez, with the matrix block by block."""
    with atomic_file(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, ids in names.items():
            with archive.open(_entry(f"{name}.npy"), "w") as stream:
                np.save(stream, ids)
        with archive.open(_entry("scores.npy"), "w", force_zip64=True) as stream:
            np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for block in blocks:
                stream.write(block.astype("<f4", copy=False).data)


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry with a fixed date, so that equal arrays are equal files."""
    return zipfile.ZipInfo(name)
