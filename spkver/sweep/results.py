"""The results of a sweep, as text, CSV and page."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spkver import tables
from spkver.files import write_text
from spkver.page import Html, contents, document, legend, paragraph, section, side_by_side, table
from spkver.report import plots
from spkver.report.curves import Curve, last_values, read_curves
from spkver.scoring.comparison import Comparison, compare
from spkver.scoring.metadata import read_speakers
from spkver.sweep.plan import Run
from spkver.sweep.schema import Sweep
from spkver.trials import read_labelled, read_trials

METRICS = ("dev_eer", "dev_min_dcf", "accuracy", "margin_accuracy", "boundary_share", "loss")
"""What is shown of the training logs, if it was logged"""
_CURVES = 28  # most systems in one plot; there are as many kinds of lines


@dataclass(frozen=True)
class Results:
    """The results of complete runs.

    settings: what differs from the recipe in each system
    runs: the training curves of the runs of each system; tests: the comparison on each trial list
    best: for each grid or search, the system with the lowest error rate on the dev speakers, and that rate
    failed: the reason of each failed run, by name
    """

    settings: Mapping[str, str]
    runs: Mapping[str, Sequence[Mapping[str, Curve]]]
    tests: Mapping[str, Comparison]
    best: Mapping[str, tuple[str, float]]
    failed: Mapping[str, str]

    def parts(self) -> dict[str, list[list[str]]]:
        """The tables by title."""
        found: dict[str, list[list[str]]] = {}
        if self.runs:
            found["Training"] = last_values(self.runs, self._logged())
        if self.best:
            rows = [
                [name, system, f"{100 * rate:.2f}", self.settings[system]] for name, (system, rate) in self.best.items()
            ]
            found["Best of each grid and search"] = [["system", "best", "on the dev speakers %", "settings"], *rows]
        for name, compared in self.tests.items():
            found[f"{name}, {compared.trials} trials"] = compared.rows()
        if self.failed:
            found["Failed runs"] = [["run", "reason"], *([name, why] for name, why in self.failed.items())]
        return found

    def text(self) -> str:
        """All tables as text."""
        return "\n\n".join(
            f"{title}\n\n{tables.text(rows, words=_words(title))}" for title, rows in self.parts().items()
        )

    def csv(self) -> str:
        """All numbers of the trial lists, and the last ones of the training logs: a line for each measure of a system.

        low, high: 95 % interval over runs, and over speakers; difference: from the first system
        """
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(
            [
                *(
                    "test",
                    "system",
                    "measure",
                    "runs",
                    "mean",
                    "runs_low",
                    "runs_high",
                    "speakers_low",
                    "speakers_high",
                ),
                *("difference", "difference_low", "difference_high", "p", "p_holm", "settings"),
            ]
        )
        for system, own in self.runs.items():
            for metric in self._logged():
                if last := [float(run[metric][1][-1]) for run in own if metric in run]:
                    numbers = [len(last), float(np.mean(last)), *[""] * 9]
                    lines.writerow(["training", system, metric, *numbers, self.settings[system]])
        for test, compared in self.tests.items():
            for system, values in compared.systems.items():
                for measure, value in values.items():
                    gain = value.difference
                    spans = [*(value.seeds or ("", "")), *(value.speakers or ("", ""))]
                    apart = (
                        ["", "", "", "", ""] if gain is None else [gain.mean, *gain.speakers, gain.p_value, gain.p_holm]
                    )
                    numbers = [len(value.runs), value.mean, *spans, *apart]
                    lines.writerow([test, system, measure, *numbers, self.settings[system]])
        return text.getvalue()

    def page(self, title: str) -> str:
        """The page with all tables and the curves of training."""
        parts = {name: [table(rows, words=_words(name))] for name, rows in self.parts().items()}
        settings = [
            ["system", "settings"],
            *([system, text or "(the recipe)"] for system, text in self.settings.items()),
        ]
        parts["Settings"] = [table(settings, words=2)]
        if self.runs:
            parts["Curves"] = self._curves()
        total, systems = sum(map(len, self.runs.values())), len(self.runs)
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return document(
            title,
            paragraph(
                f"{total} run{'' if total == 1 else 's'} of {systems} system{'' if systems == 1 else 's'}{failed}."
            ),
            contents(list(parts)),
            *(section(name, *blocks) for name, blocks in parts.items()),
            data={"results": {name: compared.plain()["systems"] for name, compared in self.tests.items()}},
        )

    def write(self, folder: Path, sweep: Sweep) -> None:
        """Write results.txt, results.csv and results.html."""
        write_text(folder / "results.txt", self.text() + "\n")
        write_text(folder / "results.csv", self.csv())
        write_text(folder / "results.html", self.page(f"Sweep of {sweep.recipe}"))

    def _curves(self) -> list[Html]:
        shown = dict(list(self.runs.items())[:_CURVES])
        numbers = {name: number for number, name in enumerate(shown)}
        more = len(self.runs) - len(shown)
        note = [paragraph(f"The first {len(shown)} systems; {more} more are in the tables.", "note")] if more else []
        charts = [plots.training(shown, metric, numbers) for metric in self._logged(shown)]
        return [*note, legend(list(shown)), side_by_side(*charts)]

    def _logged(self, runs: Mapping[str, Sequence[Mapping[str, Curve]]] | None = None) -> list[str]:
        known = {name for own in (runs or self.runs).values() for run in own for name in run}
        return [name for name in METRICS if name in known]


def collect(sweep: Sweep, done: Sequence[Run], failed: Sequence[Run]) -> Results:
    """The results of runs. Systems without a complete run are left out of the comparison."""
    by_system: dict[str, list[Run]] = {}
    for run in done:
        by_system.setdefault(run.system, []).append(run)
    curves = {system: [read_curves(run.folder) for run in own] for system, own in by_system.items()}
    return Results(
        {system: " ".join(own[0].changes) for system, own in by_system.items()},
        curves,
        {name: _compared(sweep, name, by_system) for name in sweep.tests} if by_system else {},
        _best(sweep, by_system, curves),
        {run.name: run.failed.read_text(encoding="utf-8").strip() for run in failed},
    )


def _compared(sweep: Sweep, name: str, by_system: Mapping[str, Sequence[Run]]) -> Comparison:
    test = sweep.tests[name]
    listed = read_trials(test.trials)
    scores = {
        system: [read_labelled(run.scores(name), listed, name=test.trials) for run in own]
        for system, own in by_system.items()
    }
    return compare(scores, read_speakers([test.source]), points=sweep.points)


def _best(
    sweep: Sweep, by_system: Mapping[str, Sequence[Run]], curves: Mapping[str, Sequence[Mapping[str, Curve]]]
) -> dict[str, tuple[str, float]]:
    """The best point of each system with several, by the mean of the last error rates on the dev speakers."""
    points: dict[str, list[tuple[float, str]]] = {}
    for system, own in by_system.items():
        last = [float(run[sweep.metric][1][-1]) for run in curves[system] if sweep.metric in run]
        if last:
            points.setdefault(own[0].family, []).append((float(np.mean(last)), system))
    found = {family: min(several) for family, several in points.items() if len(several) > 1}
    return {family: (system, rate) for family, (rate, system) in found.items()}


def _words(title: str) -> int:
    """The number of columns, from the left, that hold words."""
    return 2 if title.startswith(("Best", "Failed")) else 1
