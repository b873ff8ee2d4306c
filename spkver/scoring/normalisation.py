"""Score normalisation with a cohort of other speakers: Z-norm, T-norm, S-norm and adaptive S-norm.

Both sides of a trial are scored against the cohort. A score is normalised by the mean and the standard deviation of the
cohort scores of the enrolment (Z-norm; Reynolds 1997) or of the test (T-norm; Auckenthaler et al. 2000); S-norm is the
mean of both (Kenny 2010). The adaptive forms use only the `top` highest cohort scores of each side (Sturim & Reynolds
2005; Matějka et al., "Analysis of score normalization in multilingual speaker recognition", 2017).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spkver.errors import InputError
from spkver.files import StrPath, atomic_file, file_state, fingerprint
from spkver.processes import available_cpus, one_thread
from spkver.scoring.files import Parts, ranges, write_scores_of
from spkver.scoring.sides import Sides
from spkver.storage import located
from spkver.trials import Scores, Span, codes, score_writer, spans, stream_scores
from spkver.work import Engine, Local, Share, Work, Written, run
from spkver.work.parts import records

METHODS = ("z", "t", "s")
_ROWS = 1 << 12  # rows of a part of statistics


@dataclass(frozen=True)
class CohortStatistics:
    """Mean and (population) standard deviation of the cohort scores of each id, float64 (ids,)."""

    ids: pa.StringArray
    mean: np.ndarray
    deviation: np.ndarray

    def of(self, column: pa.DictionaryArray, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation for a column of ids, float64 (rows,). Raises InputError for an unknown id."""
        found = pc.index_in(column.dictionary, value_set=self.ids).fill_null(-1).to_numpy()[codes(column)]
        if (found < 0).any():
            raise InputError(f"no cohort scores of '{column[int(np.argmin(found))]}' ({what} side)")
        return self.mean[found], self.deviation[found]


def cohort_statistics(
    sides: Sides,
    top: int | None = None,
    out: StrPath | None = None,
    on: Engine | None = None,
) -> CohortStatistics:
    """Statistics of the scores of each row of `sides.enrol` against the cohort `sides.test`.

    top: use only this many highest scores of each row; by default all
    out: file to write them to, in parts that are kept (see `spkver.work`); on: an engine for that
    Raises InputError if the cohort is too small, has an id of the rows, or if all cohort scores of a row are equal.
    """
    size = len(sides.test)
    if top is not None and not 1 < top <= size:
        raise InputError(f"top {top} with a cohort of {size}: give a number between 2 and {size}")
    shared = pc.index_in(sides.enrol.ids, value_set=sides.test.ids)
    if shared.null_count < len(shared):
        name = sides.enrol.ids[pc.index(pc.is_valid(shared), True).as_py()]
        raise InputError(f"'{name}' is in the cohort as well; the cohort must be of other recordings")
    with contextlib.ExitStack() as stack:
        if out is None:
            out = Path(stack.enter_context(tempfile.TemporaryDirectory()), "statistics.parquet")
        work = Work(
            located(out),
            "statistics",
            fingerprint("statistics", top, sides.fingerprint()),
            ranges(len(sides.enrol), _ROWS),
            len(sides.enrol),
            _Statistics(sides, top),
            what="cohort",
            unit="ids",
        )
        run(work, on or Local(1, available_cpus()))
        return read_statistics(out)


def read_statistics(path: StrPath) -> CohortStatistics:
    """Read statistics from a file. Raises InputError if it is not one."""
    try:
        table = pq.ParquetFile(located(path)).read()
        return CohortStatistics(table["id"].combine_chunks(), table["mean"].to_numpy(), table["deviation"].to_numpy())
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a file of cohort statistics ({error}); delete it") from error


@dataclass(frozen=True)
class _Statistics(Parts):
    """The statistics of some rows; see `work.Maker`."""

    sides: Sides
    top: int | None
    suffix = ".parquet"

    def write(self, part: tuple[int, int], path: Path, cores: int) -> Written:
        first, last = part
        mean, deviation = np.empty((2, last - first))
        with one_thread():
            for rows, block in self.sides.blocks(first, last, cores):
                own = slice(rows.start - first, rows.stop - first)
                mean[own], deviation[own] = top_statistics(block, self.top)
        ids = self.sides.enrol.ids[first:last]
        if not deviation.all():
            raise InputError(f"all cohort scores of '{ids[int(np.argmin(deviation))]}' are equal")
        pq.write_table(pa.table({"id": ids, "mean": mean, "deviation": deviation}), path)
        return Written(last - first)


def gather(out: Path, folder: Path, mark: str, about: Mapping[str, Any]) -> None:
    """Join the statistics of all parts in one file (a gatherer of `spkver.work`)."""
    tables = [pq.ParquetFile(folder / record.file).read() for record in records(folder)]
    with atomic_file(out) as part:
        pq.write_table(pa.concat_tables(tables).replace_schema_metadata({b"spkver": mark}), part)


def top_statistics(block: np.ndarray, top: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the `top` highest scores of each row (None: of all), float64 (rows,).

    Changes the order of the values in `block` (rows, cohort).
    """
    size = block.shape[1]
    if top is not None and top < size:
        block.partition(size - top, axis=1)
        block = block[:, size - top :]
    return block.mean(axis=1, dtype=np.float64), block.std(axis=1, dtype=np.float64)


def normalise(scores: Scores, enrol: CohortStatistics, test: CohortStatistics, method: str = "s") -> Scores:
    """Normalise scores; method: "z" (by the enrolment side), "t" (by the test side) or "s" (the mean of both).

    With statistics of the highest cohort scores, these are the adaptive forms. Raises InputError for ids without
    statistics.
    """
    if method not in METHODS:
        raise InputError(f"unknown normalisation '{method}'; known: {', '.join(METHODS)}")
    sides = [enrol.of(scores.trials.enrol, "enrolment")] if method in "zs" else []
    sides += [test.of(scores.trials.test, "test")] if method in "ts" else []
    return Scores(scores.trials, normalised(scores.values, sides))


def normalised(scores: np.ndarray, sides: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Scores normalised by mean and standard deviation of one side, or the mean over two sides; float64."""
    found: np.ndarray = np.mean([(scores - mean) / deviation for mean, deviation in sides], axis=0)
    return found


def normalise_file(
    scores: StrPath,
    enrol: CohortStatistics,
    test: CohortStatistics,
    out: StrPath,
    method: str = "s",
    *,
    on: Engine | None = None,
    share: Share | None = None,
) -> int | None:
    """Normalise a score file of any length and write the result to `out`; returns the number of scores.

    on, share: as for `score_list`
    """
    maker = _Normalised(enrol, test, located(scores), method, located(out).suffix)
    sides = [(side.ids.to_pylist(), side.mean.tolist(), side.deviation.tolist()) for side in (enrol, test)]
    mark = fingerprint("normalise", str(maker.scores), file_state(scores), method, maker.suffix, *sides)
    return write_scores_of(out, maker, spans(scores), mark, on, share)


@dataclass(frozen=True)
class _Normalised(Parts):
    """Normalised scores of a part of a score file; see `work.Maker`."""

    enrol: CohortStatistics
    test: CohortStatistics
    scores: Path
    method: str
    suffix: str

    def write(self, part: Span | None, path: Path, cores: int) -> Written:
        total = 0
        with score_writer(path) as write:
            for scores in stream_scores(self.scores, span=part):
                write(normalise(scores, self.enrol, self.test, self.method))
                total += len(scores)
        return Written(total)
