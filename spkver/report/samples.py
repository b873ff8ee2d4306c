"""A page of how the training samples change over the checkpoints of a run, from the tables of `describe_samples`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spkver import lists
from spkver.errors import InputError
from spkver.files import StrPath, write_text
from spkver.page import Axis, Chart, Html, contents, document, figure, legend, paragraph, section, side_by_side, table
from spkver.quality import snr
from spkver.report.groups import kinds, with_numbers
from spkver.scoring.metadata import read_table
from spkver.source import open_source
from spkver.storage import located

_HISTOGRAMS = 6  # checkpoints with histograms, evenly chosen
_BANDS = 5  # groups of a column of numbers, of equal size
_LISTED = 200  # samples in the table
_EDGES = np.arange(0, 121, 3)  # degrees; larger angles are counted in the last bin


def read_samples(paths: Sequence[StrPath]) -> dict[int, pa.Table]:
    """The tables by step, in the order of the steps. Raises InputError if one cannot be read."""
    found = {}
    for path in paths:
        with lists.reading(path, "a table of `spkver train-samples`"):
            found[int(Path(path).stem.rpartition("-")[2])] = pq.read_table(path)
    return dict(sorted(found.items()))


def read_known(path: StrPath) -> pa.Table:
    """What is known of utterances: as `read_table`, with the SNR of recordings in the column `snr_db`."""
    known = read_table(path)
    if not located(path).is_dir() or (source := open_source(path)).kind != "audio":
        return known
    values: list[float | None] = []
    for row in range(len(source)):
        try:
            values.append(snr(*source.read(row)))
        except InputError:
            values.append(None)
    of = dict(zip(source.ids, values))
    return known.append_column("snr_db", pa.array([of[name] for name in known["id"].to_pylist()], pa.float64()))


def write_page(samples: dict[int, pa.Table], out: StrPath, *, known: pa.Table | None = None, title: str = "") -> None:
    """Write the page.

    known: a table of ids; if its speaker differs from the training label, the label counts as wrong, and its other
        columns are groups
    """
    last = next(reversed(samples.values()))
    groups = {"all": np.ones(len(last), bool)} | _groups(last, known)
    wrong = groups.get("wrong label")
    shown = {name: rows for name, rows in groups.items() if name in ("all", "wrong label", "right label")}
    measures = _MEASURES if len(shown) > 1 else _MEASURES[:-1]  # all samples have all of the gradient
    parts: dict[str, list[Html]] = {
        "Over the training": [
            legend(list(shown)) if len(shown) > 1 else Html(""),
            side_by_side(*(_curve(samples, shown, *measure) for measure in measures)),
        ],
        "Angles": [legend(["own class", "nearest other class"]), side_by_side(*_histograms(samples, "all", None))],
    }
    if wrong is not None and wrong.any():
        parts["Angles of wrong labels"] = [
            legend(["own class", "nearest other class"]),
            side_by_side(*_histograms(samples, "wrong labels", set(last["id"].filter(pa.array(wrong)).to_pylist()))),
        ]
    parts["Groups"] = [table(_group_rows(last, groups))]
    parts["Speakers"] = [_speakers(last)]
    parts["Samples"] = [_samples(samples, wrong)]
    first_step, last_step = next(iter(samples)), next(reversed(samples))
    write_text(
        out,
        document(
            title or "Training samples",
            paragraph(
                f"{len(last):,} training utterances at {len(samples)} checkpoints, steps {first_step} to {last_step}."
            ),
            contents(list(parts)),
            *(section(name, *blocks, note=_NOTES.get(name, "")) for name, blocks in parts.items()),
        ),
    )


_NOTES = {
    "Over the training": "The gradient of a sample is that of its loss with respect to its embedding. The share of a "
    "group is its part of the sum over all samples.",
    "Groups": f"At the last checkpoint. Numbers are divided into {_BANDS} groups of equal size.",
    "Speakers": "At the last checkpoint.",
    "Samples": "The samples that were selected at most checkpoints, and of these the largest gradients at the last.",
}


def _selected(one: pa.Table, rows: np.ndarray) -> float:
    return float(np.mean(_numbers(one, "selected")[rows]))


def _of_gradient(one: pa.Table, rows: np.ndarray) -> float:
    gradient = _numbers(one, "gradient")
    return float(gradient[rows].sum() / max(gradient.sum(), 1e-30))


def _selected_of_gradient(one: pa.Table, rows: np.ndarray) -> float:
    gradient, selected = _numbers(one, "gradient")[rows], _numbers(one, "selected")[rows]
    return float((gradient * selected).sum() / max(gradient.sum(), 1e-30))


def _nearer(one: pa.Table, rows: np.ndarray) -> float:
    return float(np.mean((_numbers(one, "own_angle") < _numbers(one, "nearest_angle"))[rows]))


_MEASURES: tuple[tuple[str, Any], ...] = (
    ("selected", _selected),
    ("the selected samples' share of the gradient", _selected_of_gradient),
    ("nearest to the own class", _nearer),
    ("the group's share of the gradient", _of_gradient),
)


def _numbers(one: pa.Table, name: str) -> np.ndarray:
    values: np.ndarray = one[name].to_numpy()
    return values


def _groups(last: pa.Table, known: pa.Table | None) -> dict[str, np.ndarray]:
    """Rows of the table by group."""
    if known is None:
        return {}
    at = pc.index_in(last["id"], value_set=known["id"].combine_chunks().cast(pa.string()))
    if at.null_count:
        missing = last["id"].filter(pc.is_null(at))[0].as_py()
        raise InputError(f"there is no row for the utterance '{missing}'; give a table of the training data")
    known = with_numbers(known.take(at))
    found: dict[str, np.ndarray] = {}
    if "speaker" in known.column_names:
        right = np.asarray(known["speaker"].to_pylist()) == np.asarray(last["speaker"].to_pylist())
        if not right.all():
            found |= {"right label": right, "wrong label": ~right}
    counts = last.group_by("speaker").aggregate([("id", "count")])
    number = dict(zip(counts["speaker"].to_pylist(), counts["id_count"].to_pylist()))
    many = np.array([number[name] for name in last["speaker"].to_pylist()], np.float64)
    found |= _bands("utterances of the speaker", many)
    for name in kinds(known):
        column = known[name]
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            found |= _bands(name, column.to_numpy().astype(np.float64))
        else:
            words = np.asarray(column.to_pylist(), dtype=str)
            found |= {f"{name} {word}": words == word for word in np.unique(words)}
    return {name: rows for name, rows in found.items() if rows.any()}


def _bands(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Groups of equal size of the known numbers; values that are equal are in one group."""
    known = values[np.isfinite(values)]
    if not len(known):
        return {}
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BANDS + 1)))
    if len(edges) < 2:
        return {}
    names = [f"{name} {low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)]
    if np.mean(known == edges[-1]) > 1 / _BANDS:  # many are equal to the largest, for example words of a second
        names.append(f"{name} {edges[-1]:.3g}")
    band = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(names) - 1)
    return {label: (band == number) & np.isfinite(values) for number, label in enumerate(names)}


