from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from spkver.errors import InputError
from spkver.metrics import eer
from spkver.scoring.comparison import compare
from spkver.trials import Scores, Trials


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    speaker = np.repeat(np.arange(20), 5)
    ids = np.array([f"s{s}/{i}" for i, s in enumerate(speaker)])
    x = rng.normal(size=(20, 4))[speaker] + 0.6 * rng.normal(size=(100, 4))
    a, b = np.triu_indices(100, 1)
    target = speaker[a] == speaker[b]
    trials = Trials(pa.array(ids[a]), pa.array(ids[b]), target)
    cosine = (x[a] * x[b]).sum(1) / np.linalg.norm(x[a], axis=1) / np.linalg.norm(x[b], axis=1)

    def system(noise, seed):
        return Scores(trials, (cosine + noise * np.random.default_rng(seed).normal(size=len(a))).astype(np.float32))

    return system, {name: name.split("/")[0] for name in ids}


def test_means_over_runs_and_paired_differences(corpus):
    system, speakers = corpus
    good, bad = [system(0.05, seed) for seed in (1, 2, 3)], [system(0.4, seed) for seed in (4, 5)]
    found = compare({"good": good, "bad": bad, "same": good}, speakers, replicates=200)
    value = found.systems["bad"]["EER"]
    rates = [eer(run.values, run.labels) for run in bad]
    assert value.runs == pytest.approx(rates) and value.mean == pytest.approx(np.mean(rates))
    t = stats.ttest_1samp(rates, 0).confidence_interval(0.95)
    assert value.seeds == pytest.approx((t.low, t.high))
    assert value.speakers[0] < value.mean < value.speakers[1]
    assert value.difference.mean == pytest.approx(value.mean - found.systems["good"]["EER"].mean)
    assert value.difference.speakers[0] > 0 and value.difference.p_value < 0.02
    same = found.systems["same"]["EER"].difference
    assert same.mean == 0 and same.p_value == 1
    assert value.difference.p_holm == 2 * value.difference.p_value and same.p_holm == 1, "corrected for two systems"
    assert found.rows()[0][-1] == "p (Holm)" and found.rows()[4][-1] == f"{value.difference.p_holm:.3f}"
    pair = compare({"good": good, "bad": bad}, speakers, replicates=200)
    assert pair.systems["bad"]["EER"].difference.p_holm == value.difference.p_value and pair.rows()[0][-1] == "p"
    assert found.systems["good"]["EER"].difference is None
    assert len({len(row) for row in found.rows()}) == 1 and len(found.rows()) == 1 + 3 * 3


def compare_first(scores, speakers, number):
    """Two equal systems on the trials of the first speakers."""
    trials = scores.trials
    sides = [[int(speakers[name.as_py()][1:]) for name in side] for side in (trials.enrol, trials.test)]
    kept = np.max(sides, axis=0) < number
    of_these = Trials(trials.enrol.filter(pa.array(kept)), trials.test.filter(pa.array(kept)), scores.labels[kept])
    part = Scores(of_these, scores.values[kept])
    return compare({"a": [part], "b": [part]}, speakers, replicates=20)


def test_no_intervals_without_speakers_or_with_one_run(corpus):
    system, speakers = corpus
    found = compare({"one": [system(0.1, 1)]}, points=["vox-0.01"])
    assert found.systems["one"]["EER"].seeds is None and found.systems["one"]["EER"].speakers is None
    assert found.rows()[0] == ["system", "runs", "measure", "mean"]
    few = compare_first(system(0.1, 1), speakers, 2)
    assert not few.has_intervals and few.systems["b"]["EER"].difference is None
    assert compare_first(system(0.1, 1), speakers, 3).has_intervals
    del speakers["s3/17"]
    with pytest.raises(InputError, match="the speaker of 's3/17' is not known"):
        compare({"one": [system(0.1, 1)]}, speakers, replicates=20)
    speakers["s3/17"] = "s3"
