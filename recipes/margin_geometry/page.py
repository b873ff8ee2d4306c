"""Write the results of experiments, and one page with all of them."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.margin_geometry.style import style
from spkver import page, tables
from spkver.errors import InputError
from spkver.files import StrPath, atomic_directory, read_json, write_json, write_text
from spkver.page import Html

RESULTS = "results.json"


@dataclass(frozen=True)
class Picture:
    """A matplotlib figure, its file name without suffix, and its caption."""

    name: str
    caption: str
    figure: Any


@dataclass(frozen=True)
class Table:
    """A title and rows of text, the first one the header; see report.tables."""

    title: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Experiment:
    """The results of an experiment: text, tables, pictures, and all numbers."""

    title: str
    text: str
    tables: Sequence[Table]
    pictures: Sequence[Picture]
    numbers: Mapping[str, Any] = field(default_factory=dict)


def write_experiment(experiment: Experiment, out: StrPath) -> str:
    """Write the directory `out`: results.json, results.md, and each picture as PNG and SVG; return the tables."""
    with atomic_directory(out, holds=RESULTS) as folder, style():
        for picture in experiment.pictures:
            picture.figure.savefig(folder / f"{picture.name}.png", dpi=160)
            # without the date, so that equal numbers give equal files
            picture.figure.savefig(folder / f"{picture.name}.svg", dpi=240, metadata={"Date": None})
        write_text(folder / "results.md", _markdown(experiment))
        write_json(
            folder / RESULTS,
            {
                "title": experiment.title,
                "text": experiment.text,
                "tables": [{"title": table.title, "rows": table.rows} for table in experiment.tables],
                "pictures": [{"name": picture.name, "caption": picture.caption} for picture in experiment.pictures],
                "numbers": experiment.numbers,
            },
        )
    return "\n\n".join(f"{table.title}\n\n{tables.text(table.rows)}" for table in experiment.tables)


def write_page(experiments: Sequence[StrPath], out: StrPath, *, title: str) -> None:
    """Write one self-contained HTML file from directories of experiments.

    Raises InputError for a directory without results.
    """
    write_text(out, page.document(title, *(_section(Path(folder)) for folder in experiments)))


def mean_and_deviation(values: Sequence[float], digits: int) -> str:
    """`mean ± standard deviation` of values; only the mean for a single value."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _markdown(experiment: Experiment) -> str:
    blocks = [f"# {experiment.title}", experiment.text]
    blocks += [f"**{table.title}**\n\n{tables.markdown(table.rows)}" for table in experiment.tables]
    blocks += [f"![{picture.name}]({picture.name}.png)\n\n{picture.caption}" for picture in experiment.pictures]
    return "\n\n".join(blocks) + "\n"


def _section(folder: Path) -> Html:
    if not (folder / RESULTS).is_file():
        raise InputError(f"{folder}: no {RESULTS} there; run its experiment first")
    found = read_json(folder / RESULTS)
    shown = [_picture(folder, picture) for picture in found["pictures"]]
    shown += [page.table(table["rows"], title=table["title"]) for table in found["tables"]]
    return page.section(found["title"], *shown, note=found["text"])


def _picture(folder: Path, picture: Mapping[str, str]) -> Html:
    data = base64.b64encode((folder / f"{picture['name']}.svg").read_bytes()).decode()
    caption = page.html(picture["caption"])
    source = f"data:image/svg+xml;base64,{data}"
    return Html(
        f'<figure class="picture"><img alt="{caption}" src="{source}"><figcaption>{caption}</figcaption></figure>\n'
    )
