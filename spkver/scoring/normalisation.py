"""Score normalisation with a cohort of other speakers: Z-norm, T-norm, S-norm and adaptive S-norm.

Both sides of a trial are scored against the cohort. A score is normalised by the mean and the standard deviation of the
cohort scores of the enrolment (Z-norm; Reynolds 1997) or of the test (T-norm; Auckenthaler et al. 2000); S-norm is the
mean of both (Kenny 2010). The adaptive forms use only the `top` highest cohort scores of each side (Sturim & Reynolds
2005; Matějka et al., "Analysis of score normalization in multilingual speaker recognition", 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver.errors import InputError
from spkver.files import StrPath
from spkver.progress import bar
from spkver.scoring.sides import Sides
from spkver.trials import Scores, codes, score_writer, stream_scores

METHODS = ("z", "t", "s")


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


def cohort_statistics(sides: Sides, top: int | None = None) -> CohortStatistics:
    """Statistics of the scores of each row of `sides.enrol` against the cohort `sides.test`.

    top: use only this many highest scores of each row; by default all
    Raises InputError if the cohort is too small, has an id of the rows, or if all cohort scores of a row are equal.
    """
    size = len(sides.test)
    if top is not None and not 1 < top <= size:
        raise InputError(f"top {top} with a cohort of {size}: give a number between 2 and {size}")
    shared = pc.index_in(sides.enrol.ids, value_set=sides.test.ids)
    if shared.null_count < len(shared):
        name = sides.enrol.ids[pc.index(pc.is_valid(shared), True).as_py()]
        raise InputError(f"'{name}' is in the cohort as well; the cohort must be of other recordings")
    mean, deviation = np.empty((2, len(sides.enrol)))
    with bar(total=len(sides.enrol), what="cohort", unit=" ids") as progress:
        for rows, block in sides.blocks():
            mean[rows], deviation[rows] = top_statistics(block, top)
            progress.update(len(block))
    if not deviation.all():
        raise InputError(f"all cohort scores of '{sides.enrol.ids[int(np.argmin(deviation))]}' are equal")
    return CohortStatistics(sides.enrol.ids, mean, deviation)


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
    scores: StrPath, enrol: CohortStatistics, test: CohortStatistics, out: StrPath, method: str = "s"
) -> int:
    """Normalise a score file of any length and write the result to `out`; returns the number of scores."""
    total = 0
    with score_writer(out) as write:
        for part in stream_scores(scores):
            write(normalise(part, enrol, test, method))
            total += len(part)
    return total
