"""Calibration of scores to natural-log likelihood ratios, and fusion of systems and quality measures.

With log-likelihood ratios, the threshold follows from the prior and the costs (Bayes' rule). Two maps can be fitted on
labelled scores: an affine map of one or more systems and quality measures by prior-weighted logistic regression
(Brümmer & de Villiers, "The BOSARIS Toolkit", 2011), and a step function by isotonic regression (pool adjacent
violators).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver import lists, metrics
from spkver.errors import InputError, RunError
from spkver.files import StrPath, read_json, refuse_newer, write_json
from spkver.scoring.metadata import read_speakers, read_table, speakers_of
from spkver.trials import Scores, codes, read_labelled, write_scores

_STEPS = 100  # limit for Newton's method, which takes about ten, and more if the scores are separable
_RIDGE = 1e-9  # penalty on the weights of the standardised inputs; keeps them finite for separable scores


@dataclass(frozen=True)
class Affine:
    """llr = inputs · weights + offset; weights: float64 (inputs,)."""

    weights: np.ndarray
    offset: float

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Log-likelihood ratios, float64 (trials,), of inputs (trials, inputs). Raises InputError for other inputs."""
        if inputs.shape[1] != len(self.weights):
            raise InputError(f"the calibration takes {len(self.weights)} inputs, got {inputs.shape[1]}")
        ratios: np.ndarray = inputs @ self.weights + self.offset
        return ratios

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {"kind": "affine", "weights": self.weights.tolist(), "offset": self.offset}


@dataclass(frozen=True)
class Steps:
    """llr = ratios[i] for scores from lowest[i] to lowest[i + 1]; both float64 (steps,), ascending."""

    lowest: np.ndarray
    ratios: np.ndarray

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Log-likelihood ratios, float64 (trials,), of scores (trials, 1). Raises InputError for more inputs."""
        if inputs.shape[1] != 1:
            raise InputError(f"isotonic calibration takes one score, got {inputs.shape[1]} inputs")
        steps = np.searchsorted(self.lowest, inputs[:, 0], side="right") - 1
        ratios: np.ndarray = self.ratios[np.maximum(steps, 0)]
        return ratios

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {"kind": "steps", "lowest": self.lowest.tolist(), "ratios": self.ratios.tolist()}


Map = Affine | Steps
Fit = Callable[[np.ndarray, np.ndarray], Map]
METHODS = ("logistic", "isotonic")


def calibrate(
    systems: Sequence[StrPath],
    out: StrPath,
    *,
    train: Sequence[StrPath] = (),
    load: StrPath | None = None,
    folds: int | None = None,
    trials: StrPath | None = None,
    train_trials: StrPath | None = None,
    speakers: Sequence[StrPath] = (),
    method: str = "logistic",
    prior: float = 0.5,
    quality: Sequence[str] = (),
    train_quality: Sequence[str] = (),
    save: StrPath | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Write the log-likelihood ratios of one or more systems on one trial list to `out`; returns their number.

    The calibration is fitted on other trials (`train`), read from a file (`load`), or cross-validated (`folds`).

    systems: score file of each system; more than one are fused
    train: labelled scores of the same systems on other trials
    trials, train_trials: trial lists with the labels, for score files without
    speakers: for `folds`: files with the speakers of the ids, see `read_speakers`
    method: logistic (affine, see `fit_affine`) or isotonic (steps, see `fit_isotonic`); prior: target prior of logistic
    quality, train_quality: quality measures of the recordings as further inputs, TABLE:COLUMN, see `read_table`
    save: file to write the fitted calibration to
    say: called with a warning if scores look like distances
    Raises InputError for arguments that do not fit together, and as `fit_affine` and `fit_isotonic` do.
    """
    if sum(map(bool, (train, load, folds))) != 1:
        raise InputError("give exactly one of train, load and folds")
    fit: Fit = partial(fit_affine, prior=prior) if method == "logistic" else fit_isotonic
    scores, inputs = _inputs(systems, trials, quality, say)
    if folds:
        if not speakers:
            raise InputError("folds need the speakers of the ids: add speakers")
        enrol, test, _ = speakers_of(scores.trials, read_speakers(speakers))
        ratios = cross_validated(inputs, scores.labels, enrol, test, fit, folds)
    else:
        learnt = read_map(load) if load else _fitted(systems, train, train_trials, quality, train_quality, fit, say)
        if save:
            write_map(save, learnt)
        ratios = learnt(inputs)
    write_scores(out, Scores(scores.trials, ratios))
    return len(ratios)


