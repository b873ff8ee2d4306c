"""Inter-top-k: comparison with a float64 version of its formula and with WeSpeaker, properties, invalid configs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spkver.config import dump, load, validate
from spkver.errors import InputError
from spkver.losses import LOSSES, bounds
from spkver.schedules import Run

S, M = 12.0, 0.35
INTER_TOP_K = ["inter_top_k_lmcl", "inter_top_k_aam"]
every_name = pytest.mark.parametrize("name", INTER_TOP_K)


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def own(name, c):
    theta = torch.acos(c)
    if name == "inter_top_k_lmcl":
        return c - M
    return torch.cos(theta + M) if theta <= math.pi - M else -2 - torch.cos(theta + M)


def rival(name, c, penalty):
    if name == "inter_top_k_lmcl":
        return c + penalty
    return torch.cos(torch.clamp(torch.acos(c) - penalty, min=0))


def reference(name, x, y, W, k, penalty, s=S, centres=1):
    """The mean loss, sample by sample, independent of the package."""
    losses = []
    for x_i, y_i in zip(x, y.tolist()):
        c = [max(cosine(w, x_i) for w in W[j : j + centres]) for j in range(0, len(W), centres)]
        others = sorted((c_j for j, c_j in enumerate(c) if j != y_i), reverse=True)
        raised = [rival(name, c_j, penalty) for c_j in others[:k]] + others[k:]
        psi = s * own(name, c[y_i])
        losses.append(-torch.log(psi.exp() / (psi.exp() + sum((s * c_j).exp() for c_j in raised))))
    return sum(losses) / len(losses)


# ---- value and gradient ----


@every_name
@pytest.mark.parametrize("reduction", ["dense", {"name": "chunked", "chunk": 3}], ids=["dense", "chunked"])
@pytest.mark.parametrize(("k", "penalty"), [(1, 0.06), (3, 0.3), (6, 1.2)])
def test_formula(make_loss, batch, compare, name, reduction, k, penalty):
    x, y = batch
    loss = make_loss(name, m=M, k=k, penalty=penalty, head={"s": S, "reduction": reduction})
    compare(loss, reference(name, x, y, loss.head.weight, k, penalty), x, y)


@every_name
def test_with_sub_centres(make_loss, batch, compare, name):
    """As in the paper, the penalty applies to the nearest centre of a rival."""
    x, y = batch
    loss = make_loss(name, m=M, k=2, penalty=0.2, head={"s": S, "centres": 3})
    compare(loss, reference(name, x, y, loss.head.weight, 2, 0.2, centres=3), x, y)


def test_wespeaker_differs_only_for_rivals_nearer_than_the_penalty(make_loss, batch):
    """Its z'_j is s·cos(θ_j - m') for every θ_j; below m' the angle turns back, and below m'/2 the logit is lowered.

    Its m' rises with m, as ours does by the one schedule; its own class jumps at θ_y = π - m, which `falling` does not.
    """
    x, y = batch
    m, penalty, k = 0.2, 0.06, 5

    def theirs(x, loss):
        c = torch.nn.functional.linear(
            torch.nn.functional.normalize(x), torch.nn.functional.normalize(loss.head.weight)
        )
        sine = (1 - c**2).clamp(min=0).sqrt()  # in the original, rounding can give NaN
        one = torch.nn.functional.one_hot(y, 7).bool()
        top = (c - 2 * one.double()).topk(k).indices
        raised = torch.zeros_like(one).scatter(1, top, True)
        phi = torch.where(
            c > math.cos(math.pi - m), c * math.cos(m) - sine * math.sin(m), c - 1 - math.cos(math.pi - m)
        )
        z = torch.where(one, phi, torch.where(raised, c * math.cos(penalty) + sine * math.sin(penalty), c))
        return torch.nn.functional.cross_entropy(30 * z, y, reduction="none"), c, one

    loss = make_loss("inter_top_k_aam", m=m, penalty=penalty, k=k)
    opinion, c, one = theirs(x, loss)
    got = loss(x, y)
    assert (c[one] > -math.cos(m)).all() and (c[~one] < math.cos(penalty)).all()
    torch.testing.assert_close(got.per_sample, opinion.detach())
    torch.testing.assert_close(
        torch.autograd.grad(got.loss, [x, loss.head.weight]),
        torch.autograd.grad(opinion.mean(), [x, loss.head.weight]),
    )
    near = loss.head.weight[(y + 1) % 7].detach()  # each sample on the prototype of another speaker
    unpenalised = make_loss("inter_top_k_aam", m=m, penalty=0, k=k)(near, y).per_sample
    ours = loss(near, y).per_sample
    assert (ours >= unpenalised).all() and (theirs(near, loss)[0] < ours).all()


# ---- laws ----


@every_name
def test_without_penalty_it_equals_the_margin_loss(make_loss, batch, name):
    x, y = batch
    one, other = make_loss(name, penalty=0), make_loss(name.removeprefix("inter_top_k_"))
    first, second = one(x, y), other(x, y)
    assert all(torch.equal(*pair) for pair in zip(first, second))
    gradients = (torch.autograd.grad(out.loss, [x, loss.head.weight]) for out, loss in ((first, one), (second, other)))
    assert all(torch.equal(*pair) for pair in zip(*gradients))


@every_name
def test_penalty_near_0_is_continuous(make_loss, batch, name):
    """Value and gradient are continuous in the penalty at 0."""
    x, y = batch
    one, other = make_loss(name, penalty=1e-13), make_loss(name.removeprefix("inter_top_k_"))
    first, second = one(x, y).loss, other(x, y).loss
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(
        torch.autograd.grad(first, [x, one.head.weight]), torch.autograd.grad(second, [x, other.head.weight])
    )


def test_raising_all_rivals_equals_a_larger_margin(make_loss, batch):
    x, y = batch
    raised, lmcl = make_loss("inter_top_k_lmcl", m=0.2, k=6, penalty=0.15), make_loss("lmcl", m=0.35)
    torch.testing.assert_close(raised(x, y).per_sample, lmcl(x, y).per_sample)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(INTER_TOP_K),
    seed=st.integers(0, 1000),
    penalties=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    ks=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_loss_of_every_sample_rises_with_penalty_and_k(make_loss, name, seed, penalties, ks):
    less, more = (make_loss(name, penalty=penalty, k=k) for penalty, k in zip(sorted(penalties), sorted(ks)))
    random = torch.Generator().manual_seed(seed)
    x, y = torch.randn(5, 6, generator=random).double(), torch.randint(7, (5,), generator=random)
    assert (less(x, y).per_sample <= more(x, y).per_sample + 1e-12).all()


def test_accuracies_and_selection_use_the_original_logits(make_loss, batch):
    x, y = batch
    raised = make_loss("inter_top_k_aam", selector="boundary", penalty=1.0)(x, y)
    plain = make_loss("bd_aam")(x, y)
    assert raised[2:] == plain[2:] and 0 < raised.selected_share < 1
    assert (raised.per_sample > plain.per_sample).all()


# ---- at the edge ----


@every_name
def test_large_penalty_does_not_overflow(make_loss, batch, name):
    x, y = batch
    keys = {"k": 6, "penalty": 3.0, "head": {"s": 64}}
    rounded, exact = make_loss(name, dtype=torch.float32, **keys), make_loss(name, **keys)
    out = rounded(x.float(), y)
    torch.testing.assert_close(out.per_sample.double(), exact(x, y).per_sample, rtol=1e-5, atol=1e-4)
    gradients = torch.autograd.grad(out.loss, [x, rounded.head.weight])
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_name
def test_equal_rivals(make_loss, name):
    loss = make_loss(name, k=2)
    loss.head.weight.data[1:4] = loss.head.weight.data[1]
    x = loss.head.weight.detach()[[1, 0]].clone().requires_grad_()
    out = loss(x, torch.tensor([0, 2]))
    out.loss.backward()
    assert out.loss.isfinite() and x.grad.isfinite().all() and loss.head.weight.grad.isfinite().all()


# ---- schedules, config and bad input ----


def test_penalty_and_margin_share_a_schedule(make_loss, batch):
    x, y = batch
    loss = make_loss("inter_top_k_aam", m=0.3, penalty=0.1, k=2)
    assert loss.moving(0.25) == pytest.approx({"margin": 0.15, "penalty": 0.05})
    half = make_loss("inter_top_k_aam", m=0.15, penalty=0.05, k=2)
    torch.testing.assert_close(loss(x, y, 0.25), half(x, y))
    assert make_loss("inter_top_k_aam", schedules={"m": "constant"}).moving(0.25) == {}
    scaled = make_loss("inter_top_k_aam", schedules={"s": {"name": "constant", "value": 0.5}})
    torch.testing.assert_close(scaled(x, y), make_loss("inter_top_k_aam", head={"s": 15})(x, y))


@every_name
def test_saved_config_is_read(tmp_path, name):
    config = validate(LOSSES, {"name": name, "k": "3"})
    (tmp_path / "loss.yaml").write_text(dump(config))
    assert load(LOSSES, tmp_path / "loss.yaml") == config


def test_bounds_of_the_margin():
    config = validate(LOSSES, {"name": "inter_top_k_lmcl", "m": 1.2, "head": {"s": 5}})
    scale, margin = bounds.check(config, 1000, 128)
    assert "s = 5" in scale and "m = 1.2 is above 1.000" in margin
    by_epoch = {"m": {"name": "warmup", "unit": "epoch", "end": 2}}
    config = validate(LOSSES, {"name": "inter_top_k_aam", "schedules": by_epoch})
    assert bounds.check(config, 1000, 128, run=Run(20, 5.0)) == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"k": 0}, "k: Input should be greater than or equal to 1, got 0"),
        ({"penalty": -0.1}, "penalty: Input should be greater than or equal to 0, got -0.1"),
        ({"penalty": "nan"}, "penalty: Input should be a finite number"),
        ({"margin": "combined", "m": 1}, "margin 'combined' has no form for rivals; use lmcl or aam"),
        ({"head": {"split": "true"}}, "ranks all classes on every process; remove head.split and head.sample"),
        ({"head": {"sample": {"share": 0.1}}}, "ranks all classes on every process; remove head.split and head.sample"),
        ({"name": "inter_topk_aam"}, "unknown loss 'inter_topk_aam'; did you mean 'inter_top_k_aam'?"),
        ({"top": 3}, "unknown key 'top'"),
    ],
)
def test_invalid_config_is_rejected_in_one_line(keys, message):
    with pytest.raises(InputError) as caught:
        validate(LOSSES, {"name": "inter_top_k_aam", **keys})
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("k", [7, 8])
def test_too_many_rivals_are_rejected(make_loss, k):
    with pytest.raises(InputError, match=f"k = {k} rivals need more than {k} speakers, got 7"):
        make_loss("inter_top_k_aam", k=k)
