"""Tables of errors by group, by speaker, and of the worst single errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver.page import Html, html, series, table
from spkver.report.measured import Measured
from spkver.scoring.breakdown import break_down, worst_speakers
from spkver.trials import Scores

_NOT_KINDS = ("id", "speaker", "recording", "path", "start", "end", "channel", "embedding")
_MOST_KINDS = 12  # a text column with more values is not useful for grouping
_MOST_GROUPS = 30


def with_numbers(known: pa.Table) -> pa.Table:
    """The table with text columns of numbers (ages) cast to numbers, so that they are grouped in bands."""
    for place, name in enumerate(known.column_names):
        column = known[name]
        if name not in _NOT_KINDS and pa.types.is_string(column.type) and column.null_count < len(column):
            try:
                known = known.set_column(place, name, column.cast(pa.float64()))
            except pa.ArrowInvalid:
                continue
    return known


def kinds(known: pa.Table) -> list[str]:
    """The columns suitable for grouping: numbers, or text with few values."""
    found = []
    for name in known.column_names:
        column = known[name]
        if name not in _NOT_KINDS and not pa.types.is_nested(column.type):
            number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
            different = pc.count_distinct(column).as_py()
            if different > 1 and (number or different <= _MOST_KINDS):
                found.append(name)
    return found


def breakdown(systems: Mapping[str, Scores], known: pa.Table, by: str) -> Html:
    """Error rates by the values of column `by` on the two sides of a trial."""
    found = {name: break_down(scores, known, by) for name, scores in systems.items()}
    one, *others = found.values()
    of = [f"{name}: " for name in found] if others else [""]
    most = max((group.eer or 0 for groups in found.values() for group in groups), default=0)
    rates = [] if others else ["misses %"]  # no room for it with several systems
    rates += [f"{name}{rate} %" for name in of for rate in ("false alarms", "EER")]
    rows = [[by, "targets", "non-targets", *rates, "EER"]]
    for at in sorted(np.argsort([-group.targets - group.nontargets for group in one], kind="stable")[:_MOST_GROUPS]):
        group = one[at]
        own = [groups[at] for groups in found.values()]
        cells = [] if others else [_percent(group.miss)]
        cells += [_percent(rate) for each in own for rate in (each.false_alarm, each.eer)]
        bars = Html("".join(_bar(each.eer, most, number) for number, each in enumerate(own)))
        rows.append([group.name, str(group.targets), str(group.nontargets), *cells, bars])
    largest = f", the {_MOST_GROUPS} largest of {len(one)} groups" if len(one) > _MOST_GROUPS else ""
    return table(rows, title=f"By {by}{largest}")


def speakers(systems: Mapping[str, Scores], measured: Mapping[str, Measured], known: pa.Table, most: int) -> Html:
    """The speakers with the most errors."""
    rows = [
        [*_system(systems, "system"), "speaker", "confused with", "times", "misses %", "of", "false alarms %", "of"]
    ]
    for name, scores in systems.items():
        for one in worst_speakers(scores, known, measured[name].threshold)[:most]:
            missed = _percent(one.misses / one.targets if one.targets else None)
            passed = _percent(one.false_alarms / one.nontargets if one.nontargets else None)
            words = [*_system(systems, name), one.speaker, one.taken_for]
            rows.append([*words, str(one.times), missed, str(one.targets), passed, str(one.nontargets)])
    several = len(systems) > 1
    return table(rows, words=2 + several, sortable=True, pick=[0] if several else [])


def errors(
    systems: Mapping[str, Scores],
    measured: Mapping[str, Measured],
    known: pa.Table | None,
    by: Sequence[str],
    players: Mapping[str, Html],
) -> Html:
    """The worst false accepts and false rejects of each system; players: the audio link of each id."""
    columns = [] if known is None else ["speaker", *by]
    head = [*_system(systems, "system"), "error", "enrolment", "test", *columns]
    rows: list[list[str]] = [[*head, "score", "past threshold"]]
    ids = {}
    if known is not None:
        ids = {name: row for row, name in enumerate(known["id"].cast(pa.string()).to_pylist())}
    for name, scores in systems.items():
        one = measured[name]
        for error, places in (("false accept", one.false_accepts), ("false reject", one.false_rejects)):
            shown = scores.take(places)
            pairs = zip(shown.trials.enrol.to_pylist(), shown.trials.test.to_pylist(), shown.values.tolist())
            for enrol, test, score in pairs:
                about = [_both(known, column, ids.get(enrol), ids.get(test)) for column in columns if known is not None]
                sides = [Html(f"{players.get(side, '')} {html(side)}") for side in (enrol, test)]
                words = [*_system(systems, name), error, *sides, *about]
                rows.append([*words, f"{score:.4f}", f"{abs(score - one.threshold):.4f}"])
    return table(rows, words=len(head), sortable=True, pick=range(len(head) - len(columns) - 2))


def _system(systems: Mapping[str, Scores], cell: str) -> list[str]:
    """The cell of the system column, which exists only with several systems."""
    return [cell] if len(systems) > 1 else []


def ids_of_errors(systems: Mapping[str, Scores], measured: Mapping[str, Measured]) -> list[str]:
    """The distinct ids of the worst errors, in the order of the table."""
    found: dict[str, None] = {}
    for name, scores in systems.items():
        for places in (measured[name].false_accepts, measured[name].false_rejects):
            shown = scores.take(places).trials
            for pair in zip(shown.enrol.to_pylist(), shown.test.to_pylist()):
                found.update(dict.fromkeys(pair))
    return list(found)


def _both(known: pa.Table, column: str, one: int | None, other: int | None) -> str:
    """The values of a column for both sides of a trial."""
    values = ["?" if row is None else _plain(known[column][row].as_py()) for row in (one, other)]
    return values[0] if values[0] == values[1] else " / ".join(values)


def _plain(value: object) -> str:
    if value is None:
        return "?"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.2f}"


def _bar(rate: float | None, most: float, number: int) -> str:
    width = 100 * (rate or 0) / (most or 1)
    return (
        f'<svg class="bar {series(number)}" viewBox="0 0 100 6" aria-hidden="true">'
        f'<rect width="{width:.1f}" height="5" rx="1"/></svg>'
    )
