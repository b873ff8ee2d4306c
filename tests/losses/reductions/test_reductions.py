"""Every reduction compared with its definition in float64, and with `dense` at numerical limits."""

from __future__ import annotations

import pytest
import torch

from spkver.losses.reductions.base import Prototypes

REDUCTIONS = [{"name": "dense"}, *({"name": "chunked", "chunk": chunk} for chunk in (1, 3, 8, 100))]
FORMS = ["plain", "bias", "unit", "unit centres", "bias centres"]
every_reduction = pytest.mark.parametrize("keys", REDUCTIONS, ids=lambda keys: "-".join(map(str, keys.values())))
every_form = pytest.mark.parametrize("form", FORMS)


def leaves(a, prototypes):
    return [a, *(tensor for tensor in prototypes[:2] if tensor is not None)]


@every_reduction
@every_form
@pytest.mark.parametrize(("classes", "n"), [(11, 13), (2, 4), (7, 1)])
def test_value_and_gradient(make_reduction, make_problem, reference, keys, form, classes, n):
    a, prototypes, y = make_problem(form, classes, n)
    thresholds = [torch.linspace(-1, 1, n).double(), torch.full((n,), -100.0).double()]
    got = make_reduction(keys)(a, prototypes, y, thresholds)
    logsumexp, largest, counts = reference(a, prototypes, y, thresholds)
    torch.testing.assert_close(got.logsumexp, logsumexp)
    torch.testing.assert_close(got.largest, largest.detach())
    assert all(torch.equal(*pair) for pair in zip(got.counts, counts)) and got.counts[0].dtype == torch.int64
    assert not got.largest.requires_grad

    upstream = torch.randn(n, dtype=torch.float64)
    ours = torch.autograd.grad(got.logsumexp, leaves(a, prototypes), upstream)
    torch.testing.assert_close(ours, torch.autograd.grad(logsumexp, leaves(a, prototypes), upstream))


@every_reduction
@every_form
def test_gradcheck(make_reduction, make_problem, keys, form):
    a, prototypes, y = make_problem(form, classes=5, n=6, dim=3)
    reduction = make_reduction(keys)

    def logsumexp(a, weight, *bias):
        return reduction(a, prototypes._replace(weight=weight, bias=bias[0] if bias else None), y, []).logsumexp

    torch.autograd.gradcheck(logsumexp, leaves(a, prototypes))


@every_reduction
@pytest.mark.parametrize("s", [1.0, 64.0])
def test_aligned_and_opposite(make_reduction, reference, keys, s):
    """In float32, with all logits s or -s, so that e^{2s} overflows; the own class is an aligned one or none."""
    axes = torch.cat([torch.eye(8), -torch.eye(8)])
    y = torch.arange(16)
    for labels in (y, (y + 1) % 16, torch.full_like(y, -1)):
        a, w = (s * axes).requires_grad_(), (7 * axes).requires_grad_()
        wide = [each.detach().double().requires_grad_() for each in (a, w)]
        thresholds = [torch.full((16,), s / 2)]
        got = make_reduction(keys)(a, Prototypes(w, unit=True), labels, thresholds)
        logsumexp, largest, counts = reference(wide[0], Prototypes(wide[1], unit=True), labels, thresholds)
        torch.testing.assert_close(got.logsumexp.double(), logsumexp, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(got.largest, largest.float())
        assert torch.equal(got.counts[0], counts[0])
        ours = torch.autograd.grad(got.logsumexp.sum(), [a, w])
        theirs = torch.autograd.grad(logsumexp.sum(), wide)
        for left, right in zip(ours, theirs):
            torch.testing.assert_close(left.double(), right, rtol=1e-5, atol=1e-5)


@every_reduction
@every_form
def test_zero_rows_and_zero_operands(make_reduction, make_problem, keys, form):
    a, prototypes, y = make_problem(form, dtype=torch.float32)
    with torch.no_grad():
        a[1] = 0
        prototypes.weight[2 * prototypes.centres : 3 * prototypes.centres] = 0
    got = make_reduction(keys)(a, prototypes, y, [])
    to_a, to_weight, *_ = torch.autograd.grad(got.logsumexp.sum(), leaves(a, prototypes))
    assert got.logsumexp.isfinite().all() and to_a.isfinite().all() and to_weight.isfinite().all()
    if prototypes.unit:
        assert (to_weight[2 * prototypes.centres : 3 * prototypes.centres] == 0).all()


@every_reduction
def test_only_the_own_class(make_reduction, make_problem, keys):
    a, prototypes, _ = make_problem("unit", classes=1, n=3)
    y = torch.tensor([0, -1, 0])
    got = make_reduction(keys)(a, prototypes, y, [torch.zeros(3).double()])
    assert got.logsumexp.isneginf().tolist() == [True, False, True]
    assert got.largest.isneginf().tolist() == [True, False, True] and got.counts[0][[0, 2]].tolist() == [0, 0]
    merged = torch.logaddexp(got.logsumexp, torch.zeros(3))  # merged with other classes of other processes
    to_a, to_weight = torch.autograd.grad(merged.sum(), [a, prototypes.weight])
    assert (to_a[[0, 2]] == 0).all() and (to_a[1] != 0).all() and to_weight.isfinite().all()


@pytest.mark.parametrize("keys", REDUCTIONS[2:3])
def test_narrow_weights_are_widened(make_reduction, make_problem, keys):
    a, prototypes, y = make_problem("unit bias", dtype=torch.float32)
    narrow = prototypes._replace(weight=prototypes.weight.detach().bfloat16().requires_grad_())
    wide = prototypes._replace(weight=narrow.weight.detach().float().requires_grad_())
    results = [make_reduction(keys)(a, each, y, []).logsumexp for each in (narrow, wide)]
    assert torch.equal(*results)
    first, second = (torch.autograd.grad(r.sum(), p.weight)[0] for r, p in zip(results, (narrow, wide)))
    assert first.dtype == torch.bfloat16 and torch.equal(first, second.bfloat16())


def test_backward_inside_autocast(make_reduction, make_problem):
    a, prototypes, y = make_problem("unit", dtype=torch.float32)
    reduction = make_reduction({"name": "chunked", "chunk": 4})
    plain = torch.autograd.grad(reduction(a, prototypes, y, []).logsumexp.sum(), leaves(a, prototypes))
    logsumexp = reduction(a, prototypes, y, []).logsumexp
    with torch.autocast("cpu", torch.bfloat16):
        cast = torch.autograd.grad(logsumexp.sum(), leaves(a, prototypes))
    assert all(map(torch.equal, plain, cast))


def test_frozen_weight_or_operand(make_reduction, make_problem):
    a, prototypes, y = make_problem("unit")
    reduction = make_reduction({"name": "chunked", "chunk": 4})
    both = torch.autograd.grad(reduction(a, prototypes, y, []).logsumexp.sum(), leaves(a, prototypes))
    frozen = prototypes._replace(weight=prototypes.weight.detach())
    assert torch.equal(torch.autograd.grad(reduction(a, frozen, y, []).logsumexp.sum(), a)[0], both[0])
    alone = torch.autograd.grad(reduction(a.detach(), prototypes, y, []).logsumexp.sum(), prototypes.weight)
    assert torch.equal(alone[0], both[1])
