"""The model that comes with the package: size, threshold, card, and results on synthetic voices."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors

import spkver
from spkver.modeldir import CARD, WEIGHTS, default_model
from spkver.verify.decision import DECISION, read_decision


@pytest.fixture(scope="module")
def encoder():
    return spkver.load_model()


def test_packaged_model_is_small_and_stored_in_float16(encoder):
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 3e6
    with safetensors.safe_open(default_model() / WEIGHTS, "pt") as stream:
        kinds = {stream.get_slice(name).get_dtype() for name in list(stream.keys())}
    assert kinds <= {"F16", "I64"}


def test_packaged_model_has_a_threshold_and_a_cohort(encoder):
    decision = read_decision(default_model(), encoder.model_id)
    assert decision is not None and decision.cohort is not None and decision.low < decision.threshold < decision.high
    held = {WEIGHTS, CARD, DECISION, "config.yaml", "diarization.yaml", decision.cohort.file}
    assert {path.name for path in default_model().iterdir()} == held
    assert len(encoder.cohort.vectors) > 2 * encoder.cohort.top


def test_card_names_the_training_data():
    card = (default_model() / CARD).read_text(encoding="utf-8")
    for word in ("speechocean762", "LibriSpeech", "CC BY 4.0", "EER", "Limits", "threshold"):
        assert word in card


def voice(pitch: float, tract: float, seconds: float, seed: int) -> np.ndarray:
    """A synthetic voice at 16 kHz: pulses of varying pitch through resonances that move between vowels."""
    random = np.random.default_rng(seed)
    time = int(seconds * 16000)
    steps = np.arange(time) / 1600
    wander = np.interp(steps, np.arange(int(steps[-1]) + 2), random.normal(0, 0.06, int(steps[-1]) + 2))
    phase = np.cumsum(pitch * np.exp(wander) / 16000)
    source = np.diff(np.floor(phase), prepend=0) + 0.002 * random.normal(size=time)
    out = np.zeros(time)
    for first in range(0, time, 2400):  # 150 ms per vowel
        vowel = np.array([[300, 2300], [700, 1200], [350, 800], [500, 1800]])[random.integers(4)]
        spectrum = np.fft.rfft(source[first : first + 2400], 8192)
        hz = np.fft.rfftfreq(8192, 1 / 16000)
        gain = sum(1 / (1 + ((hz - tract * formant) / (60 * tract)) ** 2) for formant in (*vowel, 2700, 3700))
        piece = np.fft.irfft(spectrum * gain)[: len(out) - first]
        out[first : first + len(piece)] += piece
    return (0.3 * out / np.abs(out).max()).astype(np.float32)


def test_packaged_model_separates_synthetic_voices(encoder):
    """Two recordings of a low voice are closer to each other than to a high voice with a shorter vocal tract."""
    deep, again = (voice(95, 0.95, 4, seed) for seed in (1, 2))
    high = voice(240, 1.3, 4, 3)
    (same, other), *_ = encoder.score([deep], [again, high])
    assert same > other + 0.2


@pytest.mark.parametrize("seconds", [0.1, 0.5, 3.0])
def test_digital_silence_does_not_change_the_decision(encoder, seconds):
    """A recording against itself with zeros appended, and with zeros in its pauses."""
    own = voice(110, 1.0, 3.0, seed=5)
    padded = np.concatenate([own, np.zeros(round(seconds * 16000), np.float32)])
    assert encoder.score([own], [padded])[0, 0] > 0.98
    verdict = encoder.verify(own, padded)
    assert verdict.same and any("digital silence" in doubt for doubt in verdict.doubts) == (seconds == 3.0)
