"""What a score says of two sides: one speaker or two, and how likely that is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from spkver.errors import InputError
from spkver.verify.decision import Decision, log_odds


@dataclass(frozen=True)
class Verdict:
    """What two sides come to.

    score: what is decided by: the cosine, or that normalised by the model's cohort; cosine: -1 to 1
    threshold, same: accepted at score >= threshold; None without a threshold
    ratio: natural-log likelihood ratio, and probability of one speaker at the prior; None without a calibration
    doubts: on the recordings, one line each
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
        """As plain values for JSON."""
        return asdict(self)


def verdict(score: float, decision: Decision | None, threshold: float | None = None, prior: float = 0.5) -> Verdict:
    """What a score means to a model's decision; `threshold`, where given, goes before the model's.

    Raises InputError for a prior outside (0, 1), and a threshold that is not a number.
    """
    log_odds(prior)
    if threshold is not None and math.isnan(threshold):
        raise InputError("a threshold is a number, got nan")
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
