"""Style and output of the matplotlib figures."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from spkver.errors import load_optional
from spkver.files import StrPath, atomic_file

EXTRA = "plot"
GREY, PALE = "#666666", "#e4e4e4"

# Okabe and Ito's colours, which colour-blind readers can distinguish
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
_LINES = ("-", "--", "-.", ":")
_STYLE = {"font.size": 10, "axes.linewidth": 0.8, "svg.hashsalt": "spkver", "axes.unicode_minus": True}


def style() -> AbstractContextManager[Any]:
    """The matplotlib style context of all figures. Raises InputError if matplotlib is not installed."""
    context: AbstractContextManager[Any] = load_optional("matplotlib", EXTRA).rc_context(_STYLE)
    return context


def canvas(width: float, height: float) -> Any:
    """An empty matplotlib figure; width and height in inches."""
    return load_optional("matplotlib.figure", EXTRA).Figure(figsize=(width, height), layout="constrained")


def look(number: int) -> dict[str, Any]:
    """Colour and line style of the system with this number."""
    line = _LINES[number // len(_COLOURS) % len(_LINES)]
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": line, "zorder": 3 + number}


def plain(text: str) -> str:
    """Text with matplotlib's formula marks escaped."""
    return text.replace("$", r"\$")


def write(figure: Any, paths: Mapping[str, StrPath]) -> None:
    """Write a figure to one file per format ("png", "svg")."""
    for kind, path in paths.items():
        with atomic_file(path) as part:
            # no date, so that the same numbers give the same file
            figure.savefig(part, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
