"""How the report's pictures look, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from spkver.errors import load_optional
from spkver.files import StrPath, atomic_file

EXTRA = "plot"
GREY, PALE = "#666666", "#e4e4e4"

# Okabe and Ito's colours, told apart by the colour-blind, too
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
_LINES = ("-", "--", "-.", ":")
_STYLE = {"font.size": 10, "axes.linewidth": 0.8, "svg.hashsalt": "spkver", "axes.unicode_minus": True}


def style() -> AbstractContextManager[Any]:
    """What pictures are drawn and saved in. Raises InputError where matplotlib is not installed."""
    context: AbstractContextManager[Any] = load_optional("matplotlib", EXTRA).rc_context(_STYLE)
    return context


def canvas(width: float, height: float) -> Any:
    """An empty matplotlib figure of a size in inches."""
    return load_optional("matplotlib.figure", EXTRA).Figure(figsize=(width, height), layout="constrained")


def look(number: int) -> dict[str, Any]:
    """The colour and the line of the system of that number."""
    line = _LINES[number // len(_COLOURS) % len(_LINES)]
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": line, "zorder": 3 + number}


def plain(text: str) -> str:
    """Text without matplotlib's formulas."""
    return text.replace("$", r"\$")


def write(figure: Any, paths: Mapping[str, StrPath]) -> None:
    """Write a figure to a file for each format ("png", "svg")."""
    for kind, path in paths.items():
        with atomic_file(path) as part:
            # without the date, so that the same numbers give the same file
            figure.savefig(part, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
