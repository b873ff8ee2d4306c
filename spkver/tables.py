"""Tables of text, in columns or in Markdown. The first row is the head."""

from __future__ import annotations

from collections.abc import Sequence

Rows = Sequence[Sequence[str]]


def text(rows: Rows, *, words: int = 1) -> str:
    """The table in aligned columns; words: number of columns, from the left, that hold words, not numbers."""
    head, *body = columns(rows, words=words)
    return "\n".join([head, "-" * len(head), *body])


def markdown(rows: Rows) -> str:
    """The table in Markdown; the first column holds words, the others numbers."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])


def columns(rows: Rows, *, words: int = 1) -> list[str]:
    """The rows as lines with aligned columns, words to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.ljust(width) if column < words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]
