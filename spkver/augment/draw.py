"""Random draws and levels that the augmentations share."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a range goes from its lower to its upper end, got {value[0]:g} to {value[1]:g}")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_rising)]
"""From and to; a draw is uniform between them."""


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Uniform draws in [low, high) on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def power(waveform: Tensor) -> Tensor:
    """Mean square over time, (batch, 1), never zero."""
    return waveform.square().mean(dim=-1, keepdim=True).clamp_min(1e-10)


def chosen(batch: int, probability: float, generator: torch.Generator) -> Tensor:
    """(batch, 1) of ones and zeros, one with that probability."""
    return (uniform((batch, 1), 0.0, 1.0, generator) < probability).float()
