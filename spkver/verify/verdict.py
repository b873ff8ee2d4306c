"""The verdict on a score: same speaker or not, and the probability."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from spkver.errors import InputError
from spkver.verify.decision import Decision, log_odds


@dataclass(frozen=True)
class Verdict:
    """The result of a comparison.

    score: the cosine, or with a stored cohort the cosine after S-norm; cosine: in [-1, 1]
    threshold, same: `same` is score >= threshold; None without a threshold
    ratio, probability: natural-log likelihood ratio, and probability of the same speaker at `prior`; None without a
        calibration
    doubts: warnings about the recordings, one line each
    """

    score: float
    prior: float = 0.5
    threshold: float | None = None
    same: bool | None = None
    ratio: float | None = None
    probability: float | None = None
    doubts: list[str] = field(default_factory=list)
    cosine: float | None = None

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def verdict(score: float, decision: Decision | None, threshold: float | None = None, prior: float = 0.5) -> Verdict:
    """The verdict on a score by a model's decision; `threshold` replaces the model's.

    Raises InputError for a prior outside (0, 1) and a threshold that is NaN.
    """
    log_odds(prior)
    if threshold is not None and math.isnan(threshold):
        raise InputError("the threshold must be a number, got nan")
    if threshold is None and decision is not None:
        threshold = decision.threshold
    return Verdict(
        score=score,
        prior=prior,
        threshold=threshold,
        same=None if threshold is None else score >= threshold,
        ratio=None if decision is None else decision.calibration.ratio(score),
        probability=None if decision is None else decision.calibration.probability(score, prior),
    )
