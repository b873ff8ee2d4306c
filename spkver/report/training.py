"""What a training run looks like afterwards: its curves and what looks wrong, on one page."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spkver.errors import InputError
from spkver.files import StrPath, write_text
from spkver.page import Axis, Chart, Html, document, figure, html, legend, section, span
from spkver.report.curves import draw_all
from spkver.report.health import Run, findings, summary
from spkver.training.log import is_share

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
    draw_all({name: [run.curves] for name, run in runs.items()}, _logged(runs), paths)


def write_page(runs: Mapping[str, Run], out: StrPath, *, title: str) -> None:
    """Write one HTML file that needs nothing else: what was found of each run, and their curves.

    Raises InputError for runs that logged nothing.
    """
    key = legend(list(runs)) if len(runs) > 1 else ""
    panels = "".join(figure(_chart(runs, name).svg(f"{name} over the steps"), _label(name)) for name in _logged(runs))
    curves = section("Curves", Html(f'{key}<div class="plots">{panels}</div>\n'))
    told = {name: plain(run) for name, run in runs.items()}
    write_text(out, document(title, *(_section(name, run) for name, run in runs.items()), curves, data={"runs": told}))


def _logged(runs: Mapping[str, Run]) -> list[str]:
    known = {name for run in runs.values() for name in run.curves}
    names = [name for name in PANELS if name in known]
    if not names:
        raise InputError(f"{', '.join(runs)}: nothing was logged yet")
    return names


def _section(name: str, run: Run) -> Html:
    found = "".join(f"<li><b>{html(f.rule.replace('_', ' '))}</b>: {html(f.text)}</li>\n" for f in findings(run))
    return section(name, Html(f"<ul>\n{found}</ul>\n" if found else f"<p>{HEALTHY}</p>\n"), note=summary(run))


def _chart(runs: Mapping[str, Run], name: str) -> Chart:
    scale = 100 if is_share(name) else 1
    curves = {run: (one.steps_of(name), scale * one.of(name)) for run, one in runs.items()}
    steps, values = (np.concatenate([curve[axis] for curve in curves.values()]) for axis in (0, 1))
    low, high = span(values, 0.05)
    chart = Chart(Axis("step", 0, max(1, float(steps.max()))), Axis(_label(name), low, high), height=230)
    for number, (run, (x, y)) in enumerate(curves.items()):
        whole = np.isfinite(y)
        if whole.sum() > 1:
            chart.line(x[whole], y[whole], number, run)
        else:
            chart.dots(x[whole], y[whole], number, [f"{run}: {value:.4g}" for value in y[whole]])
    return chart


def _label(name: str) -> str:
    return f"{name.replace('_', ' ')}{' (%)' if is_share(name) else ''}"
