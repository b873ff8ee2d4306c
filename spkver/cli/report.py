"""spkver report."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.errors import InputError
from spkver.report.report import report
from spkver.scoring.evaluation import DEFAULT_POINTS
from spkver.trials import Scores, join, read_scores, read_trials


@click.command()
@click.argument("systems", nargs=-1, required=True, metavar="NAME=SCORES...")
@click.option("--trials", type=click.Path(path_type=Path), help="The trial list with the labels of all score files.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory of the report.")
@click.option("--title", default="", help="Above the table and the curves.")
@click.option("--point", "points", multiple=True, help="minDCF at this operating point; the first is marked.")
def command(systems: tuple[str, ...], trials: Path | None, out: Path, title: str, points: tuple[str, ...]) -> None:
    """A table of results and the DET curves of one or more score files, written to a directory.

    Score files with labels need no --trials.

    \b
    Example:
      spkver report LMCL=lmcl.txt BD-LMCL=bd.txt --trials trials.txt --out report
    """
    listed = read_trials(trials) if trials else None
    scores: dict[str, Scores] = {}
    for system in systems:
        name, equals, path = system.partition("=")
        if not (name and equals and path) or name in scores:
            raise InputError(f"'{system}': expected NAME=SCORES, each name once")
        own = read_scores(path)
        scores[name] = join(own, listed, names=(path, str(trials))) if listed else own
    click.echo(report(scores, out, title=title, points=points or DEFAULT_POINTS))
    click.echo(f"{out}: results.txt, results.md, results.json, det.png, det.svg")
