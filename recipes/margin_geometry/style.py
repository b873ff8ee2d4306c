"""Style of the plots: each loss and each class has one colour in all plots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from spkver.errors import load_optional

EXTRA = "geometry"

FAMILIES = {
    "softmax": "#444444",
    "NSL": "#7B4FB5",
    "LMCL": "#0072B2",
    "BD-LMCL": "#D55E00",
    "AAM": "#009E73",
    "A-softmax": "#CC79A7",
    "L-softmax": "#E69F00",
    "combined": "#8C6D4F",
    "SphereFace-R": "#56B4E9",
}
"""mostly the colours of Okabe and Ito, which colour-blind readers can distinguish"""

CLASSES = ("#4477AA", "#EE6677", "#228833", "#B8A31A", "#66CCEE", "#AA3377", "#8C6D4F", "#FF9933", "#5B4BC4", "#777777")
"""colours of up to ten digits or speakers"""

GREY, PALE = "#666666", "#e4e4e4"

_STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlepad": 6,
    "axes.linewidth": 0.8,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#222222",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_joinstyle": "round",
    "svg.hashsalt": "spkver",  # the same numbers give the same file
}


@contextmanager
def style() -> Iterator[None]:
    """Context for drawing and saving plots. Raises InputError if matplotlib is not installed."""
    with load_optional("matplotlib", EXTRA).rc_context(_STYLE):
        yield


def canvas(width: float, height: float) -> Any:
    """An empty matplotlib figure; width, height: inches."""
    return load_optional("matplotlib.figure", EXTRA).Figure(figsize=(width, height), layout="constrained")


def colours(labels: Iterable[str]) -> dict[str, str]:
    """A colour for each loss: that of its family, from light to dark over the members `FAMILY m = 0.1`, in order."""
    known = list(labels)
    members = {family: [label for label in known if label.split(" m =")[0] == family] for family in FAMILIES}
    return {
        label: _shade(FAMILIES[family], place)
        for family, own in members.items()
        for label, place in zip(own, np.linspace(-0.45, 0.3, len(own)) if len(own) > 1 else [0.0])
    }


def _shade(colour: str, place: float) -> str:
    """A colour mixed with white (place < 0) or black (place > 0), by at most half."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    mixed = rgb + abs(place) * ((255 if place < 0 else 0) - rgb)
    return "#" + "".join(f"{round(value):02x}" for value in mixed)
