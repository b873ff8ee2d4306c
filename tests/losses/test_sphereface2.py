"""SphereFace2: comparison with float64 versions of the published formulas, properties, invalid configs."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import brentq
from scipy.special import expit
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity, one_hot

from spkver.config import dump, load, validate
from spkver.errors import InputError
from spkver.losses import bounds
from spkver.losses.margins import nearer
from spkver.losses.sphereface2 import SphereFace2Config
from spkver.schedules import Run

S, M, T, BALANCE = 12.0, 0.3, 3.0, 0.7
every_form = pytest.mark.parametrize("form", ["C", "A"])


def similarity(c, t=T):
    return 2 * ((c + 1) / 2) ** t - 1


def logits(form, c, target, m=M, t=T, s=S):
    """u of one class, without b."""
    if form == "C":
        return s * (similarity(c, t) - m if target else similarity(c, t) + m)
    theta = torch.acos(c)
    return s * similarity(
        torch.cos(torch.clamp(theta + m, max=math.pi) if target else torch.clamp(theta - m, min=0)), t
    )


def reference(form, x, y, W, b, balance=BALANCE, **keys):
    """The mean loss, class by class, independent of the package."""
    losses = []
    for x_i, y_i in zip(x, y.tolist()):
        for j, W_j in enumerate(W):
            u = logits(form, (x_i @ W_j) / (x_i.norm() * W_j.norm()), j == y_i, **keys) + b
            losses.append(balance * torch.log(1 + torch.exp(-u)) if j == y_i else (1 - balance) * torch.log1p(u.exp()))
    return sum(losses) / len(x)


# ---- value and gradient ----


@every_form
@pytest.mark.parametrize("reduction", ["dense", {"name": "chunked", "chunk": 3}], ids=["dense", "chunked"])
@pytest.mark.parametrize(("m", "t", "balance"), [(0.3, 3.0, 0.7), (0.0, 1.0, 0.5), (1.2, 2.5, 0.9)])
def test_formula(make_loss, batch, compare, form, reduction, m, t, balance):
    x, y = batch
    loss = make_loss("sphereface2", form=form, m=m, t=t, balance=balance, head={"s": S, "reduction": reduction})
    expected = reference(form, x, y, loss.head.weight, loss.bias, balance, m=m, t=t)
    compare(loss, expected, x, y)


@every_form
def test_gradcheck(make_loss, batch, form):
    x, y = (part[::5].detach() for part in batch)
    loss = make_loss("sphereface2", form=form, head={"s": 5})

    def value(x, b):
        return torch.func.functional_call(loss, {"bias": b}, (x, y)).loss

    torch.autograd.gradcheck(value, (x.requires_grad_(), loss.bias))


def test_original_form_is_divided_by_the_scale(make_loss, batch):
    """Wen et al.: λ/r·log(1 + e^{-r(g(c_y) - m) - b}) + (1 - λ)/r·Σ log(1 + e^{r(g(c_j) + m) + b})."""
    x, y = batch
    loss = make_loss("sphereface2", m=M, head={"s": S})
    g = similarity(cosine_similarity(x[:, None], loss.head.weight[None], dim=2))
    one, b = one_hot(y, 7).bool(), loss.bias
    positive, negative = -S * (g - M) - b, S * (g + M) + b
    terms = torch.where(one, BALANCE / S * torch.log1p(positive.exp()), (1 - BALANCE) / S * torch.log1p(negative.exp()))
    torch.testing.assert_close(loss(x, y).loss, S * terms.sum(dim=1).mean())


def test_without_margin_it_is_binary_cross_entropy(make_loss, batch, compare):
    """Equal weights for both sides, on the logits: torch's binary cross-entropy."""
    x, y = batch
    loss = make_loss("sphereface2", m=0, t=1, balance=0.5)
    labels = one_hot(y, 7).double()
    expected = binary_cross_entropy_with_logits(loss.head.logits(x) + loss.bias, labels, reduction="none")
    compare(loss, expected.sum(dim=1).mean() / 2, x, y)


