"""Properties of the margin losses, their behaviour at numerical limits, and invalid configs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spkver.config import dump, load, validate
from spkver.errors import InputError
from spkver.losses import LOSSES, PRESETS, SELECTORS
from spkver.losses.loss import check_labels
from spkver.losses.margin_loss import MarginLoss
from spkver.schedules import Run

MARGIN = [*PRESETS]
INTER_TOP_K = ["inter_top_k_lmcl", "inter_top_k_aam"]
EVERY = [*MARGIN, "sphereface2"]
"""losses with a head"""
RISING = ["lmcl", "bd_lmcl", "aam", "bd_aam", "sub_centre_aam", "combined", *INTER_TOP_K, "sphereface2"]
NORMALISED = ["nsl", *RISING, "curricularface", "sub_centre_curricularface"]
"""losses that do not depend on the length of embeddings; all but the first and the last rise with m"""
WEIGHS = "soft_boundary"
"""the selector with weights from 0 to 1; the others have masks"""

# ---- numbers at the edge ----


@pytest.mark.parametrize("name", EVERY)
def test_float32_equals_float64_up_to_rounding(make_loss, batch, name):
    x, y = batch
    exact, rounded = make_loss(name), make_loss(name, dtype=torch.float32)
    exact.load_state_dict(rounded.state_dict())
    short = x.detach().float().requires_grad_()
    double = short.detach().double().requires_grad_()
    expected, got = exact(double, y), rounded(short, y)
    torch.testing.assert_close(got.loss.double(), expected.loss, rtol=1e-5, atol=1e-5)
    expected.loss.backward(), got.loss.backward()
    torch.testing.assert_close(short.grad.double(), double.grad, rtol=1e-4, atol=1e-5)
    assert got.loss.dtype == torch.float32 and expected.loss.dtype == torch.float64


@pytest.mark.parametrize("name", EVERY)
def test_gradcheck(make_loss, batch, name):
    if name == "sphereface_r":
        pytest.skip("its gradient is not that of its value, see its formula")
    x, y = (part[::3].detach() for part in batch)
    x.requires_grad_()
    loss = make_loss(name, head={"s": 5} if name in NORMALISED else {})
    loss.eval()  # in training, some losses update running means
    torch.autograd.gradcheck(
        lambda x, W: torch.func.functional_call(loss, {"head.weight": W}, (x, y)).loss, (x, loss.head.weight)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", EVERY)
def test_aligned_opposite_and_zero_embeddings(make_loss, name, dtype):
    loss = make_loss(name, dtype=torch.float32)
    with torch.no_grad():
        # prototypes that are exact in narrow types
        loss.head.weight.copy_(loss.head.weight.to(dtype))
        W = loss.head.weight
        x = torch.stack([W[0], -W[1], torch.zeros_like(W[2]), 1e4 * W[3], 1e-3 * W[4]]).to(dtype)
    x.requires_grad_()
    out = loss(x, torch.arange(5))
    out.loss.backward()
    assert out.loss.dtype == torch.float32
    assert out.per_sample.isfinite().all()
    assert x.grad.isfinite().all() and loss.head.weight.grad.isfinite().all()
    if name in NORMALISED:  # for other losses the gradient is not orthogonal to x
        assert (x.grad[2] == 0).all()
    if name == "lmcl":
        aligned, opposite, zero, *_ = out.per_sample.double()
        assert float(zero) == pytest.approx(math.log1p(6 * math.exp(30 * 0.2)), rel=1e-6)
        assert aligned < zero < opposite


def test_zero_prototype_gets_no_gradient(make_loss, batch):
    x, y = batch
    loss = make_loss("bd_lmcl")
    loss.head.weight.data[2] = 0
    loss(x, y).loss.backward()
    assert (loss.head.weight.grad[2] == 0).all() and loss.head.weight.grad.isfinite().all()


@pytest.mark.parametrize("others", ["unmargined", "ignored"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("name", ["softmax", "bd_lmcl", *INTER_TOP_K])
def test_non_finite_embedding_gives_a_non_finite_loss(make_loss, batch, name, bad, others):
    x, y = batch
    x = x.detach().float()
    x[3, 1] = bad
    out = make_loss(name, dtype=torch.float32, selector="boundary", others=others)(x, y)
    assert not out.loss.isfinite()
    assert out.per_sample.isfinite().tolist() == [i != 3 for i in range(len(x))]


def test_small_losses_are_accurate(make_loss):
    """The loss is far below the epsilon of float32, where 1 - p would be 0."""
    loss = make_loss("nsl", dim=2, classes=2, dtype=torch.float32, head={"s": 30})
    loss.head.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    out = loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    assert out.loss.item() == pytest.approx(math.exp(-60), rel=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_autocast_changes_nothing(make_loss, batch, name):
    x, y = batch
    x = x.detach().bfloat16().requires_grad_()
    loss = make_loss(name, dtype=torch.float32).eval()  # in training, some losses update running means
    plain = loss(x, y)
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss(x, y)
        torch.testing.assert_close(cast.loss, plain.loss, rtol=0, atol=0)
        assert cast.loss.dtype == torch.float32
        alone = loss.head.others(x, y, [loss.head.target(x, y).logit.detach()])
        assert alone.logsumexp.dtype == torch.float32
    first, second = torch.autograd.grad(plain.loss, x)[0], torch.autograd.grad(cast.loss, x)[0]
    assert torch.equal(first, second)


OTHERS = [("unmargined", "batch"), ("ignored", "batch"), ("ignored", "selected")]
COMBINED = [(name, one) for name in MARGIN for one in SELECTORS if (name, one) != ("hyperbolic_am", "cosine")]
"""margin losses with selectors; the cosine selector needs cosines"""
SELECTIONS = [(*both, others) for both in COMBINED for others in OTHERS if both[1] != "all" or others[0] != "ignored"]


@pytest.mark.parametrize(("name", "selector", "others"), SELECTIONS)
def test_batch_of_one(make_loss, name, selector, others):
    loss = make_loss(name, selector=selector, others=others[0], normalise_by=others[1])
    for x in (loss.head.weight.detach()[:1], -loss.head.weight.detach()[:1], torch.zeros(1, 6).double()):
        out = loss(x.clone().requires_grad_(), torch.tensor([0]))
        gradients = torch.autograd.grad(out.loss, list(loss.parameters()))
        assert out.loss.isfinite() and 0 <= out.selected_share <= 1
        assert selector == WEIGHS or out.selected_share in (0, 1)
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", ["lmcl", "a_softmax", "combined"])
@pytest.mark.parametrize(("below", "share"), [(-1, 0), (1, 1)])
@pytest.mark.parametrize("others", OTHERS)
def test_none_and_all_selected(make_loss, batch, name, below, share, others):
    x, y = batch
    loss = make_loss(name, selector={"name": "cosine", "below": below}, others=others[0], normalise_by=others[1])
    out = loss(x, y)
    assert out.selected_share == share and out.loss.isfinite()
    if share == 1:
        assert out.loss == make_loss(name)(x, y).loss
    elif others[0] == "ignored":
        assert out.loss == 0 and (torch.autograd.grad(out.loss, x)[0] == 0).all()


def test_nothing_selected_and_a_batch_of_one(make_loss):
    loss = make_loss("bd_lmcl", others="ignored", normalise_by="selected")
    x = (3 * loss.head.weight.detach()[:1]).requires_grad_()
    loss.head.weight.data[1:] = -loss.head.weight.data[:1]
    out = loss(x, torch.tensor([0]))
    out.loss.backward()
    assert out.loss == 0 and out.selected_share == 0 and (x.grad == 0).all()
    assert float(out.per_sample) > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", EVERY)
def test_loss_does_not_wait_for_the_gpu(make_loss, batch, unwaited, name):
    x, y = batch
    here = make_loss(name, dtype=torch.float32)
    expected = here(x.detach().float(), y)
    there = make_loss(name, dtype=torch.float32).cuda()
    x, y = x.detach().float().cuda().requires_grad_(), y.cuda()
    with unwaited(), torch.autocast("cuda", torch.bfloat16):
        out = there(x, y)
        out.loss.backward()
    torch.testing.assert_close(out.per_sample.cpu(), expected.per_sample, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("head", [{"reduction": "chunked"}, {"reduction": "fused"}, {"sample": {"share": 0.9}}])
def test_heads_do_not_wait_for_the_gpu(make_loss, batch, unwaited, head):
    x, y = batch[0].detach().float().cuda().requires_grad_(), batch[1].cuda()
    loss = make_loss("bd_lmcl", dtype=torch.float32, head=head).cuda()
    loss(x, y).loss.backward()  # compiles
    with unwaited():
        out = loss(x, y)
        out.loss.backward()
    assert out.loss.isfinite() and x.grad.isfinite().all()


# ---- laws ----


def same_to_the_bit(a, b, x, y):
    first, second = a(x, y), b(x, y)
    assert torch.equal(first.per_sample, second.per_sample) and torch.equal(first.loss, second.loss)
    for left, right in zip(
        torch.autograd.grad(first.loss, [x, a.head.weight]), torch.autograd.grad(second.loss, [x, b.head.weight])
    ):
        assert torch.equal(left, right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("margin", ["lmcl", "aam"])
def test_bd_with_all_selected_is_lmcl_and_with_none_nsl(make_loss, batch, margin, dtype):
    x, y = batch
    x = x.detach().to(dtype).requires_grad_()
    every = make_loss("bd_lmcl", dtype=dtype, margin=margin, selector={"select_margin": 1.999})
    assert every(x, y).selected_share == 1
    same_to_the_bit(every, make_loss(margin, dtype=dtype), x, y)
    none = make_loss("bd_lmcl", dtype=dtype, margin=margin, selector={"k": 100})
    assert none(x, y).selected_share == 0
    same_to_the_bit(none, make_loss("nsl", dtype=dtype), x, y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["lmcl", "aam", "bd_lmcl", "bd_aam", "combined"])
def test_without_margin_it_is_nsl(make_loss, batch, name, dtype):
    x, y = batch
    x = x.detach().to(dtype).requires_grad_()
    same_to_the_bit(make_loss(name, m=0, dtype=dtype), make_loss("nsl", dtype=dtype), x, y)


@pytest.mark.parametrize("annealing", [0, 5])
def test_l_softmax_with_m_1_is_softmax_without_bias(make_loss, batch, annealing):
    x, y = batch
    one = make_loss("l_softmax", m=1, schedules={"annealing": {"value": annealing, "name": "constant"}})
    other = make_loss("softmax", head={"bias": False})
    out, plain = one(x, y), other(x, y)
    torch.testing.assert_close(out.per_sample, plain.per_sample, rtol=1e-12, atol=1e-12)
    for left, right in zip(
        torch.autograd.grad(out.loss, [x, one.head.weight]), torch.autograd.grad(plain.loss, [x, other.head.weight])
    ):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)


def test_large_annealing_removes_the_margin(make_loss, batch):
    x, y = batch
    loss = make_loss("l_softmax", m=4, schedules={"annealing": {"name": "constant", "value": 1e12}})
    torch.testing.assert_close(loss(x, y).loss, make_loss("softmax", head={"bias": False})(x, y).loss)


@pytest.mark.parametrize("selector", [name for name in SELECTORS if name != "all"])
@pytest.mark.parametrize("margin", ["lmcl", "aam", "combined"])
def test_before_selection_starts_all_samples_get_the_margin(make_loss, batch, selector, margin):
    x, y = batch
    keys = {"margin": {"name": margin, "m2": 0.3} if margin == "combined" else margin, "m": 0.4}
    late = {"selection": {"name": "warmup", "start": 0.5, "end": 0.5}, "m": "constant"}
    loss = make_loss("lmcl", selector=selector, schedules=late, **keys)
    plain, selective = make_loss("lmcl", **keys), make_loss("lmcl", selector=selector, **keys)
    before, after = loss(x, y, 0.4), loss(x, y, 0.5)
    assert torch.equal(before.loss, plain(x, y).loss) and torch.equal(before.per_sample, plain(x, y).per_sample)
    assert torch.equal(after.loss, selective(x, y).loss)
    # the selection is reported before it has an effect
    assert before.selected_share == after.selected_share and 0 < float(after.selected_share) < 1
    assert loss.moving(0.4) == {"selection": 0} and loss.moving(0.5) == {"selection": 1}


def test_ignored_differs_from_unmargined_in_unselected_samples_only(make_loss, batch):
    x, y = batch
    kept, ignored = make_loss("bd_lmcl")(x, y), make_loss("bd_lmcl", others="ignored")(x, y)
    assert torch.equal(kept.per_sample, ignored.per_sample)
    assert ignored.loss < kept.loss


@pytest.mark.parametrize(("name", "selector"), COMBINED)
def test_order_of_batch_and_classes_does_not_matter(make_loss, batch, name, selector):
    x, y = batch
    loss = make_loss(name, selector=selector).eval()  # in training, some losses update running means
    out = loss(x, y)
    order = torch.randperm(len(x))
    shuffled = loss(x[order], y[order])
    torch.testing.assert_close(shuffled.per_sample, out.per_sample[order])
    torch.testing.assert_close(shuffled.loss, out.loss)
    order = torch.randperm(loss.head.classes)
    rows = loss.head.weight.data.view(loss.head.classes, -1, x.shape[1])
    loss.head.weight.data = rows[order].view_as(loss.head.weight)
    renamed = loss(x, torch.argsort(order)[y])
    torch.testing.assert_close(renamed.per_sample, out.per_sample)
    assert renamed[2:5] == out[2:5]
    torch.testing.assert_close(renamed[5:], out[5:])


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["l_softmax", "a_softmax", *RISING]),
    seed=st.integers(0, 1000),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
)
def test_loss_of_every_sample_rises_with_m(make_loss, name, seed, low, high):
    low, high = sorted((low, high))
    if name.endswith("softmax"):
        low, high = 1 + round(4 * low), 1 + round(4 * high)
    less, more = make_loss(name, m=low), make_loss(name, m=high)
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(5, less.head.weight.shape[1], generator=random, dtype=torch.float64)
    y = torch.randint(less.head.classes, (5,), generator=random)
    assert (less(x, y).per_sample <= more(x, y).per_sample + 1e-12).all()


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(NORMALISED), seed=st.integers(0, 1000), length=st.floats(1e-4, 1e4))
def test_length_of_embeddings_does_not_matter(make_loss, name, seed, length):
    loss = make_loss(name).eval()  # in training, some losses update running means
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(5, loss.head.weight.shape[1], generator=random, dtype=torch.float64)
    y = torch.randint(loss.head.classes, (5,), generator=random)
    torch.testing.assert_close(loss(length * x, y).per_sample, loss(x, y).per_sample)


def test_accuracies_and_share(make_loss, batch):
    x, y = batch
    loss = make_loss("bd_lmcl", m=0.3)
    out = loss(x, y)
    c = torch.nn.functional.cosine_similarity(x[:, None], loss.head.weight[None], dim=2)
    assert float(out.accuracy) == pytest.approx(float((c.argmax(1) == y).double().mean()))
    c[torch.arange(len(y)), y] -= 0.3
    assert float(out.margin_accuracy) == pytest.approx(float((c.argmax(1) == y).double().mean()))
    assert float(out.selected_share) == pytest.approx(1 - float(out.margin_accuracy))
    elsewhere = make_loss("bd_lmcl", m=0.3, selector={"select_margin": 0.0})(x, y)
    assert elsewhere.margin_accuracy == out.margin_accuracy and elsewhere.selected_share == 1 - out.accuracy
    assert out.margin_accuracy < out.accuracy
    assert not any(value.requires_grad for value in out[1:])
    assert all(value.shape == () for value in out[2:])


def test_selection_uses_the_current_margin(make_loss, batch):
    x, y = batch
    loss = make_loss("bd_lmcl", m=1.999, schedules={"m": {"name": "linear", "initial": 0, "final": 1}})
    shares = [float(loss(x, y, progress).selected_share) for progress in (0.0, 0.15, 1.0)]
    assert shares == sorted(set(shares)) and shares[-1] == 1
    assert loss(x, y, 1.0).loss == loss(x, y).loss


# ---- schedules ----


def test_scheduled_values(make_loss, batch):
    x, y = batch
    loss = make_loss(
        "lmcl",
        m=0.4,
        head={"s": 20},
        schedules={
            "m": {"name": "linear", "initial": 0.5, "final": 1},
            "s": {"name": "piecewise", "points": [[0.5, 1], [1, 2]]},
            "annealing": {"name": "exponential", "initial": 100, "final": 1},
        },
    )
    assert loss.at(0) == pytest.approx((0.2, 1, 100, 1))
    assert loss.at(0.5) == pytest.approx((0.3, 1, 10, 1))
    assert loss.at(1) == pytest.approx((0.4, 2, 1, 1))
    assert loss.moving(0.75) == pytest.approx({"margin": 0.35, "scale": 30, "annealing": 10**0.5})
    for progress, m, s in [(0.0, 0.2 / 101, 20), (0.5, 0.3 / 11, 20), (1.0, 0.4 / 2, 40)]:
        plain = make_loss("lmcl", m=m, head={"s": s})(x, y)
        torch.testing.assert_close(loss(x, y, progress), plain)


@pytest.mark.parametrize("head", [{"name": "linear", "bias": "false"}, "unit", "normalised"])
def test_scale_of_every_head_can_be_scheduled(make_loss, batch, head):
    x, y = batch
    loss = make_loss("lmcl", head=head, schedules={"s": {"name": "constant", "value": 3}})
    z = 3 * loss.head.logits(x)
    one = torch.eye(7, dtype=torch.bool)[y]
    psi = z - torch.where(one, 0.2 * 3 * loss.head.target(x, y).scale[:, None], 0)
    torch.testing.assert_close(loss(x, y).loss, torch.nn.functional.cross_entropy(psi, y))


def test_margin_warms_up_by_default_and_is_logged(make_loss):
    loss = make_loss("lmcl", m=0.3)
    assert [loss.at(progress).m for progress in (0, 0.1, 0.25, 0.4, 1)] == pytest.approx([0, 0, 0.15, 0.3, 0.3])
    assert loss.moving(0.25) == pytest.approx({"margin": 0.15})
    assert make_loss("lmcl", schedules={"m": "constant"}).moving(0.25) == {}
    assert make_loss("nsl").moving(0.25) == {"margin": 0}


def test_schedules_by_step_and_epoch(make_loss, batch):
    schedules = {
        "m": {"name": "warmup", "unit": "epoch", "end": 2},
        "s": {"name": "linear", "unit": "step", "initial": 1, "final": 2, "start": 7, "end": 14},
    }
    config = validate(LOSSES, {"name": "lmcl", "m": 0.2, "schedules": schedules})
    loss = MarginLoss(config, 6, 7, Run(steps=21, steps_per_epoch=3.5))
    assert [loss.at(step / 21).m for step in (0, 3.5, 7, 20)] == pytest.approx([0, 0.1, 0.2, 0.2])
    assert [loss.at(step / 21).factor for step in (0, 7, 8, 14, 20)] == pytest.approx([1, 1, 8 / 7, 2, 2])
    with pytest.raises(InputError, match="a schedule with unit epoch needs the length of the run"):
        MarginLoss(config, 6, 7)


# ---- config and bad input ----


def test_keys_override_the_preset():
    config = validate(LOSSES, {"name": "bd_lmcl", "m": "3e-1", "head": {"s": "40"}, "selector": {"k": "2"}})
    assert (config.m, config.head.s, config.selector.name, config.selector.k) == (0.3, 40.0, "boundary", 2)
    assert validate(LOSSES, {"name": "bd_lmcl", "selector": "all"}).selector.name == "all"
    assert validate(LOSSES, "sub_centre_aam").head.centres == 3
    assert validate(LOSSES, {"name": "sub_centre_aam", "head": {"s": 40}}).head.centres == 3
    assert validate(LOSSES, {"name": "sub_centre_aam", "head": "normalised"}).head.centres == 1


@pytest.mark.parametrize("name", PRESETS)
def test_saved_config_is_read(tmp_path, name):
    config = validate(LOSSES, name)
    (tmp_path / "loss.yaml").write_text(dump(config))
    assert load(LOSSES, tmp_path / "loss.yaml") == config


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("bdlmcl", "unknown loss 'bdlmcl'; did you mean 'bd_lmcl'?"),
        ({"margn": "lmcl"}, "unknown key 'margn'; did you mean 'margin'?"),
        ({"margin": "lmlc"}, "margin: unknown margin 'lmlc'; did you mean 'lmcl'?"),
        ({"head": {"scale": 3}}, "head: unknown key 'scale'"),
        ({"head": {"s": 0}}, "head.s: Input should be greater than 0"),
        ({"m": "-0.1"}, "m: Input should be greater than or equal to 0"),
        ({"selector": {"k": 0}}, "selector.k: "),
        ({"name": "nsl", "m": 0.2}, "margin 'none' takes no m"),
        ({"name": "softmax", "margin": "lmcl", "m": 0.2}, "set head.bias to false"),
        ({"normalise_by": "selected"}, "normalise_by has no effect with others: unmargined"),
        ({"schedules": {"m": "cosine"}}, "schedules.m: unknown schedule 'cosine'; did you mean 'linear'?"),
        ({"schedules": {"m": {"initial": "-1"}}}, "schedules: m must be at least 0, got -1"),
        ({"schedules": {"s": {"value": 0}}}, "schedules: s must stay above 0, got 0"),
        ({"schedules": {"annealing": {"value": -1}}}, "schedules: annealing must be at least 0, got -1"),
        ({"schedules": {"selection": {"value": 2}}}, "schedules: selection must be between 0 and 1, got 2"),
        ({"schedules": {"m": {"end": 2}}}, "places must increase, from 0 to 1 (unit: progress), got 0.1, 2"),
        ({"schedules": {"k": "constant"}}, "schedules: unknown key 'k'"),
        (["bd_lmcl"], "expected the name of a loss, or its keys, got ['bd_lmcl']"),
    ],
)
def test_invalid_config_is_rejected_in_one_line(tree, message):
    with pytest.raises(InputError) as caught:
        validate(LOSSES, {"name": "bd_lmcl", **tree} if isinstance(tree, dict) else tree)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_labels_out_of_range_are_named():
    check_labels(torch.tensor([0, 9]), 10)
    for label in (10, -1):
        with pytest.raises(InputError, match=rf"label {label} is out of range.* 10 classes"):
            check_labels(torch.tensor([3, label]), 10)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.ones(2, 6), torch.tensor([3, 7]), "label 7 is out of range: the loss has 7 classes, 0 to 6"),
        (torch.ones(1, 6), torch.tensor([-1]), "label -1 is out of range"),
        (torch.ones(0, 6), torch.ones(0, dtype=torch.long), "an empty batch has no loss"),
        (torch.ones(2, 6), torch.tensor([0]), r"got \(2, 6\) and \(1,\)"),
        (torch.ones(6), torch.tensor([0]), r"got \(6,\) and \(1,\)"),
    ],
)
def test_mismatching_batch_is_rejected(make_loss, name, x, y, message):
    with pytest.raises(InputError, match=message):
        make_loss(name, dtype=torch.float32)(x, y)


@pytest.mark.parametrize("name", EVERY)
def test_one_class_is_rejected(make_loss, name):
    with pytest.raises(InputError, match="at least 2"):
        make_loss(name, classes=1)
