"""The model directory: its files, and the hash that identifies the model. Does not import torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from spkver.errors import InputError
from spkver.files import StrPath
from spkver.storage import located

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.yaml", "card.md"
_START = Path(__file__).parent / "start"  # the packaged model


def check(path: StrPath) -> Path:
    """The path, if it is a model directory. Raises InputError naming the missing file otherwise."""
    root = located(path)
    for name in (CONFIG, WEIGHTS):
        if not (root / name).is_file():
            raise InputError(f"{path}: not a model directory (no {name}); give the `model` folder of an experiment")
    return root


def identity(path: StrPath) -> str:
    """Hash of config and weights. It is stored with embeddings and compared by scoring."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update((located(path) / name).read_bytes())
    return digest.hexdigest()[:32]


def default_model() -> Path:
    """The packaged model. Raises InputError if the package has none."""
    if not _START.is_dir():
        raise InputError("this installation has no packaged model; choose one with --model, e.g. exp/xvector/model")
    return _START
