"""All stages of the recipe of the packaged model, on miniature corpora."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import spkver
from spkver import audio

TINY = (
    "model.channels=16 model.aggregated=32 model.se_hidden=4 model.dim=16 train.batch_size=4 train.log_every=1 "
    "train.optimizer.lr=0.001 train.precision=fp32 train.compile=false train.steps=2 data.crop_seconds=0.7"
)
SMALL = [
    *("--overrides", TINY, "--again", "", "--lengths", "", "--speeds", "", "--shorter", ""),
    *("--nontargets", "30", "--far", "0.5", "--top", "4", "--jobs", "1"),
]


def speak(root: Path, *names: str, pitch: float, seconds: float = 1.0) -> None:
    """Write recordings of an interrupted tone in noise: unlike a filter, it survives the subtraction of the mean."""
    for number, name in enumerate(names):
        time = np.arange(int(16000 * seconds)) / 16000
        tone = np.sin(2 * np.pi * pitch * time) * (np.sin(8 * np.pi * time + number) > 0)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).normal(size=len(time))
        audio.write(root / name, (0.2 * tone + 0.01 * noise).astype(np.float32), 16000)


@pytest.fixture
def corpora(tiny_model, tmp_path):
    """speechocean762 with a trial list, two corpora to train on, one of them words, and one to test on."""
    speech, so, trials = tmp_path / "speech", tmp_path / "so", tmp_path / "trials"
    described = ["speaker\tgender\tage\tsplit"]
    for number in range(8):
        split, speaker = ("train", "test")[number % 2], f"{number:04d}"
        speak(so, *(f"{split}/{speaker}/0{speaker}{n}.wav" for n in range(2)), pitch=300 * 1.4**number)
        described.append(f"{speaker}\t{'fm'[number // 2 % 2]}\t{20 + number}\t{split}")
    (so / "speakers.tsv").write_text("\n".join(described) + "\n")
    for corpus, speakers in (("words", 4), ("sentences", 4), ("evaluation_only/far", 2)):
        for number in range(speakers):
            names = [f"{number:04d}/{corpus[0]}{number}{take}.wav" for take in range(3)]
            speak(speech / corpus, *names, pitch=200 * 2**number + 10 * len(corpus), seconds=len(corpus) / 5)
    trials.mkdir()
    for name, tests in (
        (
            "speechocean762_test",
            [f"test/000{speaker}/0000{speaker}{n}.wav" for speaker in (1, 3, 5, 7) for n in (0, 1)],
        ),
        ("far", [f"evaluation_only/far/000{speaker}/e{speaker}{n}.wav" for speaker in (0, 1) for n in (0, 1, 2)]),
    ):
        lines = [f"{a.split('/')[-2] == b.split('/')[-2]:d} {a} {b}\n" for a, b in itertools.combinations(tests, 2)]
        (trials / f"{name}.txt").write_text("".join(lines))
    names = ["--corpora", "words sentences", "--words", "words", "--left-out", "words sentences", "--tested", "far"]
    return ["--speech", speech, "--speechocean", so, "--trials", trials, "--teacher", tiny_model, *names]


def test_start_model_runs_all_stages(recipe, corpora, tmp_path):
    done = recipe("start_model", *corpora, small=SMALL)
    assert re.findall(r"=== stage (\d)", done.stdout) == list("1234567")
    measured = re.findall(r"^(\w+: \w+)$", done.stdout, re.M)
    assert measured == [
        "without_words: words",
        "without_sentences: sentences",
        "final: far",
        "final: speechocean762_test",
    ]
    assert done.stdout.count("EER ") == 2 * len(measured)  # plain and normalised
    logs = {name: (tmp_path / "exp" / name / "train.log").read_text() for name in ("final", "without_words")}
    # 12 speakers at twelve speeds, 8 at three; ids of two corpora apart
    assert "144 classes" in logs["final"] and "24 classes" in logs["without_words"]
    assert "final_3/model" in logs["final"] and "36 of 144 classes with its weights" in logs["final"]
    assert "also learning from" in logs["final"]
    model = spkver.load_model(tmp_path / "exp" / "start")
    assert model.decision.cohort.top == 4 and model.decision.lengths is not None and model.decision.speakers == 8
    assert model.decision.far.trials == 60 and model.decision.frr.trials == 24
    assert model.config.front_end.vad.name == "energy"


def test_missing_option_is_named_in_the_error(recipe):
    assert "--speech and --speechocean are needed" in recipe("start_model", small=[], code=2).stderr
    assert "--teacher is needed" in recipe("start_model", "--stage", 3, small=[], code=2).stderr
    assert "--trials is needed" in recipe("start_model", "--stage", 6, small=[], code=2).stderr
