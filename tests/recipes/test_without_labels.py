"""All stages of the recipe without labels, on a miniature corpus."""

from __future__ import annotations

import re

import pytest

from data_prep._tree import Tree
from data_prep.folder import prepare
from spkver.datadir import read_datadir, write_datadir
from spkver.trials import make_trials, write_trials

pytest.importorskip("faiss")
TINY = (
    "model.channels=8 model.pooled_channels=16 model.dim=8 train.batch_size=8 train.log_every=1 train.precision=fp32 "
    "train.compile=false train.steps=2 data.crop_seconds=0.5 augment.waveform=[]"
)


@pytest.fixture
def corpus(record, tmp_path):
    """Data directories of six and four speakers, and all trials of the latter."""
    for name, speakers in (("train", range(6)), ("test", range(6, 10))):
        for speaker in speakers:
            record(tmp_path / name, *(f"id{speaker}/{take}.wav" for take in range(3)))
        write_datadir(tmp_path / f"data_{name}", prepare(Tree.read(tmp_path / name)))
    test = read_datadir(tmp_path / "data_test")
    write_trials(tmp_path / "trials", make_trials(test.ids, test.speakers, nontargets=30, seed=1))
    return ["--train", tmp_path / "data_train", "--test", tmp_path / "data_test", "--trials", tmp_path / "trials"]


def test_without_labels_runs_all_stages(recipe, corpus, tmp_path):
    done = recipe(
        "without_labels", *corpus, small=["--overrides", TINY, "--speakers", "5", "--labelled", "3", "--jobs", "1"]
    )
    assert re.findall(r"=== stage (\d)", done.stdout) == list("12345")
    assert re.findall(r"^([\w.]+):$", done.stdout, re.M) == [
        "simclr",
        "groups1",
        "groups2",
        "some",
        "some.tuned",
        "labels",
    ]
    assert done.stdout.count("EER ") == 6
    logs = {name: (tmp_path / "exp" / name / "train.log").read_text() for name in ("simclr", "groups2.run", "labels")}
    assert "18 classes" in logs["simclr"] and "5 classes" in logs["groups2.run"] and "6 classes" in logs["labels"]


def test_dino_is_the_other_method(recipe, corpus, tmp_path):
    small = f"{TINY} data.local.seconds=0.3 loss.projection.hidden=8 loss.projection.prototypes=16"
    done = recipe("without_labels", *corpus, "--method", "dino", "--stop-stage", 2, small=["--overrides", small])
    assert "=== stage 2: crops of recordings: dino" in done.stdout
    assert "18 classes" in (tmp_path / "exp" / "dino" / "train.log").read_text()


def test_missing_option_is_named_in_the_error(recipe):
    assert "--train and --test are needed" in recipe("without_labels", small=[], code=2).stderr
    assert "--speakers is needed" in recipe("without_labels", "--stage", 3, small=[], code=2).stderr
