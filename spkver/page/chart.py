"""SVG charts with lines, bands, histograms, dots and thresholds, for pages and as files."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from spkver.page.document import COLOURS, Html, asset, html, series

_WIDTH = 480  # of the drawing, about the width of a phone in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 18, 10, 44
_MOST = 1000  # largest number of points of a line
_ROW = 20  # height of a row of the legend of a drawing


def probit(rates: ArrayLike) -> np.ndarray:
    """The normal quantile. Rates of 0 and 1 get finite values far outside of any axis."""
    from scipy.special import ndtri  # slow to import

    scale: np.ndarray = ndtri(np.clip(rates, 1e-9, 1 - 1e-9))
    return scale


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` + 1 round numbers in [low, high], with a step of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def span(values: ArrayLike, share: float = 0.03) -> tuple[float, float]:
    """The range of the finite values, extended by this share on both sides; never empty."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    room = (high - low) * share or max(abs(low), 1.0) * share
    return low - room, high + room


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`.

    marks: positions and labels of the ticks; by default round numbers
    scale: "linear", or "probit" for rates in (0, 1), which the readout shows in per cent
    unit: shown behind values in the readout
    """

    name: str
    low: float
    high: float
    marks: Sequence[tuple[float, str]] | None = None
    scale: str = "linear"
    unit: str = ""

    def place(self, values: ArrayLike) -> np.ndarray:
        """Positions on the axis: 0 at `low`, 1 at `high`."""
        low, high, own = (self._scaled(one) for one in (self.low, self.high, values))
        placed: np.ndarray = (own - low) / (high - low)
        return placed

    def ticks(self) -> Sequence[tuple[float, str]]:
        """Positions and labels of the ticks."""
        if self.marks is not None:
            return self.marks
        return [(tick, f"{tick:.10g}".replace("-", "−")) for tick in ticks(self.low, self.high)]

    def attribute(self) -> str:
        """The attribute from which the script of the page computes values for the readout."""
        low, high = float(self._scaled(self.low)), float(self._scaled(self.high))
        return html(f"{self.scale} {low:.9g} {high:.9g} {self.unit}")

    def _scaled(self, values: ArrayLike) -> np.ndarray:
        return probit(values) if self.scale == "probit" else np.asarray(values, np.float64)


@dataclass
class Chart:
    """A chart: add lines and other marks, then draw it with `svg` or `drawing`.

    height: of the drawing, relative to a width of 480
    """

    x: Axis
    y: Axis
    height: float = 320
    _marks: list[str] = field(default_factory=list)
    _labels: list[str] = field(default_factory=list)  # drawn above all marks
    _rules: int = 0

    def line(self, x: ArrayLike, y: ArrayLike, number: int, name: str, *, faint: bool = False) -> None:
        """Add a line, thinned to 1,000 points. number: of the series (colour, dashes); name: for the readout"""
        kind = f"line faint {series(number)}" if faint else f"line {series(number)}"
        self._marks.append(f'<path class="{kind}" data-name="{html(name)}" d="{self._path(*_thinned(x, y))}"/>')

    def guide(self, x: ArrayLike, y: ArrayLike) -> None:
        """Add a thin dotted line without a readout."""
        self._marks.append(f'<path class="guide" d="{self._path(np.asarray(x), np.asarray(y))}"/>')

    def band(self, x: ArrayLike, low: ArrayLike, high: ArrayLike, number: int) -> None:
        """Add a filled band between two lines."""
        outline = self._path(np.concatenate([x, np.asarray(x)[::-1]]), np.concatenate([low, np.asarray(high)[::-1]]))
        self._marks.append(f'<path class="band {series(number)}" d="{outline}Z"/>')

    def steps(self, edges: ArrayLike, values: ArrayLike, number: int, name: str) -> None:
        """Add a filled histogram: values (bins,) between edges (bins + 1,)."""
        x, y = np.repeat(np.asarray(edges), 2), np.concatenate([[0], np.repeat(np.asarray(values), 2), [0]])
        path = self._path(x, y)
        self._marks.append(f'<path class="area {series(number)}" data-name="{html(name)}" d="{path}"/>')

    def dots(self, x: ArrayLike, y: ArrayLike, number: int, titles: Sequence[str], *, size: float = 3) -> None:
        """Add dots of one series, each with a tooltip."""
        across, up = self._across(x), self._up(y)
        circles = "".join(
            f'<circle cx="{_short(a)}" cy="{_short(b)}" r="{size:g}"><title>{html(title)}</title></circle>'
            for a, b, title in zip(across.tolist(), up.tolist(), titles)
        )
        self._marks.append(f'<g class="dots {series(number)}">{circles}</g>')

    def group(self, name: str, x: ArrayLike, y: ArrayLike, number: int, titles: Sequence[str]) -> None:
        """Add dots that the script of the page can highlight by name."""
        self._marks.append(f'<g data-group="{html(name)}">')
        self.dots(x, y, number, titles)
        self._marks.append("</g>")

    def rule(self, x: float, label: str) -> None:
        """Add a labelled vertical line, for example a threshold."""
        at = float(self._across(x))
        if not 0 <= at <= self._inner_width:
            return
        left = at > 0.6 * self._inner_width
        place = f'x="{at + (-5 if left else 5):.1f}" y="{14 + 18 * self._rules}"'
        anchor = ' text-anchor="end"' if left else ""
        self._rules += 1
        self._marks.append(f'<path class="rule" d="M{at:.1f} 0V{self._inner_height:g}"/>')
        self._labels.append(f'<text class="label" {place}{anchor}>{html(label)}</text>')

    def text(self, x: float, y: float, words: str) -> None:
        """Add a text label centred at (x, y)."""
        place = f'x="{float(self._across(x)):.1f}" y="{float(self._up(y)):.1f}" text-anchor="middle"'
        self._labels.append(f'<text class="label" {place}>{html(words)}</text>')

    def svg(self, label: str) -> Html:
        """The chart as SVG for a page; label: description for screen readers."""
        return Html(
            f'<svg class="chart" viewBox="0 0 {_WIDTH} {self.height:g}" role="img" aria-label="{html(label)}" '
            f'data-x="{self.x.attribute()}" data-y="{self.y.attribute()}">{self._content()}</svg>\n'
        )

    def _content(self) -> str:
        width, height = self._inner_width, self._inner_height
        grid, words = [], []
        free = -math.inf  # end of the last label; labels that would overlap it are left out
        for value, text in self.x.ticks():
            at = float(self._across(value))
            grid.append(f"M{at:.1f} 0V{height:g}")
            half = 4.7 * len(text)  # half the width of the label, approximately
            if at - half < free:
                continue
            free = at + half + 2
            words.append(
                f'<text x="{at + _LEFT:.1f}" y="{self.height - _BOTTOM + 17:g}" text-anchor="middle">{text}</text>'
            )
        for value, text in self.y.ticks():
            at = float(self._up(value))
            grid.append(f"M0 {at:.1f}H{width:g}")
            words.append(f'<text x="{_LEFT - 6}" y="{at + _TOP + 4:.1f}" text-anchor="end">{text}</text>')
        across = f'x="{_LEFT + width / 2:g}" y="{self.height - 6:g}" text-anchor="middle"'
        upward = f'transform="translate(13 {_TOP + height / 2:g}) rotate(-90)" text-anchor="middle"'
        return (
            f'<g class="ticks" aria-hidden="true">{"".join(words)}'
            f'<text class="name" {across}>{html(self.x.name)}</text>'
            f'<text class="name" {upward}>{html(self.y.name)}</text></g>'
            f'<svg class="inside" x="{_LEFT}" y="{_TOP}" width="{width:g}" height="{height:g}">'
            f'<path class="grid" d="{"".join(grid)}"/>{"".join(self._marks)}{"".join(self._labels)}</svg>'
        )

    def drawing(self, label: str, names: Sequence[str] = ()) -> str:
        """The chart as an SVG file, with a legend of its series below.

        label: description for screen readers; names: of the series 0, 1, 2, ...
        """
        height = self.height + _ROW * len(names)
        rows = [
            f'<path class="line {series(number)}" d="M{_LEFT} {at - 4:g}h26"/><text x="{_LEFT + 34}" y="{at:g}">'
            f"{html(name)}</text>"
            for number, name in enumerate(names)
            for at in [self.height + _ROW * (number + 0.7)]
        ]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" width="{_WIDTH}" '
            f'height="{height:g}" role="img" aria-label="{html(label)}">\n'
            f"<style>\n{_plain_style()}</style>\n"
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
            f"{self._content()}{''.join(rows)}\n</svg>\n"
        )

    @property
    def _inner_width(self) -> float:
        return _WIDTH - _LEFT - _RIGHT

    @property
    def _inner_height(self) -> float:
        return self.height - _TOP - _BOTTOM

    def _across(self, x: ArrayLike) -> np.ndarray:
        return np.asarray(np.clip(self.x.place(x), -9, 9) * self._inner_width)

    def _up(self, y: ArrayLike) -> np.ndarray:
        return np.asarray((1 - np.clip(self.y.place(y), -9, 9)) * self._inner_height)

    def _path(self, x: np.ndarray, y: np.ndarray) -> str:
        points = zip(self._across(x).tolist(), self._up(y).tolist())
        return "M" + "L".join(f"{_short(a)} {_short(b)}" for a, b in points)


@cache
def _plain_style() -> str:
    """The style of charts without CSS variables, which programs other than browsers do not know."""
    colours, _, charts = asset("chart.css").partition("@media")
    values = dict(re.findall(r"--(\w+): (#\w+);", colours))

    def written(selector: str, body: str, colour: str = "") -> str:
        plain = re.sub(r"var\(--(\w+)\)", lambda found: values.get(found[1], colour), body)
        return f"{selector} {{ {plain} }}\n"

    rules = []
    for selector, body in re.findall(r"^([^{}\n]+) \{ ([^{}]*) \}$", charts, re.MULTILINE):
        first, _, rest = selector.partition(" ")
        if "var(--c)" in body:  # the colour of a series: one rule for each
            rules += [written(f"{first}.s{n} {rest}".rstrip(), body, values[f"s{n}"]) for n in range(COLOURS)]
        else:
            rules.append(written(selector, body))
    return "".join(rules)


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _thinned(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """At most 1,000 of the points, evenly spaced, with both ends."""
    across, up = np.asarray(x), np.asarray(y)
    kept = np.unique(np.linspace(0, len(across) - 1, min(_MOST, len(across))).round().astype(np.int64))
    return across[kept], up[kept]
