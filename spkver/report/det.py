"""Detection error trade-off curves (Martin et al., "The DET curve in assessment of detection task performance", 1997).

Both axes are probit scales, on which scores of two normal distributions make a straight line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spkver.files import StrPath
from spkver.metrics import ErrorCurve, OperatingPoint, equal_error, least_cost
from spkver.report import drawing

_TICKS = np.array([0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80]) / 100


def draw_det(
    curves: Mapping[str, ErrorCurve],
    paths: Mapping[str, StrPath],
    *,
    title: str = "",
    point: OperatingPoint | None = None,
) -> None:
    """Draw one curve for each system, its equal error rate as a dot and its least cost at `point` as a diamond.

    paths: the format ("png", "svg") and the file to write. Raises InputError where matplotlib is not installed.
    """
    with drawing.style():
        figure = drawing.canvas(6.4, 7.2)
        axes = figure.add_subplot()
        marks = {name: _marks(curve, point) for name, curve in curves.items()}
        low, high = _limits(np.concatenate([np.ravel(list(mark.values())) for mark in marks.values()]))
        _prepare(axes, low, high, title)
        for number, (name, curve) in enumerate(curves.items()):
            look = drawing.look(number)
            x, y = _thinned(curve, low, high)
            label = f"{drawing.plain(name)}  (EER {100 * marks[name]['eer'][0]:.2f} %)"
            axes.plot(x, y, linewidth=1.8, label=label, solid_joinstyle="round", **look)
            axes.plot(*_probit(marks[name]["eer"]), marker="o", markersize=6, markeredgecolor="white", **look)
            if "cost" in marks[name]:
                axes.plot(*_probit(marks[name]["cost"]), marker="D", markersize=5, markerfacecolor="white", **look)
        if point is not None:
            legend = f"least cost at P(target) = {point.p_target:g}"
            axes.plot([], [], "D", markersize=5, markerfacecolor="white", color=drawing.GREY, label=legend)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
        drawing.write(figure, paths)


def _marks(curve: ErrorCurve, point: OperatingPoint | None) -> dict[str, tuple[float, float]]:
    """(false alarm, miss) of the points to mark."""
    rate = equal_error(curve).rate
    marks = {"eer": (rate, rate)}
    if point is not None:
        at = int(np.searchsorted(curve.thresholds, least_cost(curve, point).threshold))
        marks["cost"] = (float(curve.false_alarm[at]), float(curve.miss[at]))
    return marks


def _limits(rates: np.ndarray) -> tuple[float, float]:
    """The ticks between which the marked points lie, with room around them; what is hopeless may lie outside."""
    inside = rates[(rates > 0) & (rates < 0.8)]
    wide = np.concatenate([inside / 3, inside * 1.3, [0.005, 0.4]])
    ticks = _TICKS
    low = ticks[ticks <= max(wide.min(), ticks[0])].max()
    high = ticks[ticks >= min(wide.max(), ticks[-1])].min()
    return float(low), float(high)


def _prepare(axes: Any, low: float, high: float, title: str) -> None:
    ticks = _TICKS[np.searchsorted(_TICKS, low) : np.searchsorted(_TICKS, high, side="right")]
    span = _probit(np.array([low, high]))
    for axis, name in ((axes.xaxis, "False-alarm rate (%)"), (axes.yaxis, "Miss rate (%)")):
        axis.set_ticks(_probit(ticks), [f"{100 * tick:g}" for tick in ticks])
        axis.set_label_text(name)
    axes.set(xlim=span, ylim=span, aspect="equal")
    axes.set_title(drawing.plain(title), fontsize=12, pad=10)
    axes.grid(color=drawing.PALE, linewidth=0.7)
    axes.plot(span, span, color="#bbbbbb", linewidth=0.8, zorder=1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3, color=drawing.GREY, labelsize=9)


def _thinned(curve: ErrorCurve, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """The curve on probit scales, without the points that nobody could see (a million trials make a large SVG)."""
    x, y = _probit(curve.false_alarm), _probit(curve.miss)
    grid = (_probit(np.array(high)) - _probit(np.array(low))) / 800
    cells = np.stack([x, y]) // grid
    seen = np.append(True, (cells[:, 1:] != cells[:, :-1]).any(axis=0))
    seen[-1] = True
    return x[seen], y[seen]


def _probit(rates: Any) -> np.ndarray:
    """The normal quantile; 0 and 1 become points far outside the axes."""
    from scipy.special import ndtri  # takes as long to import as everything else together

    scale: np.ndarray = ndtri(np.clip(rates, 1e-9, 1 - 1e-9))
    return scale
