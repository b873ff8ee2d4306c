"""Read files of other toolkits without running code from them: torch checkpoints, and YAML with its tags as data."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
import yaml
from torch import Tensor

from spkver.errors import InputError
from spkver.files import refuse_stand_in
from spkver.text import read_text


class Strange:
    """Stands for an object of an unknown class in a checkpoint; it ignores what it is made of."""

    def __new__(cls, *parts: Any, **keys: Any) -> Strange:
        """Without running code of the unknown class."""
        return super().__new__(cls)

    def __init__(self, *parts: Any, **keys: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_checkpoint(path: Path, *, strange: bool = False) -> Any:
    """The content of a torch or safetensors file: tensors and plain values. Raises InputError for anything else.

    strange: objects of unknown classes are replaced by `Strange`, for training states beside the tensors
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exception says the same
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path) if strange else []
            with torch.serialization.safe_globals([(Strange, name) for name in unknown]):
                return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise any exception of pickle, zipfile and torch
        if isinstance(error, OSError) and not path.is_file():
            raise InputError(f"{path}: no such file") from error
        refuse_stand_in(path)
        raise InputError(f"{path}: {_why(path, str(error))}") from error


def _why(path: Path, said: str) -> str:
    """Why a checkpoint does not open. torch's own message advises to load it unsafely."""
    with open(path, "rb") as stream:
        head = stream.read(2)
    if not head:
        return "empty (0 bytes); copy the file again"
    if head == b"PK" and not zipfile.is_zipfile(path):
        return "truncated: the end of the archive is missing; copy the file again"
    if "TorchScript" in said:
        return "a TorchScript archive, which contains code; save only the network's state_dict"
    if found := re.search(r"GLOBAL (\S+)", said):
        return (
            f"contains {found[1]}; only tensors and plain values are opened, because other objects can run code; "
            "save only the network's state_dict"
        )
    if head.startswith(b"\x80"):
        return "a pickle, which is not opened because it can run code; save the network's state_dict with torch.save"
    return "not a checkpoint of torch.save, or damaged; copy the file again"


def tensors_in(tree: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a state_dict, which may be nested under `state_dict`, `model` or similar; without `module.`.

    Raises InputError if there is no state_dict.
    """
    for key in ("state_dict", "model_state_dict", "model", "embedding_model"):
        if isinstance(tree, Mapping) and isinstance(tree.get(key), Mapping):
            tree = tree[key]
    if not isinstance(tree, Mapping) or not any(isinstance(value, Tensor) for value in tree.values()):
        raise InputError(f"{path}: no state_dict (names and tensors) in it")
    return {str(name).removeprefix("module."): value for name, value in tree.items() if isinstance(value, Tensor)}


class Tagged(NamedTuple):
    """A YAML value with a tag of HyperPyYAML: `!new:package.Class`, `!ref <key>`."""

    tag: str
    value: Any


class _PlainLoader(yaml.SafeLoader):
    """Safe loading that keeps unknown tags as data."""


def _tagged(loader: _PlainLoader, node: yaml.Node) -> Tagged:
    if isinstance(node, yaml.MappingNode):
        value: Any = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_scalar(node)  # type: ignore[arg-type]
    return Tagged(node.tag, value)


_PlainLoader.add_constructor(None, _tagged)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file. References `!ref <key>` are resolved; no code is run.

    Raises InputError for a file that is not YAML, or not keys and values.
    """
    try:
        tree = yaml.load(read_text(path), Loader=_PlainLoader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected keys and values")
    return {str(key): _resolve(value, tree, 0) for key, value in tree.items()}


def keys_of(tree: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    """The keys and values under a key; empty if it is missing. Raises InputError for a value of another type."""
    value = tree.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f"{where}: {key}: expected keys and values, found {value!r}")
    return value or {}


def _resolve(value: Any, tree: Mapping[str, Any], depth: int) -> Any:
    if depth > 50:
        return value  # a circular reference
    if isinstance(value, Tagged):
        reference = re.fullmatch(r"<([^<>\[\]]+)>", str(value.value)) if value.tag == "!ref" else None
        if reference is None:
            return Tagged(value.tag, _resolve(value.value, tree, depth + 1))
        target: Any = tree
        for part in reference[1].split("."):
            target = target.value if isinstance(target, Tagged) else target
            if not isinstance(target, Mapping) or part not in target:
                return value
            target = target[part]
        return _resolve(target, tree, depth + 1)
    if isinstance(value, dict):
        return {key: _resolve(item, tree, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, tree, depth + 1) for item in value]
    return value
