"""spkver breakdown."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from spkver import tables
from spkver.cli import inputs, options
from spkver.cli.terminal import to_stderr
from spkver.files import write_json
from spkver.scoring.breakdown import break_down, worst_speakers
from spkver.scoring.metadata import read_table
from spkver.trials import read_labelled

_FILE = inputs.FILE


@click.command()
@click.argument("scores", type=_FILE)
@click.argument("table", type=_FILE)
@options.trials
@click.option("--by", default="speaker", show_default=True, help="Column of TABLE; `speaker` lists the worst speakers.")
@click.option("--edges", help="Band edges for a numeric column: 2,5,10.  [default: quartiles]")
@click.option("--worst", type=click.IntRange(min=1), default=10, show_default=True, help="Number of speakers printed.")
@options.as_json
@options.json_file
def command(
    scores: Path,
    table: Path,
    trials: Path | None,
    by: str,
    edges: str | None,
    worst: int,
    as_json: bool,
    out: Path | None,
) -> None:
    """Errors of SCORES by group. TABLE describes the ids: a data directory, a pack, or a .csv or .parquet file with a
    column `id`.

    All errors are counted at the EER threshold of the whole list. With --by speaker, the worst speakers come first,
    each with the speaker it is most often confused with.

    \b
    Example:
      spkver breakdown scores.txt data/test --trials trials.txt --by seconds --edges 2,5,10
    """
    scored = read_labelled(scores, trials, say=to_stderr)
    known = read_table(table)
    if by == "speaker":
        rows = [asdict(row) for row in worst_speakers(scored, known)]
        shown = [_speaker_row(row) for row in rows[:worst]]
        head = ["speaker", "misses", "of", "false alarms", "of", "taken for", "times"]
    else:
        rows = [asdict(row) for row in break_down(scored, known, by, _numbers(edges))]
        shown = [_group_row(row) for row in rows]
        head = [by, "targets", "nontargets", "miss %", "false alarm %", "EER %"]
    if out:
        write_json(out, rows)
    click.echo(json.dumps(rows, indent=2) if as_json else tables.text([head, *shown]))


def _speaker_row(row: dict[str, Any]) -> list[str]:
    return [str(value) for value in row.values()]


def _group_row(row: dict[str, Any]) -> list[str]:
    rates = ["" if row[name] is None else f"{100 * row[name]:.2f}" for name in ("miss", "false_alarm", "eer")]
    return [row["name"], str(row["targets"]), str(row["nontargets"]), *rates]


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"'{text}': expected numbers, as in 2,5,10", param_hint="--edges") from error
