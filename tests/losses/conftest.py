from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from spkver import compat
from spkver.config import Config, component, validate
from spkver.errors import InputError
from spkver.losses import LOSSES
from spkver.losses.loss import Loss

DIM, CLASSES = 6, 7


class Choice(Config):
    loss: component(LOSSES)


@pytest.fixture(scope="session")
def make_loss() -> Callable[..., Loss]:
    """A loss by its name, `make_loss("lmcl", m=0.3, head={"s": 10})`, its weights the same at every call."""

    def make(name: str, dim: int = DIM, classes: int = CLASSES, dtype: torch.dtype = torch.float64, **keys: Any) -> Any:
        torch.manual_seed(1)
        config = validate(Choice, {"loss": {"name": name, **keys}}).loss
        return LOSSES.build(config, dim, classes).to(dtype)

    return make


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (N, dim) float64 of several lengths, with gradient, and labels that leave one class out."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(16, DIM, generator=random, dtype=torch.float64) * torch.linspace(0.1, 4, 16)[:, None].double()
    return x.requires_grad_(), torch.randint(CLASSES - 1, (16,), generator=random)


@pytest.fixture(scope="session")
def speechbrain_losses() -> ModuleType:
    """speechbrain.nnet.losses; skips where it cannot be loaded."""
    try:
        compat.speechbrain()
    except InputError as error:
        pytest.skip(str(error))
    return importlib.import_module("speechbrain.nnet.losses")
