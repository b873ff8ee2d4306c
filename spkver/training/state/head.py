"""The class weights of a finished run and their speakers, for fine-tuning.

They are stored beside the model directory, not in it: a published model does not need them and reveals no speaker
names. `exp/a/model` has `exp/a/model-head.safetensors`: the state of the loss, with the classes in the file's header.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from spkver.errors import InputError
from spkver.files import StrPath, atomic_file, refuse_newer, refuse_stand_in
from spkver.losses.heads import HeadLoss
from spkver.losses.loss import Loss
from spkver.losses.reductions.split import SHARD
from spkver.storage import located
from spkver.training.data.classes import Class


def head_file(model: StrPath) -> Path:
    """The path of the head that belongs to a model directory."""
    path = located(model)
    return path.with_name(f"{path.name}-head.safetensors")


@dataclass(frozen=True)
class SavedHead:
    """A head on disk: the classes in order, and the state of the loss by name."""

    path: Path
    classes: Sequence[Class]
    state: dict[str, Tensor]

    @classmethod
    def read(cls, model: StrPath) -> SavedHead:
        """Read the head of a model directory. Raises InputError if it is missing or damaged."""
        path = head_file(model)
        if not path.is_file():
            raise InputError(f"{path}: missing, so there are no class weights to start from; set start.head to replace")
        try:
            with safetensors.safe_open(path, framework="pt") as stream:
                refuse_newer(path, stream.metadata())
                classes = [
                    Class.of(str(speaker), float(speed)) for speaker, speed in json.loads(stream.metadata()["classes"])
                ]
                return cls(path, classes, {name: stream.get_tensor(name) for name in sorted(stream.keys())})
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            refuse_stand_in(path)
            raise InputError(f"{path}: cannot be read ({error}); set start.head to replace") from error

    def write(self) -> None:
        """Write the head atomically."""
        # without the range of classes that this process held
        whole = {name: tensor for name, tensor in self.state.items() if name != f"head.{SHARD}"}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in whole.items()}
        with atomic_file(self.path) as part:
            safetensors.torch.save_file(tensors, part, {"classes": json.dumps(self.classes, ensure_ascii=False)})

    def give(self, loss: Loss, classes: Sequence[Class]) -> int:
        """Copy the weights of known classes, and the loss's other parameters, to a loss; return the number of classes.

        Other classes keep their random weights. Raises InputError if the two heads differ in shape.
        """
        own = dict(loss.named_parameters())
        for name, parameter in own.items():
            if not name.startswith("head.") and name in self.state and self.state[name].shape == parameter.shape:
                parameter.data.copy_(self.state[name])
        if not isinstance(loss, HeadLoss):
            return 0
        head = loss.head
        number = {one: index for index, one in enumerate(self.classes)}
        known = [index for index, one in enumerate(classes) if one in number]
        # a head that is split over processes has a range of the classes
        to = [index for index in known if index in head.held]
        source = torch.tensor([number[classes[index]] for index in to], dtype=torch.int64)
        target = torch.tensor(to, dtype=torch.int64) - head.held.start
        for name, parameter in head.named_parameters(recurse=False):
            rows, here = self._rows(name), parameter.data.unflatten(0, (len(head.held), -1))
            if rows.shape[1:] != here.shape[1:]:
                raise InputError(
                    f"{self.path}: {name} has shape {tuple(rows.shape[1:])} per class, that of the loss is "
                    f"{tuple(here.shape[1:])}; set start.head to replace"
                )
            here[target.to(here.device)] = rows[source].to(here)
        return len(known)

    def _rows(self, name: str) -> Tensor:
        if f"head.{name}" not in self.state:
            raise InputError(f"{self.path}: of another kind of loss (no class {name}); set start.head to replace")
        return self.state[f"head.{name}"].unflatten(0, (len(self.classes), -1))
