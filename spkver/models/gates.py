"""Structured pruning by gates: attention heads and feed-forward values of an encoder that are not needed are removed.

Each unit is multiplied by a hard concrete gate (Louizos, Welling & Kingma, "Learning sparse neural networks through L0
regularization", ICLR 2018), and a Lagrangian term takes the share of removed parameters to a target, as in DPHuBERT
(Peng et al., Interspeech 2023, arXiv 2305.17651), which Li et al. (arXiv 2510.04213) use for w2v-BERT 2.0.

A gate is a parametrisation of the linear layer that the unit is the input of: it scales the columns of the weight.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spkver.config import Config
from spkver.models.widths import Group, cut, groups

BETA, LOW, HIGH = 2 / 3, -0.1, 1.1  # temperature, and the interval to which the concrete distribution is stretched
SHIFT = BETA * math.log(-LOW / HIGH)
OPEN = 0.99  # median of the concrete distribution at first
EPSILON = 1e-6


class PruneConfig(Config):
    """Remove attention heads and feed-forward values of an encoder during training."""

    sparsity: float = Field(0.8, gt=0, lt=1, description="share of the parameters of these layers to remove")
    warm_up: float = Field(0.2, ge=0, le=1, description="share of the run over which the target rises to it")


class Gate(nn.Module):
    """Multiplies groups of columns of a weight by gates: random in training, fixed in evaluation."""

    def __init__(self, units: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.log_alpha = nn.Parameter(torch.full((units,), math.log(OPEN / (1 - OPEN))))

    def open(self) -> Tensor:
        """The probability (units,) that each gate is not 0."""
        return torch.sigmoid(self.log_alpha - SHIFT)

    def values(self) -> Tensor:
        """The gates (units,) in [0, 1]. In evaluation, as many are 0 as expected, but never all."""
        if self.training:
            u = torch.rand_like(self.log_alpha).clamp(EPSILON, 1 - EPSILON)
            return _stretched((torch.logit(u) + self.log_alpha) / BETA)
        values = _stretched(self.log_alpha)
        return torch.zeros_like(values).index_copy(0, kept := self.kept(), values[kept])

    def kept(self) -> Tensor:
        """The numbers of the units that are kept, in order."""
        number = round(float(self.open().sum().detach()))
        return self.log_alpha.topk(min(max(number, 1), len(self.log_alpha))).indices.sort().values

    def forward(self, weight: Tensor) -> Tensor:
        """(out, units · size) to the same."""
        return weight * self.values().repeat_interleave(self.size)


def _stretched(logits: Tensor) -> Tensor:
    return (torch.sigmoid(logits) * (HIGH - LOW) + LOW).clamp(0, 1)


class Pruning(nn.Module):
    """Puts gates on an encoder. `penalty` is added to the loss; `of` gives what remains.

    The two multipliers of the Lagrangian rise with the gradient, while all other parameters fall against it.
    """

    def __init__(self, config: PruneConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.multipliers = nn.Parameter(torch.zeros(2))
        self._groups: list[tuple[Group, Gate]] = []  # a plain list, so that the gates are registered once
        for group in list(groups(encoder)):
            gate = Gate(group.units, group.size)
            parametrize.register_parametrization(getattr(group.module, group.output), "weight", gate)
            self._groups.append((group, gate))

    def sparsity(self) -> Tensor:
        """The expected share of the parameters that is removed, with gradient."""
        whole = sum(group.units * group.parameters for group, _ in self._groups)
        left = torch.stack([gate.open().sum() * group.parameters for group, gate in self._groups]).sum()
        return 1 - left / whole

    def penalty(self, progress: float) -> Tensor:
        """λ1·(s - t) + λ2·(s - t)², where t is the target at this share of the run."""
        warm_up = self.config.warm_up
        target = self.config.sparsity * (min(progress / warm_up, 1.0) if warm_up else 1.0)
        over = self.sparsity() - target
        first, second = 2 * self.multipliers.detach() - self.multipliers  # the same values, with the opposite gradient
        return first * over + second * over.square()

    @torch.no_grad()
    def of(self, tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """The state_dict without gates and without what they remove. prefix: of the names of the encoder"""
        found = dict(tensors)
        for group, gate in self._groups:
            name, training = f"{prefix}{group.name}.{group.output}", gate.training
            inside = f"{name}.parametrizations.weight"
            found[f"{name}.weight"] = gate.eval()(found.pop(f"{inside}.original"))
            gate.train(training)
            del found[f"{inside}.0.log_alpha"]
            cut(found, group, prefix, gate.kept())
        return found

    def kept(self) -> dict[str, dict[str, Any]]:
        """Heads and widths that are kept, as in the config of the model."""
        heads, widths = {}, {}
        for group, gate in self._groups:
            if group.size == 1:
                widths[group.name] = len(gate.kept())
            else:
                heads[group.name] = tuple(gate.kept().tolist())
        return {"heads": heads, "widths": widths}

    def take_plain(self, state: dict[str, Tensor], prefix: str) -> None:
        """Rename the weights in a state_dict of an encoder without gates, so that one with gates can load it."""
        for group, gate in self._groups:
            name = f"{prefix}{group.name}.{group.output}"
            if f"{name}.weight" in state:
                state[f"{name}.parametrizations.weight.original"] = state.pop(f"{name}.weight")
                state[f"{name}.parametrizations.weight.0.log_alpha"] = gate.log_alpha.detach()
