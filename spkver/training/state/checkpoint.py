"""Checkpoints: a directory with one safetensors file per rank and a manifest with their hashes, written atomically.

The file of rank 0 has the tensors that all ranks share; each file has the tensors of its own rank.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from spkver.errors import InputError, NewerFormatError, RunError
from spkver.files import atomic_directory, read_json, refuse_newer, sha256, sync, write_json
from spkver.losses.reductions.split import SHARD, cut_rows, join_rows, ranges
from spkver.training.parallel.distributed import ALONE, World

RANDOM = "random."

FORMAT = 1
MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class Checkpoint:
    """The state after a number of steps: tensors by name, and plain numbers, such as the best error so far.

    own: names of tensors that differ between processes: `random.*`, and for a head whose classes are divided over the
        processes its rows, their optimizer state, and the shard that says which classes they are
    """

    step: int
    tensors: dict[str, Tensor]
    numbers: dict[str, Any]
    own: frozenset[str] = frozenset()


def save(folder: Path, checkpoint: Checkpoint, keep: int, world: World = ALONE) -> None:
    """Write `folder`/step-N, then remove all checkpoints but the last `keep`. Every process writes its own file.

    Raises RunError on all processes if one of them cannot write; earlier checkpoints are then kept.
    """
    target, name = folder / f"step-{checkpoint.step:08d}", shard_name(world.rank)
    with _said_plainly(target), contextlib.ExitStack() as stack:
        with world.together(), _said_plainly(target):
            part = stack.enter_context(atomic_directory(target, holds=None)) if world.main else None
        part = world.broadcast(part)
        assert part is not None
        with world.together(), _said_plainly(target):
            tensors = {
                key: tensor.detach().cpu().contiguous()
                for key, tensor in checkpoint.tensors.items()
                if world.main or key in checkpoint.own
            }
            safetensors.torch.save_file(tensors, part / name)
            sync(part / name)
            entry = name, sha256(part / name), _classes(tensors)
        entries = world.gather(entry)
        with world.together(), _said_plainly(target):
            if world.main:
                _write_manifest(part / MANIFEST, checkpoint, entries)
    if world.main:
        for old in saved(folder)[:-keep]:
            shutil.rmtree(old)


def _write_manifest(path: Path, checkpoint: Checkpoint, entries: list[tuple[str, str, list[int] | None]]) -> None:
    manifest = {
        "format": FORMAT,
        "step": checkpoint.step,
        "files": {name: digest for name, digest, _ in entries},
        "classes": {name: classes for name, _, classes in entries if classes is not None},
        "own": sorted(checkpoint.own),
        "numbers": checkpoint.numbers,
    }
    write_json(path, manifest)


@contextlib.contextmanager
def _said_plainly(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing directory into a one-line error."""
    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RunError(
            f"{path}: the checkpoint cannot be written ({reason}); the previous one is intact: free some space, and "
            "continue with --resume"
        ) from error


def shard_name(rank: int) -> str:
    """The file name of a process."""
    return f"rank-{rank}.safetensors"


def _classes(tensors: dict[str, Tensor]) -> list[int] | None:
    """The range of the classes of a process (start, stop) and the number of all classes; None if not divided."""
    shard = next((tensor for name, tensor in tensors.items() if _is_shard(name)), None)
    return None if shard is None else shard.tolist()


def _is_shard(name: str) -> bool:
    return name.rpartition(".")[2] == SHARD


def saved(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))


def latest(folder: Path, say: Callable[[str], None], world: World = ALONE) -> Checkpoint | None:
    """The newest intact checkpoint, with the tensors of this process; damaged ones are skipped with a message.

    The main process selects it. Raises InputError for a checkpoint of a newer version.
    """
    with world.together():
        found = _newest(folder, say) if world.main else None
    found = world.broadcast(found)
    if found is None:
        return None
    with world.together():
        checkpoint = _read(found, world)
    return checkpoint


def _newest(folder: Path, say: Callable[[str], None]) -> Path | None:
    for path in reversed(saved(folder)):
        try:
            _check(path)
        except NewerFormatError:  # not damaged; continuing from an older one would lose steps
            raise
        except InputError as error:
            say(f"skipping a damaged checkpoint: {error}")
        else:
            return path
    return None


