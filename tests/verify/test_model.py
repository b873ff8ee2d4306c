from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

import spkver
from spkver.errors import InputError
from spkver.modeldir import default_model
from spkver.verify.cohort import Voices, cosines
from spkver.verify.decision import Calibration, Decision, Rate, write_decision
from spkver.verify.model import Verifier, embeddings_of, mean_direction

RATE = Rate(rate=0.01, low=0, high=0.1, errors=1, trials=100)


@pytest.fixture(scope="module")
def verifier(tiny_model) -> Verifier:
    return spkver.load_model(tiny_model)


@pytest.fixture(scope="module")
def waveforms(voice):
    return [voice(pitch) for pitch in (90, 130, 220)]


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_score_gives_cosines_of_the_embeddings(verifier, waveforms):
    vectors = np.stack([verifier.embed(one) for one in waveforms]).astype(np.float64)
    expected = unit(vectors) @ unit(vectors).T
    found = verifier.score(waveforms, waveforms)
    assert found.dtype == np.float32 and found == pytest.approx(expected, abs=1e-6)
    assert verifier.score(waveforms[:1], waveforms) == pytest.approx(expected[:1], abs=1e-6)
    assert verifier.verify(waveforms[0], waveforms[1]).score == pytest.approx(expected[0, 1], abs=1e-6)


def test_verify_averages_enrolment_embeddings_of_length_1(verifier, waveforms):
    vectors = unit(np.stack([verifier.embed(one) for one in waveforms]).astype(np.float64))
    expected = unit(vectors[:2].mean(axis=0)) @ vectors[2]
    assert verifier.verify(waveforms[:2], waveforms[2]).score == pytest.approx(expected, abs=1e-6)
    with pytest.raises(InputError, match="empty list"):
        verifier.verify([], waveforms[2])


def test_verify_gives_the_same_result_for_files_and_waveforms(verifier, waveforms, tmp_path):
    for name, one in zip("ab", waveforms):
        soundfile.write(tmp_path / f"{name}.wav", one, 16000, subtype="FLOAT")
    found = verifier.verify(tmp_path / "a.wav", str(tmp_path / "b.wav"))
    assert found.score == verifier.verify(waveforms[0], torch.from_numpy(waveforms[1])).score
    stereo = np.stack([waveforms[0], waveforms[1]], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 16000, subtype="FLOAT")
    with pytest.raises(InputError, match="2 channels; choose one"):
        verifier.verify(tmp_path / "stereo.wav", tmp_path / "b.wav")
    heard = verifier.listen(tmp_path / "stereo.wav", channel=1)
    assert np.array_equal(heard.vector, verifier.listen(tmp_path / "b.wav").vector)


def test_verify_uses_the_stored_decision(tiny_model, waveforms, tmp_path):
    spkver.Encoder.open(tiny_model).save(tmp_path / "m")
    plain = spkver.load_model(tmp_path / "m").verify(waveforms[0], waveforms[1])
    assert plain.same is plain.threshold is plain.probability is None
    calibration = Calibration(scale=5, offset=-1, least=-9, most=9, prior=0.5)
    decision = Decision(
        threshold=plain.score, low=0, high=1, wish="", far=RATE, frr=RATE, calibration=calibration, speakers=2
    )
    write_decision(tmp_path / "m", decision)
    verifier = spkver.load_model(tmp_path / "m")
    found = verifier.verify(waveforms[0], waveforms[1])
    assert found.same is True and found.threshold == plain.score  # a score equal to the threshold is accepted
    assert found.ratio == pytest.approx(5 * plain.score - 1)
    assert found.probability == pytest.approx(1 / (1 + np.exp(-found.ratio)))
    assert verifier.verify(waveforms[0], waveforms[1], prior=0.1).probability < found.probability
    assert verifier.verify(waveforms[0], waveforms[1], threshold=1.0).same is False
    with pytest.raises(InputError, match="prior"):
        verifier.verify(waveforms[0], waveforms[1], prior=1.0)


def test_warnings_name_the_recording(verifier, voice, tmp_path):
    soundfile.write(tmp_path / "short.wav", voice(100, 1.0), 16000)
    doubts = verifier.verify(tmp_path / "short.wav", voice(100)).doubts
    assert len(doubts) == 1 and doubts[0].startswith(f"{tmp_path / 'short.wav'}: short: ")
    assert verifier.verify([voice(100), voice(100)], tmp_path / "short.wav").doubts == doubts  # test side too


def test_embeddings_of_keeps_equal_audio_once(verifier, waveforms):
    heard = [verifier.listen(one) for one in (*waveforms, waveforms[0])]
    found = embeddings_of(verifier, heard)
    assert len(found) == 3 and found.model == verifier.model_id
    assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(1)
    assert heard[0].digest == heard[3].digest != heard[1].digest


def test_cosine_is_clipped_to_its_bounds():
    vectors = unit(np.random.default_rng(0).normal(size=(200, 7))).astype(np.float32)
    own = Voices(vectors)
    assert all(np.abs(cosines(own, Voices(sign * vectors))).max() <= 1 for sign in (-1, 1))
    assert mean_direction([vectors[0]]) == pytest.approx(vectors[0], abs=1e-6)
    with pytest.raises(InputError, match="norm zero"):
        mean_direction([vectors[0], -vectors[0]])


def test_load_model_without_the_packaged_model_is_an_input_error(monkeypatch, tmp_path):
    monkeypatch.setattr("spkver.modeldir._START", tmp_path / "none")
    with pytest.raises(InputError, match="choose one with --model"):
        spkver.load_model()
    monkeypatch.setattr("spkver.modeldir._START", tmp_path)
    assert default_model() == tmp_path


def test_import_spkver_loads_no_heavy_library():
    code = "import sys, spkver; print([m for m in ('torch', 'numpy', 'click', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_every_public_name_exists():
    assert all(hasattr(spkver, name) for name in spkver.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        spkver.nothing  # noqa: B018
