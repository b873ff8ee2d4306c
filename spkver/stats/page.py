"""Statistics of a corpus as text tables and as a self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spkver import tables
from spkver.page import Axis, Chart, Html, document, figure, section, side_by_side, table
from spkver.source import Source
from spkver.stats.measure import Measures

SHOWN = 100  # rows of a table on the page


@dataclass(frozen=True)
class Table:
    """A table with a title."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self, most: int = 10) -> str:
        """The first `most` rows as text."""
        body = [line.rstrip() for line in tables.columns([self.head, *self.rows[:most]], words=len(self.head))]
        more = [f"... and {len(self.rows) - most} more"] if len(self.rows) > most else []
        return "\n".join([f"{self.title} ({len(self.rows)})", *(f"  {line}" for line in [*body, *more])])


def quantities(source: Source, measures: Measures) -> dict[str, np.ndarray]:
    """Quantities for the summary and the histograms, by name and unit."""
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
    """Quantiles of every quantity."""
    rows = []
    for name, values in quantities(source, measures).items():
        if len(values):
            places = (values.min(), *np.percentile(values, (5, 50, 95)), values.max())
            rows.append([name, *(f"{place:.2f}" for place in places)])
    return Table("distribution", ["", "min", "5 %", "median", "95 %", "max"], rows)


def counts(source: Source, measures: Measures) -> list[Table]:
    """Numbers of utterances by sample rate, language, genre, session, gender and age."""
    words: dict[str, Sequence[str | None]] = {"sample rates": [f"{rate} Hz" for rate in measures.rate.tolist()]}
    words |= {f"{tag}s": values for tag, values in source.tags.items()}
    tables = []
    for name, values in words.items():
        found = Counter("unknown" if value in (None, "") else str(value) for value in values)
        rows = [[value, f"{number}"] for value, number in found.most_common()]
        tables.append(Table(name, ["", "utterances"], rows))
    return tables


def page(source: Source, measures: Measures, tables: Sequence[Table]) -> str:
    """The HTML page with all tables and a histogram of every quantity."""
    pictures = [_histogram(name, values) for name, values in quantities(source, measures).items() if len(values)]
    hours = measures.seconds.sum() / 3600
    title = f"{source.name}: {len(source.ids)} utterances, {len(set(source.speakers))} speakers, {hours:.2f} h"
    return document(title, side_by_side(*pictures), *map(_section, tables))


def _section(part: Table) -> Html:
    more = Html(f"<p>{len(part.rows) - SHOWN} more</p>\n" if len(part.rows) > SHOWN else "")
    rows = table([part.head, *part.rows[:SHOWN]], words=len(part.head))
    return section(f"{part.title} ({len(part.rows)})", rows, more)


def _histogram(name: str, values: np.ndarray, bins: int = 40) -> Html:
    """A histogram. The lowest and highest 0.1 % of the values are counted in the first and last bin."""
    low, high = np.percentile(values, (0.1, 99.9))
    high = high if high > low else low + 1.0
    count, edges = np.histogram(np.clip(values, low, high), bins, (low, high))
    most = float(count.max())
    chart = Chart(Axis("", float(low), float(high)), Axis("number", 0, 1.05 * most), height=220)
    chart.steps(edges, count, 0, "number")
    numbers = table([["from", "to", "number"], *_bars(count, edges)], words=0)
    return figure(chart.svg(f"histogram of the {name}"), name, numbers=numbers)


def _bars(count: np.ndarray, edges: np.ndarray) -> list[list[str]]:
    return [[f"{edges[bar]:.3g}", f"{edges[bar + 1]:.3g}", f"{count[bar]}"] for bar in np.flatnonzero(count)]