def _fitted(
    systems: Sequence[StrPath],
    train: Sequence[StrPath],
    trials: StrPath | None,
    quality: Sequence[str],
    train_quality: Sequence[str],
    fit: Fit,
    say: Callable[[str], None] | None,
) -> Map:
    if len(train) != len(systems) or len(train_quality) != len(quality):
        raise InputError("give one train file for each score file, and one train quality for each quality")
    scores, inputs = _inputs(train, trials, train_quality, say)
    return fit(inputs, scores.labels)


def _inputs(
    files: Sequence[StrPath], trials: StrPath | None, measures: Sequence[str], say: Callable[[str], None] | None
) -> tuple[Scores, np.ndarray]:
    """The scores of the first file, and the inputs of a calibration: all scores and measures on the same trials."""
    first = read_labelled(files[0], trials, say=say)
    others = [read_labelled(file, first.trials, name=files[0], say=say) for file in files[1:]]
    columns = []
    for measure in measures:
        table, colon, column = measure.rpartition(":")
        if not (table and colon and column):
            raise InputError(f"'{measure}': expected TABLE:COLUMN")
        columns.append(quality_of(first, read_table(table), column))
    return first, stacked([first, *others], columns)


def fit_affine(inputs: np.ndarray, target: np.ndarray, prior: float = 0.5) -> Affine:
    """Fit an affine map by prior-weighted logistic regression; prior: P(target) of the training objective.

    inputs: (trials, inputs) finite; target: bool (trials,)
    Raises InputError for a prior outside (0, 1), trials of one kind only, and a constant input.
    """
    if not 0 < prior < 1:
        raise InputError(f"the prior must be between 0 and 1, got {prior}")
    _check_kinds(target)
    mean, spread = inputs.mean(axis=0, dtype=np.float64), inputs.std(axis=0, dtype=np.float64)
    if not (np.isfinite(spread) & (spread > 0)).all():
        raise InputError(f"input {int(np.argmin(spread > 0)) + 1} has the same value in every trial, or is not finite")
    design = np.column_stack([(inputs - mean) / spread, np.ones(len(inputs))])
    share = np.where(target, prior / np.count_nonzero(target), (1 - prior) / np.count_nonzero(~target))
    odds = float(np.log(prior / (1 - prior)))
    found = _newton(design, target, share, odds)
    weights = found[:-1] / spread
    return Affine(weights, float(found[-1] - weights @ mean))


def fit_isotonic(inputs: np.ndarray, target: np.ndarray) -> Steps:
    """Fit the monotonic step function of least Cllr by isotonic regression.

    A target and a non-target are added at the lowest and at the highest score (Laplace's rule of succession), so all
    ratios are finite. inputs: (trials, 1) finite; target: bool (trials,). Raises InputError as `fit_affine` does.
    """
    if inputs.shape[1] != 1:
        raise InputError(f"isotonic calibration takes one score, got {inputs.shape[1]} inputs")
    scores = inputs[:, 0]
    _check_kinds(target)
    ends = np.array([scores.min(), scores.max()]).repeat(2).astype(scores.dtype)
    curve = metrics.error_curve(np.append(scores, ends), np.append(target, [True, False, True, False]))
    return Steps(*metrics.isotonic_map(curve))