def _curve(samples: dict[int, pa.Table], groups: Mapping[str, np.ndarray], name: str, of: Any) -> Html:
    steps = np.array(list(samples))
    lines = {group: 100 * np.array([of(one, rows) for one in samples.values()]) for group, rows in groups.items()}
    chart = Chart(Axis("step", 0, max(1.03 * float(steps[-1]), 1)), Axis("%", 0, 105, unit="%"), 280)
    for number, (group, values) in enumerate(lines.items()):
        chart.line(steps, values, number, group)
        chart.dots(steps, values, number, [f"{group}: {value:.1f} %" for value in values])
    rows = [
        ["step", *lines],
        *([str(step), *(f"{v[at]:.2f}" for v in lines.values())] for at, step in enumerate(steps)),
    ]
    return figure(chart.svg(f"{name} over the training"), name, numbers=table(rows))


def _histograms(samples: dict[int, pa.Table], what: str, ids: set[str] | None) -> list[Html]:
    """Histograms of the angles at some checkpoints; ids: of these utterances only."""
    steps = list(samples)
    chosen = [steps[at] for at in np.unique(np.linspace(0, len(steps) - 1, _HISTOGRAMS).round().astype(int))]
    figures = []
    for step in chosen:
        one = samples[step]
        if ids is not None:
            one = one.filter(pc.is_in(one["id"], value_set=pa.array(sorted(ids))))
        shares = [
            100 * np.histogram(np.minimum(_numbers(one, name), _EDGES[-1]), _EDGES)[0] / max(len(one), 1)
            for name in ("own_angle", "nearest_angle")
        ]
        most = max(float(share.max()) for share in shares)
        chart = Chart(Axis("degrees", 0, float(_EDGES[-1])), Axis("samples (%)", 0, 1.05 * max(most, 1)), 220)
        for number, (share, name) in enumerate(zip(shares, ("own class", "nearest other class"))):
            chart.steps(_EDGES, share, number, name)
        rows = [["from", "own class %", "nearest other class %"]]
        rows += [[str(low), f"{own:.2f}", f"{other:.2f}"] for low, own, other in zip(_EDGES, *shares)]
        figures.append(figure(chart.svg(f"angles of {what} at step {step}"), f"step {step}", numbers=table(rows)))
    return figures


