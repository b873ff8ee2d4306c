from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed

from spkver.config import validate
from spkver.errors import InputError
from spkver.losses import LOSSES
from spkver.losses.gathering import over_processes
from spkver.losses.margin_loss import MarginLoss
from spkver.losses.margins import AdditiveCosine, AdditiveCosineConfig
from spkver.losses.reductions.base import Others, Target
from spkver.losses.selectors import (
    All,
    AllConfig,
    Boundary,
    BoundaryConfig,
    Cosine,
    CosineConfig,
    Hardest,
    HardestConfig,
    SoftBoundary,
    SoftBoundaryConfig,
)

ROWS = torch.tensor([0.5, 0.0, -0.5])
TARGET = Target(10 * ROWS, ROWS, torch.full((3,), 10.0), torch.ones(3))
RIVALS = torch.tensor([0, 1, 2])
OTHERS = Others(torch.zeros(3), torch.zeros(3), (RIVALS,))
LMCL = AdditiveCosine(AdditiveCosineConfig())
PSI = LMCL(TARGET, 0.2)


def select(selector):
    return selector.select(TARGET, OTHERS, PSI, RIVALS).tolist()


def hardest(hardness, share):
    """The selection for samples with these values of L - ψ."""
    hardness = torch.as_tensor(hardness)
    others = Others(hardness, torch.zeros_like(hardness), ())
    return Hardest(HardestConfig(share=share)).select(TARGET, others, torch.zeros_like(hardness), RIVALS).tolist()


@pytest.fixture
def processes(monkeypatch):
    """Act as the first of several processes; the samples of the others are `processes.others`."""

    class Processes:
        others: list[torch.Tensor] = []

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 1 + len(Processes.others))

    def all_gather(parts, mine):
        for part, value in zip(parts, [mine, *Processes.others]):
            part.copy_(value)

    monkeypatch.setattr(distributed, "all_gather", all_gather)
    return Processes


def test_all():
    selector = All(AllConfig())
    assert selector.threshold(TARGET, LMCL) is None
    assert select(selector) == [True] * 3


def test_boundary_needs_k_rivals():
    for k, expected in [(1, [False, True, True]), (2, [False, False, True]), (3, [False] * 3)]:
        assert select(Boundary(BoundaryConfig(k=k))) == expected


def test_boundary_uses_select_margin():
    assert Boundary(BoundaryConfig()).threshold(TARGET, LMCL) is None
    threshold = Boundary(BoundaryConfig(select_margin=0.3)).threshold(TARGET, LMCL)
    torch.testing.assert_close(threshold, 10 * (ROWS - 0.3))


def test_rival_equal_to_psi_does_not_count(make_loss):
    x = torch.tensor([[1.0, 0.0, 0.0, 0.0]])  # ψ = s(1 - 1) = 0 = every other logit
    y = torch.tensor([0])
    for m, share in ((1.0, 0), (1.0001, 1)):
        loss = make_loss("bd_lmcl", dim=4, classes=4, dtype=torch.float32, m=m)
        loss.head.weight.data = torch.eye(4)
        assert loss(x, y).selected_share == share


def test_cosine_must_be_below_its_threshold():
    for below, expected in [(-0.5, [False] * 3), (0.0, [False, False, True]), (0.1, [False, True, True])]:
        assert select(Cosine(CosineConfig(below=below))) == expected
    assert select(Cosine(CosineConfig(below=1))) == [True] * 3


def test_hardest():
    assert hardest([3.0, 1.0, 2.0, 0.0], 0.5) == [True, False, True, False]
    assert hardest([3.0, 1.0, 2.0, 0.0], 1) == [True] * 4
    assert hardest([3.0, 1.0, 2.0, 0.0], 0.01) == [True, False, False, False]  # at least one
    assert hardest([0.0], 0.1) == [True]


def test_ties_are_selected_together():
    assert hardest([1.0, 2.0, 1.0, 0.0], 0.5) == [True, True, True, False]
    assert hardest([1.0] * 5, 0.2) == [True] * 5


