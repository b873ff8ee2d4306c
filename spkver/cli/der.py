"""spkver der."""

from __future__ import annotations

import json
from pathlib import Path

import click

from spkver.cli import inputs, options
from spkver.cli.terminal import to_stderr
from spkver.files import write_json
from spkver.rttm import read_turns, read_uem


@click.command()
@click.argument("reference", type=inputs.FILE)
@click.argument("hypothesis", type=inputs.FILE)
@click.option("--uem", type=inputs.FILE, help="Score only the recordings and regions of this UEM file.")
@click.option(
    "--collar",
    type=options.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Seconds before and after each change in REFERENCE that are not scored.",
)
@click.option("--skip-overlap", is_flag=True, help="Do not score where several people speak in REFERENCE.")
@options.replicates
@options.as_json
@options.json_file
def command(
    reference: Path,
    hypothesis: Path,
    uem: Path | None,
    collar: float,
    skip_overlap: bool,
    replicates: int,
    as_json: bool,
    out: Path | None,
) -> None:
    """Compute the diarization error rate (DER) and Jaccard error rate (JER) of HYPOTHESIS.

    Both files are RTTM, JSON, or label tracks of Audacity (.txt). Without a UEM file, recordings without a hypothesis
    count as missed, those without a reference as false alarms. The defaults score everything: no collar, with overlap.

    \b
    Example:
      spkver der ref.rttm hyp.rttm --uem all.uem
      spkver der ref.rttm hyp.rttm --collar 0.25 --skip-overlap
    """
    from spkver.scoring.diarization import evaluate_turns

    found = evaluate_turns(
        read_turns(reference),
        read_turns(hypothesis),
        read_uem(uem) if uem else None,
        collar=collar,
        skip_overlap=skip_overlap,
        replicates=replicates,
    )
    for note in found.notes:
        to_stderr(f"warning: {note}")
    if out:
        write_json(out, found.plain())
    click.echo(json.dumps(found.plain(), indent=2, ensure_ascii=False) if as_json else found.text())
