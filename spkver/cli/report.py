"""spkver report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from spkver.cli import outputs
from spkver.cli.named import named
from spkver.cli.terminal import to_stderr
from spkver.errors import InputError
from spkver.files import file_place, folder_place, readable_size
from spkver.report.report import report
from spkver.scoring.evaluation import DEFAULT_POINTS
from spkver.trials import Scores, read_labelled, read_trials

_FILE = click.Path(path_type=Path)


def _is_page(path: Path) -> bool:
    return path.suffix.lower() in (".html", ".htm")


def _place(path: Path) -> None:
    (file_place if _is_page(path) else folder_place)(path)


@click.command()
@click.argument("systems", nargs=-1, required=True, metavar="NAME=SCORES...")
@click.option("--trials", type=_FILE, help="Trial list with the labels of all score files.")
@click.option(
    "--out",
    type=outputs.Output(_place),
    required=True,
    help="HTML page (PAGE.html), or a directory for tables and DET curves.",
)
@click.option("--title", default="", help="Title of the report.")
@click.option("--point", "points", multiple=True, help="minDCF at this point; the first is marked in the DET plot.")
@click.option("--far", multiple=True, type=click.FloatRange(0, 1), help="Page: miss rate at this false-alarm rate.")
@click.option("--llr", is_flag=True, help="Page: scores are natural-log likelihood ratios; add actDCF, Cllr.")
@click.option("--threshold", type=float, help="Page: list errors at this threshold, not at the EER threshold.")
@click.option(
    "--data",
    type=_FILE,
    help="Page: table of the ids (a data directory, or CSV or Parquet with a column `id`). Adds intervals over "
    "speakers, paired tests, groups, worst speakers.",
)
@click.option("--by", multiple=True, help="Page: column of --data to group by.  [default: all suitable ones]")
@click.option("--replicates", type=click.IntRange(min=0), help="Page: bootstrap draws; 1000, fewer for long lists.")
@click.option("--seed", type=int, default=0, show_default=True, help="Page: seed of the bootstrap.")
@click.option("--embeddings", type=_FILE, help="Page: plot these embeddings by speaker.")
@click.option(
    "--projection", type=click.Choice(["tsne", "pca"]), help="Page: of --embeddings; t-SNE needs scikit-learn."
)
@click.option("--training", multiple=True, metavar="NAME=EXPERIMENT", help="Page: training curves (repeatable).")
@click.option(
    "--worst", type=click.IntRange(min=1), default=25, show_default=True, help="Page: number of errors listed."
)
@click.option("--audio", type=_FILE, help="Page: embed the recordings of the worst errors from this data directory.")
@click.option("--allow-pipes", is_flag=True, help="Page: run the shell commands in wav.scp of --audio.")
def command(
    systems: tuple[str, ...], trials: Path | None, out: Path, title: str, points: tuple[str, ...], **page: Any
) -> None:
    """Report results of one or more score files: a self-contained HTML page, or a directory of tables and DET curves.

    The page has error rates and costs, DET curves, score histograms, calibration and the worst errors. --data adds
    intervals, tests and groups; --embeddings a map; --training curves; --audio recordings. It works offline in any
    browser. Score files with labels need no --trials.

    \b
    Example:
      spkver report LMCL=lmcl.txt BD-LMCL=bd.txt --trials trials.txt --data data/test --out report.html
      spkver report LMCL=lmcl.txt BD-LMCL=bd.txt --trials trials.txt --out report
    """
    listed = read_trials(trials) if trials else None
    scores: dict[str, Scores] = {}
    for name, path in named(systems, "SCORES"):
        if name in scores:
            raise InputError(f"'{name}={path}': the name '{name}' is used twice")
        scores[name] = read_labelled(path, listed, name=trials, say=to_stderr)
    if _is_page(out):
        _page(scores, out, title, points or DEFAULT_POINTS, **page)
        voices = "; it contains voice recordings, which are personal data" if page["audio"] else ""
        click.echo(f"{out}: {readable_size(out.stat().st_size)}{voices}")
        return
    _refuse(page)
    click.echo(report(scores, out, title=title, points=points or DEFAULT_POINTS))
    click.echo(f"{out}: results.txt, results.md, results.json, det.png, det.svg")


def _page(
    scores: dict[str, Scores],
    out: Path,
    title: str,
    points: Sequence[str],
    *,
    data: Path | None,
    embeddings: Path | None,
    training: tuple[str, ...],
    audio: Path | None,
    allow_pipes: bool,
    by: tuple[str, ...],
    **settings: Any,
) -> None:
    from spkver.datadir import read_datadir
    from spkver.formats.convert import read
    from spkver.report.curves import read_curves
    from spkver.report.page import Material, Settings, write_page
    from spkver.scoring.metadata import read_table

    runs: dict[str, list[Any]] = {}
    for name, path in named(training, "EXPERIMENT"):
        runs.setdefault(name, []).append(read_curves(path))
    write_page(
        scores,
        out,
        title=title,
        settings=Settings(points=points, by=by or None, **settings),
        material=Material(
            known=read_table(data) if data else None,
            embeddings=read(embeddings) if embeddings else None,
            runs=runs,
            recordings=read_datadir(audio, allow_pipes=True) if audio else None,
            allow_pipes=allow_pipes,
        ),
    )


def _refuse(names: Iterable[str]) -> None:
    """Raise InputError for the first of these options that was given."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise InputError(f"--{name.replace('_', '-')} needs a page: give --out PAGE.html")
