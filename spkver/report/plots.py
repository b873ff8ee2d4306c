"""The figures of the report page, each a chart with its legend and a table of its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spkver.files import StrPath, write_text
from spkver.metrics import OPERATING_POINTS
from spkver.page import Axis, Chart, Html, figure, legend, span, table
from spkver.report import det
from spkver.report.curves import Curve, at_same_steps, check_known
from spkver.report.measured import FALSE_ALARMS, LOG_ODDS, Measured
from spkver.scoring.comparison import Interval
from spkver.training.monitoring.log import is_share

Runs = Mapping[str, Sequence[Mapping[str, Curve]]]
"""The curves of the training runs of each system, see `read_curves`"""

Bands = Mapping[str, Mapping[float, Interval]]
"""Interval of the miss rate by system and false-alarm rate"""


def det_chart(systems: Mapping[str, Measured], bands: Bands) -> Chart:
    """DET curves, with intervals of the miss rates if known."""
    low, high = det.limits(np.concatenate([np.ravel(list(one.marks.values())) for one in systems.values()]))
    marks = [(float(tick), f"{100 * tick:g}") for tick in det.ticks(low, high)]
    chart = Chart(
        Axis("false-alarm rate (%)", low, high, marks, "probit"), Axis("miss rate (%)", low, high, marks, "probit"), 480
    )
    chart.guide([low, high], [low, high])
    for number, name in enumerate(systems):
        if own := bands.get(name):
            lows, highs = np.array(list(own.values())).T
            chart.band(np.array(list(own)), lows, highs, number)
    for number, (name, one) in enumerate(systems.items()):
        chart.line(*_within(*one.trade_off, low, high), number, name)
        meaning = {"eer": f"EER {100 * one.evaluation.eer:.2f} %", "cost": "minimum cost"}
        for kind, (alarm, miss) in one.marks.items():
            chart.dots([alarm], [miss], number, [f"{name}: {meaning[kind]}"], size=4.5 if kind == "eer" else 3)
    return chart


def trade_off(systems: Mapping[str, Measured], bands: Bands) -> Html:
    """DET curves with a table of miss rates."""
    rows = [["false alarms", *(f"{name}: misses %" for name in systems)]]
    for rate in FALSE_ALARMS:
        cells = [_rate(one.misses[rate], bands.get(name, {}).get(rate)) for name, one in systems.items()]
        rows.append([f"{100 * rate:g} %", *cells])
    words = "Miss rate against false-alarm rate on probit scales. Large dots: EER; small dots: minimum cost."
    if bands:
        words += " Bands: 95 % intervals of the miss rate over speakers."
    drawn = det_chart(systems, bands).svg("DET curves")
    return figure(drawn, words, key=legend(list(systems)), numbers=table(rows))


def scores(name: str, one: Measured, threshold: float | None) -> Html:
    """Histograms of a system's scores, with its thresholds."""
    spread, found = one.histogram, one.evaluation
    edges = spread.edges
    most = max(spread.targets.max(), spread.nontargets.max())
    chart = Chart(Axis("score", edges[0], edges[-1]), Axis("share of trials (%)", 0, 105 * most, unit="%"))
    chart.steps(edges, 100 * spread.targets, 0, "targets")
    chart.steps(edges, 100 * spread.nontargets, 1, "non-targets")
    rules = {"EER": found.eer_threshold} | {f"minDCF {point}": cost.threshold for point, cost in found.min_dcf.items()}
    if threshold is not None:
        rules["given"] = threshold
    kept = {label: at for label, at in rules.items() if math.isfinite(at)}
    for label, at in kept.items():
        chart.rule(at, label)
    rows = [
        [f"{low:.4g}", f"{high:.4g}", f"{100 * a:.2f}", f"{100 * b:.2f}"]
        for low, high, a, b in zip(edges, edges[1:], spread.targets, spread.nontargets)
    ]
    said = "; ".join(f"{label} at {at:.4f}" for label, at in kept.items())
    numbers = table([["from", "to", "targets %", "non-targets %"], *rows], words=0)
    caption = f"{name}. Thresholds: {said}."
    return figure(chart.svg(f"scores of {name}"), caption, key=legend(["targets", "non-targets"]), numbers=numbers)


def bayes(systems: Mapping[str, Measured], llr: bool) -> Html:
    """Normalised Bayes error-rates over the prior."""
    chart = Chart(Axis("log odds of a target (natural)", LOG_ODDS[0], LOG_ODDS[-1]), Axis("normalised cost", 0, 1.15))
    shown: dict[str, np.ndarray] = {}
    for number, (name, one) in enumerate(systems.items()):
        if llr:
            chart.line(LOG_ODDS, one.bayes.actual, number, name)
            shown[name] = one.bayes.actual
        least = f"{name}, least" if llr else name
        chart.line(LOG_ODDS, one.bayes.least, number, least, faint=llr)
        shown[least] = one.bayes.least
    for point in ("vox-0.05", "vox-0.01"):
        p_target = OPERATING_POINTS[point].p_target
        chart.rule(math.log(p_target / (1 - p_target)), point)
    rows = [["log odds", *shown]]
    rows += [[f"{odds:g}", *(f"{line[at]:.4f}" for line in shown.values())] for at, odds in enumerate(LOG_ODDS)]
    words = "Detection cost over the prior, equal costs; 1 is the cost of always accepting or always rejecting. " + (
        "Solid: at the threshold of Bayes' rule; dashed: at the best threshold." if llr else "At the best threshold."
    )
    return figure(chart.svg("normalised Bayes error-rates"), words, key=legend(list(systems)), numbers=table(rows))


