from __future__ import annotations

import numpy as np
import pytest

from spkver import metrics
from spkver.trials import Scores, read_scores, read_trials, write_scores


@pytest.fixture
def systems(scored_corpus):
    listed = read_trials(scored_corpus / "trials")
    for i in range(4):
        values = 0.1 * np.random.default_rng(i).normal(size=len(listed)) + 0.2 * listed.target + 0.3
        write_scores(scored_corpus / f"{i}.scores", Scores(listed, values.astype(np.float32)))
    lines = [f"s{i % 10}/{i:03}.wav,s{i % 10},{1 + i % 7}" for i in range(100)]
    (scored_corpus / "t.csv").write_text("\n".join(["id,speaker,seconds", *lines]) + "\n")
    return scored_corpus


def cllr(path):
    found = read_scores(path)
    return metrics.cllr(found.values, found.labels)


def test_calibrate(spkver, systems):
    scores, out, saved = systems / "0.scores", systems / "llr", systems / "map.json"
    before = cllr(scores)
    done = spkver("calibrate", scores, out, "--train", systems / "1.scores", "--save", saved)
    assert "950 log-likelihood ratios" in done.stdout and cllr(out) < before - 0.2
    first = out.read_text()
    spkver("calibrate", scores, out, "--load", saved)
    assert out.read_text() == first
    spkver("calibrate", scores, out, "--folds", 4, "--speakers", systems / "t.csv", "--method", "isotonic")
    assert cllr(out) < before - 0.1
    table = f"{systems / 't.csv'}:seconds"
    measured = ("--quality", table, "--train-quality", table)
    spkver("calibrate", scores, out, "--train", systems / "1.scores", *measured)
    assert cllr(out) < before - 0.2


def test_fuse(spkver, systems):
    out = systems / "fused"
    spkver(
        "fuse", out, systems / "0.scores", systems / "1.scores",
        "--train", systems / "2.scores", "--train", systems / "3.scores", "--prior", 0.1,
    )  # fmt: skip
    spkver("calibrate", systems / "0.scores", systems / "one", "--train", systems / "2.scores")
    assert cllr(out) < cllr(systems / "one")


def test_options_that_do_not_go_together(spkver, systems):
    scores, out = systems / "0.scores", systems / "out"
    assert "one of train, load and folds" in spkver("calibrate", scores, out, code=2).stderr
    assert "add speakers" in spkver("calibrate", scores, out, "--folds", 4, code=2).stderr
    done = spkver("fuse", out, scores, scores, "--train", scores, code=2)
    assert "one train file for each score file" in done.stderr
    done = spkver("calibrate", scores, out, "--train", scores, "--quality", "x", "--train-quality", "x", code=2)
    assert "expected TABLE:COLUMN" in done.stderr and not out.exists()


@pytest.fixture
def distances(systems):
    found = read_scores(systems / "0.scores")
    write_scores(systems / "distances", Scores(found.trials, -found.values))
    return systems / "distances"


def test_every_command_warns_of_distances(spkver, systems, distances):
    good, out, page = systems / "1.scores", systems / "out", systems / "page.html"
    words = f"warning: {distances}: targets do not score higher than non-targets"
    for command in (
        ("evaluate", distances),
        ("breakdown", distances, systems / "t.csv"),
        ("compare", f"a={good}", f"b={distances}", "--trials", systems / "trials"),
        ("report", f"a={good}", f"b={distances}", "--out", page),
        ("calibrate", distances, out, "--train", good),
        ("calibrate", good, out, "--train", distances),
        ("calibrate", distances, out, "--folds", 4, "--speakers", systems / "t.csv"),
        ("fuse", out, good, good, "--train", good, "--train", distances),
    ):
        assert words in spkver(*command).stderr, command
        assert "warning" not in spkver(*(str(part).replace("distances", "1.scores") for part in command)).stderr
    assert "targets do not score higher than non-targets" in spkver("threshold", distances, "--eer", code=2).stderr


def test_near_scores_are_not_rounded_to_ties(spkver, systems):
    """Scores that differ only in float64 stay distinct after calibration."""
    near, out = systems / "near", systems / "near.llr"
    near.write_text(
        "a b 0.99999999 target\na c 0.99999998 nontarget\nb c 0.99999997 nontarget\nc d 0.999999985 target\n"
    )
    assert "EER              0.00 %" in spkver("evaluate", near).stdout
    spkver("calibrate", near, out, "--train", systems / "1.scores")
    assert "EER              0.00 %" in spkver("evaluate", out).stdout
    spkver("fuse", out, near, near, "--train", systems / "1.scores", "--train", systems / "2.scores")
    assert "EER              0.00 %" in spkver("evaluate", out).stdout