def test_wespeaker_differs_only_at_the_ends_of_the_angle(make_loss, batch, compare):
    """Its form A is not clamped for θ_j < m, and uses c_y - 1 + cos m for θ_y > π - m, where g is below -1."""
    x, y = batch
    m = 0.15
    loss = make_loss("sphereface2", form="A", m=m)
    c = cosine_similarity(x[:, None], loss.head.weight[None], dim=2)
    sine, one = (1 - c**2).sqrt(), one_hot(y, 7).bool()
    own = torch.where(c > math.cos(math.pi - m), c * math.cos(m) - sine * math.sin(m), c - 1 - math.cos(math.pi - m))
    other = c * math.cos(m) + sine * math.sin(m)
    assert (c[one] > -math.cos(m)).all() and (c[~one] < math.cos(m)).all()
    positive = 0.7 * torch.log(1 + torch.exp(-(30 * similarity(own) + loss.bias)))
    negative = 0.3 * torch.log(1 + torch.exp(30 * similarity(other) + loss.bias))
    compare(loss, torch.where(one, positive, negative).sum(dim=1).mean(), x, y)


@pytest.mark.parametrize("m", [0.0, 0.15, 2.0])
def test_angle_is_clamped_at_0(m):
    theta = torch.linspace(2e-3, math.pi - 2e-3, 1001, dtype=torch.float64)
    got = nearer(torch.cos(theta), m)
    torch.testing.assert_close(got, torch.cos(torch.clamp(theta - m, min=0)))
    assert (got.diff() <= 0).all()


# ---- the bias ----


@every_form
@pytest.mark.parametrize("classes", [2, 3, 4, 100, 100_000])
@pytest.mark.parametrize(("m", "s"), [(0.0, 30.0), (0.2, 30.0), (1.0, 64.0)])
def test_initial_bias_balances_both_sides(make_loss, form, classes, m, s):
    loss = make_loss("sphereface2", classes=classes, form=form, m=m, head={"s": s}, schedules={"m": "constant"})
    positive, negative = (float(logits(form, torch.zeros(()).double(), own, m, s=s)) for own in (True, False))

    def gradient(b):
        return 0.3 * (classes - 1) * expit(negative + b) - 0.7 * expit(-positive - b)

    assert loss.bias.item() == pytest.approx(brentq(gradient, -200, 200, xtol=1e-12), abs=1e-4)
    if classes <= 100:  # a zero embedding has cosine 0 to every class
        loss.bias.data = torch.tensor(brentq(gradient, -200, 200, xtol=1e-12), dtype=torch.float64)
        out = loss(torch.zeros(2, 6).double(), torch.tensor([0, 1]))
        assert torch.autograd.grad(out.loss, loss.bias)[0].abs() < 1e-9


def test_initial_bias_uses_the_initial_margin(make_loss):
    warming = make_loss("sphereface2", m=0.4)
    assert torch.equal(warming.bias, make_loss("sphereface2", m=0.0).bias)
    assert not torch.equal(warming.bias, make_loss("sphereface2", m=0.4, schedules={"m": "constant"}).bias)


# ---- laws ----


def test_forms_agree_without_a_margin(make_loss, batch):
    x, y = batch
    one, other = (make_loss("sphereface2", form=form, m=0)(x, y) for form in "CA")
    assert all(torch.equal(*pair) for pair in zip(one, other))


@every_form
@pytest.mark.parametrize("reduction", ["dense", {"name": "chunked", "chunk": 2}], ids=["dense", "chunked"])
def test_order_of_batch_and_classes_does_not_matter(make_loss, batch, form, reduction):
    x, y = batch
    loss = make_loss("sphereface2", form=form, head={"reduction": reduction, "centres": 2})
    out = loss(x, y)
    order = torch.randperm(len(x))
    torch.testing.assert_close(loss(x[order], y[order]).per_sample, out.per_sample[order])
    order = torch.randperm(7)
    loss.head.weight.data = loss.head.weight.data.unflatten(0, (7, 2))[order].flatten(0, 1)
    renamed = loss(x, torch.argsort(order)[y])
    torch.testing.assert_close(renamed.per_sample, out.per_sample)
    assert renamed[2:] == out[2:]


@every_form
def test_accuracies(make_loss, batch, form):
    x, y = batch
    loss = make_loss("sphereface2", form=form, m=0.15)
    out = loss(x, y)
    c = cosine_similarity(x[:, None], loss.head.weight[None], dim=2).detach()
    one = one_hot(y, 7).bool()
    u = torch.where(one, logits(form, c, True, 0.15), logits(form, c, False, 0.15))
    assert float(out.accuracy) == pytest.approx(float((c.argmax(1) == y).double().mean()))
    assert float(out.margin_accuracy) == pytest.approx(float((u.argmax(1) == y).double().mean()))
    assert out.margin_accuracy < out.accuracy and out.selected_share == 1
    assert not any(value.requires_grad for value in out[1:])


# ---- at the edge ----


