"""The forward pass of the network, compiled with torch.compile where possible and worthwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from spkver.training.config import TrainingConfig

PAYS_FROM = 3000  # steps: compiling takes from 10 s to a few minutes and saves 5 to 30 % of the time of a step


def forward_of(
    network: nn.Module, config: TrainingConfig, device: torch.device, say: Callable[[str], None]
) -> Callable[[Tensor], Tensor]:
    """The forward pass for training: compiled if the config says so, or with `auto` if the run is long enough.

    It uses the network's parameters; validation and saving use the network itself. If compilation fails, training
    continues without it, and the reason is passed to `say`.
    """
    if config.compile is False:
        return network
    missing = _missing(device)
    if config.compile == "auto" and (missing or config.steps < PAYS_FROM):
        return network
    if missing:
        say(f"warning: train.compile needs {missing}, which is missing; training continues without it")
        return network
    return _Compiled(network, say)


def _missing(device: torch.device) -> str | None:
    """A program that torch.compile needs for the device and that is missing, or None."""
    if device.type == "cuda":
        return None if find_spec("triton") else "triton"
    named = os.environ.get("CXX", "g++")
    return None if shutil.which(named) or shutil.which("clang++") else f"a C++ compiler ({named})"


class _Compiled:
    """A compiled forward pass, which falls back to the plain one if compilation fails in the first call."""

    def __init__(self, network: nn.Module, say: Callable[[str], None]) -> None:
        self._network, self._say = network, say
        self._forward: Callable[..., Any] = torch.compile(network.forward)
        self._works = False

    def __call__(self, features: Tensor) -> Tensor:
        if self._works:
            return self._forward(features)
        try:
            embeddings = self._forward(features)
        except Exception as error:  # compiler errors have no common base class; errors of the network occur again below
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            self._say(f"warning: torch.compile failed ({reason[:200]}); training continues without it")
            self._forward = self._network
            embeddings = self._forward(features)
        self._works = True
        return embeddings