def read(path: Path) -> Checkpoint:
    """Read a checkpoint, with the parts of a split head joined.

    Raises InputError if a file is missing or its hash differs.
    """
    _check(path)
    return _read(path, ALONE)


def _check(path: Path) -> None:
    manifest = _manifest(path)
    with _as_damage(path):
        for name, digest in manifest["files"].items():
            if sha256(path / name) != digest:
                raise InputError(f"{path / name}: damaged (its hash differs from the manifest)")


def _manifest(path: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = read_json(path / MANIFEST)
    refuse_newer(path / MANIFEST, manifest, FORMAT)
    with _as_damage(path):
        if manifest["format"] != FORMAT:
            raise InputError(f"{path}: checkpoint of format {manifest['format']}, this version reads {FORMAT}")
        manifest["files"][shard_name(0)], manifest["numbers"], int(manifest["step"])
    return manifest


def _read(path: Path, world: World) -> Checkpoint:
    """Read without checking hashes. Rows of classes are divided again if the number of processes has changed."""
    manifest = _manifest(path)
    with _as_damage(path):
        own, count = frozenset(manifest.get("own", ())), len(manifest["files"])
        tensors = safetensors.torch.load_file(path / shard_name(0))
        rows = {name for name in own if name in tensors and not name.startswith(RANDOM)}
        if world.rank:
            tensors = {name: tensor for name, tensor in tensors.items() if name not in own}
            if world.rank < count:
                mine = safetensors.torch.load_file(path / shard_name(world.rank))
                tensors |= {name: tensor for name, tensor in mine.items() if name not in rows}
        if rows:
            tensors |= _rows(path, rows, count, world)
        return Checkpoint(int(manifest["step"]), tensors, manifest["numbers"], own)


def _rows(path: Path, names: set[str], count: int, world: World) -> dict[str, Tensor]:
    """This process's rows of classes, from `count` files that have all of them."""
    ranks = [world.rank] if count == world.size else range(count)
    parts = [_of_file(path / shard_name(rank), names) for rank in ranks]
    if len(parts) == 1 and count == world.size:
        return parts[0]
    key = next(name for name in names if _is_shard(name))
    shards = [part[key] for part in parts]
    classes = int(shards[0][2])
    held = ranges(classes, world.size)[world.rank]
    mine = torch.tensor([held.start, held.stop, classes])
    found: dict[str, Tensor] = {key: mine}
    for name in names - {key}:
        tensor = parts[0][name]
        found[name] = cut_rows(join_rows([part[name] for part in parts], shards), mine) if tensor.ndim else tensor
    return found


def _of_file(path: Path, names: set[str]) -> dict[str, Tensor]:
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in names}


@contextlib.contextmanager
def _as_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: incomplete checkpoint ({error!r})") from error


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with a prefix, by the rest of the name."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def optimizer_state(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's tensors by `parameter|key`."""
    return {
        f"{name}|{key}": torch.as_tensor(value)
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter], tensors: dict[str, Tensor]
) -> None:
    """Load the output of `optimizer_state` into an optimizer."""
    for name, tensor in tensors.items():
        owner, _, key = name.partition("|")
        parameter = parameters[owner]
        if key == "step":  # optimizers that are not fused keep it on the CPU
            here = tensor.to(parameter.device) if optimizer.defaults.get("fused") else tensor
        elif tensor.shape == parameter.shape:  # with the parameter's memory layout, which affects rounding
            here = torch.empty_like(parameter).copy_(tensor)
        else:
            here = tensor.to(parameter.device)
        optimizer.state[parameter][key] = here


def average(paths: Sequence[Path], prefix: str, world: World = ALONE) -> dict[str, Tensor]:
    """The mean over checkpoints, oldest first, of the tensors with a prefix; integers are those of the newest."""
    states = [part(_read(path, world).tensors, prefix) for path in paths]
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in states[-1].items()
    }


def averaged(paths: Sequence[Path], world: World = ALONE) -> dict[str, Tensor]:
    """The mean weights of checkpoints by name; of a run with EMA, the mean of its averages.

    Raises InputError for a damaged checkpoint.
    """
    if world.main:
        for path in paths:
            _check(path)
    return average(paths, "state.", world) | average(paths, "ema.", world)
