"""The record of a run: one line per start in `starts.jsonl`, and its messages in `train.log`."""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from spkver import __version__
from spkver.errors import InputError, redacted
from spkver.files import append_text, sha256
from spkver.modeldir import identity
from spkver.packs.layout import INDEX
from spkver.packs.reader import Pack
from spkver.training.parallel.distributed import World

STARTS, LOG = "starts.jsonl", "train.log"


class Sources(NamedTuple):
    """The inputs of a run, by their keys in the config: packs, model directories, files."""

    packs: Mapping[str, Sequence[Pack]]
    models: Mapping[str, str]
    files: Mapping[str, str]

    def record(self) -> dict[str, Any]:
        """Paths and hashes. The hash of a pack is that of its index, which contains the hashes of its shards."""
        return {
            "packs": {name: [_pack(one) for one in packs] for name, packs in self.packs.items()},
            "models": {name: [{"path": path, "identity": identity(path)}] for name, path in self.models.items()},
            "files": {name: [{"path": path, "sha256": sha256(path)}] for name, path in self.files.items()},
        }


def start(folder: Path, world: World, device: torch.device, sources: Sources, seed: int, *, begun: bool) -> None:
    """Append this start of a run to its `starts.jsonl`. All processes must call it; the main one writes.

    The line has the time, command line and directory, host and device of every process, versions, the seed, the git
    state if the code is in a clone, and the inputs (see Sources).
    begun: the run continues from a checkpoint. Raises InputError if its inputs have changed since.
    """
    devices = world.gather(f"{platform.node()}: {_device(device)}")
    if not world.main:
        return
    read = sources.record()
    if begun:
        _check_same(folder / STARTS, read)
    record = {
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": redacted(shlex.join(sys.argv)),
        "directory": str(Path.cwd()),
        "processes": world.size,
        "devices": devices,
        "versions": versions(),
        "git": git_state(Path(__file__).parent),
        "seed": seed,
        **read,
    }
    append_text(folder / STARTS, json.dumps(record, ensure_ascii=False) + "\n")


def _check_same(starts: Path, read: dict[str, Any]) -> None:
    try:
        last = json.loads(starts.read_text(encoding="utf-8").splitlines()[-1])
    except (OSError, IndexError, ValueError):  # removed or truncated: nothing to compare with
        return
    for kind, named in read.items():
        for name, now in named.items():
            before = last.get(kind, {}).get(name, now)
            if [one | {"path": ""} for one in before] != [one | {"path": ""} for one in now]:
                paths = ", ".join(one["path"] for one in now)
                raise InputError(
                    f"{name}: {paths} has changed since the run was started on {last['time']}; restore it, or start a "
                    "new run with another --out"
                )


def versions() -> dict[str, str]:
    """Versions of everything that can affect the results."""
    found = {
        "spkver": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": platform.platform(),
    }
    if torch.version.cuda:
        found |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit of a clone, and whether tracked files differ from it; None outside a clone or without git."""
    try:
        commit, changes = (_git(folder, *words) for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno")))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603


class RunLog:
    """Prints messages and appends them to the run's `train.log` with the time. Errors in writing are ignored.

    Messages before `open` are written by `open`, so that a refused run leaves no file.
    """

    def __init__(self, say: Callable[[str], None], folder: Path) -> None:
        self._say, self._path = say, folder / LOG
        self._waiting: list[str] | None = []

    def __call__(self, text: str) -> None:
        """Print a message and write it to the log."""
        self._say(text)
        self.note(text)

    def note(self, text: str) -> None:
        """Write a message to the log only."""
        line = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S} {text}\n"
        if self._waiting is None:
            self._write(line)
        else:
            self._waiting.append(line)

    def open(self) -> None:
        """Start writing, beginning with the messages so far."""
        waiting, self._waiting = self._waiting, None
        self._write("".join(waiting or ()))

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            append_text(self._path, text)


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return f"{device} {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def _pack(pack: Pack) -> dict[str, Any]:
    return {
        "path": str(pack.path),
        "fingerprint": pack.fingerprint,
        "sha256": sha256(pack.path / INDEX),
        "utterances": len(pack),
    }
