from __future__ import annotations

import torch

from spkver.losses.heads import Others, Target
from spkver.losses.margins import AdditiveCosine, AdditiveCosineConfig
from spkver.losses.selectors import All, AllConfig, Boundary, BoundaryConfig

ROWS = torch.tensor([0.5, 0.0, -0.5])
TARGET = Target(10 * ROWS, ROWS, torch.full((3,), 10.0))
RIVALS = torch.tensor([0, 1, 2])
OTHERS = Others(torch.zeros(3), torch.zeros(3), (RIVALS,))
LMCL = AdditiveCosine(AdditiveCosineConfig())


def test_all():
    selector = All(AllConfig())
    assert selector.threshold(TARGET, LMCL) is None
    assert selector.select(TARGET, OTHERS, RIVALS).tolist() == [True] * 3


def test_boundary_needs_k_rivals():
    for k, expected in [(1, [False, True, True]), (2, [False, False, True]), (3, [False] * 3)]:
        assert Boundary(BoundaryConfig(k=k)).select(TARGET, OTHERS, RIVALS).tolist() == expected


def test_boundary_tests_at_its_own_margin():
    assert Boundary(BoundaryConfig()).threshold(TARGET, LMCL) is None
    threshold = Boundary(BoundaryConfig(select_margin=0.3)).threshold(TARGET, LMCL)
    torch.testing.assert_close(threshold, 10 * (ROWS - 0.3))


def test_a_rival_at_psi_exactly_does_not_select(make_loss):
    x = torch.tensor([[1.0, 0.0, 0.0, 0.0]])  # ψ = s(1 - 1) = 0 = every other logit
    y = torch.tensor([0])
    for m, share in ((1.0, 0), (1.0001, 1)):
        loss = make_loss("bd_lmcl", dim=4, classes=4, dtype=torch.float32, m=m)
        loss.head.weight.data = torch.eye(4)
        assert loss(x, y).selected_share == share
