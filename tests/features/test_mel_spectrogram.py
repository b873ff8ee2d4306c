"""Mel spectrograms compared with SpeechBrain and torchaudio; the waveform as features."""

from __future__ import annotations

import sys

import pytest
import torch
from torch.nn import functional as F

from spkver import compat
from spkver.config import validate
from spkver.encoder import EncoderConfig
from spkver.errors import InputError
from spkver.features import FRONT_ENDS


def build(settings):
    return FRONT_ENDS.build(validate(EncoderConfig, {"front_end": settings}).front_end).eval()


@pytest.fixture
def waveforms(speech_like, noise):
    return torch.stack([torch.from_numpy(signal(seconds=2.03)) for signal in (speech_like, noise)])


def emphasised(signal):
    """Their convolution; its rounding, which the logarithm of weak bands shows, depends on the machine."""
    padded = F.pad(signal[:, None], (1, 0), "reflect")
    emphasis = torch.sub(padded[:, 0, 1:], padded[:, 0, :-1], alpha=0.97)
    torch.testing.assert_close(emphasis, F.conv1d(padded, torch.tensor([[[-0.97, 1.0]]]))[:, 0], rtol=0, atol=1e-6)
    return emphasis


@pytest.mark.parametrize("bins", [80, 24])
def test_speechbrain_front_end_equals_speechbrain(waveforms, bins):
    try:
        compat.speechbrain()
        from speechbrain.lobes.features import Fbank
        from speechbrain.processing.features import InputNormalization
    except InputError as error:
        pytest.skip(str(error))
    normalised = InputNormalization(norm_type="sentence", std_norm=False)
    theirs = torch.cat([normalised(Fbank(n_mels=bins)(row[None]), torch.ones(1)) for row in waveforms])
    mine = build({"name": "speechbrain", "bins": str(bins)})(waveforms)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("unit_variance", [False, True])
def test_redimnet_front_end_equals_torchaudio(waveforms, unit_variance):
    try:
        compat.torchaudio()
        from torchaudio.transforms import MelSpectrogram
    except InputError as error:
        pytest.skip(str(error))
    signal = waveforms
    if unit_variance:
        signal = (signal - signal.mean(1, keepdim=True)) / (signal.std(1, keepdim=True, unbiased=False) + 1e-6)
    theirs = MelSpectrogram(16000, 512, 400, 160, f_min=20, f_max=7600, n_mels=72, window_fn=torch.hamming_window)(
        emphasised(signal)
    )
    theirs = (theirs + 1e-6).log()
    theirs = (theirs - theirs.mean(-1, keepdim=True)).transpose(1, 2)
    mine = build({"name": "mel_spectrogram", "bins": "72", "unit_variance": str(unit_variance)})(waveforms)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["voxceleb_trainer", "voxceleb_trainer_linear", "rdino"])
def test_voxceleb_trainer_and_rdino_front_ends_equal_their_code(waveforms, name):
    """Without the logarithm, most variances are far below the epsilon of InstanceNorm1d."""
    try:
        compat.torchaudio()
        from torchaudio.transforms import MelSpectrogram
    except InputError as error:
        pytest.skip(str(error))
    signal, window = waveforms, torch.hann_window
    if name != "rdino":
        signal = emphasised(signal)
        window = torch.hamming_window
    theirs = MelSpectrogram(16000, 512, 400, 160, f_min=0, f_max=8000, n_mels=80, window_fn=window)(signal) + 1e-6
    theirs = F.instance_norm(theirs if name.endswith("linear") else theirs.log())
    torch.testing.assert_close(build(name)(waveforms), theirs.transpose(1, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", ["mel_spectrogram", "speechbrain", "waveform", "fbank", "3dspeaker"])
def test_number_of_frames_equals_that_of_the_config(settings):
    front_end = build(settings)
    config = front_end.config
    for frames in (1, 2, 7, 100):
        least = config.samples(frames)
        for samples in (least, least + 1, least + 159):
            assert front_end(torch.randn(2, samples)).shape == (2, config.frames(samples), config.bins)
        assert config.frames(least) >= frames


def test_waveform_front_end():
    x = 0.1 * torch.randn(2, 500) + 0.01
    assert torch.equal(build("waveform")(x)[..., 0], x)
    whitened = build({"name": "waveform", "normalise": "mean_variance"})(x)[..., 0]
    torch.testing.assert_close(whitened.mean(1), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(whitened.std(1, correction=0), torch.ones(2), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("speechbrian", "unknown front end 'speechbrian'; did you mean 'speechbrain'"),
        ({"name": "speechbrain", "frame_length_ms": "30"}, "480 samples does not fit into an fft_size of 400"),
        ({"name": "waveform", "bins": "80"}, "front_end.bins"),
        ("telephon", "unknown front end 'telephon'; did you mean 'telephone'"),
    ],
)
def test_invalid_settings_are_rejected(settings, message):
    with pytest.raises(InputError, match=message):
        build(settings)


@pytest.mark.parametrize(("front_end", "package"), [("speechbrain", "speechbrain"), ("mel_spectrogram", "torchaudio")])
def test_missing_package_of_a_front_end_is_named(front_end, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"^this needs {package}: pip install {package} [^\n]*$"):
        build(front_end)


def test_front_end_presets_and_keys():
    """`front_end: telephone`, a preset with keys, and keys alone all give the filterbank."""
    fbank = build("telephone").config
    assert (fbank.name, fbank.sample_rate, fbank.bins) == ("fbank", 8000, 64)
    assert build({"name": "telephone", "bins": "40"}).config == fbank.model_copy(update={"bins": 40})
    assert build({"bins": "40"}).config.window == "povey"
