"""Filterbank features: one definition for training, extraction and export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spkver.features.config import FrontEndConfig

if TYPE_CHECKING:
    from spkver.features.fbank import FrontEnd

__all__ = ["FrontEnd", "FrontEndConfig"]


def __getattr__(name: str) -> object:
    # the config is plain data; torch is loaded with the module that computes
    if name == "FrontEnd":
        from spkver.features.fbank import FrontEnd

        return FrontEnd
    raise AttributeError(f"module 'spkver.features' has no attribute '{name}'")
