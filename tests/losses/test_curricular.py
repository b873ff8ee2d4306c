"""CurricularFace: comparison with its formula in float64 and the authors' code, properties, configs."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from spkver.config import validate
from spkver.errors import InputError
from spkver.losses import LOSSES

S, M = 12.0, 0.35
NAME = "curricularface"


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def reference(x, y, W, t, s=S, centres=1):
    """The mean loss, sample by sample, independent of the package, and the number of hard rivals."""
    losses, hard = [], 0
    for x_i, y_i in zip(x, y.tolist()):
        c = [max(cosine(w, x_i) for w in W[j : j + centres]) for j in range(0, len(W), centres)]
        theta = torch.acos(c[y_i])
        own = torch.cos(theta + M) if theta <= math.pi - M else -2 - torch.cos(theta + M)
        others = [c_j * (t + c_j) if c_j > own else c_j for j, c_j in enumerate(c) if j != y_i]
        hard += sum(c_j > own for j, c_j in enumerate(c) if j != y_i)
        psi = s * own
        losses.append(-torch.log(psi.exp() / (psi.exp() + sum((s * c_j).exp() for c_j in others))))
    return sum(losses) / len(losses), int(hard)


def target_cosine(x, y, W):
    return float(torch.stack([cosine(W[y_i], x_i) for x_i, y_i in zip(x, y.tolist())]).mean().detach())


# ---- value and gradient ----


@pytest.mark.parametrize("chunk", [None, 1, 3, 50])
@pytest.mark.parametrize("momentum", [0.99, 0.0])
def test_formula(make_loss, batch, compare, chunk, momentum):
    x, y = batch
    reduction = {"name": "dense"} if chunk is None else {"name": "chunked", "chunk": chunk}
    loss = make_loss(NAME, m=M, momentum=momentum, head={"s": S, "reduction": reduction})
    t = (1 - momentum) * target_cosine(x, y, loss.head.weight)
    expected, hard = reference(x, y, loss.head.weight, t)
    assert 10 < hard < 80  # of 96
    compare(loss, expected, x, y)


def test_scheduled_scale(make_loss, batch, compare):
    x, y = batch
    half = {"s": {"name": "constant", "value": 0.5}}
    loss = make_loss(NAME, m=M, head={"s": 2 * S}, schedules=half).eval()
    loss.t.fill_(0.3)
    compare(loss, reference(x, y, loss.head.weight, 0.3)[0], x, y)


def test_with_sub_centres(make_loss, batch, compare):
    x, y = batch
    loss = make_loss("sub_centre_curricularface", m=M, head={"s": S}).eval()
    loss.t.fill_(0.3)
    compare(loss, reference(x, y, loss.head.weight, 0.3, centres=3)[0], x, y)


def test_equals_the_authors_code(make_loss, batch):
    """As in CurricularFace/head/metrics.py, over two batches; no sample is beyond π - m."""
    x, y = batch
    loss = make_loss(NAME, m=M, head={"s": S})
    t = torch.zeros(1, dtype=torch.float64)
    for other in (x, x[:, [1, 0, 2, 3, 4, 5]]):
        c = functional.linear(functional.normalize(other), functional.normalize(loss.head.weight)).clamp(-1, 1)
        own = c[torch.arange(len(y)), y].view(-1, 1)
        assert (own > math.cos(math.pi - M)).all()
        with_margin = own * math.cos(M) - (1 - own**2).sqrt() * math.sin(M)
        mask, t = c > with_margin, own.detach().mean() * 0.01 + 0.99 * t
        z = c.clone()
        z[mask] = c[mask] * (t + c[mask])
        z.scatter_(1, y.view(-1, 1), with_margin)
        torch.testing.assert_close(loss(other, y).loss, functional.cross_entropy(S * z, y))


# ---- laws ----


def test_without_hard_rivals_it_is_aam(make_loss):
    """Embeddings on their prototypes, far from the others."""
    loss, plain = make_loss(NAME, m=0.2), make_loss("aam", m=0.2)
    with torch.no_grad():
        for one in (loss, plain):
            one.head.weight.copy_(torch.eye(7, 6) - torch.eye(7, 6, dtype=torch.float64)[[6, *range(6)]])
    y = torch.arange(6)
    x = loss.head.weight[y].detach().clone()
    assert float(loss(x, y).margin_accuracy) == 1
    torch.testing.assert_close(loss(x, y).loss, plain(x, y).loss)


def test_weight_of_hard_rivals_grows_with_t(make_loss, batch):
    x, y = batch
    loss = make_loss(NAME, m=M).eval()
    loss.head.weight.data.abs_()  # no cosine below 0
    values = []
    for t in (0.0, 0.3, 0.9):
        loss.t.fill_(t)
        values.append(loss(x.abs(), y).per_sample)
    assert (values[0] <= values[1] + 1e-12).all() and (values[1] <= values[2] + 1e-12).all()
    assert (values[2] - values[0]).max() > 0.1


def test_t_is_a_running_mean_and_part_of_the_state(make_loss, batch):
    x, y = batch
    loss = make_loss(NAME, momentum=0.9)
    c = target_cosine(x, y, loss.head.weight)
    loss(x, y), loss(-x, y)
    assert float(loss.state_dict()["t"]) == pytest.approx(0.9 * 0.1 * c - 0.1 * c)
    before = loss.t.clone()
    loss.eval()(x, y)
    assert torch.equal(loss.t, before)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"head": "unit"}, "needs cosines; set head.name to normalised, not 'unit'"),
        ({"head": {"split": True}}, "remove head.split and head.sample"),
        ({"head": {"sample": {"share": 0.5}}}, "remove head.split and head.sample"),
    ],
)
def test_invalid_config_is_rejected_in_one_line(keys, message):
    with pytest.raises(InputError, match=message):
        validate(LOSSES, {"name": NAME} | keys)
