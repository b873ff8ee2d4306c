from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from spkver.cli.threshold import command
from spkver.errors import InputError
from spkver.packs import PackWriter
from spkver.trials import Scores, read_trials, write_scores
from spkver.verify.decision import read_decision


@pytest.fixture
def scores(scored_corpus):
    listed = read_trials(scored_corpus / "trials")
    values = np.random.default_rng(0).normal(size=len(listed)) / 8 + 0.4 * listed.target
    write_scores(scored_corpus / "scores", Scores(listed, values.clip(-1, 1).astype(np.float32)))
    (scored_corpus / "model").mkdir()
    for name in ("config.yaml", "model.safetensors"):
        (scored_corpus / "model" / name).write_text(name)
    return scored_corpus / "scores"


def invoke(*arguments):
    """Run in click's runner; a user's mistake is raised as the error that `main` prints."""
    return CliRunner().invoke(command, [*map(str, arguments), "--replicates", "20"], catch_exceptions=False)


def test_table_and_stored_decision(scores):
    model = scores.parent / "model"
    done = invoke(scores, "--trials", scores.parent / "trials", "--far", "0.01", "--model", model)
    assert "for a false-accept rate of 0.01; intervals over 10 speakers" in done.stdout
    assert f"stored in {model / 'decision.yaml'}" in done.stdout
    assert "warning: the threshold is based on 5 false accepts among 500 non-targets; about 3,000" in done.stderr
    kept = read_decision(model)
    assert kept.far.rate <= 0.01 and f"{kept.threshold:.4f}" in done.stdout
    assert (kept.scores, kept.trials) == ("scores", "trials")
    assert kept.threshold == float(np.float32(kept.threshold))  # a score as `verify` computes it, not as text rounds it


def test_audio_stores_a_correction_for_seconds_of_speech(scores):
    random = np.random.default_rng(0)
    with PackWriter(scores.parent / "pack", kind="audio", sample_rate=16000) as pack:
        for number in range(100):
            samples = 3000 * random.normal(size=int(16000 * random.uniform(0.4, 3)))
            pack.add(
                f"s{number % 10}/{number:03}.wav", f"s{number % 10}", None, samples.clip(-30000, 30000).astype("<i2")
            )
    model, trials = scores.parent / "model", scores.parent / "trials"
    done = invoke(scores, "--trials", trials, "--eer", "--model", model, "--audio", scores.parent / "pack")
    kept = read_decision(model)
    assert f"{kept.lengths.shift:+.4f} {kept.lengths.slope:+.4f} x score" in done.stdout
    assert "those of two recordings of 4 s of speech" in done.stdout


def test_json(scores):
    utt2spk = scores.parent / "utt2spk"
    utt2spk.write_text("".join(f"s{i % 10}/{i:03}.wav s{i % 10}\n" for i in range(100)))
    out = scores.parent / "t.json"
    done = invoke(scores, "--cost", "0.5", "1", "1", "--speakers", utt2spk, "--json", "--out", out)
    assert json.loads(done.stdout) == json.loads(out.read_text())
    assert json.loads(done.stdout)["speakers"] == 10


@pytest.mark.parametrize("criteria", [[], ["--far", "0.1", "--eer"]])
def test_one_criterion_is_needed(scores, criteria):
    with pytest.raises(InputError, match="one of --far, --frr, --cost and --eer"):
        invoke(scores, *criteria)


def test_only_cosines_are_stored_with_a_model(scores):
    scores.write_text("a b 3.5 target\nc d -2 nontarget\n")
    with pytest.raises(InputError, match=r"a score of 3\.5"):
        invoke(scores, "--eer", "--model", scores.parent / "model")


def test_needs_no_torch(scores):
    code = "import sys; from spkver.cli.threshold import command as c\nc(sys.argv[1:], standalone_mode=False)"
    code += "\nprint('torch' in sys.modules)"
    model = ["--model", str(scores.parent / "model")]
    done = subprocess.run([sys.executable, "-c", code, str(scores), "--eer", *model], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
