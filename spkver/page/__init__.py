"""HTML pages in one file: no server, no network, no library; readable on a phone, in print, and in the dark."""

from spkver.page.chart import Axis, Chart, probit, span, ticks
from spkver.page.document import Html, document, figure, html, legend, section, series, table

__all__ = [
    "Axis",
    "Chart",
    "Html",
    "document",
    "figure",
    "html",
    "legend",
    "probit",
    "section",
    "series",
    "span",
    "table",
    "ticks",
]
