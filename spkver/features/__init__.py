"""Front ends, one definition for training, extraction and export; and voice activity detection.

A front end is `FrontEnd(config)`, a module without weights from waveforms (batch, time) in [-1, 1] to features
(batch, frames, bins); `base.FrontEndModule` and `config.FrontEndBase` state what it and its config promise.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from spkver.features.config import VADS, FrontEndConfig
from spkver.registry import Registry

if TYPE_CHECKING:
    from spkver.features.fbank import FrontEnd
    from spkver.features.vad import EnergyVadConfig, energy_vad

__all__ = ["FRONT_ENDS", "VADS", "EnergyVadConfig", "FrontEnd", "FrontEndConfig", "energy_vad"]

# torchaudio's spectrogram under InstanceNorm1d
_OF_TRAINERS = {"name": "mel_spectrogram", "low_hz": 0.0, "high_hz": 8000.0, "normalise": "instance_norm"}
_TRAINERS: dict[str, dict[str, Any]] = {
    "voxceleb_trainer": {},
    "voxceleb_trainer_linear": {"logarithm": "none"},
    "voxceleb_trainer_fast": {"preemphasis": 0.0},  # of ResNetSE34L
    "voxceleb_trainer_fast_linear": {"preemphasis": 0.0, "logarithm": "none"},
    "rdino": {"window": "hann", "preemphasis": 0.0},
}

FRONT_ENDS = Registry(
    "front end",
    {
        "fbank": "spkver.features.fbank:FrontEnd",
        "mel_spectrogram": "spkver.features.mel_spectrogram:MelSpectrogram",
        "nemo": "spkver.features.nemo:Nemo",
        "tf_mel": "spkver.features.tf_mel:TfMel",
        "waveform": "spkver.features.waveform:Waveform",
    },
    presets={
        "wespeaker": {"name": "fbank", "window": "hamming", "snip_edges": True, "high_hz": 8000.0, "dither": 1.0},
        "3dspeaker": {"name": "fbank", "snip_edges": True, "high_hz": 8000.0, "scale": 1.0},
        "w2v_bert": {"name": "fbank", "snip_edges": True, "high_hz": 8000.0, "normalise": "mean_variance"},
        "telephone": {"name": "fbank", "sample_rate": 8000, "bins": 64, "high_hz": 3600.0},
        # the defaults of mel_spectrogram are those of ReDimNet
        "speechbrain": {
            "name": "mel_spectrogram",
            "fft_size": 400,
            "preemphasis": 0.0,
            "padding": "zeros",
            "low_hz": 0.0,
            "high_hz": 8000.0,
            "filters": "speechbrain",
            "logarithm": "decibel",
            "floor": 1e-10,
        },
        **{name: {**_OF_TRAINERS, **fields} for name, fields in _TRAINERS.items()},
    },
)

# the front end's config is plain data; torch is loaded with the modules that compute
_MODULES = {"FrontEnd": "fbank", "EnergyVadConfig": "vad", "energy_vad": "vad"}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(f"spkver.features.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'spkver.features' has no attribute '{name}'")
