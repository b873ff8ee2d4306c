from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from spkver.config import validate
from spkver.losses.margin_loss import LossConfig, MarginLoss

DIM, CLASSES = 6, 7


@pytest.fixture(scope="session")
def make_loss() -> Callable[..., MarginLoss]:
    """A loss of a preset, `make_loss("lmcl", m=0.3, head={"s": 10})`, its weights the same at every call."""

    def make(name: str, dim: int = DIM, classes: int = CLASSES, dtype: torch.dtype = torch.float64, **keys: Any) -> Any:
        torch.manual_seed(1)
        return MarginLoss(validate(LossConfig, {"name": name, **keys}), dim, classes).to(dtype)

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
        import torchaudio  # noqa: F401
    except (ImportError, OSError):
        # a torchaudio whose compiled part does not fit this torch: speechbrain's losses need none of it
        stub = ModuleType("torchaudio._extension")
        stub._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
        stub.fail_if_no_align = lambda function: function  # type: ignore[attr-defined]
        sys.modules["torchaudio._extension"] = stub
    try:
        from speechbrain.nnet import losses
    except (ImportError, OSError, AttributeError) as error:
        pytest.skip(f"speechbrain cannot be loaded: {error}")
    return losses