def cross_validated(
    inputs: np.ndarray, target: np.ndarray, enrol: np.ndarray, test: np.ndarray, fit: Fit, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Cross-validated log-likelihood ratios, float64 (trials,): a trial's map is fitted without either of its speakers.

    Speakers are divided at random into `folds` parts. For each pair of parts, a map is fitted on the trials without
    their speakers and applied to the trials between them.

    enrol, test: the speakers of both sides, as codes from 0 (trials,)
    Raises InputError for fewer than three folds, fewer speakers than folds, and if trials of one kind only are left to
    fit on.
    """
    speakers = np.unique(np.concatenate([enrol, test]))
    if not 3 <= folds <= len(speakers):
        raise InputError(f"{folds} folds of {len(speakers)} speakers: give 3 or more, but no more than speakers")
    fold = np.empty(int(speakers.max()) + 1, np.int64)
    fold[np.random.default_rng(seed).permutation(speakers)] = np.arange(len(speakers)) % folds
    low, high = np.sort([fold[enrol], fold[test]], axis=0)
    ratios = np.empty(len(target))
    for one in range(folds):
        for other in range(one, folds):
            held = (low == one) & (high == other)
            if held.any():
                learnt = ~np.isin(low, (one, other)) & ~np.isin(high, (one, other))
                ratios[held] = fit(inputs[learnt], target[learnt])(inputs[held])
    return ratios


def quality_of(scores: Scores, table: pa.Table, column: str) -> np.ndarray:
    """A quality measure of both sides: the lower and the higher value of each trial, float64 (trials, 2).

    table: has the columns `id` and `column`, which holds numbers; of `seconds`, the logarithm is used
    Raises InputError for an id without a finite value.
    """
    if column not in table.column_names:
        raise InputError(f"no column '{column}'; the columns are {', '.join(table.column_names)}")
    values = lists.cast(table[column], pa.float64(), f"the column '{column}'").to_numpy()
    if column == "seconds":
        values = np.log(np.maximum(values, 1e-3))
    known = table["id"].cast(pa.string()).combine_chunks()
    sides = []
    for ids in (scores.trials.enrol, scores.trials.test):
        rows = pc.index_in(ids.dictionary, value_set=known).fill_null(len(known)).to_numpy()
        found = np.append(values, np.nan)[rows][codes(ids)]
        if not np.isfinite(found).all():
            raise InputError(f"no {column} of '{ids[int(np.argmin(np.isfinite(found)))]}'")
        sides.append(found)
    return np.sort(np.stack(sides, axis=1), axis=1)


def stacked(systems: Sequence[Scores], measures: Sequence[np.ndarray] = ()) -> np.ndarray:
    """The inputs of a calibration, float64 (trials, inputs): the scores of all systems, then the quality measures."""
    columns = [system.values[:, None].astype(np.float64) for system in systems]
    return np.concatenate([*columns, *measures], axis=1)


def write_map(path: StrPath, learnt: Map) -> None:
    """Write a calibration as JSON."""
    write_json(path, learnt.plain())


def read_map(path: StrPath) -> Map:
    """Read a calibration. Raises InputError for an invalid file."""
    values = read_json(path)
    refuse_newer(path, values)
    try:
        if values["kind"] == "affine":
            weights, offset = _numbers(values["weights"]), _numbers([values["offset"]])
            return Affine(weights, float(offset[0]))
        lowest, ratios = _numbers(values["lowest"]), _numbers(values["ratios"])
        if lowest.shape != ratios.shape:
            raise ValueError(f"{len(lowest)} steps but {len(ratios)} ratios")
        return Steps(lowest, ratios)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: not a calibration ({error})") from error


def _numbers(values: Any) -> np.ndarray:
    found = np.array(values, np.float64)
    if found.ndim != 1 or not found.size or not np.isfinite(found).all():
        raise ValueError("expected finite numbers")
    return found


def _check_kinds(target: np.ndarray) -> None:
    if target.all() or not target.any():
        raise InputError("a calibration is fitted on targets and non-targets; one kind is missing")


def _newton(design: np.ndarray, target: np.ndarray, share: np.ndarray, odds: float) -> np.ndarray:
    """The weights that minimise the logistic loss, float64 (inputs,), by Newton's method with step halving."""
    sign = np.where(target, -1.0, 1.0)
    ridge = np.full(design.shape[1], _RIDGE)
    ridge[-1] = 0

    def loss(weights: np.ndarray) -> float:
        return float(share @ np.logaddexp(0, sign * (design @ weights + odds)) + ridge @ weights**2 / 2)

    weights = np.zeros(design.shape[1])
    value = loss(weights)
    for _ in range(_STEPS):
        wrong = 1 / (1 + np.exp(np.clip(-sign * (design @ weights + odds), -700, 700)))  # 1 - P(true class)
        gradient = design.T @ (share * sign * wrong) + ridge * weights
        curvature = (design.T * (share * wrong * (1 - wrong))) @ design + np.diag(ridge)
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        size = 1.0
        while (lower := loss(weights - size * step)) > value and size > 1e-10:
            size /= 2
        if value - lower <= 1e-15 * value:
            return weights
        weights, value = weights - size * step, lower
    raise RunError("the logistic regression of the calibration does not converge")
