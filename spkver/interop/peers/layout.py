"""Map tensor names and shapes of our networks to those of other toolkits.

A layout maps our names to theirs. Import and export use the same rules, and errors give the names in the user's file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spkver.encoder import weights_differ
from spkver.errors import InputError

Rule = tuple[str, str | Callable[[re.Match[str]], str]]  # a pattern in our name, and its replacement in theirs


@dataclass(frozen=True)
class Layout:
    """Their names for the tensors of one of our networks.

    names: rules, applied in order
    ours: pattern of our tensors that they do not have (gains of 1, offsets of 0)
    constants: their tensors that we do not have
    longer: pattern of our tensors that have an additional last axis of size 1 there (a linear layer that they write as
        a convolution of width 1)
    turned: their feature planes are (time, bins), so kernels are transposed
    """

    names: tuple[Rule, ...] = ()
    ours: str | None = None
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    longer: str | None = None
    turned: bool = False

    def their_name(self, name: str) -> str | None:
        """Their name of our tensor, or None if they do not have it."""
        if self.ours and re.search(self.ours, name):
            return None
        for pattern, there in self.names:
            name = re.sub(pattern, there, name)
        return name

    def plus(self, *names: Rule) -> Layout:
        """A copy with more rules, which are applied first."""
        return Layout((*names, *self.names), self.ours, self.constants, self.longer, self.turned)


@dataclass(frozen=True)
class Found:
    """The content of a model of another toolkit: configs of our front end and network, its tensors and their layout.

    about: a short description of the model
    dropped: pattern of their tensors that are used in training only
    mean: mean of the training embeddings, if the file contains it
    front_ends: if the file does not say with which front end the network was trained, the names of the possible ones,
        each with the toolkit whose models use it
    """

    file: Path
    about: str
    front_end: dict[str, Any]
    model: dict[str, Any]
    tensors: Mapping[str, Tensor]
    layout: Layout
    dropped: str = r"^projection\."
    mean: np.ndarray | None = None
    front_ends: Mapping[str, str] = field(default_factory=dict)


def to_ours(found: Found, network: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """The state_dict of our network, and the names of the tensors that were omitted.

    Raises InputError listing tensors that are missing, extra or of another shape, by their names in the file.
    """
    layout, own = found.layout, network.state_dict()
    dropped = [name for name in found.tensors if re.search(found.dropped, name)]
    given = {name: value for name, value in found.tensors.items() if name not in {*dropped, *layout.constants}}
    wanted: dict[str, torch.Size] = {}
    state: dict[str, Tensor] = {}
    for name, tensor in own.items():
        there = layout.their_name(name)
        if there is None:
            state[name] = torch.full_like(tensor, 1.0 if name.endswith("weight") else 0.0)
            continue
        value = given.get(there)
        wanted[there] = tensor.shape
        if value is None:
            continue
        if layout.turned and value.dim() == 4:
            value = value.transpose(2, 3)
        if _squeezed(value.shape) == _squeezed(tensor.shape):
            value = value.reshape(tensor.shape)
        given[there] = value
        # averaged checkpoints have fractional batch counters, and some are published in half precision
        state[name] = value.to(tensor.dtype).contiguous()
    if problems := weights_differ(wanted, given):
        raise InputError(f"{found.file}: the tensors do not match {found.about}: {problems}")
    if bad := next((name for name, value in state.items() if not value.isfinite().all()), None):
        raise InputError(f"{found.file}: {layout.their_name(bad)} contains values that are not finite")
    return state, dropped


def to_theirs(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The tensors of one of our networks with their names and shapes.

    Raises InputError if ours has trained gains or offsets that theirs does not have.
    """
    tensors = {name: value.clone() for name, value in layout.constants.items()}
    for name, value in state.items():
        there = layout.their_name(name)
        if there is None:
            if not torch.equal(value, torch.full_like(value, 1.0 if name.endswith("weight") else 0.0)):
                raise InputError(f"{name}: trained, but the other toolkit's network has no such gains or offsets")
            continue
        value = value.detach().cpu()
        if layout.longer and re.search(layout.longer, name):
            value = value[..., None]
        if layout.turned and value.dim() == 4:
            value = value.transpose(2, 3)
        tensors[there] = value.contiguous()
    return tensors


def _squeezed(shape: torch.Size) -> tuple[int, ...]:
    """A shape without trailing axes of size 1."""
    sizes = list(shape)
    while sizes and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)
