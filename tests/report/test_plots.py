from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest

from spkver.report import plots


def test_last_step_of_reliability_curve_reaches_edge():
    """All scores above the last step have its ratio, so the step extends to the edge of the chart."""
    steps = np.array([-1.9, -1.0, 1.5]), np.array([-1.8, 0.2, 1.0])
    svg = str(plots.reliability({"a": SimpleNamespace(steps=steps)}))

    def ends(kind):
        path = re.search(rf'<path class="{kind}" d="([^"]*)"', svg).group(1)
        return [tuple(map(float, point)) for point in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]

    (left, bottom), (right, top) = ends("guide")[0], ends("guide")[-1]
    points = ends('line s0 d0" data-name="a')
    assert points[0][0] == pytest.approx(left + 0.1 / 4 * (right - left), abs=0.2)
    assert points[-1][0] >= right and points[-1][1] == points[-2][1]
    middle = left + (1.5 + 2) / 4 * (right - left)
    assert points[-2][0] == pytest.approx(middle, abs=0.2)
    assert points[-1][1] == pytest.approx(bottom + (1.0 + 2) / 4 * (top - bottom), abs=0.2)
