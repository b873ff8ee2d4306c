"""Experiments on disk, and the one page that shows them."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from spkver.errors import InputError
from spkver.files import StrPath, atomic_directory, read_json, write_json, write_text
from spkver.geometry.style import style
from spkver.report import tables

RESULTS = "results.json"


@dataclass(frozen=True)
class Picture:
    """A figure of matplotlib, its file name without ending, and what it shows."""

    name: str
    caption: str
    figure: Any


@dataclass(frozen=True)
class Table:
    """Rows of text under a head, see report.tables."""

    title: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Experiment:
    """What an experiment gives: words, tables, pictures, and its numbers in full."""

    title: str
    text: str
    tables: Sequence[Table]
    pictures: Sequence[Picture]
    numbers: Mapping[str, Any] = field(default_factory=dict)


def write_experiment(experiment: Experiment, out: StrPath) -> str:
    """Write the directory `out`: results.json, results.md, and each picture as PNG and SVG; return the tables."""
    with atomic_directory(out) as folder, style():
        for picture in experiment.pictures:
            picture.figure.savefig(folder / f"{picture.name}.png", dpi=160)
            # without the date, so that the same numbers give the same file
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
    sections = "\n".join(_section(Path(folder)) for folder in experiments)
    write_text(out, _PAGE.format(title=escape(title), sections=sections))


def mean_and_deviation(values: Sequence[float], digits: int) -> str:
    """`mean ± standard deviation` of a sample; the mean alone of a single value."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _markdown(experiment: Experiment) -> str:
    blocks = [f"# {experiment.title}", experiment.text]
    blocks += [f"**{table.title}**\n\n{tables.markdown(table.rows)}" for table in experiment.tables]
    blocks += [f"![{picture.name}]({picture.name}.png)\n\n{picture.caption}" for picture in experiment.pictures]
    return "\n\n".join(blocks) + "\n"


def _section(folder: Path) -> str:
    if not (folder / RESULTS).is_file():
        raise InputError(f"{folder}: no {RESULTS} there; run its experiment first")
    found = read_json(folder / RESULTS)
    shown = [f"<h2>{escape(found['title'])}</h2>", f"<p>{escape(found['text'])}</p>"]
    shown += [_picture(folder, picture) for picture in found["pictures"]]
    shown += [_table(table) for table in found["tables"]]
    return "<section>\n" + "\n".join(shown) + "\n</section>"


def _picture(folder: Path, picture: Mapping[str, str]) -> str:
    data = base64.b64encode((folder / f"{picture['name']}.svg").read_bytes()).decode()
    caption = escape(picture["caption"])
    source = f"data:image/svg+xml;base64,{data}"
    return f'<figure><img alt="{caption}" src="{source}"><figcaption>{caption}</figcaption></figure>'


def _table(table: Mapping[str, Any]) -> str:
    head, *body = table["rows"]
    rows = [_row("th", head), *(_row("td", row) for row in body)]
    return f"<table><caption>{escape(table['title'])}</caption>\n" + "\n".join(rows) + "\n</table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ max-width: 72rem; margin: 3rem auto; padding: 0 1.5rem; color: #222; background: #fff;
         font: 16px/1.55 system-ui, sans-serif; }}
  h1 {{ font-weight: 600; }}
  h2 {{ margin-top: 4rem; font-weight: 600; }}
  p, figcaption {{ max-width: 46rem; }}
  figure {{ margin: 2rem 0; overflow-x: auto; }}
  figure img {{ width: 100%; min-width: 40rem; }}
  figcaption {{ color: #555; font-size: 0.9rem; }}
  table {{ display: block; overflow-x: auto; border-collapse: collapse; margin: 2rem 0; font-size: 0.9rem;
          font-variant-numeric: tabular-nums; }}
  caption {{ text-align: left; color: #555; padding-bottom: 0.5rem; }}
  th, td {{ padding: 0.25rem 0.9rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }}
  th {{ font-weight: 600; border-bottom-color: #999; }}
  th:first-child, td:first-child {{ text-align: left; padding-left: 0; }}
</style>
<h1>{title}</h1>
{sections}
</html>
"""
