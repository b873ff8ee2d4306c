"""How the tensors of a network are named and shaped by those who publish it.

A layout goes from our names to theirs: the same rules serve import and export, and errors speak of the names in the
file at hand.
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

Rule = tuple[str, str | Callable[[re.Match[str]], str]]  # a pattern in our name, and what stands there in theirs


@dataclass(frozen=True)
class Layout:
    """Their names for the tensors of one of our networks.

    names: applied one after the other; ours: a pattern of our tensors that they have none of (gains of 1, offsets of
    0); constants: of theirs that we have none of; longer: a pattern of ours that have one more axis, of size 1, there
    (a 1 × 1 convolution is a linear layer); turned: their planes are (time, bins), so kernels are transposed
    """

    names: tuple[Rule, ...] = ()
    ours: str | None = None
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    longer: str | None = None
    turned: bool = False

    def their_name(self, name: str) -> str | None:
        """Their name of our tensor, or None where they have none."""
        if self.ours and re.search(self.ours, name):
            return None
        for pattern, there in self.names:
            name = re.sub(pattern, there, name)
        return name

    def plus(self, *names: Rule) -> Layout:
        """The same with more rules, which come first."""
        return Layout((*names, *self.names), self.ours, self.constants, self.longer, self.turned)


@dataclass(frozen=True)
class Found:
    """What a peer's file holds: the configs of our front end and network, its tensors and their layout.

    dropped: a pattern of their tensors that are of training alone; mean: of their embeddings, where they keep it;
    front_ends: where the file does not tell which front end the network was trained with, the names of those that it
    may be, and of the toolkit whose models have it
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
    """The state of our network, and the names of the tensors that were left out.

    Raises InputError listing tensors that are missing, extra or misshapen, by their names in the file.
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
        # some average their batch counters to fractions, and some publish half precision
        state[name] = value.to(tensor.dtype).contiguous()
    if problems := weights_differ(wanted, given):
        raise InputError(f"{found.file}: not the tensors of {found.about}: {problems}")
    if bad := next((name for name, value in state.items() if not value.isfinite().all()), None):
        raise InputError(f"{found.file}: {layout.their_name(bad)} holds values that are not finite")
    return state, dropped


def to_theirs(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The tensors of a network of ours as they would be found in a file of theirs.

    Raises InputError where ours has gains or offsets that theirs cannot hold.
    """
    tensors = {name: value.clone() for name, value in layout.constants.items()}
    for name, value in state.items():
        there = layout.their_name(name)
        if there is None:
            if not torch.equal(value, torch.full_like(value, 1.0 if name.endswith("weight") else 0.0)):
                raise InputError(f"{name}: the norms of theirs have no gains and offsets, and these have been trained")
            continue
        value = value.detach().cpu()
        if layout.longer and re.search(layout.longer, name):
            value = value[..., None]
        if layout.turned and value.dim() == 4:
            value = value.transpose(2, 3)
        tensors[there] = value.contiguous()
    return tensors


def _squeezed(shape: torch.Size) -> tuple[int, ...]:
    """A shape without the axes of size 1 at its end."""
    sizes = list(shape)
    while sizes and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)
