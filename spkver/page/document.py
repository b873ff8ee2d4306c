"""The parts of a page: sections, tables, figures, and the document around them.

Whatever is not markup already (`Html`) is escaped, so that an id or a name cannot become part of the page. The policy
in the page's head lets it load nothing at all and run no script but the one that stands in it, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

COLOURS = 7  # of chart.css
_DASHES = 4


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def html(text: str) -> Html:
    """Text as markup: escaped, unless it is markup already."""
    return text if isinstance(text, Html) else Html(escape(text))


def document(title: str, *blocks: Html, data: Mapping[str, Any] | None = None) -> str:
    """The whole page.

    data: the page's numbers by name, to be read by programs: JSON in `<script type="application/json" id=NAME>`
    """
    style, script = asset("chart.css") + asset("style.css"), asset("script.js")
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    numbers = "".join(
        f'<script type="application/json" id="{escape(name)}">{_json(value)}</script>\n'
        for name, value in (data or {}).items()
    )
    body = "\n".join(blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>\n{numbers}<script>{script}</script>\n"
        "</body>\n</html>\n"
    )


def section(title: str, *blocks: Html, note: str = "") -> Html:
    """A part of the page under a heading, with a note for the reader below it."""
    words = f'<p class="note">{html(note)}</p>\n' if note else ""
    return Html(f'<section id="{_anchor(title)}">\n<h2>{html(title)}</h2>\n{words}{"".join(blocks)}</section>\n')


def contents(titles: Sequence[str]) -> Html:
    """Links to the sections of these titles."""
    items = "".join(f'<li><a href="#{_anchor(title)}">{html(title)}</a></li>' for title in titles)
    return Html(f'<nav aria-label="contents"><ul>{items}</ul></nav>\n')


def paragraph(words: str, kind: str = "") -> Html:
    """A paragraph; kind: "note" or "warning"."""
    return Html(f'<p class="{kind}">{html(words)}</p>\n' if kind else f"<p>{html(words)}</p>\n")


def side_by_side(*figures: Html) -> Html:
    """Figures in as many columns as there is room for."""
    return Html(f'<div class="plots">\n{"".join(figures)}</div>\n')


def table(
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    words: int = 1,
    sortable: bool = False,
    pick: Sequence[int] = (),
) -> Html:
    """A table, its head the first of the rows; numbers to the right.

    words: so many columns, from the left, hold words
    sortable: by any column, filtered by any words (with the page's script), and scrolled in a box of its own; pick:
        columns to choose a value of
    """
    head, *body = rows

    def cell(column: int, text: str, tag: str) -> str:
        number = ' class="number"' if column >= words else ""
        return f"<{tag}{number}>{html(text)}</{tag.split()[0]}>"

    top = "".join(cell(column, text, 'th scope="col"') for column, text in enumerate(head))
    lines = "".join(
        "<tr>"
        + "".join(cell(column, text, "td" if column else 'th scope="row"') for column, text in enumerate(row))
        + "</tr>\n"
        for row in body
    )
    caption = f"<caption>{html(title)}</caption>\n" if title else ""
    kind = f' class="sortable" data-pick="{" ".join(map(str, pick))}"' if sortable else ""
    label = escape(title or "table")
    return Html(
        f'<div class="{"wide tall" if sortable else "wide"}" role="region" tabindex="0" aria-label="{label}">'
        f"<table{kind}>\n{caption}<thead><tr>{top}</tr></thead>\n<tbody>\n{lines}</tbody></table></div>\n"
    )


def figure(drawing: Html, caption: str, *, key: str = "", numbers: str = "") -> Html:
    """A drawing with a caption, its key and, folded away, the table of its numbers."""
    behind = f"<details><summary>Numbers</summary>\n{numbers}</details>\n" if numbers else ""
    return Html(
        f"<figure>\n<figcaption>{html(caption)}</figcaption>\n{key}{drawing}"
        f'<output class="readout" aria-live="polite"></output>\n{behind}</figure>\n'
    )


def legend(names: Sequence[str], numbers: Sequence[int] | None = None) -> Html:
    """What the lines of a chart are; numbers: their series, 0, 1, 2, ... without."""
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 24 8" aria-hidden="true"><path class="line {series(number)}" '
        f'd="M0 4H24"/></svg>{html(name)}</li>'
        for number, name in zip(range(len(names)) if numbers is None else numbers, names)
    )
    return Html(f'<ul class="legend">{items}</ul>\n')


def series(number: int) -> str:
    """The classes of the line of that number: its colour and its dashes."""
    return f"s{number % COLOURS} d{number // COLOURS % _DASHES}"


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part"


@cache
def asset(name: str) -> str:
    """The content of a file of this folder."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
