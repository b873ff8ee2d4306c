from __future__ import annotations

import numpy as np
import pytest

from spkver import metrics
from spkver.embeddings import Embeddings
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.features import FrontEndConfig
from spkver.packs import Pack, PackWriter
from spkver.scoring import cosine
from spkver.training.monitoring.validation import DevSet


@pytest.fixture
def dev(packs):
    return Pack.open(packs / "dev")


@pytest.fixture
def encoder():
    front_end = FrontEndConfig(sample_rate=8000, bins=24, high_hz=3600.0, normalise="none")
    return Encoder(EncoderConfig(front_end=front_end, model="mean_fbank"))


def write_trials(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_made_trials_are_across_sessions(dev):
    trials = DevSet.open(dev, None, {"somebody"}).trials
    # 5 speakers with 2 + 2 utterances: 4 pairs across sessions each; the non-targets are all other pairs
    assert trials.target.sum() == 5 * 4
    assert len(trials.target) == 5 * 4 + min(4 * 5 * 6, 20 * 19 // 2 - 5 * 6)


def test_speakers_with_a_single_session(tmp_path):
    with PackWriter(tmp_path / "p", kind="audio", sample_rate=8000) as pack:
        for speaker in range(3):
            for number in range(2):
                pack.add(f"{speaker}/{number}", str(speaker), f"day{speaker}", np.ones(8, "<i2"))
    assert DevSet.open(Pack.open(tmp_path / "p"), None, set()).trials.target.sum() == 3


def test_error_rates(dev, encoder, tmp_path):
    encoder.train()
    rates = DevSet.open(dev, None, set()).error_rates(encoder)
    assert encoder.training
    assert 0 <= rates["dev_eer"] < 0.5 and 0 <= rates["dev_min_dcf"] <= 1
    trials = write_trials(tmp_path / "t", ["1 s12/0 s12/1", "0 s12/0 s13/1"])
    assert DevSet.open(dev, trials, set()).error_rates(encoder)["dev_eer"] == 0


def test_error_rates_equal_those_of_the_scores(dev, encoder):
    """minDCF at P(target) 0.01, which differs here from that at 0.05."""
    held = DevSet.open(dev, None, set())
    encoder.eval()
    vectors = np.stack([encoder.embed(dev[row]) for row in range(len(dev))])
    noise = np.random.default_rng(4).normal(scale=1.2, size=vectors.shape)  # so that there are errors
    vectors = (vectors + noise).astype(np.float32)
    rates = held._rates(dict(enumerate(vectors)))
    scores, target = cosine.score(held.trials, Embeddings(dev.ids, vectors)), held.trials.target
    costs = [metrics.min_dcf(scores, target, p_target=p_target) for p_target in (0.01, 0.05)]
    assert costs[0] > costs[1] > 0
    assert rates == {"dev_eer": metrics.eer(scores, target), "dev_min_dcf": costs[0]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["s12/0 s12/1"], "no labels"),
        (["1 s12/0 s12/1", "0 s12/0 s99/1"], "'s99/1' is not in the dev pack"),
        (["1 s12/0 s12/1"], "t: no non-target among 1 trials; dev EER"),
        (["0 s12/0 s13/1"], "t: no target among 1 trials; dev EER"),
    ],
)
def test_mismatching_trial_lists_are_rejected(dev, tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        DevSet.open(dev, write_trials(tmp_path / "t", lines), set())


def test_dev_speakers_in_the_training_set_are_rejected(dev):
    with pytest.raises(InputError, match="speaker s13 is also in the training set"):
        DevSet.open(dev, None, {"s1", "s13"})


def test_dev_speakers_with_one_utterance_each_are_rejected(dev):
    first = [dev.speakers.index(speaker) for speaker in sorted(set(dev.speakers))]
    with pytest.raises(InputError, match=r"dev: no speaker has two utterances"):
        DevSet.open(dev.subset(first), None, set())


def test_single_dev_speaker_is_rejected(dev):
    with pytest.raises(InputError, match="at least two speakers"):
        DevSet.open(dev.subset([0, 1]), None, set())
