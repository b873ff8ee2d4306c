"""spkver evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import click

from spkver.cli import inputs, options, outputs
from spkver.cli.terminal import to_stderr
from spkver.files import write_json
from spkver.metrics import OPERATING_POINTS, PRIMARY_COSTS, error_curve
from spkver.scoring.evaluation import DEFAULT_POINTS, evaluate_curve, read_weights, write_curve
from spkver.trials import check, read_labelled


@click.command()
@click.argument("scores", type=inputs.FILE)
@options.trials
@click.option(
    "--point", "points", multiple=True, help=f"minDCF at this point: {', '.join([*OPERATING_POINTS, *PRIMARY_COSTS])}."
)
@click.option(
    "--far",
    multiple=True,
    type=options.FloatRange(0, 1),
    help="Add the miss rate at this false-alarm rate (repeatable).",
)
@click.option(
    "--weights",
    metavar="FILE[:COLUMN]",
    help="Weight of each trial: lines `enrol test weight`, or a column of a .csv or .parquet.",
)
@click.option("--llr", is_flag=True, help="The scores are natural-log likelihood ratios: add actDCF and Cllr.")
@click.option("--curve", type=outputs.FILE, help="Write the error curve: threshold, false_alarm, miss (CSV).")
@options.as_json
@options.json_file
def command(
    scores: Path,
    trials: Path | None,
    points: tuple[str, ...],
    far: tuple[float, ...],
    weights: str | None,
    llr: bool,
    curve: Path | None,
    as_json: bool,
    out: Path | None,
) -> None:
    """Compute EER and minDCF of SCORES. Score files with labels need no --trials.

    With --weights, error rates are weighted, so that a condition with few trials can count as much as a large one.

    \b
    Example:
      spkver evaluate scores.txt --trials trials.txt --point vox-0.01 --far 0.01
      spkver evaluate scores.txt --trials trials.parquet --weights trials.parquet:weight
    """
    scored = read_labelled(scores, trials, say=to_stderr)
    for odd in check(scored.trials):
        click.echo(f"warning: {odd}", err=True)
    errors = error_curve(scored.values, scored.labels, read_weights(weights, scored) if weights else None)
    found = evaluate_curve(errors, len(scored), points or DEFAULT_POINTS, far=far, llr=llr)
    if curve:
        write_curve(curve, errors)
    if out:
        write_json(out, found.plain())
    click.echo(json.dumps(found.plain(), indent=2) if as_json else found.table())
