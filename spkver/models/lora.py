"""Low-rank adaptation (Hu et al., ICLR 2022) of linear layers: W + alpha / rank · B·A, with only A and B trained.

It is a parametrisation of the weight, so it also works for layers whose weight is read from outside, as in the
attention of WavLM. `merged` gives the state of the same module without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spkver.config import Config
from spkver.errors import InputError


class LoraConfig(Config):
    """Low-rank adaptation of an encoder's linear layers; by default the queries and values of the attention."""

    rank: int = Field(64, gt=0, description="rank of the change of a weight")
    alpha: float = Field(128.0, gt=0, description="the change is multiplied by alpha / rank")
    layers: tuple[str, ...] = Field(
        ("*.linear_q", "*.linear_v", "*.q_proj", "*.v_proj"), description="name patterns of linear layers"
    )


class LowRank(nn.Module):
    """W to W + scale · B·A. B is 0 at first, so that W is unchanged."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.a = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.b = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """(out, in) to the same."""
        return weight + self.scale * (self.b @ self.a)


def adapt(module: nn.Module, config: LoraConfig) -> None:
    """Adapt the linear layers that match. Raises InputError if there are none."""
    linear = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    found = [part for name, part in linear if any(fnmatchcase(name, pattern) for pattern in config.layers)]
    if not found:
        raise InputError(
            f"model.lora.layers: {', '.join(config.layers)} matches no linear layer; known: {_endings(linear)}"
        )
    for part in found:
        parametrize.register_parametrization(part, "weight", LowRank(part.weight, config.rank, config.alpha))


def _endings(linear: Sequence[tuple[str, nn.Module]]) -> str:
    return ", ".join(sorted({"*." + name.rpartition(".")[2] for name, _ in linear}))


def merged(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module with its changes added to the weights, and with the names that it has without them."""
    state = module.state_dict()
    with torch.no_grad():
        for name, part, _ in _adapted(module):
            for key in [key for key in state if key.startswith(f"{name}.parametrizations.weight.")]:
                del state[key]
            state[f"{name}.weight"] = part.weight.detach()
    return state


def take_merged(module: nn.Module) -> None:
    """Let a module with adapted layers also load the state of one without: its weights, and no change to them."""

    def rename(own: nn.Module, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
        for name, _, change in _adapted(own):
            if f"{prefix}{name}.weight" in state:
                inside = f"{prefix}{name}.parametrizations.weight"
                state[f"{inside}.original"] = state.pop(f"{prefix}{name}.weight")
                state[f"{inside}.0.a"], state[f"{inside}.0.b"] = change.a.detach(), torch.zeros_like(change.b)

    module.register_load_state_dict_pre_hook(rename)


def _adapted(module: nn.Module) -> list[tuple[str, nn.Linear, LowRank]]:
    """The adapted layers, with their names and changes. Other weights may have other parametrisations."""
    found = []
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear) and parametrize.is_parametrized(part, "weight"):
            (change,) = part.get_submodule("parametrizations.weight").children()
            if isinstance(change, LowRank):
                found.append((name, part, change))
    return found
