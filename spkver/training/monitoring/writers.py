"""Writers for the numbers of a run: `metrics.jsonl`, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from spkver.errors import InputError, load_optional
from spkver.files import append_text, full_disk_named, write_text
from spkver.training.monitoring.log import CONFIG, METRICS

WANDB_ID = "wandb-id"
"""File with the wandb id of a run, so that a resumed run continues there."""
_FLUSH = 30.0  # seconds until events appear in TensorBoard


class Writer(ABC):
    """Base class of the writers."""

    @abstractmethod
    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step."""

    def close(self) -> None:
        """Flush and close."""
        return


def open_writers(folder: Path, first_step: int, say: Callable[[str], None], wandb: str | None = None) -> list[Writer]:
    """The writers of the run in `folder`. Records after `first_step` are removed from its files.

    wandb: project of Weights & Biases, or None. Raises InputError if it is requested but unavailable.
    """
    writers: list[Writer] = [JsonLines(folder, first_step)]
    try:
        writers.append(Events(folder, first_step))
    except ImportError:
        say("no TensorBoard events are written: tensorboardX is missing (pip install 'spkver[tensorboard]')")
    if wandb is not None:
        writers.append(Wandb(folder, wandb, say))
    return writers


class JsonLines(Writer):
    """`metrics.jsonl`: one JSON object per line."""

    def __init__(self, folder: Path, first_step: int) -> None:
        self._path = folder / METRICS
        kept = _records(self._path) if first_step else []
        write_text(self._path, "".join(json.dumps(one) + "\n" for one in kept if one["step"] <= first_step))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See Writer.write."""
        append_text(self._path, json.dumps({"step": step, **values}) + "\n")


class Events(Writer):
    """TensorBoard's `events`. Raises ImportError without tensorboardX.

    Does not use tensorboardX's SummaryWriter: its thread dies when the disk is full, and then the run waits forever.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._event, self._scalar = Event, summary.scalar
        self._folder = folder / "events"
        self._folder.mkdir(parents=True, exist_ok=True)
        with full_disk_named(self._folder):
            self._file = event_file_writer.EventsWriter(str(self._folder / "events"))
            if first_step:  # hides later steps in earlier files
                begun = SessionLog(status=SessionLog.START)
                self._file.write_event(Event(wall_time=time.time(), step=first_step + 1, session_log=begun))
            self._flush()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See Writer.write."""
        with full_disk_named(self._folder):
            for name, value in values.items():
                self._file.write_event(self._event(wall_time=time.time(), step=step, summary=self._scalar(name, value)))
            if time.monotonic() - self._flushed > _FLUSH:
                self._flush()

    def _flush(self) -> None:
        self._file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """See Writer.close."""
        with full_disk_named(self._folder):
            self._file.close()


class Wandb(Writer):
    """A run of Weights & Biases, online, or in the experiment directory with WANDB_MODE=offline.

    Records of a resumed run that are already there stay, because wandb refuses to go back in steps.
    """

    def __init__(self, folder: Path, project: str, say: Callable[[str], None]) -> None:
        wandb = load_optional("wandb", "wandb")
        try:
            self._run = wandb.init(
                project=project,
                name=folder.resolve().name,
                dir=str(folder),
                config=_plain_config(folder),
                id=_wandb_id(folder),
                resume="allow",
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.errors.Error as error:
            reason = " ".join(str(error).split())
            raise InputError(f"train.wandb: {reason}; log in with 'wandb login', or set WANDB_MODE=offline") from error
        say(f"wandb: {self._run.url or self._run.dir}")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See Writer.write."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """See Writer.close."""
        self._run.finish()


def _wandb_id(folder: Path) -> str:
    path = folder / WANDB_ID
    if not path.is_file():
        write_text(path, secrets.token_hex(8) + "\n")
    return path.read_text(encoding="utf-8").strip()


def _plain_config(folder: Path) -> Any:
    path = folder / CONFIG
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


def _records(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a metrics file; a killed run may have left an incomplete one."""
    records = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
    return records
