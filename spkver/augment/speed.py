"""Speed perturbation by resampling, which scales duration, pitch and formants together."""

from __future__ import annotations

from fractions import Fraction

from torch import Tensor

from spkver import compat

# soxr has none for a GPU; these are the settings that torchaudio's documentation calls kaiser_best
_SETTINGS = {
    "resampling_method": "sinc_interp_kaiser",
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "beta": 14.769656459379492,
}


def change_speed(waveform: Tensor, speed: float) -> Tensor:
    """Play (batch, time) at `speed` times its speed: (batch, ceil(time / speed))."""
    up, down = ratio(speed)
    if up == down:
        return waveform
    resampled: Tensor = compat.torchaudio().functional.resample(waveform, down, up, **_SETTINGS)
    return resampled


def ratio(speed: float) -> tuple[int, int]:
    """The speed as resampling factors (up, down), with a denominator of at most 100."""
    fraction = Fraction(speed).limit_denominator(100)
    return fraction.denominator, fraction.numerator
