"""All stages of the recipe of the packaged model, on miniature corpora."""

from __future__ import annotations

import itertools
import re
import shutil

import numpy as np
import pytest

import spkver
from spkver.embeddings import Embeddings, write_embeddings

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


def test_start_model_chooses_its_threshold_on_other_corpora(recipe, record, tiny_model, tmp_path):
    """Stage 6 alone, with the model and the cohort that stages 4 and 5 would have made."""
    # speakers whose digits have the same sum have the same voice, so that scores overlap
    for corpus, numbers in (("words", (12, 21, 13, 14, 15, 16)), ("sentences", (24, 42, 27, 28, 29, 39))):
        for number in numbers:
            for take in range(4):
                record(tmp_path / corpus, f"{number:04d}/{take}.wav", seconds=1.0 + take / 2)
    shutil.copytree(tiny_model, tmp_path / "exp" / "start")
    random, identity = np.random.default_rng(0), spkver.load_model(tiny_model).model_id
    vectors = random.normal(size=(40, spkver.load_model(tiny_model).dim)).astype(np.float32)
    cohort = Embeddings([str(number) for number in range(40)], vectors, model=identity)
    (tmp_path / "exp" / "scores").mkdir()
    write_embeddings(tmp_path / "exp" / "scores" / "cohort.parquet", cohort)
    unheard = f"{tmp_path / 'words'} {tmp_path / 'sentences'}"
    small = [*SMALL, "--nontargets", "80"]
    done = recipe("start_model", "--stage", 6, "--unheard", unheard, small=small)
    decision = spkver.load_model(tmp_path / "exp" / "start").decision
    assert decision.cohort.top == 6 and decision.lengths is not None and decision.speakers == 12
    assert decision.far.trials == 80 and decision.frr.trials == 72
    assert "as of two recordings of 4 s of speech" in done.stdout


def test_missing_option_is_named_in_the_error(recipe):
    assert "--speechocean and --cohort are needed" in recipe("start_model", small=[], code=2).stderr
    assert "--unheard is needed" in recipe("start_model", "--stage", 6, small=[], code=2).stderr
    assert "--trials is needed" in recipe("start_model", "--stage", 5, small=[], code=2).stderr
