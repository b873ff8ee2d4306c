"""The cache of downloaded models, and what is known about them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from spkver.files import sha256

# files that models consist of; others of a repository are not downloaded
SUFFIXES = (".yaml", ".yml", ".json", ".pt", ".pth", ".bin", ".ckpt", ".model", ".nemo", ".safetensors")
UNUSED = ("classifier.ckpt", "training_args.bin", "optimizer.pt", "tokenizer.json", "vocab.json")
README = "README.md"


class Published(NamedTuple):
    """A downloaded model.

    path: file or folder to import; name, address: where it is published
    revision: commit or version, as its publisher names it; empty for a file without versions
    licence: as its publisher states it, or empty
    checked: how the files were checked
    """

    path: Path
    name: str
    address: str
    revision: str
    licence: str
    checked: str

    def lines(self) -> list[str]:
        """What is known about the model, for its card and for the user."""
        revision = f", revision {self.revision}" if self.revision else ""
        return [
            f"Published: {self.name}{revision} ({self.address})",
            f"Licence: {self.licence or 'not stated there; ask its authors before you use it'}",
            f"Files: {self.checked}",
        ]


def cache() -> Path:
    """The folder of downloaded and converted models: spkver below $XDG_CACHE_HOME."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spkver"


def slug(name: str) -> str:
    """A file name for the name of a model."""
    readable = re.sub(r"[^\w.@+-]+", "--", name.partition("://")[2] or name)[-100:].lstrip(".-")
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def wanted(name: str) -> bool:
    """Whether a file of a repository may be part of a model."""
    return name == README or (name.endswith(SUFFIXES) and "/" not in name and name not in UNUSED)


def licence(folder: Path) -> str:
    """The licence in the front matter of a README.md, or an empty text."""
    try:
        text = (folder / README).read_text(encoding="utf-8")
        head = yaml.safe_load(text.split("---")[1]) if text.startswith("---") else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, IndexError):
        return ""
    if not isinstance(head, Mapping):
        return ""
    stated = head.get("license_name") if head.get("license") == "other" else head.get("license")
    return " ".join(str(stated).split())[:100] if stated else ""


def first_use(file: Path) -> str:
    """What is known of a file without a published checksum."""
    return f"no published checksum; sha256 of {file.name} at first use: {sha256(file)}"
