"""The losses against plain float64 versions of their formulas, in value and gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

# ---- the formulas, sample by sample, nothing shared with the package ----


def nll(psi: Tensor, others: list[Tensor]) -> Tensor:
    return -torch.log(psi.exp() / (psi.exp() + sum(z.exp() for z in others)))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm() * b.norm())


def softmax(x, y, W, b=None):
    losses = []
    for x_i, y_i in zip(x, y.tolist()):
        z = [W_j @ x_i for W_j in W] if b is None else [W_j @ x_i + b_j for W_j, b_j in zip(W, b)]
        losses.append(nll(z[y_i], z[:y_i] + z[y_i + 1 :]))
    return sum(losses) / len(x)


SCALES = {
    "normalised": lambda x, w: 12.0,
    "unit": lambda x, w: x.norm(),
    "linear": lambda x, w: x.norm() * w.norm(),
}


def lmcl(c: Tensor, m: float) -> Tensor:
    return c - m


def aam(c: Tensor, m: float) -> Tensor:
    theta = torch.acos(c)
    return torch.cos(theta + m) if theta <= math.pi - m else -2 - torch.cos(theta + m)


def multiplicative(c: Tensor, m: int) -> Tensor:
    """L-softmax, equations 5 and 6."""
    theta = torch.acos(c)
    (k,) = [k for k in range(m) if k * math.pi / m <= float(theta.detach()) < (k + 1) * math.pi / m]
    return (-1) ** k * torch.cos(m * theta) - 2 * k


def combined(c: Tensor, m: float, m1: float = 1.3, m2: float = 0.4, m3: float = 0.1) -> Tensor:
    m1, m2, m3 = 1 + m * (m1 - 1), m * m2, m * m3
    phi = m1 * torch.acos(c) + m2
    k = math.floor(float(phi.detach()) / math.pi)
    return (-1) ** k * torch.cos(phi) - 2 * k - m3


MARGINS = {
    "lmcl": ({"margin": "lmcl", "m": 0.35}, lambda c: lmcl(c, 0.35)),
    "aam": ({"margin": "aam", "m": 0.5}, lambda c: aam(c, 0.5)),
    "aam, wide": ({"margin": "aam", "m": 1.5}, lambda c: aam(c, 1.5)),
    **{
        f"multiplicative, {m}": (
            {"margin": "multiplicative", "m": m, "schedules": {"m": "constant"}},
            lambda c, m=m: multiplicative(c, m),
        )
        for m in range(1, 6)
    },
    "combined": ({"margin": {"name": "combined", "m1": 1.3, "m2": 0.4, "m3": 0.1}, "m": 1}, lambda c: combined(c, 1.0)),
    "combined, half": (
        {"margin": {"name": "combined", "m1": 1.3, "m2": 0.4, "m3": 0.1}, "m": 0.5},
        lambda c: combined(c, 0.5),
    ),
}
HEADS = {
    "normalised": {"name": "normalised", "s": 12},
    "unit": "unit",
    "linear": {"name": "linear", "bias": "false"},
}


def margin_losses(x, y, W, scale, psi, share=lambda c, rest, own: 1.0):
    """The loss of each sample; share(c_y, other cosines, ψ) is its share of the margin."""
    losses = []
    for x_i, y_i in zip(x, y.tolist()):
        c = [cosine(W_j, x_i) for W_j in W]
        sigma = [scale(x_i, W_j) for W_j in W]
        rest = [j for j in range(len(W)) if j != y_i]
        z, own = sigma[y_i] * c[y_i], sigma[y_i] * psi(c[y_i])
        part = share(c[y_i], [c[j] for j in rest], own)
        losses.append(nll(part * own + (1 - part) * z, [sigma[j] * c[j] for j in rest]))
    return torch.stack(losses)


def violated(c: Tensor, rest: list[Tensor], m: float, k: int) -> bool:
    return sum(bool(c_j > c - m) for c_j in rest) >= k


def compare(loss, reference, x, y):
    """Compare the value and the gradients to x and to all weights."""
    parameters = [x, *loss.parameters()]
    got = loss(x, y).loss
    torch.testing.assert_close(got, reference, rtol=1e-12, atol=1e-12)
    ours, theirs = torch.autograd.grad(got, parameters), torch.autograd.grad(reference, parameters)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


# ---- value and gradient ----


@pytest.mark.parametrize("bias", [True, False])
def test_softmax(make_loss, batch, bias):
    x, y = batch
    loss = make_loss("softmax", head={"bias": bias})
    if bias:
        torch.nn.init.normal_(loss.head.bias)
    compare(loss, softmax(x, y, loss.head.weight, loss.head.bias), x, y)


def test_nsl(make_loss, batch):
    x, y = batch
    loss = make_loss("nsl", head={"s": 12})
    compare(loss, margin_losses(x, y, loss.head.weight, SCALES["normalised"], lambda c: c).mean(), x, y)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("head", HEADS)
def test_every_margin_over_every_head(make_loss, batch, head, margin):
    x, y = batch
    keys, psi = MARGINS[margin]
    loss = make_loss("lmcl", head=HEADS[head], **keys)
    compare(loss, margin_losses(x, y, loss.head.weight, SCALES[head], psi).mean(), x, y)


@pytest.mark.parametrize(("name", "head"), [("l_softmax", "linear"), ("a_softmax", "unit")])
@pytest.mark.parametrize("annealing", [0.0, 5.0, 100.0])
def test_annealing(make_loss, batch, name, head, annealing):
    x, y = batch
    loss = make_loss(name, m=3, schedules={"annealing": {"name": "constant", "value": annealing}})
    W = loss.head.weight
    psi = lambda c: (annealing * c + multiplicative(c, 3)) / (1 + annealing)  # noqa: E731
    compare(loss, margin_losses(x, y, W, SCALES[head], psi).mean(), x, y)


def test_sub_centres(make_loss, batch):
    """Each class has three consecutive rows of W; the nearest one counts."""
    x, y = batch
    loss = make_loss("sub_centre_aam", m=0.5, head={"s": 12})
    W = loss.head.weight.view(7, 3, -1)
    losses = []
    for x_i, y_i in zip(x, y.tolist()):
        c = [torch.stack([cosine(w, x_i) for w in centres]).max() for centres in W]
        losses.append(nll(12 * aam(c[y_i], 0.5), [12 * c_j for j, c_j in enumerate(c) if j != y_i]))
    compare(loss, torch.stack(losses).mean(), x, y)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("select_margin", [None, 0.1])
def test_bd_lmcl_unmargined(make_loss, batch, k, select_margin):
    x, y = batch
    loss = make_loss("bd_lmcl", head={"s": 12}, m=0.3, selector={"k": k, "select_margin": select_margin})

    def psi(c, rest, own):
        return float(violated(c, rest, select_margin or 0.3, k))

    assert 0 < loss(x, y).selected_share < 1
    reference = margin_losses(x, y, loss.head.weight, SCALES["normalised"], lambda c: lmcl(c, 0.3), psi)
    compare(loss, reference.mean(), x, y)


SELECTORS = {
    "boundary": ({"name": "boundary", "k": 2}, lambda c, rest, psi, L: (rest > psi[:, None]).sum(1) >= 2),
    "hardest": ({"name": "hardest", "share": 0.3}, lambda c, rest, psi, L: (L - psi).argsort().argsort() >= 16 - 5),
    "cosine": ({"name": "cosine", "below": 0.1}, lambda c, rest, psi, L: c < 0.1),
}


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("margin", ["lmcl", "aam", "multiplicative, 2", "combined"])
@pytest.mark.parametrize(
    ("others", "normalise_by"), [("unmargined", "batch"), ("ignored", "batch"), ("ignored", "selected")]
)
@pytest.mark.parametrize("selection", [1.0, 0.4])
def test_every_selector_with_every_margin(make_loss, batch, selector, margin, others, normalise_by, selection):
    x, y = batch
    (keys, psi), (choice, picks) = MARGINS[margin], SELECTORS[selector]
    keys = keys | {"schedules": keys.get("schedules", {}) | {"selection": {"name": "constant", "value": selection}}}
    loss = make_loss(
        "lmcl", head=HEADS["normalised"], selector=choice, others=others, normalise_by=normalise_by, **keys
    )
    W = loss.head.weight

    every = 12 * torch.nn.functional.cosine_similarity(x.detach()[:, None], W.detach()[None], dim=2)
    one = torch.eye(len(W), dtype=torch.bool)[y]
    rest, c = every[~one].view(len(x), -1), every[one] / 12
    picked = picks(c, rest, 12 * torch.stack([psi(c_i) for c_i in c]), torch.logsumexp(rest, 1))
    assert 0 < picked.sum() < len(x)
    assert float(loss(x, y).selected_share) == pytest.approx(float(picked.double().mean()))

    weight = 1 - selection * (~picked).double()
    shares = iter(weight.tolist())
    losses = margin_losses(x, y, W, SCALES["normalised"], psi, lambda *_: next(shares))
    reference = losses.mean()
    if others == "ignored":
        # the weight of an unselected sample is its share of the margin
        reference = (weight * losses).sum() / (len(x) if normalise_by == "batch" else weight.sum())
    compare(loss, reference, x, y)


# ---- closed gradients ----


@pytest.mark.parametrize("m", [0.0, 0.35])
def test_closed_gradient(make_loss, batch, m):
    """d loss_i / d z_j = p_j - [j = y], with p for logits with the margin, for x and W of length 1."""
    x, y = batch
    x = (x / x.norm(dim=1, keepdim=True)).detach().requires_grad_()
    loss = make_loss("lmcl", m=m, head={"s": 12})
    W = torch.nn.functional.normalize(loss.head.weight.detach())
    loss.head.weight.data = W
    loss(x, y).loss.backward()

    one = torch.eye(len(W), dtype=x.dtype)[y]
    g = 12 / len(x) * (torch.softmax(12 * (x.detach() @ W.T - m * one), dim=1) - one)  # gradient to the cosines
    to_x, to_W = g @ W, g.T @ x.detach()
    tangent = lambda v, g: g - (g * v).sum(1, keepdim=True) * v  # noqa: E731
    torch.testing.assert_close(x.grad, tangent(x.detach(), to_x))
    torch.testing.assert_close(loss.head.weight.grad, tangent(W, to_W))


def test_closed_gradient_of_softmax(make_loss, batch):
    x, y = batch
    loss = make_loss("softmax")
    loss(x, y).loss.backward()
    W, b = loss.head.weight.detach(), loss.head.bias.detach()
    g = (torch.softmax(x.detach() @ W.T + b, dim=1) - torch.eye(len(W), dtype=x.dtype)[y]) / len(x)
    torch.testing.assert_close(x.grad, g @ W)
    torch.testing.assert_close(loss.head.weight.grad, g.T @ x.detach())
    torch.testing.assert_close(loss.head.bias.grad, g.sum(0))
