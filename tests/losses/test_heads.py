from __future__ import annotations

import pytest
import torch

from spkver.losses.heads import NORM_FLOOR, Linear, LinearConfig, Normalised, NormalisedConfig, normalise


def heads():
    torch.manual_seed(3)
    yield Linear(LinearConfig(), 6, 7).double()
    yield Linear(LinearConfig(bias=False), 6, 7).double()
    yield Normalised(NormalisedConfig(s=10), 6, 7).double()


@pytest.mark.parametrize("head", heads(), ids=["linear", "no bias", "normalised"])
def test_the_two_steps_agree_with_all_logits(head, batch):
    x, y = batch
    z = head.logits(x)
    own = torch.arange(len(y)), y
    target = head.target(x, y)
    torch.testing.assert_close(target.logit, z[own])
    bias = head.bias[y] if getattr(head, "bias", None) is not None else 0
    torch.testing.assert_close(target.scale * target.cosine + bias, target.logit)

    threshold = torch.zeros(len(y), dtype=x.dtype)
    others = head.others(x, y, [target.logit.detach(), threshold])
    rest = torch.stack([torch.cat([row[:i], row[i + 1 :]]) for row, i in zip(z, y)])
    torch.testing.assert_close(others.logsumexp, rest.exp().sum(1).log())
    torch.testing.assert_close(others.largest, rest.max(1).values.detach())
    assert torch.equal(others.counts[0], (rest > target.logit[:, None]).sum(1))
    assert torch.equal(others.counts[1], (rest > 0).sum(1))
    assert others.logsumexp.requires_grad and not others.largest.requires_grad


def test_rivals_are_counted_strictly():
    head = Normalised(NormalisedConfig(s=8), 4, 4)
    head.weight.data = torch.eye(4)
    x = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0]])
    y = torch.tensor([0, 0])
    own = head.target(x, y).logit.detach()
    nudged = torch.nextafter(own, torch.tensor(-torch.inf))
    counts = head.others(x, y, [own, nudged, torch.full((2,), -1.0)]).counts
    # a tie is no rival; the own class is none either, however low the threshold
    assert [count.tolist() for count in counts] == [[0, 1], [1, 1], [3, 3]]


def test_the_own_class_is_no_part_of_the_sum_however_large_the_logits():
    head = Linear(LinearConfig(), 1, 3)
    head.weight.data = torch.tensor([[1.0], [-1.0], [-2.0]])
    others = head.others(torch.tensor([[1e6]]), torch.tensor([0]))
    assert others.logsumexp.tolist() == others.largest.tolist() == [-1e6]


def test_thresholds_are_optional(batch):
    x, y = batch
    assert Normalised(NormalisedConfig(), 6, 7).others(x, y).counts == ()


def test_normalise_at_its_floor():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [NORM_FLOOR / 2, 0.0], [1e-30, 0.0]], requires_grad=True)
    unit = normalise(x)
    torch.testing.assert_close(unit[0], torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(unit[1:3], torch.tensor([[0.0, 0.0], [0.5, 0.0]]))
    unit.sum().backward()
    assert (x.grad[1:] == 0).all() and (x.grad[0] != 0).all()


def test_weights_start_at_length_one():
    torch.manual_seed(0)
    lengths = Normalised(NormalisedConfig(), 256, 500).weight.detach().norm(dim=1)
    assert float(lengths.mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("label", [-1, 7])
def test_a_label_out_of_range_is_not_wrapped_around(label):
    with pytest.raises(IndexError):
        Normalised(NormalisedConfig(), 6, 7).target(torch.ones(1, 6), torch.tensor([label]))
