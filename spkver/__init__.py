"""spkver: speaker verification from recordings to trial scores, error rates and embeddings.

encoder = spkver.load_model("exp/my/model")
encoder.embed("a.wav")  # float32 (dim,)
encoder.embed(["a.wav", "b.wav"])  # float32 (2, dim)
encoder.score(["a.wav"], ["b.wav", "c.wav"])  # cosines, float32 (1, 2)
encoder.verify("a.wav", "b.wav")  # Verdict(score=..., same=..., probability=..., doubts=[...])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from spkver.encoder import Encoder
    from spkver.verify.model import Verifier, load_model
    from spkver.verify.verdict import Verdict

__all__ = ["Encoder", "Verdict", "Verifier", "__version__", "load_model"]

_MODULES = {
    "Encoder": "spkver.encoder",
    "Verdict": "spkver.verify.verdict",
    "Verifier": "spkver.verify.model",
    "load_model": "spkver.verify.model",
}


def __getattr__(name: str) -> object:
    # torch is loaded when a model is, not when spkver is imported
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'spkver' has no attribute '{name}'")
