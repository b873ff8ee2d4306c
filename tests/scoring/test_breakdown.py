from __future__ import annotations

import collections

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spkver import metrics
from spkver.errors import InputError
from spkver.scoring.breakdown import break_down, worst_speakers
from spkver.scoring.calibration import quality_of
from spkver.scoring.metadata import read_table
from spkver.trials import Scores, Trials, make_trials, read_trials

IDS = [f"u{i:02}" for i in range(40)]
SPEAKERS = [f"s{i % 8}" for i in range(40)]
GENDER = {f"s{i}": "f" if i < 4 else "m" for i in range(8)}


@pytest.fixture(scope="module")
def scores():
    trials = make_trials(IDS, SPEAKERS, nontargets=400, seed=0)
    values = np.random.default_rng(0).normal(size=len(trials)) + 2 * trials.target
    return Scores(trials, values.astype(np.float32))


@pytest.fixture(scope="module")
def table():
    seconds = [float(i) for i in range(39)] + [None]
    genders = [GENDER[s] for s in SPEAKERS]
    return pa.table({"id": IDS, "speaker": SPEAKERS, "gender": genders, "seconds": pa.array(seconds, pa.float64())})


def by_loop(scores, kind):
    """(score, label) of the trials of each group."""
    groups = collections.defaultdict(list)
    for e, t, value, target in zip(
        scores.trials.enrol.to_pylist(), scores.trials.test.to_pylist(), scores.values, scores.labels
    ):
        one, other = sorted([kind(e), kind(t)])
        groups[one if one == other else f"{one} / {other}"].append((value, target))
    return groups


ODD = {"list": pa.array([[1], [2]]), "bytes": pa.array([b"\xff", b"a"]), "struct": pa.array([{"a": 1}, {"a": 2}])}


@pytest.mark.parametrize("column", list(ODD.values()), ids=list(ODD))
def test_columns_of_other_types_are_refused(tmp_path, column):
    scores = Scores(Trials(pa.array(["a", "b"]), pa.array(["b", "a"]), np.array([True, False])), np.arange(2.0))
    table = pa.table({"id": ["a", "b"], "odd": column, "speaker": column})
    pq.write_table(table, tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"the column 'odd' is .*, expected text"):
        break_down(scores, found, "odd")
    with pytest.raises(InputError, match=r"the column 'odd' is .*, expected numbers"):
        break_down(scores, found, "odd", [1.0])
    with pytest.raises(InputError, match=r"the column 'odd' is .*, expected numbers"):
        quality_of(scores, found, "odd")
    with pytest.raises(InputError, match=r"the column 'speaker' is .*, expected text"):
        worst_speakers(scores, found)
    pq.write_table(pa.table({"id": column}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: the column 'id' is .*, expected text"):
        read_table(tmp_path / "t.parquet")
    pq.write_table(pa.table({"enrol": ["a", "b"], "test": ["b", "a"], "target": column}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: the column 'target' is .*, expected text"):
        read_trials(tmp_path / "t.parquet")


def test_groups_equal_loop(scores, table):
    speaker = dict(zip(IDS, SPEAKERS))
    expected = by_loop(scores, lambda name: GENDER[speaker[name]])
    threshold = metrics.equal_error(metrics.error_curve(scores.values, scores.labels)).threshold
    found = {group.name: group for group in break_down(scores, table, "gender")}
    assert list(found) == ["f", "f / m", "m"] and set(found) == set(expected)
    for name, rows in expected.items():
        values, target = map(np.array, zip(*rows))
        group = found[name]
        assert (group.targets, group.nontargets) == (target.sum(), (~target).sum())
        assert group.false_alarm == np.mean(values[~target] >= threshold)
        if target.any():
            assert group.miss == np.mean(values[target] < threshold)
            assert group.eer == metrics.eer(values, target)
    assert found["f / m"].miss is None and found["f / m"].eer is None


@pytest.mark.parametrize("edges", [None, [10, 30]])
def test_bands_of_numbers(scores, table, edges):
    found = break_down(scores, table, "seconds", edges)
    limits = np.quantile(np.arange(39.0), [0.25, 0.5, 0.75]) if edges is None else edges
    number = {name: float(i) for i, name in enumerate(IDS)}
    expected = by_loop(
        scores, lambda name: "z" if name == "u39" else str(np.searchsorted(limits, number[name], "right"))
    )
    assert sorted(g.targets + g.nontargets for g in found) == sorted(map(len, expected.values()))
    assert found[0].name == ("under 10" if edges else "under 9.5")
    assert any(group.name.endswith("/ ?") for group in found)


def test_worst_speakers_equal_loop(scores, table):
    speaker = dict(zip(IDS, SPEAKERS))
    threshold = 1.0
    count, taken = collections.Counter(), collections.Counter()
    for e, t, value, target in zip(
        scores.trials.enrol.to_pylist(), scores.trials.test.to_pylist(), scores.values, scores.labels
    ):
        for name in {speaker[e], speaker[t]}:
            count[name, bool(target), bool(value >= threshold)] += 1
        if not target and value >= threshold:
            taken[speaker[e], speaker[t]] += 1
            taken[speaker[t], speaker[e]] += 1
    found = worst_speakers(scores, table, threshold)
    assert {row.speaker for row in found} == set(SPEAKERS)
    for row in found:
        name = row.speaker
        assert (row.misses, row.false_alarms) == (count[name, True, False], count[name, False, True])
        assert row.targets == row.misses + count[name, True, True]
        assert row.nontargets == row.false_alarms + count[name, False, False]
        assert row.times == max(times for (one, _), times in taken.items() if one == name) == taken[name, row.taken_for]
    share = [row.misses / row.targets + row.false_alarms / row.nontargets for row in found]
    assert share == sorted(share, reverse=True)
    assert worst_speakers(scores, table)  # at the equal error rate's threshold


def test_invalid_inputs_are_refused(scores, table):
    with pytest.raises(InputError, match="no column 'sex'"):
        break_down(scores, table, "sex")
    with pytest.raises(InputError, match="'gender' is string, expected numbers"):
        break_down(scores, table, "gender", [1])
    with pytest.raises(InputError, match=r"the speaker of 'u\d+' is not known"):
        worst_speakers(scores, table.slice(0, 10))
