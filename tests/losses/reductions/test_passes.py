"""Further passes compared with their definitions: the nearest rivals, and sums over the other classes."""

from __future__ import annotations

import pytest
import torch

from spkver.losses.reductions.passes import nearest, total

FORMS = ["plain", "bias", "unit", "unit centres", "bias centres"]
CHUNKS = [1, 3, 8, 100]
every_form = pytest.mark.parametrize("form", FORMS)


def logits(a, prototypes):
    weight, bias, unit, centres = prototypes
    p = weight / weight.norm(dim=1, keepdim=True) if unit else weight
    rows = a @ p.T + (0 if bias is None else bias)
    return torch.stack([rows[:, c * centres : (c + 1) * centres].amax(1) for c in range(len(weight) // centres)], 1)


def term(z):
    return z.exp() + z**2


@every_form
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("k", [1, 4, 10])
def test_nearest(make_problem, form, chunk, k):
    a, prototypes, y = make_problem(form)
    z = logits(a, prototypes)
    expected = [
        sorted((c for c in range(z.shape[1]) if c != own), key=lambda c, row=row: -row[c])[:k]
        for row, own in zip(z.tolist(), y.tolist())
    ]
    got = nearest(a, prototypes, y, k, chunk)
    assert got.tolist() == expected and not got.requires_grad


@every_form
@pytest.mark.parametrize("chunk", [None, *CHUNKS])
def test_total(make_problem, form, chunk):
    a, prototypes, y = make_problem(form)
    leaves = [a, *(tensor for tensor in prototypes[:2] if tensor is not None)]
    rest = [torch.stack([z for c, z in enumerate(row) if c != own]) for row, own in zip(logits(a, prototypes), y)]
    reference = torch.stack([term(row).sum() for row in rest])
    got, largest = total(term, a, prototypes, y, chunk)
    torch.testing.assert_close(got, reference)
    torch.testing.assert_close(largest, torch.stack([row.max() for row in rest]).detach())
    assert not largest.requires_grad
    upstream = torch.randn(len(y), dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(got, leaves, upstream), torch.autograd.grad(reference, leaves, upstream)
    )


@pytest.mark.parametrize("chunk", [None, 3])
def test_total_with_a_trainable_term(make_problem, chunk):
    a, prototypes, y = make_problem("unit", classes=5, n=6)
    b = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def summed(a, weight, b):
        return total(lambda z: (b * z).sigmoid(), a, prototypes._replace(weight=weight), y, chunk)[0]

    torch.autograd.gradcheck(summed, (a, prototypes.weight, b))
