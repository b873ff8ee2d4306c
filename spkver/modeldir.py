"""The model directory: its files, and the hash that identifies the model. Does not import torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

from spkver.config import Config, load, save
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


class Kept(Config):
    """Something kept beside the weights of a model. Their hash does not cover it, so it can change without them.

    model: the model's hash, "" if not stored yet
    """

    model: str = ""


K = TypeVar("K", bound=Kept)


def keep(model: StrPath, name: str, value: Kept) -> Path:
    """Store a value in the file `name` of a model directory, with the model's hash.

    Raises InputError if `model` is not a model directory.
    """
    path = check(model) / name
    save(value.model_copy(update={"model": identity(model)}), path)
    return path


def kept(model: StrPath, name: str, kind: type[K], advice: str, known: str = "") -> K | None:
    """The value in the file `name` of a model directory, or None if there is no such file.

    advice: what to do about the value of another model, for the message; known: the model's hash, if known
    Raises InputError for the value of another model and for an invalid file.
    """
    path = located(model) / name
    if not path.exists():
        return None
    value = load(kind, path)
    if value.model != (known or identity(model)):
        raise InputError(f"{path}: of another model; {advice}")
    return value


def default_model() -> Path:
    """The packaged model. Raises InputError if the package has none."""
    if not _START.is_dir():
        raise InputError("this installation has no packaged model; choose one with --model, e.g. exp/xvector/model")
    return _START
