"""Report of training runs: their curves and likely problems."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spkver.errors import InputError
from spkver.files import StrPath, write_text
from spkver.page import Html, document, html, legend, section
from spkver.report import plots
from spkver.report.curves import Curve
from spkver.report.health import Run, findings, summary

PANELS = (
    *("loss", "accuracy", "margin_accuracy", "boundary_share", "active_share", "target_cosine", "hardest_cosine"),
    *("distil_cosine", "teacher_entropy", "batch_entropy", "positives"),
    *("dev_eer", "dev_min_dcf", "gradient_norm", "lr", "margin", "utterances_per_second", "waiting"),
)
"""Metrics to plot, if logged"""

HEALTHY = "No problems found."


def plain(run: Run) -> dict[str, object]:
    """The report of a run as plain values for JSON."""
    found = [{"rule": finding.rule, "text": finding.text} for finding in findings(run)]
    return {"step": run.last_step, "steps": run.steps, "summary": summary(run), "findings": found}


def text(name: str, run: Run) -> str:
    """The report of a run as text for the terminal."""
    found = [f"  {finding.rule}: {finding.text}" for finding in findings(run)]
    return "\n".join([f"{name}: {summary(run)}", *(found or [f"  {HEALTHY}"])])


def write_page(runs: Mapping[str, Run], out: StrPath, *, title: str = "Training") -> None:
    """Write a self-contained HTML file with the problems and the curves of the runs.

    Raises InputError for runs without logged values.
    """
    numbers = {name: number for number, name in enumerate(runs)}
    curves = {name: [_finite(run.curves)] for name, run in runs.items()}
    panels = "".join(plots.training(curves, metric, numbers) for metric in _logged(runs))
    key = legend(list(runs)) if len(runs) > 1 else ""
    drawn = section("Curves", Html(f'{key}<div class="plots">{panels}</div>\n'))
    told = {name: plain(run) for name, run in runs.items()}
    write_text(out, document(title, *(_section(name, run) for name, run in runs.items()), drawn, data={"runs": told}))


def _logged(runs: Mapping[str, Run]) -> list[str]:
    known = {name for run in runs.values() for name in _finite(run.curves)}
    names = [name for name in PANELS if name in known]
    if not names:
        raise InputError(f"{', '.join(runs)}: nothing was logged yet")
    return names


def _section(name: str, run: Run) -> Html:
    found = "".join(f"<li><b>{html(f.rule.replace('_', ' '))}</b>: {html(f.text)}</li>\n" for f in findings(run))
    return section(name, Html(f"<ul>\n{found}</ul>\n" if found else f"<p>{HEALTHY}</p>\n"), note=summary(run))


def _finite(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The finite points of the curves."""
    whole = {name: np.isfinite(values) for name, (_, values) in curves.items()}
    return {name: (curves[name][0][there], curves[name][1][there]) for name, there in whole.items() if there.any()}
