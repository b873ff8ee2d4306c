"""What a training run looks like afterwards: its curves and what looks wrong, on one page."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from html import escape
from pathlib import Path

from spkver.errors import InputError
from spkver.files import StrPath, write_text
from spkver.report.curves import draw_all
from spkver.report.health import Run, findings, summary

PANELS = (
    *("loss", "accuracy", "margin_accuracy", "boundary_share", "target_cosine", "hardest_cosine"),
    *("dev_eer", "dev_min_dcf", "gradient_norm", "lr", "margin", "utterances_per_second", "waiting"),
)
"""What is drawn, where it was logged"""

HEALTHY = "Nothing looks wrong."


def plain(run: Run) -> dict[str, object]:
    """What is told of a run, as JSON has it."""
    found = [{"rule": finding.rule, "text": finding.text} for finding in findings(run)]
    return {"step": run.last_step, "steps": run.steps, "summary": summary(run), "findings": found}


def text(name: str, run: Run) -> str:
    """What is told of a run, as the terminal has it."""
    found = [f"  {finding.rule}: {finding.text}" for finding in findings(run)]
    return "\n".join([f"{name}: {summary(run)}", *(found or [f"  {HEALTHY}"])])


def draw(runs: Mapping[str, Run], paths: Mapping[str, StrPath]) -> None:
    """Draw the curves of runs, a panel for each metric and a line for each run that logged it.

    paths: the format ("png", "svg") and the file to write. Raises InputError where matplotlib is not installed, and for
    runs that logged nothing.
    """
    known = {name for run in runs.values() for name in run.curves}
    names = [name for name in PANELS if name in known]
    if not names:
        raise InputError(f"{', '.join(runs)}: nothing was logged yet")
    draw_all({name: [run.curves] for name, run in runs.items()}, names, paths)


def write_page(runs: Mapping[str, Run], out: StrPath, *, title: str) -> None:
    """Write one HTML file that needs nothing else: what was found of each run, and their curves. Raises as `draw`."""
    with tempfile.TemporaryDirectory() as folder:
        draw(runs, {"svg": Path(folder) / "curves.svg"})
        picture = (Path(folder) / "curves.svg").read_text(encoding="utf-8")
    sections = "".join(_section(name, run) for name, run in runs.items())
    write_text(out, _PAGE.format(title=escape(title), sections=sections, picture=picture[picture.index("<svg") :]))


def _section(name: str, run: Run) -> str:
    found = [f"<li><b>{escape(f.rule.replace('_', ' '))}</b> {escape(f.text)}</li>" for f in findings(run)]
    words = f"<ul>{''.join(found)}</ul>" if found else f"<p>{HEALTHY}</p>"
    return f"<h2>{escape(name)}</h2>\n<p>{escape(summary(run))}</p>\n{words}\n"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#222}}
ul,p{{max-width:50em}}svg{{width:100%;height:auto}}</style></head><body>
<h1>{title}</h1>
{sections}{picture}
</body></html>
"""
