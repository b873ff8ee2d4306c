"""Hyperbolic additive margin softmax against its formula in float64 and WeSpeaker's code, and its numerical limits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from spkver.config import validate
from spkver.errors import InputError
from spkver.losses import LOSSES
from spkver.losses.hyperbolic import LARGEST_NORM, SMALLEST_U

S, M = 8.0, 0.3
NAME = "hyperbolic_am"
REDUCTIONS = pytest.mark.parametrize(
    "reduction", ["dense", *({"name": "chunked", "chunk": chunk} for chunk in (1, 3, 50))], ids=str
)


@pytest.fixture
def ball(make_loss, batch):
    """A loss whose prototypes are all over the ball, with embeddings inside and beyond it."""

    def make(**keys):
        x, y = batch
        loss = make_loss(NAME, m=M, **{"head": {"s": S}} | keys)
        loss.head.weight.data = torch.randn_like(loss.head.weight) * torch.linspace(0.02, 0.5, 7)[:, None].double()
        return loss, x, y

    return make


def projected(p):
    return p if p.norm() < LARGEST_NORM else p * LARGEST_NORM / p.norm()


def distance(x, w):
    x, w = projected(x), projected(w)
    return torch.acosh(1 + 2 * (x - w).square().sum() / ((1 - x @ x) * (1 - w @ w)))


def reference(x, y, W, s=S, m=M):
    """The mean loss, sample by sample."""
    losses = []
    for x_i, y_i in zip(x, y.tolist()):
        z = torch.stack([-s * (distance(x_i, w) + (m if j == y_i else 0)) for j, w in enumerate(W)])
        losses.append(torch.logsumexp(z, dim=0) - z[y_i])
    return sum(losses) / len(losses)


@REDUCTIONS
def test_formula(ball, compare, reduction):
    loss, x, y = ball(head={"s": S, "reduction": reduction})
    norms = x.detach().norm(dim=1), loss.head.weight.detach().norm(dim=1)
    assert all((norm > 1).any() and (norm < 1).any() for norm in norms)
    expected = reference(x, y, loss.head.weight)
    got = loss(x, y).loss
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)
    weights = [x, *loss.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(got, weights), torch.autograd.grad(expected, weights), rtol=1e-5, atol=1e-9
    )


def test_scheduled_scale(ball):
    loss, x, y = ball(head={"s": 2 * S}, schedules={"s": {"name": "constant", "value": 0.5}})
    torch.testing.assert_close(loss(x, y).loss, reference(x, y, loss.head.weight), rtol=1e-8, atol=0)


def test_equals_the_authors_code(ball):
    """As in wespeaker/models/projections.py, for a curvature of 1. They limit the product of both factors to 1e5."""
    loss, x, y = ball()
    weight = loss.head.weight
    weight.data *= 0.9 / weight.norm(dim=1, keepdim=True).clamp(min=0.9).detach()

    def proj_to_ball(x, eps=1e-5):
        norm = torch.norm(x, dim=-1, keepdim=True).clamp(min=eps)
        return x * torch.clamp((1.0 - eps) / norm, max=1.0)

    def poincare_distance(x, y, eps=1e-5):
        x_norm = torch.norm(x, dim=-1, keepdim=True).clamp(max=1 - eps)
        y_norm = torch.norm(y, dim=-1, keepdim=True).clamp(max=1 - eps)
        num = 2 * torch.norm(x - y, dim=-1, keepdim=True).pow(2)
        denom = (1 - x_norm.pow(2)) * (1 - y_norm.pow(2))
        return torch.acosh((1 + num / denom).clamp(min=1.0 + eps))

    points = (proj_to_ball(x)[:, None].expand(-1, 7, -1), proj_to_ball(weight)[None].expand(len(x), -1, -1))
    z = -S * (poincare_distance(*points).squeeze(-1) + M * functional.one_hot(y, 7))
    expected, got = functional.cross_entropy(z, y), loss(x, y).loss
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)
    weights = [x, weight]
    torch.testing.assert_close(
        torch.autograd.grad(got, weights), torch.autograd.grad(expected, weights), rtol=1e-5, atol=1e-9
    )


def test_statistics_count_rivals(ball):
    loss, x, y = ball(head={"s": S, "reduction": {"name": "chunked", "chunk": 2}})
    d = torch.stack([torch.stack([distance(x_i, w) for w in loss.head.weight]) for x_i in x])
    own = d.gather(1, y[:, None])
    out = loss(x, y)
    assert float(out.accuracy) == float(((d < own).sum(dim=1) == 0).double().mean())
    assert float(out.margin_accuracy) == float(((d < own + M).sum(dim=1) == 1).double().mean())
    assert out.target_cosine is None


def test_logits_are_those_of_both_steps(ball):
    loss, x, y = ball()
    z = loss.head.logits(x)
    torch.testing.assert_close(z.gather(1, y[:, None])[:, 0], loss.head.target(x, y).logit)
    z.scatter_(1, y[:, None], -torch.inf)
    torch.testing.assert_close(loss.head.others(x, y).logsumexp, torch.logsumexp(z, dim=1))


def test_an_embedding_on_its_prototype_has_a_finite_gradient(ball):
    """The distance has an infinite derivative at 0, so there is a floor with gradient 0."""
    loss, _, _ = ball()
    x = loss.head.weight[:2].detach().clone().requires_grad_()
    target = loss.head.target(x, torch.arange(2))
    torch.testing.assert_close(target.cosine.cosh(), torch.full_like(target.cosine, 1 + 2 * SMALLEST_U))
    gradient = torch.autograd.grad(target.logit.sum(), x)[0]
    assert not gradient.any()
    zero = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)
    out = loss(zero, torch.arange(2)).loss
    assert out.isfinite() and torch.autograd.grad(out, zero)[0].isfinite().all()


@pytest.mark.parametrize("length", [1e-3, 0.5, 1, 14, 1e4])
def test_float32_up_to_the_border(ball, length):
    """Embeddings and prototypes of one length: in the centre, inside, and beyond the border."""
    loss, x, y = ball()
    x = length * functional.normalize(x.detach())
    loss.head.weight.data = length * functional.normalize(loss.head.weight.data)
    exact = loss(x, y).per_sample
    x = x.float().requires_grad_()
    out = loss.float()(x, y)
    torch.testing.assert_close(out.per_sample.double(), exact, rtol=1e-3, atol=2e-2)
    assert torch.autograd.grad(out.loss, x)[0].isfinite().all()


def test_prototypes_start_in_the_centre(make_loss):
    norms = make_loss(NAME, dim=64, classes=100).head.weight.norm(dim=1)
    assert 0.005 < norms.mean().item() < 0.012


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"head": {"reduction": "fused"}}, "head 'hyperbolic' has no inner products; set reduction to dense or"),
        ({"margin": "aam"}, "margin 'aam' needs cosines, and head 'hyperbolic' has none"),
        ({"margin": "elastic"}, "margin 'elastic' needs cosines, and head 'hyperbolic' has none"),
        ({"selector": "cosine"}, "selector 'cosine' needs cosines, and head 'hyperbolic' has none"),
        ({"name": "inter_top_k_lmcl", "head": "hyperbolic"}, "needs cosines, and head 'hyperbolic' has none"),
        ({"name": "curricularface", "margin": "lmcl", "head": "hyperbolic"}, "needs cosines; set head.name"),
        ({"name": "sphereface2", "head": "hyperbolic"}, "needs cosines; set head.name"),
    ],
)
def test_invalid_config_is_rejected_in_one_line(keys, message):
    with pytest.raises(InputError, match=message):
        validate(LOSSES, {"name": NAME} | keys)


@pytest.mark.parametrize("keys", [{"selector": "boundary"}, {"margin": {"name": "elastic", "form": "cos"}}])
def test_combines_with_selectors_and_margins_without_angles(ball, keys):
    loss, x, y = ball(**keys)
    assert loss(x, y).loss.isfinite()
