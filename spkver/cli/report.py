"""spkver report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from spkver import tables
from spkver.cli import inputs, options, outputs
from spkver.cli.terminal import to_stderr
from spkver.errors import InputError
from spkver.files import file_place, folder_place, readable_size
from spkver.scoring.evaluation import DEFAULT_POINTS
from spkver.trials import Scores, read_labelled, read_trials

_FILE = inputs.FILE


def _place(path: Path) -> None:
    from spkver.report.page import is_page

    (file_place if is_page(path) else folder_place)(path)


@click.command()
@click.argument("systems", nargs=-1, required=True, metavar="NAME=SCORES... | --diarization [REFERENCE] HYPOTHESIS")
@options.trials
@click.option(
    "--out",
    type=outputs.Output(_place),
    required=True,
    help="PAGE.html, or a directory for the page, a Markdown table, the numbers (JSON) and DET curves (SVG).",
)
@click.option("--title", default="", help="Title of the report.")
@click.option("--point", "points", multiple=True, help="minDCF at this point; the first is marked in the DET plot.")
@click.option("--far", multiple=True, type=options.FloatRange(0, 1), help="Miss rate at this false-alarm rate.")
@click.option("--llr", is_flag=True, help="The scores are natural-log likelihood ratios; add actDCF, Cllr.")
@click.option("--threshold", type=float, help="List errors at this threshold, not at the EER threshold.")
@click.option(
    "--data",
    type=_FILE,
    help="Data directory, pack, or .csv or .parquet file that describes the ids. Adds intervals over speakers, paired "
    "tests, groups, worst speakers.",
)
@click.option("--by", multiple=True, help="Column of --data to group by.  [default: all suitable ones]")
@click.option(
    "--replicates", type=click.IntRange(min=0), help="Bootstrap draws.  [default: 1000, fewer for long lists]"
)
@click.option(
    "--embeddings", type=_FILE, help="Map of these embeddings: by t-SNE if scikit-learn is installed, otherwise by PCA."
)
@click.option("--training", multiple=True, metavar="NAME=EXPERIMENT", help="Training curves (repeatable).")
@click.option("--worst", type=click.IntRange(min=1), default=25, show_default=True, help="Number of errors listed.")
@click.option("--audio", type=_FILE, help="Embed the recordings of the worst errors from this data directory.")
@click.option("--allow-pipes", is_flag=True, help="Run the shell commands in wav.scp of --audio.")
@click.option(
    "--diarization",
    is_flag=True,
    help="Page of who speaks when, from files of turns (RTTM, JSON, Audacity labels), with --title, --uem, --audio, "
    "--embed only. The page links to the recordings of --audio, a data directory or a recording.",
)
@click.option("--uem", type=_FILE, help="With --diarization: score only these regions.")
@click.option("--embed", is_flag=True, help="With --diarization: embed the recordings, one hour at most.")
@click.pass_context
def command(
    context: click.Context,
    systems: tuple[str, ...],
    trials: Path | None,
    out: Path,
    title: str,
    data: Path | None,
    embeddings: Path | None,
    training: tuple[str, ...],
    audio: Path | None,
    allow_pipes: bool,
    points: tuple[str, ...],
    by: tuple[str, ...],
    diarization: bool,
    uem: Path | None,
    embed: bool,
    **settings: Any,
) -> None:
    """Report results of one or more score files as a self-contained HTML page.

    The page has error rates and costs, DET curves, score histograms, calibration and the worst errors. --data adds
    intervals, tests and groups; --embeddings a map; --training curves; --audio recordings. It works offline in any
    browser. Score files with labels need no --trials.

    \b
    Example:
      spkver report LMCL=lmcl.txt BD-LMCL=bd.txt --trials trials.txt --data data/test --out report.html
      spkver report LMCL=lmcl.txt BD-LMCL=bd.txt --trials trials.txt --out report
      spkver report --diarization ref.rttm hyp.rttm --audio data/meetings --out meetings.html
    """
    used = {name for name in context.params if context.get_parameter_source(name) == ParameterSource.COMMANDLINE}
    if diarization:
        if other := used - {"systems", "out", "diarization", "title", "uem", "audio", "embed"}:
            raise InputError(f"--{min(other).replace('_', '-')} has no effect with --diarization; leave it out")
        _diarization(systems, out, title, uem, audio, embed)
        return
    if other := used & {"uem", "embed"}:
        raise InputError(f"--{min(other)} needs --diarization")
    from spkver.report.page import Material, Settings, make_report

    listed = read_trials(trials) if trials else None
    scores: dict[str, Scores] = {}
    for name, path in options.named(systems, "SCORES"):
        if name in scores:
            raise InputError(f"'{name}={path}': the name '{name}' is used twice")
        scores[name] = read_labelled(path, listed, name=trials, say=to_stderr)
    report = make_report(
        scores,
        title=title,
        settings=Settings(points=points or DEFAULT_POINTS, by=by or None, **settings),
        material=Material.read(
            data=data,
            embeddings=embeddings,
            training=options.named(training, "EXPERIMENT"),
            audio=audio,
            allow_pipes=allow_pipes,
        ),
    )
    page = report.write(out)
    click.echo(tables.text(report.rows))
    voices = "; it contains voice recordings, which are personal data" if audio else ""
    click.echo(f"{page}: {readable_size(page.stat().st_size)}{voices}")


def _diarization(
    files: tuple[str, ...], out: Path, title: str, uem: Path | None, audio: Path | None, embed: bool
) -> None:
    """Write the page of who speaks when, and print the error rates if there is a reference."""
    from spkver.report import diarization
    from spkver.report.page import is_page
    from spkver.rttm import read_turns, read_uem
    from spkver.scoring.diarization import evaluate_turns

    if len(files) > 2 or not is_page(out) or (embed and not audio):
        raise InputError("--diarization takes [REFERENCE] HYPOTHESIS and --out PAGE.html; --embed needs --audio")
    if uem and len(files) == 1:
        raise InputError("--uem needs a reference")
    reference, hypothesis = (read_turns(path) for path in files) if len(files) == 2 else ([], read_turns(files[0]))
    scored = evaluate_turns(reference, hypothesis, read_uem(uem) if uem else None) if len(files) == 2 else None
    names = sorted({turn.recording for turn in (*reference, *hypothesis)})
    found = diarization.sounds(audio, names, out, embed=embed) if audio and names else None
    diarization.write_page(out, hypothesis, scored, reference, found, title=title)
    if scored:
        click.echo(scored.text())
    voices = "; it contains voice recordings, which are personal data" if embed else ""
    click.echo(f"{out}: {readable_size(out.stat().st_size)}{voices}")
