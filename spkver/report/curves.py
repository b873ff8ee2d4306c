"""Curves of training runs: read and tabulate them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spkver import metrics
from spkver.errors import InputError, nearest
from spkver.files import StrPath, json_object
from spkver.storage import located
from spkver.text import numbered
from spkver.training.monitoring.log import METRICS, is_share

Curve = tuple[np.ndarray, np.ndarray]
"""Steps and values, each (points,)"""


def read_curves(experiment: StrPath) -> dict[str, Curve]:
    """Read the logged metrics of a run, by name.

    An incomplete last line, of a run in progress or one that was killed, is ignored. Raises InputError if there is no
    run, and with file and line for an invalid line.
    """
    path = located(experiment) / METRICS
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give an experiment directory") from error
    found: dict[str, list[tuple[int, float]]] = {}
    for place, line in numbered(lines, path):
        try:
            values = json_object(line, place)
            step = int(values.pop("step"))
            for name, value in values.items():
                found.setdefault(name, []).append((step, float(value)))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise InputError(f"{place}: not a line of a training log") from error
    return {
        name: (np.array([s for s, _ in points]), np.array([v for _, v in points])) for name, points in found.items()
    }


def last_values(runs: Mapping[str, Sequence[Mapping[str, Curve]]], names: Sequence[str]) -> list[list[str]]:
    """Table of the last value of each metric: for each system the mean over its runs ± half its 95 % interval.

    Raises InputError for a metric that no run has.
    """
    check_known(runs, names)
    rows = [["system", "runs", *(f"{name} %" if is_share(name) else name for name in names)]]
    for system, own in runs.items():
        rows.append([system, str(len(own)), *(_cell(name, own) for name in names)])
    return rows


def at_same_steps(runs: Sequence[Mapping[str, Curve]], name: str) -> Curve:
    """The steps (points,) of the first run with this metric, and the values (runs, points) at these steps of all runs
    that have it.
    """
    curves = [run[name] for run in runs if name in run]
    steps = curves[0][0]
    return steps, np.stack([np.interp(steps, *curve) for curve in curves])


def check_known(runs: Mapping[str, Sequence[Mapping[str, Curve]]], names: Sequence[str]) -> None:
    """Raises InputError for a metric that no run has."""
    known = {name for own in runs.values() for run in own for name in run}
    for name in names:
        if name not in known:
            raise InputError(f"no run has the metric '{name}'{nearest(name, known)}")


def _cell(name: str, runs: Sequence[Mapping[str, Curve]]) -> str:
    last = np.array([run[name][1][-1] for run in runs if name in run])
    if not len(last):
        return ""
    scale, digits = (100, 2) if is_share(name) else (1, 4)
    span = metrics.student_interval(last)
    half = "" if span is None else f" ± {scale * (span[1] - span[0]) / 2:.{digits}f}"
    return f"{scale * last.mean():.{digits}f}{half}"
