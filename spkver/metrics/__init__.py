"""Error rates and detection costs: numpy functions of (scores, target), exact under ties and in any order of trials."""

from spkver.metrics.bootstrap import chance, interval, speaker_bootstrap, student_interval
from spkver.metrics.curve import ErrorCurve, SortedTrials, error_curve, threshold_at_false_alarm
from spkver.metrics.dcf import (
    OPERATING_POINTS,
    Cost,
    OperatingPoint,
    least_cost,
    min_dcf,
    operating_point,
)
from spkver.metrics.eer import Crossing, eer, eer_convex_hull, equal_error, equal_error_of_hull

__all__ = [
    "OPERATING_POINTS",
    "Cost",
    "Crossing",
    "ErrorCurve",
    "OperatingPoint",
    "SortedTrials",
    "chance",
    "eer",
    "eer_convex_hull",
    "equal_error",
    "equal_error_of_hull",
    "error_curve",
    "interval",
    "least_cost",
    "min_dcf",
    "operating_point",
    "speaker_bootstrap",
    "student_interval",
    "threshold_at_false_alarm",
]
