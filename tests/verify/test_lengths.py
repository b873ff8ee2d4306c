"""Correction of scores for the seconds of speech."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import spkver
from spkver import metrics
from spkver.errors import InputError
from spkver.packs import PackWriter
from spkver.quality import speech_seconds
from spkver.scoring.calibration import fit_affine
from spkver.trials import Scores, Trials
from spkver.verify import threshold as th
from spkver.verify.book import enrol, open_book
from spkver.verify.decision import Calibration, Decision, Rate, write_decision
from spkver.verify.lengths import SECONDS, Lengths, fit_lengths, shortness
from spkver.verify.model import embeddings_of
from spkver.verify.people import identify

LENGTHS = Lengths(shift=-0.05, slope=-0.2, least=-1.5, most=1.0)


def simulated(trials=20000, seed=0):
    """Cosines that are lower for targets and vary more for non-targets the shorter the recordings are."""
    random = np.random.default_rng(seed)
    target = random.random(trials) < 0.5
    one, other = np.exp(random.uniform(np.log(0.4), np.log(20), (2, trials)))
    x = shortness(one, other)
    values = np.where(target, 0.45 - 0.12 * x, 0.05) + (0.13 + 0.02 * x) * random.normal(size=trials)
    return values.astype(np.float32), target, one, other


@given(st.floats(0.1, 60), st.floats(0.1, 60))
def test_shortness_is_zero_at_the_reference_and_falls_with_length(one, other):
    assert shortness(SECONDS, SECONDS) == pytest.approx(0)
    assert shortness(one, other) == pytest.approx(np.log((1 / one + 1 / other) / (2 / SECONDS)))
    assert shortness(one, other) == pytest.approx(shortness(other, one))
    assert shortness(2 * one, other) < shortness(one, other)


def test_unknown_length_is_the_reference_and_lengths_are_limited():
    assert LENGTHS.corrected(0.3, np.nan, SECONDS) == pytest.approx(0.3)
    assert LENGTHS.corrected(0.3, 0.0, 0.0) == LENGTHS.corrected(0.3, 1e-3, 1.0)
    assert LENGTHS.corrected(0.3, 1e6, 1e6) == pytest.approx(0.3 - 1.5 * (-0.05 - 0.2 * 0.3))


def test_correction_and_calibration_are_one_logistic_regression():
    scores, target, one, other = simulated()
    lengths = fit_lengths(scores, target, one, other, 0.5)
    x = shortness(one, other)
    whole = fit_affine(np.column_stack([scores, x, x * scores]), target)
    corrected = lengths.corrected(scores, one, other)
    after = fit_affine(corrected[:, None].astype(np.float64), target)
    direct = whole(np.column_stack([scores, x, x * scores]))
    assert after(corrected[:, None]) == pytest.approx(direct, abs=1e-3)


def test_one_calibration_fits_corrected_scores_of_all_lengths():
    """The cost of calibration (Cllr above its minimum) is small for short and for long recordings, on other trials."""
    scores, target, one, other = simulated()
    lengths = fit_lengths(scores, target, one, other, 0.5)
    fits = {
        name: fit_affine(values[:, None].astype(np.float64), target)
        for name, values in (("plain", scores), ("corrected", lengths.corrected(scores, one, other)))
    }
    scores, target, one, other = simulated(50000, seed=1)
    inputs = {"plain": scores, "corrected": lengths.corrected(scores, one, other)}
    x = shortness(one, other)
    for group in (x < np.quantile(x, 0.2), x > np.quantile(x, 0.8)):
        loss = {
            name: metrics.cllr(fits[name](values[group, None]), target[group])
            / metrics.min_cllr(values[group], target[group])
            for name, values in inputs.items()
        }
        assert loss["corrected"] < 1.2 and loss["corrected"] - 1 < 0.3 * (loss["plain"] - 1)


def test_lengths_that_cannot_be_fitted_are_input_errors():
    scores, target, one, other = simulated(500)
    with pytest.raises(InputError, match="the same seconds of speech"):
        fit_lengths(scores, target, np.full(500, 2.0), np.full(500, 3.0), 0.5)
    with pytest.raises(InputError, match="targets do not score higher"):
        fit_lengths(-scores, target, one, other, 0.5)
    with pytest.raises(ValidationError, match="must rise with the score"):
        Lengths(shift=0, slope=-1.1, least=-1, most=1)


def test_scores_that_would_fall_get_a_shift_only():
    scores, target, one, other = simulated(500)
    odd = np.where(shortness(one, other) > 1.5, -scores, scores)  # very short targets score lower than non-targets
    lengths = fit_lengths(odd, target, one, other, 0.5)
    assert lengths.slope == 0 and lengths.shift != 0


@pytest.fixture
def corpus(tmp_path):
    """A pack of noise bursts of 0.5 to 5 s, and scores of all pairs."""
    random = np.random.default_rng(0)
    names = {f"s{speaker}-{number}": f"s{speaker}" for speaker in range(10) for number in range(4)}
    with PackWriter(tmp_path / "pack", kind="audio", sample_rate=16000) as pack:
        for name, speaker in names.items():
            samples = random.normal(size=int(16000 * random.uniform(0.5, 5)))
            pack.add(name, speaker, None, (3000 * samples).clip(-30000, 30000).astype("<i2"))
    ids = list(names)
    one, other = np.triu_indices(len(ids), 1)
    target = np.array([names[ids[a]] == names[ids[b]] for a, b in zip(one, other)])
    values = np.clip(0.5 * target + 0.1 * random.normal(size=len(target)), -1, 1).astype(np.float32)
    trials = Trials(pa.array([ids[a] for a in one]), pa.array([ids[b] for b in other]), target)
    return tmp_path / "pack", Scores(trials, values), names


def test_choose_with_seconds_stores_the_correction(corpus):
    pack, scores, names = corpus
    seconds = th.seconds_of(scores.trials, pack)
    assert all(side.min() > 0.3 and side.max() < 5.1 for side in seconds)
    decision, _ = th.choose(scores, th.at_eer(), names, seconds=seconds, replicates=20)
    assert decision.lengths == fit_lengths(scores.values, scores.labels, *seconds, 0.5)
    corrected = decision.lengths.corrected(scores.values, *seconds)
    assert decision.far.rate == (corrected[~scores.labels] >= np.float32(decision.threshold)).mean()
    assert th.choose(scores, th.at_eer(), names, replicates=20)[0].lengths is None


def test_seconds_of_recordings_that_are_not_there_are_an_input_error(corpus):
    pack, _, _ = corpus
    trials = Trials(pa.array(["s0-0", "who"]), pa.array(["s0-1", "s0-1"]), np.array([True, False]))
    with pytest.raises(InputError, match="no recording 'who', which is in the trials"):
        th.seconds_of(trials, pack)


@pytest.fixture
def model(tiny_model, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    rate = Rate(rate=0.01, low=0, high=0.1, errors=1, trials=100)
    calibration = Calibration(scale=10.0, offset=-4.0, least=-6.0, most=8.0, prior=0.5)
    write_decision(
        folder,
        Decision(
            threshold=0.4,
            low=0.3,
            high=0.5,
            wish="a rate",
            far=rate,
            frr=rate,
            calibration=calibration,
            speakers=9,
            lengths=LENGTHS,
        ),
    )
    return folder


def test_verify_corrects_for_the_speech_of_both_sides(model, voice):
    verifier = spkver.load_model(model)
    long, short = voice(120), voice(150)[:8000]
    seconds = [speech_seconds(one, 16000) for one in (long, short)]
    found = verifier.verify(long, short)
    assert found.score == pytest.approx(float(LENGTHS.corrected(found.cosine, *seconds)), abs=1e-6)
    assert found.score != pytest.approx(found.cosine, abs=1e-3)
    several = verifier.verify([long, long], short)
    assert several.score == pytest.approx(
        float(LENGTHS.corrected(several.cosine, 2 * seconds[0], seconds[1])), abs=1e-6
    )
    assert found.ratio == pytest.approx(verifier.decision.calibration.ratio(found.score))


def test_identify_corrects_for_the_speech_of_the_test_recording(model, voice, tmp_path):
    verifier = spkver.load_model(model)
    enrol(tmp_path / "book", "Ada", embeddings_of(verifier, [verifier.listen(voice(120))]))
    short = voice(120)[:8000]
    soundfile.write(tmp_path / "short.wav", short, 16000, subtype="FLOAT")
    (found,) = identify(verifier, open_book(tmp_path / "book"), [tmp_path / "short.wav"])
    cosine = verifier.score([voice(120)], [short])[0, 0]
    expected = LENGTHS.corrected(cosine, SECONDS, speech_seconds(short, 16000))
    assert found.candidates[0].score == pytest.approx(float(expected), abs=1e-5)