def reliability(systems: Mapping[str, Measured]) -> Html:
    """Measured log-likelihood ratios (isotonic regression) against the scores."""
    found = {name: _finite(one.steps) for name, one in systems.items()}
    reach = max([2.0, *(float(np.abs(values).max()) for pair in found.values() for values in pair if len(values))])
    reach = min(reach, 15.0)
    chart = Chart(
        Axis("score, as a log-likelihood ratio", -reach, reach), Axis("log-likelihood ratio found", -reach, reach), 480
    )
    chart.guide([-reach, reach], [-reach, reach])
    rows = [["system", "from score", "ratio found"]]
    for number, (name, (at, ratios)) in enumerate(found.items()):
        if not len(at):  # targets and non-targets do not overlap: every ratio is infinite
            continue
        ends = np.append(at[1:], np.inf)
        chart.line(np.stack([at, ends], 1).ravel(), np.repeat(ratios, 2), number, name)
        rows += [[name, f"{low:.4f}", f"{ratio:.4f}"] for low, ratio in zip(at, ratios)][:200]
    words = (
        "Measured log-likelihood ratios (isotonic regression) against the scores. The diagonal is perfect calibration; "
        "a flatter curve means overconfident scores, a steeper one underconfident scores."
    )
    return figure(chart.svg("reliability of the scores"), words, key=legend(list(systems)), numbers=table(rows))


def training_chart(runs: Runs, name: str, numbers: Mapping[str, int]) -> tuple[Chart, list[list[str]]]:
    """A metric over the steps of training, the mean over each system's runs with their range, and a table of it.

    numbers: the series of each system
    """
    scale, unit = (100, "%") if is_share(name) else (1, "")
    lines = {}
    for system, own in runs.items():
        if any(name in run for run in own):
            steps, values = at_same_steps(own, name)
            lines[system] = steps, scale * values
    every = np.concatenate([values.ravel() for _, values in lines.values()])
    longest = max(float(steps[-1]) for steps, _ in lines.values())
    words = name.replace("_", " ")
    chart = Chart(
        Axis("step", 0, max(longest, 1)), Axis(f"{words} ({unit})" if unit else words, *span(every), unit=unit), 280
    )
    rows = [["system", "step", words]]
    for system, (steps, values) in lines.items():
        mean = values.mean(axis=0)
        if len(values) > 1:
            kept = np.unique(np.linspace(0, len(steps) - 1, 200).astype(int))
            chart.band(steps[kept], values.min(axis=0)[kept], values.max(axis=0)[kept], numbers[system])
        chart.line(steps, mean, numbers[system], system)
        if len(steps) == 1:  # a line of one point is not visible
            chart.dots(steps, mean, numbers[system], [system])
        some = np.unique(np.linspace(0, len(steps) - 1, 10).astype(int))
        rows += [[system, f"{steps[at]:.0f}", f"{mean[at]:.4g}"] for at in some]
    return chart, rows


def training(runs: Runs, name: str, numbers: Mapping[str, int]) -> Html:
    """A metric over the steps of training, with a table; numbers: the series of each system."""
    chart, rows = training_chart(runs, name, numbers)
    words = name.replace("_", " ")
    return figure(chart.svg(f"{words} over training"), words, numbers=table(rows))


def write_training(runs: Runs, names: Sequence[str], folder: StrPath) -> None:
    """Write the curves of each metric to METRIC.svg. Raises InputError for a metric that no run has."""
    check_known(runs, names)
    numbers = {system: number for number, system in enumerate(runs)}
    for name in names:
        chart, _ = training_chart(runs, name, numbers)
        write_text(Path(folder) / f"{name}.svg", chart.drawing(f"{name} over training", list(runs)))


def _within(alarm: np.ndarray, miss: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """The part of a curve inside the axes, plus one point at either end."""
    inside = np.flatnonzero((alarm >= low) & (alarm <= high) & (miss >= low) & (miss <= high))
    if not len(inside):
        return alarm, miss
    part = slice(max(inside[0] - 1, 0), inside[-1] + 2)
    return alarm[part], miss[part]


def _rate(rate: float, interval: Interval | None) -> str:
    span = f" ({100 * interval[0]:.2f}–{100 * interval[1]:.2f})" if interval else ""
    return f"{100 * rate:.2f}{span}"


def _finite(steps: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    kept = np.isfinite(steps[1])
    return steps[0][kept], steps[1][kept]
