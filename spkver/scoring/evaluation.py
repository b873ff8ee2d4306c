"""Error rates and detection costs of labelled scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from spkver import metrics, tables
from spkver.files import StrPath, atomic_file
from spkver.metrics import Cost, Decision, ErrorCurve
from spkver.storage import located
from spkver.trials import Scores, join, read_scores

DEFAULT_POINTS = ("vox-0.01", "vox-0.05")


@dataclass(frozen=True)
class Evaluation:
    """Results: rates in [0, 1], normalised costs, Cllr in bits.

    min_dcf: with the threshold of the least cost; NaN for a primary cost, which is a mean over several points
    targets, nontargets: numbers of trials, or the sums of their weights
    frr: for each false-alarm rate, the miss rate at the lowest threshold with at most this rate
    act_dcf, cllr: None if the scores are not log-likelihood ratios
    """

    trials: int
    targets: float
    nontargets: float
    eer: float
    eer_threshold: float
    eer_convex_hull: float
    min_dcf: dict[str, Cost]
    min_cllr: float
    frr: dict[float, Decision] = field(default_factory=dict)
    act_dcf: dict[str, float] | None = None
    cllr: float | None = None

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON. A threshold that is infinite or NaN becomes null."""
        costs = {
            name: {"cost": cost, "threshold": threshold if math.isfinite(threshold) else None}
            for name, (cost, threshold) in self.min_dcf.items()
        }
        rates = {
            f"{rate:g}": {"frr": found.miss, "threshold": found.threshold if math.isfinite(found.threshold) else None}
            for rate, found in self.frr.items()
        }
        return asdict(self) | {"min_dcf": costs, "frr": rates}

    def table(self) -> str:
        """As a table of text."""
        rows = [
            ("trials", f"{self.trials}", f"{_amount(self.targets)} targets, {_amount(self.nontargets)} non-targets"),
            ("EER", f"{100 * self.eer:.2f} %", f"at threshold {self.eer_threshold:.4f}"),
        ]
        rows += [
            (f"minDCF {name}", f"{cost:.4f}", _where(threshold)) for name, (cost, threshold) in self.min_dcf.items()
        ]
        rows += [(f"actDCF {name}", f"{cost:.4f}", "") for name, cost in (self.act_dcf or {}).items()]
        rows += [
            (f"FRR at FAR {100 * rate:g} %", f"{100 * found.miss:.2f} %", _where(found.threshold))
            for rate, found in self.frr.items()
        ]
        if self.cllr is not None:
            rows += [("Cllr", f"{self.cllr:.4f}", f"bits, minimum {self.min_cllr:.4f}")]
        numbers = tables.columns([row[:2] for row in rows])
        return "\n".join(f"{line}  {note}".rstrip() for line, (*_, note) in zip(numbers, rows))


def evaluate(
    scores: Scores,
    points: Sequence[str] = DEFAULT_POINTS,
    *,
    far: Sequence[float] = (),
    llr: bool = False,
    weights: np.ndarray | None = None,
) -> Evaluation:
    """EER, minimum Cllr, and minDCF at operating points or primary costs, by name.

    far: false-alarm rates in [0, 1] at which to give the miss rate
    llr: the scores are natural-log likelihood ratios; adds actDCF and Cllr
    weights: (trials,) weight of each trial, at least 0
    Raises InputError for scores without labels, for trials of one kind only, and for an unknown operating point.
    """
    curve = metrics.error_curve(scores.values, scores.labels, weights)
    return evaluate_curve(curve, len(scores), points, far=far, llr=llr)


def evaluate_curve(
    curve: ErrorCurve,
    trials: int,
    points: Sequence[str] = DEFAULT_POINTS,
    *,
    far: Sequence[float] = (),
    llr: bool = False,
) -> Evaluation:
    """As `evaluate`, from an error curve; trials: number of trials."""
    wanted = {name: metrics.operating_points(name) for name in points}
    crossing = metrics.equal_error(curve)
    return Evaluation(
        trials=trials,
        targets=curve.targets,
        nontargets=curve.nontargets,
        eer=crossing.rate,
        eer_threshold=crossing.threshold,
        eer_convex_hull=metrics.equal_error_of_hull(curve),
        min_dcf={name: _mean([metrics.least_cost(curve, one) for one in several]) for name, several in wanted.items()},
        min_cllr=metrics.min_cllr_of(curve),
        frr={rate: metrics.miss_at_false_alarm(curve, rate) for rate in far},
        act_dcf={
            name: float(np.mean([metrics.actual_cost(curve, one).cost for one in several]))
            for name, several in wanted.items()
        }
        if llr
        else None,
        cllr=metrics.cllr_of(curve) if llr else None,
    )


def read_weights(source: str, scores: Scores) -> np.ndarray:
    """The weight of each trial of the scores, float64 (trials,).

    source: FILE with lines `enrol test weight`, or FILE:COLUMN of a .csv or .parquet file
    """
    path, colon, column = source.rpartition(":")
    if not colon or located(source).exists():
        path, column = source, "score"
    return join(read_scores(path, column), scores.trials, names=(path, "the scores")).values


def write_curve(path: StrPath, curve: ErrorCurve) -> None:
    """Write the corner points of an error curve, which draw all of it, as CSV: threshold, false_alarm, miss."""
    points = metrics.corners(curve)
    columns = curve.thresholds[points], curve.false_alarm[points], curve.miss[points]
    with atomic_file(path) as part, open(part, "w", encoding="utf-8") as stream:
        stream.write("threshold,false_alarm,miss\n")
        stream.writelines(
            f"{threshold},{alarm!r},{miss!r}\n" for threshold, alarm, miss in zip(*map(np.ndarray.tolist, columns))
        )


def _mean(costs: list[Cost]) -> Cost:
    return costs[0] if len(costs) == 1 else Cost(float(np.mean([cost for cost, _ in costs])), math.nan)


def _amount(count: float) -> str:
    return str(count) if isinstance(count, int) else f"{count:.6g}"


def _where(threshold: float) -> str:
    if math.isnan(threshold):
        return "mean of several operating points"
    return f"at threshold {threshold:.4f}" if math.isfinite(threshold) else "rejecting all trials"
