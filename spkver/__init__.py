"""spkver: speaker verification from recordings to trial scores, error rates and embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from spkver.encoder import Encoder, load_model

__all__ = ["Encoder", "__version__", "load_model"]


def __getattr__(name: str) -> object:
    # torch is loaded when a model is, not when spkver is imported
    if name in ("Encoder", "load_model"):
        from spkver import encoder

        return getattr(encoder, name)
    raise AttributeError(f"module 'spkver' has no attribute '{name}'")