def test_nan_is_not_a_hard_sample():
    assert hardest([math.nan, 1.0, 2.0, math.inf], 0.5) == [False, False, True, True]
    assert hardest([math.nan, -math.inf, 2.0, 1.0], 0.5) == [False, False, True, True]


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20), st.floats(0.01, 1))
def test_hardest_share_includes_ties(hardness, share):
    picked = hardest(hardness, share)
    number = max(1, round(share * len(hardness)))
    last = sorted(torch.tensor(hardness).tolist())[-number]
    assert picked == [value >= last for value in torch.tensor(hardness).tolist()]
    assert sum(picked) >= number


def test_hardest_of_the_global_batch(processes):
    processes.others = [torch.tensor([9.0, 8.0, 7.0, 6.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])]
    # the six hardest of twelve: four of the second process
    assert hardest([3.0, 1.0, 2.0, 0.0], 0.5) == [True, False, True, False]
    assert hardest([3.0, 1.0, 2.0, 0.0], 5 / 12) == [True, False, False, False]
    assert hardest([3.0, 1.0, 2.0, 0.0], 4 / 12) == [False] * 4


def test_number_of_selected_samples_is_that_of_the_global_batch(make_loss, batch, processes):
    x, y = batch
    keys = {"selector": {"name": "cosine", "below": 0.1}, "others": "ignored"}
    by_batch = make_loss("lmcl", **keys)(x, y)
    by_selected = make_loss("lmcl", normalise_by="selected", **keys)
    here = int(16 * by_batch.selected_share)
    processes.others = [torch.zeros(16, dtype=torch.float64), torch.ones(16, dtype=torch.float64)]
    torch.testing.assert_close(by_selected(x, y).loss, by_batch.loss * 16 / ((here + 0 + 16) / 3))
    processes.others = []
    torch.testing.assert_close(by_selected(x, y).loss, by_batch.loss * 16 / here)


def test_one_process_gathers_nothing():
    values = torch.arange(3.0)
    assert over_processes(values) is values


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("boundry", "unknown selector 'boundry'; did you mean 'boundary'?"),
        ({"name": "boundary", "k": 0}, "selector.k: Input should be greater than or equal to 1"),
        ({"name": "hardest", "share": 0}, "selector.share: Input should be greater than 0"),
        ({"name": "hardest", "share": 1.5}, "selector.share: Input should be less than or equal to 1"),
        ({"name": "cosine", "below": 2}, "selector.below: Input should be less than or equal to 1"),
        ({"k": 2}, "selector: unknown key 'k'"),
    ],
)
def test_invalid_selector_is_rejected(selector, message):
    with pytest.raises(InputError) as caught:
        validate(LOSSES, {"name": "lmcl", "selector": selector})
    assert message in str(caught.value)


def test_soft_boundary_is_half_at_the_boundary_and_a_mask_in_the_limit():
    largest = torch.tensor([3.1, 3.0, 2.9, -torch.inf, torch.nan])
    others = Others(largest, largest, ())
    psi, rivals = torch.full((5,), 3.0), (largest > 3).long()

    def weights(width):
        return SoftBoundary(SoftBoundaryConfig(width=width)).select(TARGET, others, psi, rivals)

    torch.testing.assert_close(
        weights(0.1)[:4], torch.sigmoid(torch.tensor([1.0, 0, -1, -torch.inf])), rtol=1e-4, atol=0
    )
    assert weights(1e-6)[[0, 2, 3]].tolist() == [1, 0, 0] and weights(1e-6)[1] == 0.5


def test_soft_boundary_is_between_all_and_none():
    torch.manual_seed(0)
    x, y = torch.randn(32, 8), torch.randint(20, (32,))

    def loss(**changes):
        torch.manual_seed(1)
        return MarginLoss(validate(LOSSES, {"name": "lmcl", **changes}), 8, 20)(x, y)

    soft = loss(selector={"name": "soft_boundary", "width": 3.0})
    assert loss(m=0.0).loss < soft.loss < loss().loss
    assert 0 < soft.selected_share < 1
    sharp = loss(selector={"name": "soft_boundary", "width": 1e-6})
    torch.testing.assert_close(sharp.per_sample, loss(selector="boundary").per_sample)
    ignored = loss(selector="soft_boundary", others="ignored", normalise_by="selected")
    assert torch.isfinite(ignored.loss)
