"""The model directory: what lies in it, and the hash that says which model it is. Needs no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from spkver.errors import InputError
from spkver.files import StrPath

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.yaml", "card.md"
_START = Path(__file__).parent / "start"  # the model that comes with the package


def check(path: StrPath) -> Path:
    """The directory, if it holds a model. Raises InputError naming what is missing."""
    root = Path(path)
    for name in (CONFIG, WEIGHTS):
        if not (root / name).is_file():
            raise InputError(f"{path}: not a model directory (no {name}); give the `model` folder of an experiment")
    return root


def identity(path: StrPath) -> str:
    """The hash of a model directory: of its config and weights. Embeddings carry it, scoring compares it."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update((Path(path) / name).read_bytes())
    return digest.hexdigest()[:32]


def default_model() -> Path:
    """The model that comes with the package. Raises InputError where the package came without."""
    if not _START.is_dir():
        raise InputError("this installation came without a model: give one by --model, say exp/xvector/model")
    return _START
