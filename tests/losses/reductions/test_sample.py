from __future__ import annotations

import pytest
import torch

from spkver.config import validate
from spkver.errors import InputError
from spkver.losses.heads import Linear, LinearConfig, Normalised, NormalisedConfig
from spkver.losses.reductions.sample import Sample, SampleConfig

REDUCTIONS = ["dense", {"name": "chunked", "chunk": 3}]


def draw(y, share=0.1, seed=0, step=0, held=range(1000)):
    sample = Sample(SampleConfig(share=share, seed=seed), held)
    sample.step = step
    return sample(torch.as_tensor(y))


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=["dense", "chunked"])
@pytest.mark.parametrize("bias", [True, False])
def test_only_drawn_classes_are_used(batch, reduction, bias):
    x, y = batch
    torch.manual_seed(0)
    sampled = Linear(LinearConfig(bias=bias, sample=SampleConfig(share=0.1), reduction=reduction), 6, 60).double()
    drawn = Sample(SampleConfig(share=0.1), range(60))(y)
    assert len(drawn) == len(y) + 1
    few = Linear(LinearConfig(bias=bias), 6, len(drawn)).double()
    few.load_state_dict({name: tensor[drawn] for name, tensor in sampled.state_dict().items() if tensor.ndim})
    where = torch.searchsorted(drawn, y)

    threshold = sampled.target(x, y).logit.detach()
    got, expected = sampled.others(x, y, [threshold]), few.others(x, where, [threshold])
    torch.testing.assert_close(got, expected)
    gradient = torch.zeros(60, 6).double()
    gradient[drawn] = torch.autograd.grad(expected.logsumexp.sum(), few.weight)[0]
    torch.testing.assert_close(torch.autograd.grad(got.logsumexp.sum(), sampled.weight)[0], gradient)


def test_sub_centres_are_drawn_together(batch):
    x, y = batch
    config = NormalisedConfig(s=5, centres=3, sample=SampleConfig(share=0.1))
    head = Normalised(config, 6, 60).double()
    drawn = Sample(config.sample, head.held)(y)
    z = head.logits(x)[:, drawn].scatter(1, torch.searchsorted(drawn, y)[:, None], -torch.inf)
    torch.testing.assert_close(head.others(x, y).logsumexp, z.logsumexp(1))


def test_evaluation_uses_all_classes(batch):
    x, y = batch
    head = Normalised(NormalisedConfig(sample=SampleConfig(share=0.1)), 6, 60).double()
    whole = Normalised(NormalisedConfig(), 6, 60).double()
    whole.weight = head.weight
    torch.testing.assert_close(head.eval().others(x, y), whole.others(x, y))
    assert head.sample.step == 0


def test_drawn_classes():
    y = torch.tensor([3, 999, 3, 500, -1, 1000])  # the last two belong to other processes
    drawn = draw(y)
    assert len(drawn) == 100 and torch.isin(torch.tensor([3, 500, 999]), drawn).all()
    assert (drawn.diff() > 0).all() and drawn[0] >= 0 and drawn[-1] == 999
    assert torch.equal(drawn, draw(y))
    for other in (draw(y, seed=1), draw(y, step=1), draw(y, held=range(1000, 2000))):
        assert not torch.equal(drawn, other)


def test_draw_is_uniform():
    hits = torch.zeros(1000)
    for step in range(300):
        hits[draw([7], share=0.2, step=step)] += 1
    hits = hits[torch.arange(1000) != 7] / 300
    assert float(hits.mean()) == pytest.approx(199 / 999) and hits.min() > 0.05 and hits.max() < 0.4
    assert abs(float(hits[:500].mean() - hits[500:].mean())) < 0.02


@pytest.mark.parametrize(("classes", "labels", "number"), [(2, [0, 0], 2), (50, [4], 2), (3, [0, 1, 2, 2], 3)])
def test_at_least_one_class_more_than_samples(classes, labels, number):
    assert len(draw(labels, share=0.01, held=range(classes))) == number


def test_resumed_run_draws_the_same_classes(batch):
    x, y = batch
    config = NormalisedConfig(sample=SampleConfig(share=0.1, seed=3))
    first, second = (Normalised(config, 6, 60).double() for _ in range(2))
    first.others(x, y)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.others(x, y).logsumexp, second.others(x, y).logsumexp)


@pytest.mark.parametrize("share", [0, 1, "all"])
def test_invalid_share_is_rejected(share):
    with pytest.raises(InputError, match="share"):
        validate(SampleConfig, {"share": share})
