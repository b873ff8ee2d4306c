from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spkver.config import validate
from spkver.losses import REDUCTIONS
from spkver.losses.reductions.base import Prototypes


@pytest.fixture(scope="session")
def make_reduction():
    """A reduction as a config names it: `make_reduction({"name": "chunked", "chunk": 3})`."""
    return lambda keys: REDUCTIONS.build(validate(REDUCTIONS, keys))


@pytest.fixture(scope="session")
def make_problem():
    """Operands, prototypes and labels (of every class, and -1 and C for none), float64, with gradient."""

    def make(form: str, classes: int = 11, n: int = 13, dim: int = 4, dtype: torch.dtype = torch.float64):
        random = torch.Generator().manual_seed(classes)
        centres = 3 if "centres" in form else 1

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype).requires_grad_()

        a, weight = draw(n, dim), draw(classes * centres, dim)
        bias = draw(classes * centres) if "bias" in form else None
        y = torch.arange(-1, n - 1) % (classes + 2) - 1
        return a, Prototypes(weight, bias, "unit" in form, centres), y

    return make


@pytest.fixture(scope="session")
def reference():
    """L, largest and counts by definition, sample by sample, independent of the package."""

    def compute(a: Tensor, prototypes: Prototypes, y: Tensor, thresholds: list[Tensor]):
        weight, bias, unit, centres = prototypes
        p = weight / weight.norm(dim=1, keepdim=True) if unit else weight
        rows = a @ p.T + (0 if bias is None else bias)
        z = torch.stack([rows[:, c * centres : (c + 1) * centres].amax(1) for c in range(len(weight) // centres)], 1)
        rest = [torch.cat([row[:c], row[c + 1 :]]) if 0 <= c < len(row) else row for row, c in zip(z, y.tolist())]
        return (
            torch.stack([row.exp().sum().log() for row in rest]),
            torch.stack([row.max() for row in rest]),
            [torch.stack([(row > t).sum() for row, t in zip(rest, threshold)]) for threshold in thresholds],
        )

    return compute
