"""The network's forward pass by torch.compile, where that pays and works."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from spkver.training.config import TrainingConfig

PAYS_FROM = 3000  # steps: compiling takes from ten seconds to some minutes and saves 5 to 30 % of a step


def forward_of(
    network: nn.Module, config: TrainingConfig, device: torch.device, say: Callable[[str], None]
) -> Callable[[Tensor], Tensor]:
    """The forward pass that training uses: compiled where the config says so, or with `auto` where it pays.

    It is the network's own, with its parameters; what is validated and saved stays the network. Where compiling fails,
    training goes on without, and `say` is told why.
    """
    if config.compile is False:
        return network
    missing = _missing(device)
    if config.compile == "auto" and (missing or config.steps < PAYS_FROM):
        return network
    if missing:
        say(f"warning: train.compile needs {missing}, which is not here; training goes on uncompiled")
        return network
    return _Compiled(network, say)


def _missing(device: torch.device) -> str | None:
    """What torch.compile needs for the device and does not find, or None."""
    if device.type == "cuda":
        return None if find_spec("triton") else "triton"
    named = os.environ.get("CXX", "g++")
    return None if shutil.which(named) or shutil.which("clang++") else f"a C++ compiler ({named})"


class _Compiled:
    """A compiled forward pass, or the plain one from the first call on if compiling does not work."""

    def __init__(self, network: nn.Module, say: Callable[[str], None]) -> None:
        self._network, self._say = network, say
        self._forward: Callable[..., Any] = torch.compile(network.forward)
        self._works = False

    def __call__(self, features: Tensor) -> Tensor:
        if self._works:
            return self._forward(features)
        try:
            embeddings = self._forward(features)
        except Exception as error:  # the compiler's errors have no common base; a fault of the network comes again
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            self._say(f"warning: torch.compile failed ({reason[:200]}); training goes on uncompiled")
            self._forward = self._network
            embeddings = self._forward(features)
        self._works = True
        return embeddings
