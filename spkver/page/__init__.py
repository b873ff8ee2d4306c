"""Self-contained HTML pages and SVG charts, for screens of any width, dark mode and print. They load nothing."""

from spkver.page.chart import Axis, Chart, probit, span, ticks
from spkver.page.document import (
    Html,
    contents,
    document,
    figure,
    html,
    legend,
    paragraph,
    section,
    series,
    side_by_side,
    table,
)

__all__ = [
    "Axis",
    "Chart",
    "Html",
    "contents",
    "document",
    "figure",
    "html",
    "legend",
    "paragraph",
    "probit",
    "section",
    "series",
    "side_by_side",
    "span",
    "table",
    "ticks",
]
