"""Run by test_fused.py with TRITON_INTERPRET=1: prints the name of each case that agrees with dense."""

from __future__ import annotations

import torch

from spkver.losses.heads import Normalised, NormalisedConfig
from spkver.losses.reductions.base import Prototypes
from spkver.losses.reductions.dense import Dense, DenseConfig
from spkver.losses.reductions.fused import Fused, FusedConfig

dense, fused = Dense(DenseConfig()), Fused(FusedConfig())
random = torch.Generator().manual_seed(0)


def draw(*shape, scale=1.0):
    return (scale * torch.randn(*shape, generator=random, dtype=torch.float64)).requires_grad_()


def agree(a, prototypes, y, thresholds, **tolerance):
    expected, got = dense(a, prototypes, y, thresholds), fused(a, prototypes, y, thresholds)
    torch.testing.assert_close(got, expected, **tolerance)
    leaves = [tensor for tensor in (a, *prototypes[:2]) if tensor is not None]
    upstream = torch.randn(len(a), generator=random, dtype=torch.float64).to(a.dtype)
    ours, theirs = (torch.autograd.grad(each.logsumexp, leaves, upstream) for each in (got, expected))
    torch.testing.assert_close(ours, theirs, **tolerance)


def labels(n, classes):
    return torch.randint(-1, classes + 1, (n,), generator=random)


def main() -> None:
    # more samples and classes than in a tile, not multiples of it; a dimension that is not a power of two
    a, y, thresholds = draw(70, 20), labels(70, 150), [torch.zeros(70).double(), torch.full((70,), -99.0).double()]
    agree(a, Prototypes(draw(150, 20)), y, thresholds)
    print("plain")
    agree(a, Prototypes(draw(150, 20), draw(150)), y, thresholds[:1])
    print("bias")
    weight = draw(150, 20)
    with torch.no_grad():
        weight[3] = 0
    agree(a, Prototypes(weight, unit=True), y, [])
    print("unit")
    agree(a, Prototypes(draw(3 * 90, 20), unit=True, centres=3), labels(70, 90), thresholds * 2)
    print("centres")

    axes = torch.cat([torch.eye(8), -torch.eye(8)])  # float32, every logit 64 or -64
    for own in (torch.arange(16), (torch.arange(16) + 1) % 16, torch.full((16,), -1)):
        a, weight = (64 * axes).requires_grad_(), (7 * axes).requires_grad_()
        agree(a, Prototypes(weight, unit=True), own, [torch.zeros(16)], rtol=1e-5, atol=1e-5)
    agree(draw(1, 4), Prototypes(draw(2, 4), unit=True), torch.tensor([1]), [torch.zeros(1).double()])
    print("edges")

    a, weight = draw(3, 4), draw(1, 4)
    found = fused(a, Prototypes(weight, unit=True), torch.tensor([0, -1, 0]), [])
    assert found.logsumexp.isneginf().tolist() == found.largest.isneginf().tolist() == [True, False, True]
    to_a, to_weight = torch.autograd.grad(torch.logaddexp(found.logsumexp, torch.zeros(3)).sum(), [a, weight])
    assert (to_a[[0, 2]] == 0).all() and (to_a[1] != 0).all() and to_weight.isfinite().all()
    print("alone")

    torch.manual_seed(0)
    whole, head = (Normalised(NormalisedConfig(s=8, reduction=name), 6, 40).double() for name in ("dense", "fused"))
    head.load_state_dict(whole.state_dict())
    x, y = draw(9, 6), torch.arange(9)
    gradients = []
    for each in (whole, head):
        loss = (each.others(x, y).logsumexp - each.target(x, y).logit).sum()
        gradients.append(torch.autograd.grad(loss, [x, each.weight]))
    torch.testing.assert_close(*gradients)
    print("head")


if __name__ == "__main__":
    main()
