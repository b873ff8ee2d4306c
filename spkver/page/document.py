"""HTML pages: the document, sections, tables and figures.

Text is escaped unless it is `Html`, so ids and names cannot inject markup. The content security policy of a page allows
only its own style and script, by hash, and loads nothing.
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
    """A string of markup, which is not escaped."""

    __slots__ = ()


def html(text: str) -> Html:
    """Escape text; `Html` is returned as it is."""
    return text if isinstance(text, Html) else Html(escape(text))


def document(title: str, *blocks: Html, data: Mapping[str, Any] | None = None) -> str:
    """A complete page.

    data: numbers for programs, by name, written as JSON to `<script type="application/json" id=NAME>`
    """
    return application(
        title,
        *blocks,
        style="",
        script=asset("script.js"),
        allow={"img-src": "data:", "media-src": "data: 'self'"},
        data=data,
    )


def application(
    title: str,
    *blocks: Html,
    style: str,
    script: str,
    allow: Mapping[str, str],
    data: Mapping[str, Any] | None = None,
    binary: Mapping[str, bytes] | None = None,
) -> str:
    """A page with a program of its own.

    style, script: added to the style of all pages, and in place of their script
    allow: directives of the content security policy beyond its own style and script; for `script-src`, more sources
    data: as for `document`; binary: the same for bytes, written in base64 to `<script type="text/plain" id=NAME>`
    """
    style = asset("chart.css") + asset("style.css") + style
    rules = {"style-src": _hash(style), **allow}
    rules["script-src"] = f"{_hash(script)} {allow.get('script-src', '')}".strip()
    policy = "; ".join(["default-src 'none'", *map(" ".join, rules.items()), "base-uri 'none'", "form-action 'none'"])
    kept = "".join(
        f'<script type="application/json" id="{escape(name)}">{_json(value)}</script>\n'
        for name, value in (data or {}).items()
    ) + "".join(
        f'<script type="text/plain" id="{escape(name)}">{base64.b64encode(value).decode()}</script>\n'
        for name, value in (binary or {}).items()
    )
    body = "\n".join(blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>\n{kept}<script>{script}</script>\n"
        "</body>\n</html>\n"
    )


def section(title: str, *blocks: Html, note: str = "") -> Html:
    """A section with a heading and an optional note."""
    words = f'<p class="note">{html(note)}</p>\n' if note else ""
    return Html(f'<section id="{_anchor(title)}">\n<h2>{html(title)}</h2>\n{words}{"".join(blocks)}</section>\n')


def contents(titles: Sequence[str]) -> Html:
    """A list of links to sections, by their titles."""
    items = "".join(f'<li><a href="#{_anchor(title)}">{html(title)}</a></li>' for title in titles)
    return Html(f'<nav aria-label="contents"><ul>{items}</ul></nav>\n')


def paragraph(words: str, kind: str = "") -> Html:
    """A paragraph; kind: "note" or "warning"."""
    return Html(f'<p class="{kind}">{html(words)}</p>\n' if kind else f"<p>{html(words)}</p>\n")


def side_by_side(*figures: Html) -> Html:
    """Figures in columns, as many as fit."""
    return Html(f'<div class="plots">\n{"".join(figures)}</div>\n')


def table(
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    words: int = 1,
    sortable: bool = False,
    pick: Sequence[int] = (),
) -> Html:
    """A table. The first row is the head; numbers are aligned to the right.

    words: number of columns, from the left, that hold words
    sortable: the script of the page adds sorting by column and a text filter; long tables scroll
    pick: columns of a sortable table with a menu to choose one value
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
    """A drawing with a caption; key: legend; numbers: table of its values, folded."""
    behind = f"<details><summary>Numbers</summary>\n{numbers}</details>\n" if numbers else ""
    return Html(
        f"<figure>\n<figcaption>{html(caption)}</figcaption>\n{key}{drawing}"
        f'<output class="readout" aria-live="polite"></output>\n{behind}</figure>\n'
    )


def legend(names: Sequence[str], numbers: Sequence[int] | None = None) -> Html:
    """The legend of a chart; numbers: the series of the names, by default 0, 1, 2, ..."""
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 24 8" aria-hidden="true"><path class="line {series(number)}" '
        f'd="M0 4H24"/></svg>{html(name)}</li>'
        for number, name in zip(range(len(names)) if numbers is None else numbers, names)
    )
    return Html(f'<ul class="legend">{items}</ul>\n')


def series(number: int) -> str:
    """The CSS classes of a series: colour and dashes."""
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
