from __future__ import annotations

import pytest
import torch

from spkver.errors import InputError
from spkver.losses.heads import (
    Linear,
    LinearConfig,
    Normalised,
    NormalisedConfig,
    Unit,
    UnitConfig,
)
from spkver.losses.hyperbolic import Hyperbolic, HyperbolicConfig
from spkver.losses.reductions.base import NORM_FLOOR, normalise


def heads():
    for reduction in ("dense", {"name": "chunked", "chunk": 3}):
        torch.manual_seed(3)
        linear = Linear(LinearConfig(reduction=reduction), 6, 7).double()
        torch.nn.init.normal_(linear.bias)
        yield linear
        yield Linear(LinearConfig(bias=False, reduction=reduction), 6, 7).double()
        yield Unit(UnitConfig(reduction=reduction), 6, 7).double()
        yield Normalised(NormalisedConfig(s=10, reduction=reduction), 6, 7).double()
        yield Normalised(NormalisedConfig(s=10, centres=3, reduction=reduction), 6, 7).double()
        yield Hyperbolic(HyperbolicConfig(s=10, reduction=reduction), 6, 7).double()


HEADS = list(heads())
NAMES = [
    f"{kind} {way}"
    for way in ("dense", "chunked")
    for kind in ("linear", "no bias", "unit", "normalised", "centres", "hyperbolic")
]
every_head = pytest.mark.parametrize("head", HEADS, ids=NAMES)


@every_head
def test_target_and_others_agree_with_all_logits(head, batch):
    x, y = batch
    z = head.logits(x)
    own = torch.arange(len(y)), y
    target = head.target(x, y)
    torch.testing.assert_close(target.logit, z[own])
    bias = 0 if head.bias is None else head.bias[y]
    torch.testing.assert_close(target.scale * target.cosine + bias, target.logit)

    threshold = torch.zeros(len(y), dtype=x.dtype)
    others = head.others(x, y, [target.logit.detach(), threshold])
    rest = torch.stack([torch.cat([row[:i], row[i + 1 :]]) for row, i in zip(z, y)])
    torch.testing.assert_close(others.logsumexp, rest.exp().sum(1).log())
    torch.testing.assert_close(others.largest, rest.max(1).values.detach())
    assert torch.equal(others.counts[0], (rest > target.logit[:, None]).sum(1))
    assert torch.equal(others.counts[1], (rest > 0).sum(1))
    assert others.logsumexp.requires_grad and not others.largest.requires_grad


@every_head
def test_logits_equal_the_formula(head, batch):
    x, _ = batch
    W = head.weight.detach()
    if isinstance(head, Linear):
        expected = x @ W.T + (0 if head.bias is None else head.bias)
    elif isinstance(head, Hyperbolic):
        x = x * ((1 - 1e-5) / x.norm(dim=1, keepdim=True)).clamp(max=1)
        u = (x[:, None] - W).square().sum(2) / (1 - x.square().sum(1))[:, None] / (1 - W.square().sum(1))
        expected = -10 * torch.acosh(1 + 2 * u)
    else:
        cosine = torch.nn.functional.cosine_similarity(x[:, None], W, dim=2).unflatten(1, (7, -1)).amax(2)
        expected = cosine * (x.norm(dim=1, keepdim=True) if isinstance(head, Unit) else 10)
    torch.testing.assert_close(head.logits(x), expected)


@every_head
def test_factor_multiplies_the_scale(head, batch):
    x, y = batch
    plain, target = head.target(x, y), head.target(x, y, 0.25)
    bias = 0 if head.bias is None else head.bias[y]
    torch.testing.assert_close(target.logit - bias, 0.25 * (plain.logit - bias))
    torch.testing.assert_close(target.scale, 0.25 * plain.scale)
    assert torch.equal(target.cosine, plain.cosine)
    z = head.logits(x, 0.25)
    torch.testing.assert_close(z[torch.arange(len(y)), y], target.logit)
    z[torch.arange(len(y)), y] = -torch.inf
    torch.testing.assert_close(head.others(x, y, [], 0.25).logsumexp, z.logsumexp(1))


@pytest.mark.parametrize(("own", "other"), zip(HEADS[:6], HEADS[6:]), ids=NAMES[:6])
def test_gradient_does_not_depend_on_the_reduction(own, other, batch):
    x, y = batch
    gradients = []
    for head in (own, other):
        others, target = head.others(x, y), head.target(x, y)
        loss = torch.nn.functional.softplus(others.logsumexp - target.logit + target.scale * target.cosine).mean()
        gradients.append(torch.autograd.grad(loss, [x, *head.parameters()]))
        assert not gradients[-1][1].is_sparse
    torch.testing.assert_close(*gradients)


def test_logit_is_that_of_the_nearest_centre():
    head = Normalised(NormalisedConfig(s=2, centres=2), 2, 2)
    head.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    x = torch.tensor([[3.0, 0.1], [0.1, 3.0], [-3.0, 0.1], [0.1, -3.0]])
    target = head.target(x, torch.tensor([0, 0, 1, 1]))
    assert (target.cosine > 0.99).all() and (head.logits(x).argmax(1) == torch.tensor([0, 0, 1, 1])).all()
    (gradient,) = torch.autograd.grad(target.cosine[1], head.weight)
    assert gradient.any(1).tolist() == [False, True, False, False]


def test_one_class_is_rejected():
    with pytest.raises(InputError, match="at least 2 speakers, got 1"):
        Unit(UnitConfig(), 6, 1)


def test_equal_logits_are_not_counted():
    head = Normalised(NormalisedConfig(s=8), 4, 4)
    head.weight.data = torch.eye(4)
    x = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0]])
    y = torch.tensor([0, 0])
    own = head.target(x, y).logit.detach()
    nudged = torch.nextafter(own, torch.tensor(-torch.inf))
    counts = head.others(x, y, [own, nudged, torch.full((2,), -1.0)]).counts
    # neither ties nor the own class count as rivals
    assert [count.tolist() for count in counts] == [[0, 1], [1, 1], [3, 3]]


def test_own_class_is_excluded_exactly():
    head = Linear(LinearConfig(), 1, 3)
    head.weight.data = torch.tensor([[1.0], [-1.0], [-2.0]])
    others = head.others(torch.tensor([[1e6]]), torch.tensor([0]))
    assert others.logsumexp.tolist() == others.largest.tolist() == [-1e6]


def test_thresholds_are_optional(batch):
    x, y = batch
    assert Normalised(NormalisedConfig(), 6, 7).others(x, y).counts == ()


def test_normalise_at_the_norm_floor():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [NORM_FLOOR / 2, 0.0], [1e-30, 0.0]], requires_grad=True)
    unit = normalise(x)
    torch.testing.assert_close(unit[0], torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(unit[1:3], torch.tensor([[0.0, 0.0], [0.5, 0.0]]))
    unit.sum().backward()
    assert (x.grad[1:] == 0).all() and (x.grad[0] != 0).all()


def test_initial_weights_have_length_one():
    torch.manual_seed(0)
    lengths = Normalised(NormalisedConfig(), 256, 500).weight.detach().norm(dim=1)
    assert float(lengths.mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("label", [-1, 7])
def test_negative_labels_do_not_wrap_around(label):
    with pytest.raises(IndexError):
        Normalised(NormalisedConfig(), 6, 7).target(torch.ones(1, 6), torch.tensor([label]))
