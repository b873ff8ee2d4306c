from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from spkver import metrics
from spkver.errors import InputError
from spkver.scoring.evaluation import evaluate
from spkver.trials import Scores, Trials


def scored(values, target):
    names = pa.array([f"u{i}" for i in range(len(values))])
    return Scores(Trials(names, names, target), np.asarray(values, np.float32))


def test_gathers_the_metrics():
    rng = np.random.default_rng(0)
    target = rng.random(500) < 0.3
    scores = scored(rng.normal(size=500) + 2 * target, target)
    found = evaluate(scores, ["vox-0.05", "sre08"])
    assert (found.trials, found.targets, found.nontargets) == (500, target.sum(), 500 - target.sum())
    assert found.eer == metrics.eer(scores.values, target)
    assert found.eer_convex_hull == metrics.eer_convex_hull(scores.values, target)
    assert list(found.min_dcf) == ["vox-0.05", "sre08"]
    assert found.min_dcf["vox-0.05"].cost == metrics.min_dcf(scores.values, target, 0.05)
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["min_dcf"]["sre08"]["cost"] == metrics.min_dcf(
        scores.values, target, 0.01, c_miss=10
    )


def test_table():
    found = evaluate(scored([1, 2, 3, 4], np.array([0, 1, 0, 1], bool)))
    assert found.table().splitlines() == [
        "trials                 4  2 targets, 2 non-targets",
        "EER              50.00 %  at threshold 3.0000",
        "minDCF vox-0.01   0.5000  at threshold 4.0000",
        "minDCF vox-0.05   0.5000  at threshold 4.0000",
    ]


def test_reject_all_is_null_in_json():
    found = evaluate(scored([2, 1], np.array([False, True])), ["vox-0.01"])
    assert found.plain()["min_dcf"] == {"vox-0.01": {"cost": 1.0, "threshold": None}}
    assert "rejecting all" in found.table()


def test_no_labels_and_unknown_point():
    with pytest.raises(InputError, match="have no labels"):
        evaluate(scored([1, 2], None))
    with pytest.raises(InputError, match="unknown operating point 'vox'"):
        evaluate(scored([1, 2], np.array([True, False])), ["vox"])
