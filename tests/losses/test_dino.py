"""DINO against its formula, against values of WeSpeaker's modules, and at a collapse."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from spkver.config import validate
from spkver.errors import InputError
from spkver.losses import LOSSES

DIM, CLASSES, K = 6, 10, 12
KEYS = {"name": "dino", "frozen": 0.1, "projection": {"hidden": 7, "bottleneck": 5, "prototypes": K}}


def wave(shape, frequency):
    """Numbers that do not depend on a random generator."""
    return torch.sin(frequency * torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)).reshape(shape)


def make(**keys):
    loss = LOSSES.build(validate(LOSSES, KEYS | keys), DIM, CLASSES).double()
    with torch.no_grad():
        for number, parameter in enumerate(loss.parameters()):
            parameter.copy_(wave(parameter.shape, 1.1 + number))
    return loss


@pytest.fixture
def views():
    """Embeddings of two long and two short crops of three recordings, their labels, and the teacher's outputs."""
    y = torch.tensor([4, 4, 2, 2, 7, 7])
    return wave((12, DIM), 0.7).requires_grad_(), y.repeat(2), 0.8 * wave((6, K), 2.3)


def by_the_formula(loss, x, y, targets, teacher_temperature=0.04):
    """The loss with loops, from the outputs of the projection."""
    layers = loss.projection.layers
    hidden = x
    for linear, norm in ((layers[0], layers[1]), (layers[3], layers[4])):
        hidden = linear(hidden)
        variance = hidden.var(dim=0, unbiased=False)
        hidden = (hidden - hidden.mean(dim=0)) / (variance + 1e-5).sqrt() * norm.weight + norm.bias
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    bottleneck, prototypes = layers[6](hidden), loss.projection.prototypes.weight
    losses = []
    for t in range(len(targets)):
        p_t = torch.exp((targets[t] - loss.centre) / teacher_temperature)
        p_t = p_t / p_t.sum()
        for s in range(len(x)):
            if s == t or y[s] != y[t]:
                continue
            cosines = functional.cosine_similarity(bottleneck[s, None], prototypes)
            losses.append(-(p_t * torch.log_softmax(cosines / 0.1, dim=0)).sum())
    assert len(losses) == 6 * 3
    return sum(losses) / len(losses)


def test_loss_and_gradient_equal_the_formula(views):
    x, y, targets = views
    loss = make()
    loss.centre.copy_(0.1 * wave((K,), 0.9))
    expected = by_the_formula(loss, x, y, targets)
    got = loss(x, y, 0.5, targets).loss  # after the formula, because it moves the centre
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    every = [x, *loss.parameters()]
    gradients = torch.autograd.grad(got, every), torch.autograd.grad(expected, every)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_values_of_wespeaker(views):
    """Losses and centres of two steps, printed by WeSpeaker's DINOHead and DINOLoss (commit dfa7419) in float64.

    Their head got the parameters and embeddings of this test, ordered by views, with `use_bn`; their loss the
    temperatures 0.1 and 0.04 and the centre momentum 0.9.
    """
    x, y, targets = views
    loss = make()
    losses = [loss(x * factor, y, 0.5, factor * targets) for factor in (1.0, 0.5)]
    assert [one.loss.item() for one in losses] == pytest.approx([3.6805324212163506, 4.039987841465677], rel=1e-9)
    assert loss.centre[:3].tolist() == pytest.approx(
        [0.014540740253608277, -0.01733402153697895, 0.0085577455512655], rel=1e-9
    )


def test_order_of_the_samples_does_not_matter(views):
    x, y, targets = views
    plain = make()(x, y, 0.5, targets)
    order = torch.tensor([3, 5, 1, 0, 4, 2])
    other = make()(torch.cat([x[:6][order], x[6:][order]]), y[:6][order].repeat(2), 0.5, targets[order])
    torch.testing.assert_close(other.loss, plain.loss)
    torch.testing.assert_close(other.per_sample, torch.cat([plain.per_sample[:6][order], plain.per_sample[6:][order]]))
    # every recording has 6 pairs, of which a long crop is the second in one, and a short crop in two
    weights = torch.tensor([1.0] * 6 + [2.0] * 6).double()
    torch.testing.assert_close((plain.per_sample * weights).sum() / 18, plain.loss.detach())


def test_prototypes_do_not_move_at_first(views):
    x, y, targets = views
    loss = make()
    for place, moves in ((0.0, False), (0.099, False), (0.1, True)):
        loss.zero_grad()
        loss(x, y, place, targets).loss.backward()
        gradients = {name: bool((one.grad != 0).any()) for name, one in loss.named_parameters()}
        assert gradients.pop("projection.prototypes.weight") is moves
        assert gradients["projection.layers.0.weight"] and gradients["projection.layers.6.weight"]


def test_temperature_of_the_teacher_follows_its_schedule(views):
    x, y, targets = views
    loss = make(teacher_temperature={"name": "warmup", "initial": 0.02, "final": 0.07, "end": 0.5}).eval()
    assert loss.moving(0.25) == {"teacher_temperature": pytest.approx(0.045)} and make().moving(0.25) == {}
    found = loss(x, y, 0.25, targets).loss
    constant = make(teacher_temperature={"name": "constant", "value": 0.045}).eval()
    torch.testing.assert_close(found, constant(x, y, 0.25, targets).loss)
    with pytest.raises(InputError, match="teacher_temperature must stay above 0, got 0"):
        make(teacher_temperature="warmup")


def test_centre_moves_in_training_only(views):
    x, y, targets = views
    loss = make()
    loss.eval()(x, y, 0.5, targets)
    assert not loss.centre.any()
    loss.train()(x, y, 0.5, targets)
    torch.testing.assert_close(loss.centre, 0.1 * targets.mean(dim=0))


def test_entropies_show_a_collapse():
    """Different answers for different crops, the same clear answer for all, and equal shares for all."""
    loss = make()
    clear = {name: value.item() for name, value in loss.describe(torch.eye(K).double(), 0.5).items()}
    assert clear["teacher_entropy"] < 0.01 and clear["batch_entropy"] == pytest.approx(math.log(K))
    one = loss.describe(torch.eye(K)[:1].double().repeat(5, 1), 0.5)
    assert one["teacher_entropy"] == one["batch_entropy"] < 0.01
    equal = loss.describe(torch.ones(5, K).double(), 0.5)
    torch.testing.assert_close(list(equal.values()), [torch.tensor(math.log(K)).double()] * 2)


def test_accuracy_is_agreement_with_the_teacher(views):
    x, y, _ = views
    loss = make().eval()
    own = loss.projection(x).detach()
    assert loss(x[:6], y[:6], 1.0, own[[1, 0, 3, 2, 5, 4]]).accuracy == 1
    out = loss(x[:6], y[:6], 1.0, -own[[1, 0, 3, 2, 5, 4]])
    assert out.accuracy == 0 and set(out.logged()) == {"loss", "accuracy"}


def test_without_targets_the_own_outputs_are_the_targets(views):
    x, y, _ = views
    loss = make().eval()
    torch.testing.assert_close(loss(x, y, 1.0).loss, loss(x, y, 1.0, loss.projection(x).detach()).loss)


def test_no_pairs(views):
    x, _, targets = views
    out = make()(x[:3], torch.arange(3), 1.0, targets[:3])
    assert out.loss == 0 and out.accuracy == 0 and not out.per_sample.any()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_embedding_gives_a_non_finite_loss(views, bad):
    x, y, targets = views
    x = x.detach()
    x[3, 1] = bad
    assert not make()(x, y, 0.5, targets).loss.isfinite()
