"""Filterbank features, one definition for training, extraction and export; and voice activity."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from spkver.features.config import FrontEndConfig

if TYPE_CHECKING:
    from spkver.features.fbank import FrontEnd
    from spkver.features.vad import EnergyVadConfig, energy_vad

__all__ = ["EnergyVadConfig", "FrontEnd", "FrontEndConfig", "energy_vad"]

# the front end's config is plain data; torch is loaded with the modules that compute
_MODULES = {"FrontEnd": "fbank", "EnergyVadConfig": "vad", "energy_vad": "vad"}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(f"spkver.features.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'spkver.features' has no attribute '{name}'")