def _group_rows(last: pa.Table, groups: Mapping[str, np.ndarray]) -> list[list[str]]:
    head = ["group", "samples", "selected %", "share of the gradient %", "nearest to the own class %"]
    head += ["median own angle", "median nearest angle"]
    rows = [head]
    for name, chosen in groups.items():
        shares = (_selected(last, chosen), _of_gradient(last, chosen), _nearer(last, chosen))
        angles = (np.median(_numbers(last, angle)[chosen]) for angle in ("own_angle", "nearest_angle"))
        rows.append(
            [name, str(int(chosen.sum())), *(f"{100 * value:.1f}" for value in shares), *(f"{v:.1f}" for v in angles)]
        )
    return rows


def _speakers(last: pa.Table) -> Html:
    by = last.group_by("speaker").aggregate([("selected", "mean")])
    shares = 100 * by["selected_mean"].to_numpy()
    count, edges = np.histogram(shares, 10, (0, 100))
    chart = Chart(
        Axis("selected samples of a speaker (%)", 0, 100), Axis("speakers", 0, 1.05 * float(count.max())), 220
    )
    chart.steps(edges, count, 0, "speakers")
    rows = [
        ["from %", "to %", "speakers"],
        *([f"{a:.0f}", f"{b:.0f}", str(n)] for a, b, n in zip(edges, edges[1:], count)),
    ]
    return figure(chart.svg("selected samples by speaker"), "Speakers by their selected samples", numbers=table(rows))


def _samples(samples: dict[int, pa.Table], wrong: np.ndarray | None) -> Html:
    last = next(reversed(samples.values()))
    ids = last["id"].combine_chunks()
    times = np.zeros(len(last))
    for one in samples.values():
        at = pc.index_in(ids, value_set=one["id"].combine_chunks()).fill_null(-1).to_numpy()
        times += np.where(at >= 0, _numbers(one, "selected")[at] > 0, False)
    order = np.lexsort((-_numbers(last, "gradient"), -times))[:_LISTED]
    rows = [["id", "speaker", "nearest", "selected at", "own angle", "nearest angle", "gradient"]]
    rows[0] += [] if wrong is None else ["label"]
    words = last.select(["id", "speaker", "nearest"]).take(pa.array(order)).to_pylist()
    for at, one in zip(order.tolist(), words):
        numbers = [f"{_numbers(last, name)[at]:.3g}" for name in ("own_angle", "nearest_angle", "gradient")]
        label = [] if wrong is None else ["wrong" if wrong[at] else "right"]
        rows.append([*one.values(), f"{times[at]:.0f} of {len(samples)}", *numbers, *label])
    return table(rows, words=3, sortable=True)
