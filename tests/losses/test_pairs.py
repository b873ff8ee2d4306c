"""Pair losses: comparison with float64 versions of their formulas and pytorch-metric-learning, numerical limits."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers

from spkver.config import validate
from spkver.errors import InputError
from spkver.losses import LOSSES

K, P, DIM = 3, 4, 6
ALL = {
    "batch hard": {"name": "triplet", "m": 0.3},
    "semi hard": {"name": "triplet", "m": 0.3, "mining": "semi_hard"},
    "prototypical": {"name": "angular_prototypical"},
    "ge2e": {"name": "ge2e"},
    "contrast": {"name": "ge2e", "form": "contrast"},
    "simclr": {"name": "simclr", "temperature": 0.2, "m": 0.1},
}
every_loss = pytest.mark.parametrize("keys", ALL.values(), ids=ALL)


def make(keys, dtype=torch.float64):
    return LOSSES.build(validate(LOSSES, keys), DIM, 10).to(dtype)


@pytest.fixture
def batch():
    """P speakers with K utterances in random order, some far from their speaker and one opposite to it."""
    random = torch.Generator().manual_seed(2)
    y = torch.arange(P).repeat_interleave(K)[torch.randperm(P * K, generator=random)]
    centres = torch.randn(P, DIM, generator=random, dtype=torch.float64)
    x = 1.5 * centres[y] + torch.randn(P * K, DIM, generator=random, dtype=torch.float64)
    x[0] *= -1
    return x.requires_grad_(), 2 * y + 1


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def compare(loss, reference, x, y):
    parameters = [x, *loss.parameters()]
    got = loss(x, y).loss
    torch.testing.assert_close(got, reference, rtol=1e-12, atol=1e-12)
    ours = torch.autograd.grad(got, parameters)
    theirs = torch.autograd.grad(reference, parameters, allow_unused=True)
    for our, their in zip(ours, theirs):
        torch.testing.assert_close(our, torch.zeros_like(our) if their is None else their, rtol=1e-9, atol=1e-12)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def triplets(x, y):
    """The cosines of each anchor to its positives and to its negatives."""
    for i in range(len(y)):
        positives = [cosine(x[i], x[j]) for j in range(len(y)) if j != i and y[j] == y[i]]
        yield positives, [cosine(x[i], x[j]) for j in range(len(y)) if y[j] != y[i]]


def test_batch_hard(batch):
    x, y = batch
    reference = mean(torch.relu(0.3 + max(negatives) - min(positives)) for positives, negatives in triplets(x, y))
    compare(make(ALL["batch hard"]), reference, x, y)


def test_semi_hard(batch):
    x, y = batch
    losses, without = [], 0
    for positives, negatives in triplets(x, y):
        for p in positives:
            farther = [n for n in negatives if n < p]
            without += not farther
            losses.append(torch.relu(0.3 + (max(farther) if farther else min(negatives)) - p))
    assert 0 < without < len(losses) / 2
    compare(make(ALL["semi hard"]), mean(losses), x, y)


def speakers(x, y):
    return [[x[i] for i in range(len(y)) if y[i] == speaker] for speaker in y.unique().tolist()]


def softmax_loss(own, others):
    return -torch.log(own.exp() / (own.exp() + sum(other.exp() for other in others)))


def test_angular_prototypical(batch):
    x, y = batch
    loss = make(ALL["prototypical"])
    w, b = loss.similarity.w, loss.similarity.b
    groups = speakers(x, y)
    prototypes = [mean(group[1:]) for group in groups]
    reference = []
    for k, group in enumerate(groups):
        z = [w * cosine(group[0], prototype) + b for prototype in prototypes]
        reference.append(softmax_loss(z[k], z[:k] + z[k + 1 :]))
    compare(loss, mean(reference), x, y)


@pytest.mark.parametrize("form", ["softmax", "contrast"])
def test_ge2e(batch, form):
    x, y = batch
    loss = make({"name": "ge2e", "form": form})
    w, b = loss.similarity.w, loss.similarity.b
    groups = [[v / v.norm() for v in group] for group in speakers(x, y)]
    reference = []
    for k, group in enumerate(groups):
        for i, e in enumerate(group):
            own = w * cosine(e, mean(group[:i] + group[i + 1 :])) + b
            others = [w * cosine(e, mean(other)) + b for j, other in enumerate(groups) if j != k]
            if form == "softmax":
                reference.append(softmax_loss(own, others))
            else:
                reference.append(1 - torch.sigmoid(own) + max(torch.sigmoid(other) for other in others))
    compare(loss, mean(reference), x, y)


def test_simclr(batch):
    """Each own pair against the pairs with other speakers; the mean over the own pairs of an anchor."""
    x, y = batch
    reference = []
    for positives, negatives in triplets(x, y):
        reference.append(mean(softmax_loss((p - 0.1) / 0.2, [n / 0.2 for n in negatives]) for p in positives))
    compare(make(ALL["simclr"]), mean(reference), x, y)


def test_simclr_equals_pytorch_metric_learning(batch):
    x, y = batch
    theirs = losses.NTXentLoss(temperature=0.2)(x, y)
    compare(make(ALL["simclr"] | {"m": 0.0}), theirs, x, y)


@every_loss
def test_gradcheck(keys, batch):
    x, y = batch
    torch.autograd.gradcheck(lambda x: make(keys)(x, y).loss, (x,))


def test_hardest_triplets_equal_pytorch_metric_learning(batch):
    x, y = batch
    cosines = distances.CosineSimilarity()
    mined = miners.BatchHardMiner(distance=cosines)(x, y)
    theirs = losses.TripletMarginLoss(margin=0.3, distance=cosines, reducer=reducers.MeanReducer())
    compare(make(ALL["batch hard"]), theirs(x, y, mined), x, y)


def test_semi_hard_triplets_equal_pytorch_metric_learning(batch):
    """They return all negatives within the margin, and no pairs without a farther one; ours is the nearest."""
    x, y = batch
    cosines = distances.CosineSimilarity()
    mined = miners.TripletMarginMiner(margin=0.3, distance=cosines, type_of_triplets="semihard")(x, y)
    c = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2)
    nearest: dict[tuple[int, int], torch.Tensor] = {}
    for a, p, n in zip(*(indices.tolist() for indices in mined)):
        nearest[a, p] = max(nearest.get((a, p), -torch.inf), c[a, n])
    expected = torch.zeros(len(y), dtype=torch.float64)
    for a, p in ((a, p) for a in range(len(y)) for p in range(len(y)) if a != p and y[a] == y[p]):
        farthest = c[a, y != y[a]].min()
        negative = nearest.get((a, p), -torch.inf if farthest < c[a, p] else farthest)
        expected[a] += torch.relu(0.3 + negative - c[a, p]).detach() / (K - 1)
    assert len(nearest) > 10
    torch.testing.assert_close(make(ALL["semi hard"])(x, y).per_sample, expected)


# ---- laws ----


@every_loss
def test_order_of_batch_and_labels_do_not_matter(keys, batch):
    x, y = batch
    out = make(keys)(x, y)
    torch.testing.assert_close(make(keys)(x, 9 - y), out)
    if keys["name"] == "angular_prototypical":  # the query is the first utterance, so only speakers are permuted
        order = torch.cat([(y == speaker).nonzero()[:, 0] for speaker in (5, 1, 7, 3)])
    else:
        order = torch.randperm(len(y))
    other = make(keys)(x[order], y[order])
    torch.testing.assert_close(other.loss, out.loss)
    torch.testing.assert_close(other.per_sample, out.per_sample[order])
    assert other[2:5] == out[2:5]
    torch.testing.assert_close(other[5:], out[5:])  # sums in another order


@every_loss
def test_length_of_embeddings_does_not_matter(keys, batch):
    x, y = batch
    lengths = torch.linspace(0.1, 10, len(y))[:, None].double()
    if keys["name"] == "angular_prototypical":  # a prototype is the mean of unnormalised embeddings
        lengths = lengths[:1]
    torch.testing.assert_close(make(keys)(lengths * x, y), make(keys)(x, y))


@every_loss
def test_separate_and_equal_speakers(keys):
    y = torch.arange(P).repeat_interleave(K)
    apart, together = torch.eye(DIM)[y].double(), torch.ones(P * K, DIM).double()
    good, bad = make(keys)(apart, y), make(keys)(together, y)
    assert good.accuracy == good.margin_accuracy == 1
    assert good.loss < bad.loss
    if keys["name"] == "triplet":
        assert good.loss == 0 and good.selected_share == 0
        assert bad.loss.item() == pytest.approx(0.3)
    elif keys["name"] == "simclr":
        assert bad.loss.item() == pytest.approx(math.log1p((P - 1) * K * math.exp(0.1 / 0.2)))
    elif keys.get("form") is None:
        assert bad.loss.item() == pytest.approx(math.log(P))


def test_shares_of_a_triplet_loss(batch):
    x, y = batch
    out = make({"name": "triplet", "m": 0.15})(x, y)
    rows = [(min(positives), max(negatives)) for positives, negatives in triplets(x.detach(), y)]
    assert float(out.accuracy) == pytest.approx(mean(float(own >= rival) for own, rival in rows))
    assert float(out.margin_accuracy) == pytest.approx(mean(float(own >= rival + 0.15) for own, rival in rows))
    assert float(out.selected_share) == pytest.approx(1 - float(out.margin_accuracy))
    for made in (out, out._replace(loss=out.loss + 1)):  # distillation adds to the loss
        assert made.logged()["active_share"] == out.selected_share and "boundary_share" not in made.logged()
    assert 0 < out.margin_accuracy < out.accuracy < 1


def test_scale_and_offset_are_learnt(batch):
    loss = make(ALL["contrast"])
    loss(*batch).loss.backward()
    assert {name: value.item() for name, value in loss.named_parameters()} == {"similarity.w": 10, "similarity.b": -5}
    assert all(value.grad.abs() > 0 for value in loss.parameters())
    assert list(make(ALL["batch hard"]).parameters()) == []
    loss.similarity.w.data.fill_(-3)
    assert loss(*batch).loss.isfinite()


# ---- at the edge ----


@every_loss
@pytest.mark.parametrize("y", [[3], [3, 3], [1, 2], [1, 2, 3, 4, 5], [4, 4, 4, 4], [1, 1, 2]])
def test_batches_with_few_pairs(keys, y):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(len(y), DIM, generator=random, dtype=torch.float64).requires_grad_()
    loss = make(keys)
    out = loss(x, torch.tensor(y))
    gradients = torch.autograd.grad(out.loss, [x, *loss.parameters()], allow_unused=True)
    assert all(value.isfinite().all() for value in out)
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
    if len(set(y)) == len(y):  # no speaker has two utterances
        assert out.loss == 0 and out.accuracy == 0


@every_loss
def test_zero_embeddings_are_finite_and_get_no_gradient(keys, batch):
    x, y = batch
    x = x.detach().clone()
    x[2:5] = 0
    x.requires_grad_()
    out = make(keys)(x, y)
    out.loss.backward()
    assert all(value.isfinite().all() for value in out) and x.grad.isfinite().all()
    if keys["name"] != "angular_prototypical":  # there, they are part of a mean
        assert (x.grad[2:5] == 0).all()


@every_loss
@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_non_finite_embedding_gives_a_non_finite_loss(keys, batch, bad):
    x, y = batch
    x = x.detach().float()
    x[3, 1] = bad
    out = make(keys, torch.float32)(x, y)
    assert not out.loss.isfinite() and not out.per_sample[3].isfinite()


@every_loss
def test_autocast_changes_nothing(keys, batch):
    x, y = batch
    x = x.detach().bfloat16()
    loss = make(keys, torch.float32)
    plain = loss(x, y)
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss(x, y)
    assert cast.loss.dtype == torch.float32
    assert all(torch.equal(one, other) for one, other in zip(plain, cast))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_loss
def test_loss_does_not_wait_for_the_gpu(keys, batch, unwaited):
    x, y = batch
    expected = make(keys)(x, y)
    loss, x, y = make(keys).cuda(), x.detach().cuda().requires_grad_(), y.cuda()
    with unwaited():
        out = loss(x, y)
        out.loss.backward()
    torch.testing.assert_close(out.per_sample.cpu(), expected.per_sample)


@every_loss
def test_mismatching_batch_is_rejected(keys):
    with pytest.raises(InputError, match="label 10 is out of range"):
        make(keys)(torch.ones(2, DIM).double(), torch.tensor([1, 10]))
    with pytest.raises(InputError, match="an empty batch"):
        make(keys)(torch.ones(0, DIM).double(), torch.ones(0, dtype=torch.long))
    with pytest.raises(InputError, match="at least 2 speakers, got 1"):
        LOSSES.build(validate(LOSSES, keys), DIM, 1)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "triplet", "m": -1}, "m: Input should be greater than or equal to 0"),
        ({"name": "triplet", "mining": "hard"}, "mining: Input should be 'batch_hard' or 'semi_hard'"),
        ({"name": "ge2e", "w": 0}, "w: Input should be greater than 0"),
        ({"name": "ge2e", "s": 3}, "unknown key 's'"),
        ("tripplet", "unknown loss 'tripplet'; did you mean 'triplet'?"),
    ],
)
def test_invalid_config_is_rejected(keys, message):
    with pytest.raises(InputError) as caught:
        validate(LOSSES, keys)
    assert message in str(caught.value) and "\n" not in str(caught.value)
