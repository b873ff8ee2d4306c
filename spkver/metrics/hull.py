"""The convex hull of a curve: what tossing a coin between two thresholds, or isotonic regression, can reach."""

from __future__ import annotations

import numpy as np

from spkver.metrics.curve import ErrorCurve, corners


def convex_hull(curve: ErrorCurve) -> np.ndarray:
    """The points (rising) of the lower convex hull of a curve's misses against its false alarms.

    Between two points, the one farthest below the line that joins them is on the hull, too. In integers where the curve
    is: exact. Points on the line are left out.
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
