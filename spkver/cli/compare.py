"""spkver compare."""

from __future__ import annotations

from pathlib import Path

import click

from spkver import tables
from spkver.cli import inputs, options
from spkver.cli.terminal import to_stderr
from spkver.files import write_json
from spkver.metrics import OPERATING_POINTS
from spkver.scoring.comparison import TOO_FEW, compare
from spkver.scoring.evaluation import DEFAULT_POINTS
from spkver.scoring.metadata import read_speakers
from spkver.trials import Scores, read_labelled, read_trials


@click.command()
@click.argument("systems", nargs=-1, required=True, metavar="NAME=SCORES...")
@click.option("--trials", type=inputs.FILE, required=True, help="Trial list with the labels.")
@options.speakers("Speakers of the ids: adds bootstrap intervals over speakers and p-values against the first NAME.")
@click.option("--point", "points", multiple=True, help=f"minDCF at this point: {', '.join(OPERATING_POINTS)}.")
@options.replicates
@options.markdown
@options.json_file
def command(
    systems: tuple[str, ...],
    trials: Path,
    speakers: tuple[Path, ...],
    points: tuple[str, ...],
    replicates: int,
    markdown: bool,
    out: Path | None,
) -> None:
    """Compare systems with confidence intervals and paired tests. A repeated NAME is another run of that system, for
    example with another seed. The other systems are compared with the first NAME.

    \b
    Example:
      spkver compare LMCL=lmcl1.txt LMCL=lmcl2.txt BD-LMCL=bd1.txt BD-LMCL=bd2.txt \\
        --trials trials.txt --speakers data/test
    """
    listed = read_trials(trials)
    scores: dict[str, list[Scores]] = {}
    for name, path in options.named(systems, "SCORES"):
        scores.setdefault(name, []).append(read_labelled(path, listed, name=trials, say=to_stderr))
    found = compare(
        scores,
        read_speakers(speakers) if speakers else None,
        points=points or DEFAULT_POINTS,
        replicates=replicates,
    )
    if speakers and not found.has_intervals:
        to_stderr(TOO_FEW)
    if out:
        write_json(out, found.plain())
    click.echo((tables.markdown if markdown else tables.text)(found.rows()))
