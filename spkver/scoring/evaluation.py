"""What a score file is worth: error rates and costs of labelled scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spkver import metrics
from spkver.trials import Scores

DEFAULT_POINTS = ("vox-0.01", "vox-0.05")


@dataclass(frozen=True)
class Evaluation:
    """Rates in [0, 1]; the costs normalised, at the thresholds where they are least."""

    trials: int
    targets: int
    nontargets: int
    eer: float
    eer_threshold: float
    eer_convex_hull: float
    min_dcf: dict[str, metrics.Cost]

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON; a threshold that rejects all is null."""
        costs = {
            name: {"cost": cost, "threshold": threshold if math.isfinite(threshold) else None}
            for name, (cost, threshold) in self.min_dcf.items()
        }
        return asdict(self) | {"min_dcf": costs}

    def table(self) -> str:
        """As a small table to read."""
        rows = [
            ("trials", f"{self.trials}", f"{self.targets} targets, {self.nontargets} non-targets"),
            ("EER", f"{100 * self.eer:.2f} %", f"at threshold {self.eer_threshold:.4f}"),
        ]
        for name, (cost, threshold) in self.min_dcf.items():
            where = f"at threshold {threshold:.4f}" if math.isfinite(threshold) else "rejecting all"
            rows.append((f"minDCF {name}", f"{cost:.4f}", where))
        widths = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c}" for a, b, c in rows)


def evaluate(scores: Scores, points: Sequence[str] = DEFAULT_POINTS) -> Evaluation:
    """EER and minDCF at named operating points.

    Raises InputError for scores without labels, lists without a target or a non-target, and unknown points.
    """
    wanted = {name: metrics.operating_point(name) for name in points}
    curve = metrics.error_curve(scores.values, scores.labels)
    crossing = metrics.equal_error(curve)
    return Evaluation(
        trials=len(scores),
        targets=curve.targets,
        nontargets=curve.nontargets,
        eer=crossing.rate,
        eer_threshold=crossing.threshold,
        eer_convex_hull=metrics.equal_error_of_hull(curve),
        min_dcf={name: metrics.least_cost(curve, point) for name, point in wanted.items()},
    )
