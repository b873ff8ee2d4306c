"""All stages of the recipe of the packaged model, on miniature corpora."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

import spkver
from spkver.trials import Scores, read_trials, write_scores

TINY = (
    "model.channels=8 model.pooled_channels=16 model.dim=8 train.batch_size=4 train.log_every=1 train.precision=fp32 "
    "train.steps=2"
)
SMALL = ["--overrides", TINY, "--dev-speakers", "2", "--nontargets", "4", "--far", "0.5", "--top", "6", "--jobs", "1"]


@pytest.fixture
def corpora(record, tmp_path):
    """speechocean762 with its two trial lists, and a cohort of one recording of each of four speakers."""
    so, cohort = tmp_path / "so", tmp_path / "cohort"
    described = ["speaker\tgender\tage\tsplit"]
    for number in range(8):
        split, speaker = ("train", "test")[number % 2], f"{number:04d}"
        record(so, *(f"{split}/{speaker}/0{speaker}{n}.wav" for n in range(2)))
        described.append(f"{speaker}\t{'fm'[number // 2 % 2]}\t{20 + number}\t{split}")
    (so / "speakers.tsv").write_text("\n".join(described) + "\n")
    for speaker in (103, 1034, 1040, 3):  # 3 is also the id of a speaker of the other corpus
        record(cohort, f"{speaker:04d}/{speaker}-1.wav", seconds=6.5)
    tests = [f"test/000{speaker}/0000{speaker}{n}.wav" for speaker in (1, 3, 5, 7) for n in range(2)]
    trials = [f"{a[5:9] == b[5:9]:d} {a} {b}\n" for a, b in itertools.combinations(tests, 2)]
    for name in ("speechocean762_test.txt", "speechocean762_test_hard.txt"):
        (tmp_path / name).write_text("".join(trials))
    return ["--speechocean", so, "--cohort", cohort, "--trials", tmp_path]


def test_start_model_runs_all_stages(recipe, corpora, tmp_path):
    done = recipe("start_model", *corpora, "--stop-stage", 5, small=SMALL)
    assert re.findall(r"=== stage (\d)", done.stdout) == list("12345")
    sets = ["dev", "far_clean", "far_mild", "far_hard"]
    lists = ("speechocean762_test", "speechocean762_test_hard")
    expected = [*sets, *sets, *(f"{each}_{way}" for each in lists for way in ("whole", "2s", "mild"))]
    assert [line for line in done.stdout.splitlines() if line in expected] == expected
    assert done.stdout.count("EER ") == 2 * len(expected)  # plain and normalised
    trained = (tmp_path / "exp" / "final" / "train.log").read_text()
    assert "8 speakers" in trained and "24 classes" in trained  # equal ids of two corpora are different speakers
    # two training steps separate no speakers, so replace the scores before the threshold is set
    trials = read_trials(tmp_path / "speechocean762_test.txt")
    scores = np.where(trials.target, 9, 1) - np.arange(len(trials)) / 100
    scored = Scores(trials, scores.astype(np.float32))
    write_scores(tmp_path / "exp" / "scores" / "speechocean762_test_mild.snorm", scored)
    recipe("start_model", *corpora, "--stage", 6, small=SMALL)
    start = spkver.load_model(tmp_path / "exp" / "start")
    assert 0.7 < start.decision.threshold < 1 and start.cohort.top == 6  # half of the others are below


def test_missing_option_is_named_in_the_error(recipe):
    assert "--speechocean and --cohort are needed" in recipe("start_model", small=[], code=2).stderr
    assert "--trials is needed" in recipe("start_model", "--stage", 5, small=[], code=2).stderr