@every_form
@pytest.mark.parametrize("t", [1.0, 2.5, 3.0])
@pytest.mark.parametrize("reduction", ["dense", {"name": "chunked", "chunk": 2}], ids=["dense", "chunked"])
def test_aligned_opposite_and_zero_embeddings(make_loss, form, t, reduction):
    loss = make_loss("sphereface2", dtype=torch.float32, form=form, t=t, head={"s": 200, "reduction": reduction})
    W = loss.head.weight.detach()
    W[5], W[6] = -W[0], 0
    x = torch.stack([W[0], -W[1], torch.zeros(6), 1e4 * W[3], 1e-3 * W[4]]).requires_grad_()
    for labels in (torch.arange(5), torch.arange(2, 7), torch.tensor([5, 5, 6, 6, 6])):
        out = loss(x, labels)
        gradients = torch.autograd.grad(out.loss, [x, loss.head.weight, loss.bias])
        assert out.per_sample.isfinite().all() and all(gradient.isfinite().all() for gradient in gradients)
        assert (gradients[0][2] == 0).all() and (gradients[1][6] == 0).all()


@every_form
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_non_finite_embedding_gives_a_non_finite_loss(make_loss, batch, form, bad):
    x, y = batch
    x = x.detach().float()
    x[3, 1] = bad
    out = make_loss("sphereface2", form=form, dtype=torch.float32)(x, y)
    assert not out.loss.isfinite()
    assert out.per_sample.isfinite().tolist() == [i != 3 for i in range(len(x))]


@every_form
def test_batch_of_one(make_loss, form):
    loss = make_loss("sphereface2", form=form, classes=2)
    for x in (loss.head.weight.detach()[:1], -loss.head.weight.detach()[:1], torch.zeros(1, 6).double()):
        out = loss(x.clone().requires_grad_(), torch.tensor([0]))
        gradients = torch.autograd.grad(out.loss, list(loss.parameters()))
        assert out.loss.isfinite() and all(gradient.isfinite().all() for gradient in gradients)


# ---- schedules, config and bad input ----


def test_margin_warms_up_and_is_logged(make_loss, batch):
    x, y = batch
    loss = make_loss("sphereface2", m=0.3)
    assert [loss.moving(at)["margin"] for at in (0, 0.1, 0.25, 0.4, 1)] == pytest.approx([0, 0, 0.15, 0.3, 0.3])
    half = make_loss("sphereface2", m=0.15)
    torch.testing.assert_close(loss(x, y, 0.25), half(x, y))
    assert make_loss("sphereface2", schedules={"m": "constant"}).moving(0.25) == {}
    with pytest.raises(InputError, match="a schedule with unit epoch needs the length of the run"):
        make_loss("sphereface2", schedules={"m": {"name": "warmup", "unit": "epoch", "end": 2}})


def test_saved_config_is_read(tmp_path):
    config = validate(SphereFace2Config, {"name": "sphereface2", "head": {"s": "40"}, "form": "A"})
    assert config.head.s == 40
    (tmp_path / "loss.yaml").write_text(dump(config))
    assert load(SphereFace2Config, tmp_path / "loss.yaml") == config


def test_no_bounds():
    assert bounds.check(validate(SphereFace2Config, {"head": {"s": 1}}), 1000, 128, run=Run(20, 5.0)) == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"head": "linear"}, "needs cosines; set head.name to normalised, not 'linear'"),
        ({"head": {"reduction": "fused"}}, "is not a softmax; set head.reduction to dense or chunked, not 'fused'"),
        ({"head": {"split": "true"}}, "sums all classes on every process; remove head.split and head.sample"),
        ({"head": {"sample": {"share": 0.1}}}, "sums all classes on every process; remove head.split and head.sample"),
        ({"form": "B"}, "form: Input should be 'C' or 'A', got 'B'"),
        ({"m": -1}, "m: Input should be greater than or equal to 0, got -1"),
        ({"t": 0.5}, "t: Input should be greater than or equal to 1, got 0.5"),
        ({"balance": 1}, "balance: Input should be less than 1, got 1"),
        ({"head": {"s": 0}}, "head.s: Input should be greater than 0, got 0"),
        ({"schedules": {"m": {"initial": "-1"}}}, "schedules: m must be at least 0, got -1"),
        ({"selector": "boundary"}, "unknown key 'selector'"),
    ],
)
def test_invalid_config_is_rejected_in_one_line(keys, message):
    with pytest.raises(InputError) as caught:
        validate(SphereFace2Config, keys)
    assert message in str(caught.value) and "\n" not in str(caught.value)
