"""Error rates and detection costs as numpy functions of (scores, target). The order of the trials does not matter, and
trials of equal score are accepted or rejected together.
"""

from spkver.metrics.bootstrap import holm, interval, p_value, speaker_bootstrap, student_interval
from spkver.metrics.calibration import cllr, cllr_of, isotonic_map, min_cllr, min_cllr_of
from spkver.metrics.curve import (
    Decision,
    ErrorCurve,
    SortedTrials,
    corners,
    error_curve,
    errors_at,
    miss_at_false_alarm,
    point_at_false_alarm,
    threshold_at_false_alarm,
    threshold_at_miss,
)
from spkver.metrics.dcf import (
    OPERATING_POINTS,
    PRIMARY_COSTS,
    Cost,
    OperatingPoint,
    actual_cost,
    least_cost,
    min_dcf,
    operating_point,
    operating_points,
)
from spkver.metrics.eer import Crossing, eer, eer_convex_hull, equal_error, equal_error_of_hull
from spkver.metrics.hull import convex_hull

__all__ = [
    "PRIMARY_COSTS",
    "Decision",
    "actual_cost",
    "cllr",
    "cllr_of",
    "convex_hull",
    "corners",
    "errors_at",
    "isotonic_map",
    "min_cllr",
    "min_cllr_of",
    "miss_at_false_alarm",
    "point_at_false_alarm",
    "operating_points",
    "OPERATING_POINTS",
    "Cost",
    "Crossing",
    "ErrorCurve",
    "OperatingPoint",
    "SortedTrials",
    "eer",
    "eer_convex_hull",
    "equal_error",
    "equal_error_of_hull",
    "error_curve",
    "holm",
    "interval",
    "least_cost",
    "min_dcf",
    "operating_point",
    "p_value",
    "speaker_bootstrap",
    "student_interval",
    "threshold_at_false_alarm",
    "threshold_at_miss",
]
