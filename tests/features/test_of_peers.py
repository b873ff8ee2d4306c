"""The front ends of ReDimNet2 and NeMo. Their values are compared with the original code in tests/interop/peers."""

from __future__ import annotations

import pytest
import torch

from spkver.config import validate
from spkver.encoder import EncoderConfig
from spkver.errors import InputError
from spkver.features import FRONT_ENDS


def made(front_end):
    return FRONT_ENDS.build(validate(EncoderConfig, {"front_end": front_end}).front_end).eval()


@pytest.mark.parametrize("name", ["tf_mel", "nemo"])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_number_of_frames_is_that_of_the_config(name, rate):
    front_end = made({"name": name, "sample_rate": rate, "high_hz": rate / 2})
    config = front_end.config
    torch.manual_seed(0)
    for frames in (2, 3, 50):
        least = config.samples(frames)
        assert config.frames(least) == frames and config.frames(least - 1) == frames - 1
        for samples in (least, least + 1, least + config.frame_shift - 1):
            assert front_end(torch.randn(2, samples)).shape == (2, frames, config.bins)


@pytest.mark.parametrize("name", ["tf_mel", "nemo"])
def test_mean_is_zero_and_the_scale_is_normalised(name):
    front_end = made(name)
    waveform = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
    found = front_end(waveform)
    torch.testing.assert_close(found.mean(dim=1), torch.zeros(1, front_end.config.bins), atol=1e-4, rtol=0)
    if name == "nemo":
        torch.testing.assert_close(found.std(dim=1), torch.ones(1, 80), atol=1e-3, rtol=0)
    else:  # the waveform is normalised
        torch.testing.assert_close(front_end(0.5 * waveform), found, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["tf_mel", "nemo"])
def test_frames_longer_than_the_transform_are_rejected(name):
    with pytest.raises(InputError, match="does not fit into an fft_size of 256"):
        made({"name": name, "fft_size": 256})
