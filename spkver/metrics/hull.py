"""The convex hull of an error curve, for the EER of the hull and isotonic regression."""

from __future__ import annotations

import numpy as np

from spkver.metrics.curve import ErrorCurve, corners


def convex_hull(curve: ErrorCurve) -> np.ndarray:
    """The indices (ascending) of the points of the lower convex hull of misses against false alarms.

    Of the points between two points of the hull, the one farthest below their line is on the hull as well. Points on
    the line are left out. Exact if the counts of the curve are integers.
    """
    candidates = corners(curve)
    misses, alarms = curve.misses[candidates], curve.false_alarms[candidates]
    found = [0, len(candidates) - 1]
    spans = [(0, len(candidates) - 1)]
    while spans:
        low, high = spans.pop()
        inside = slice(low, high + 1)
        height = (alarms[low] - alarms[high]) * misses[inside] + (misses[high] - misses[low]) * alarms[inside]
        lowest = int(np.argmin(height))
        if height[lowest] < height[0] - 1e-12 * abs(height[0]) * (height.dtype.kind == "f"):
            found.append(low + lowest)
            spans += [(low, low + lowest), (low + lowest, high)]
    return candidates[np.sort(found)]
