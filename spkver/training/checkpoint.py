"""Checkpoints: a directory with a manifest of hashes and one safetensors file per rank, complete or absent."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from spkver.errors import InputError
from spkver.files import atomic_directory, read_json, sha256, write_json

FORMAT = 1
MANIFEST, SHARD = "manifest.json", "rank-0.safetensors"
_NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class Checkpoint:
    """The state after a number of steps: tensors by name, and plain numbers (best error so far and the like)."""

    step: int
    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Write `folder`/step-N, then remove all but the last `keep`."""
    with atomic_directory(folder / f"step-{checkpoint.step:08d}") as part:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
        safetensors.torch.save_file(tensors, part / SHARD)
        manifest = {"format": FORMAT, "step": checkpoint.step, "files": {SHARD: sha256(part / SHARD)}}
        write_json(part / MANIFEST, manifest | {"numbers": checkpoint.numbers})
    for old in saved(folder)[:-keep]:
        shutil.rmtree(old)


def saved(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))


def latest(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole; one that is damaged is skipped with a word for the one before it."""
    for path in reversed(saved(folder)):
        try:
            return read(path)
        except InputError as error:
            say(f"skipping a damaged checkpoint: {error}")
    return None


def read(path: Path) -> Checkpoint:
    """Read one checkpoint. Raises InputError when a file is missing or its hash differs."""
    manifest = read_json(path / MANIFEST)
    try:
        if manifest["format"] != FORMAT:
            raise InputError(f"{path}: checkpoint of format {manifest['format']}, this version reads {FORMAT}")
        for name, digest in manifest["files"].items():
            if sha256(path / name) != digest:
                raise InputError(f"{path / name}: damaged, its hash differs from the manifest's")
        tensors = safetensors.torch.load_file(path / SHARD)
        return Checkpoint(int(manifest["step"]), tensors, manifest["numbers"])
    except (KeyError, TypeError, AttributeError, ValueError, OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: not a whole checkpoint ({error!r})") from error


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def optimizer_state(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's tensors by the name of the parameter that they belong to."""
    return {
        f"{name}|{key}": torch.as_tensor(value)
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter], tensors: dict[str, Tensor]
) -> None:
    """Give an optimizer the tensors of `optimizer_state`."""
    for name, tensor in tensors.items():
        owner, _, key = name.partition("|")
        parameter = parameters[owner]
        if key == "step":  # the optimizer keeps its counter on the CPU
            optimizer.state[parameter][key] = tensor
        else:  # in the parameter's memory layout, on which the order of rounding depends
            optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(tensor)


def average(paths: Sequence[Path], prefix: str) -> dict[str, Tensor]:
    """The mean over checkpoints, oldest first, of the tensors below a prefix; integers from the newest."""
    states = [part(read(path).tensors, prefix) for path in paths]
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in states[-1].items()
    }


def averaged(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean over checkpoints of the weights, by their names; where a run keeps an average (EMA), of that."""
    return average(paths, "state.") | average(paths, "ema.")
