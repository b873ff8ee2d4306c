from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Any

import pytest
import torch

from spkver import compat
from spkver.config import validate
from spkver.errors import InputError
from spkver.losses import LOSSES
from spkver.losses.loss import Loss

DIM, CLASSES = 6, 7


@pytest.fixture(scope="session")
def make_loss() -> Callable[..., Loss]:
    """Make a loss by name, `make_loss("lmcl", m=0.3, head={"s": 10})`, always with the same weights."""

    def make(name: str, dim: int = DIM, classes: int = CLASSES, dtype: torch.dtype = torch.float64, **keys: Any) -> Any:
        torch.manual_seed(1)
        config = validate(LOSSES, {"name": name, **keys})
        return LOSSES.build(config, dim, classes).to(dtype)

    return make


@pytest.fixture
def unwaited() -> Callable[[], AbstractContextManager[None]]:
    """`with unwaited():` raises where the host waits for a GPU."""

    @contextmanager
    def watched() -> Iterator[None]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return watched


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (N, dim) float64 of different lengths, with gradient, and labels of all classes but one."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(16, DIM, generator=random, dtype=torch.float64) * torch.linspace(0.1, 4, 16)[:, None].double()
    return x.requires_grad_(), torch.randint(CLASSES - 1, (16,), generator=random)


@pytest.fixture(scope="session")
def compare() -> Callable[[Loss, torch.Tensor, torch.Tensor, torch.Tensor], None]:
    """`compare(loss, expected, x, y)`: compare the value and the gradients to embeddings and parameters."""

    def check(loss: Loss, expected: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> None:
        parameters = [x, *loss.parameters()]
        got = loss(x, y).loss
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            torch.autograd.grad(got, parameters), torch.autograd.grad(expected, parameters), rtol=1e-9, atol=1e-12
        )

    return check


@pytest.fixture(scope="session")
def speechbrain_losses() -> ModuleType:
    """speechbrain.nnet.losses; skips where it cannot be loaded."""
    try:
        compat.speechbrain()
    except InputError as error:
        pytest.skip(str(error))
    return importlib.import_module("speechbrain.nnet.losses")
