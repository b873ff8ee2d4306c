"""The tables of the report page: results of the systems with intervals, and their differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import pyarrow as pa

from spkver import metrics
from spkver.metrics import ErrorCurve
from spkver.page import Html, paragraph, table
from spkver.report import plots
from spkver.report.measured import FALSE_ALARMS, Measured
from spkver.scoring.comparison import Comparison, Interval, compare
from spkver.scoring.evaluation import DEFAULT_POINTS
from spkver.trials import Scores


@dataclass(frozen=True)
class Settings:
    """Settings of the report.

    points: operating points or primary costs; far: false-alarm rates in [0, 1] at which to give the miss rate
    llr: the scores are natural-log likelihood ratios
    threshold: threshold for single errors and for the errors of speakers; by default each system's EER threshold
    by: columns to group by; by default all suitable ones
    replicates: bootstrap draws, 0 for none; by default up to 1,000, fewer for long lists
    worst: number of errors of each kind, and of speakers, listed for each system
    projection: "tsne" or "pca"
    """

    points: Sequence[str] = DEFAULT_POINTS
    far: Sequence[float] = ()
    llr: bool = False
    threshold: float | None = None
    by: Sequence[str] | None = None
    replicates: int | None = None
    seed: int = 0
    worst: int = 25
    projection: str | None = None


_INTERVALS = (
    "In brackets: 95 % intervals over speakers, from {draws} bootstrap draws of the list's speakers. Trials that share "
    "a speaker are not independent, so intervals over trials would be too narrow."
)


def comparison(systems: Mapping[str, Scores], known: pa.Table, settings: Settings, draws: int) -> Comparison:
    """Measure all systems with intervals over speakers; known: a table of ids with their speakers."""
    more: dict[str, metrics.bootstrap.Measure] = {
        _miss_name(rate): partial(_miss_at, rate) for rate in (*settings.far, *FALSE_ALARMS)
    }
    if settings.llr:
        more["Cllr"] = metrics.cllr_of
        more |= {f"actDCF {point}": partial(_actual, metrics.operating_points(point)) for point in settings.points}
    return compare(
        {name: [scores] for name, scores in systems.items()},
        dict(zip(known["id"].cast(pa.string()).to_pylist(), known["speaker"].cast(pa.string()).to_pylist())),
        points=settings.points,
        more=more,
        replicates=draws,
        seed=settings.seed,
    )


def _miss_name(rate: float) -> str:
    return f"FRR at FAR {100 * rate:g} %"


def _miss_at(rate: float, curve: ErrorCurve) -> float:
    return metrics.miss_at_false_alarm(curve, rate).miss


def _actual(points: Sequence[metrics.OperatingPoint], curve: ErrorCurve) -> float:
    return fmean(metrics.actual_cost(curve, point).cost for point in points)


def bands(compared: Comparison | None) -> plots.Bands:
    """The intervals of the miss rates, if known."""
    if compared is None:
        return {}
    return {
        name: {
            rate: interval
            for rate in FALSE_ALARMS
            if (interval := values[_miss_name(rate)].speakers) and interval[0] < interval[1]
        }
        for name, values in compared.systems.items()
    }


def rows(measured: Mapping[str, Measured], compared: Comparison | None) -> list[list[str]]:
    """The table of results, a row for each system, with intervals if known."""
    found = [_numbers(one) for one in measured.values()]
    lines = [["system", *found[0], "min Cllr", "EER threshold"]]
    for (name, one), values in zip(measured.items(), found):
        spans = {} if compared is None else compared.systems[name]
        intervals = {label: value.speakers for label, value in spans.items()}
        cells = [_cell(label, value, intervals.get(label)) for label, value in values.items()]
        lines.append([name, *cells, f"{one.evaluation.min_cllr:.4f}", f"{one.evaluation.eer_threshold:.4f}"])
    lines[0] = ["EER %" if label == "EER" else label for label in lines[0]]
    return lines


def tables(measured: Mapping[str, Measured], compared: Comparison | None, draws: int) -> list[Html]:
    """The table of results and, with intervals, the table of differences from the first system."""
    blocks = [table(rows(measured, compared))]
    if compared is not None:
        blocks.append(paragraph(_INTERVALS.format(draws=draws), "note"))
        if len(measured) > 1:
            blocks.append(_differences(compared, list(_numbers(next(iter(measured.values()))))))
    return blocks


def _numbers(one: Measured) -> dict[str, float]:
    """The numbers of the table of results, by their names in the `Comparison`."""
    found = one.evaluation
    numbers = {"EER": found.eer}
    numbers |= {f"minDCF {point}": cost.cost for point, cost in found.min_dcf.items()}
    numbers |= {f"actDCF {point}": cost for point, cost in (found.act_dcf or {}).items()}
    numbers |= {_miss_name(rate): decision.miss for rate, decision in found.frr.items()}
    return numbers | ({} if found.cllr is None else {"Cllr": found.cllr})


def _differences(compared: Comparison, labels: Sequence[str]) -> Html:
    first = next(iter(compared.systems))
    rows = [["system", "measure", f"difference from {first}", "95 % over speakers", "p"]]
    for name, values in compared.systems.items():
        for label in labels:
            if gain := values[label].difference:
                scale, digits = _form(label)
                low, high = gain.speakers
                rows.append(
                    [
                        name,
                        label,
                        f"{scale * gain.mean:+.{digits}f}{' %' if scale == 100 else ''}",
                        f"{scale * low:+.{digits}f} to {scale * high:+.{digits}f}",
                        f"{gain.p_value:.3f}",
                    ]
                )
    return table(rows, title=f"Differences from {first}, on the same draws of speakers", words=2)


def _is_rate(label: str) -> bool:
    return label == "EER" or label.startswith("FRR")


def _form(label: str) -> tuple[int, int]:
    """The factor and the number of digits for display."""
    return (100, 2) if _is_rate(label) else (1, 4)


def _cell(label: str, value: float, interval: Interval | None) -> str:
    scale, digits = _form(label)
    span = f" ({scale * interval[0]:.{digits}f}–{scale * interval[1]:.{digits}f})" if interval else ""
    return f"{scale * value:.{digits}f}{span}"
