"""The statistics of a corpus as tables of text, and as one page that needs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from spkver.stats.measure import Measures
from spkver.stats.source import Source

SHOWN = 100  # rows of a table on the page


@dataclass(frozen=True)
class Table:
    """Rows of text under a head."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self, most: int = 10) -> str:
        """In columns, with the first rows."""
        lines = [self.head, *self.rows[:most]]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.head))]
        body = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
        more = [f"... and {len(self.rows) - most} more"] if len(self.rows) > most else []
        return "\n".join([f"{self.title} ({len(self.rows)})", *(f"  {line}" for line in [*body, *more])])


def quantities(source: Source, measures: Measures) -> dict[str, np.ndarray]:
    """What is shown as numbers and as histograms, by name and unit."""
    counts = Counter(source.speakers)
    return {
        "duration (s)": measures.seconds,
        "utterances of a speaker": np.array(list(counts.values()), dtype=np.float64),
        "level (dB)": measures.level,
        "peak (dB)": measures.peak,
        "SNR, estimated (dB)": measures.snr,
        "clipped samples (%)": 100 * measures.clipped,
        "DC offset (% of full scale)": 100 * np.abs(measures.offset),
    }


def summary(source: Source, measures: Measures) -> Table:
    """The spread of every quantity."""
    rows = []
    for name, values in quantities(source, measures).items():
        if len(values):
            places = (values.min(), *np.percentile(values, (5, 50, 95)), values.max())
            rows.append([name, *(f"{place:.2f}" for place in places)])
    return Table("spread", ["", "least", "5 %", "half", "95 %", "most"], rows)


def counts(source: Source, measures: Measures) -> list[Table]:
    """How often sample rates, languages, genres, sessions and genders occur."""
    words = {"rates": [f"{rate} Hz" for rate in measures.rate.tolist()], **source.tags}
    tables = []
    for name, values in words.items():
        found = Counter("unknown" if value in (None, "") else str(value) for value in values)
        rows = [[value, f"{number}"] for value, number in found.most_common()]
        tables.append(Table(name, ["", "utterances"], rows))
    return tables


def page(source: Source, measures: Measures, tables: Sequence[Table]) -> str:
    """HTML with every table and a histogram of every quantity, in itself complete."""
    pictures = "".join(_histogram(name, values) for name, values in quantities(source, measures).items())
    hours = measures.seconds.sum() / 3600
    title = f"{source.name}: {len(source.ids)} utterances, {len(set(source.speakers))} speakers, {hours:.2f} h"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n"
        f"<div>{pictures}</div>\n{''.join(map(_html, tables))}</body></html>\n"
    )


_STYLE = (
    "body{font:15px/1.4 sans-serif;max-width:64em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.15em .8em .15em 0;text-align:left;border-bottom:1px solid #ddd}"
    "figure{display:inline-block;margin:.5em}figcaption{font-size:13px}svg{font:11px sans-serif}"
)


def _html(table: Table) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>\n"

    body = "".join(line(row, "td") for row in table.rows[:SHOWN])
    more = f"<p>{len(table.rows) - SHOWN} more</p>" if len(table.rows) > SHOWN else ""
    title = f"<h2>{escape(table.title)} ({len(table.rows)})</h2>"
    return f"{title}\n<table>{line(table.head, 'th')}{body}</table>{more}\n"


def _histogram(name: str, values: np.ndarray, width: int = 300, height: int = 150, bins: int = 40) -> str:
    """An SVG; values beyond the outer thousandths are counted in the first and last bar."""
    if not len(values):
        return ""
    low, high = np.percentile(values, (0.1, 99.9))
    high = high if high > low else low + 1.0
    count, edges = np.histogram(np.clip(values, low, high), bins, (low, high))
    step, scale = width / bins, height / max(1, count.max())
    bars = "".join(
        f'<rect x="{at * step:.1f}" y="{height - number * scale:.1f}" width="{step - 0.5:.1f}" '
        f'height="{number * scale:.1f}"><title>{edges[at]:.3g} to {edges[at + 1]:.3g}: {number}</title></rect>'
        for at, number in enumerate(count.tolist())
        if number
    )
    labels = (
        f'<text x="0" y="{height + 14}">{low:.3g}</text>'
        f'<text x="{width}" y="{height + 14}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{width}" y="10" text-anchor="end" fill="#666">highest bar {count.max()}</text>'
    )
    picture = f'<svg width="{width}" height="{height + 18}" fill="#0072B2" role="img">{bars}{labels}</svg>'
    return f"<figure>{picture}<figcaption>{escape(name)}</figcaption></figure>\n"
