"""Classes divided over two and three gloo processes, compared with one: values, gradients, checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spkver import losses
from spkver.config import validate
from spkver.errors import InputError
from spkver.losses.heads import Normalised, NormalisedConfig
from spkver.losses.margin_loss import MarginLoss
from spkver.losses.reductions.split import join, join_rows

CLASSES = 11  # not divisible by 2 or 3
REPOSITORY = Path(__file__).parents[3]
CHUNKED = {"name": "chunked", "chunk": 3}
LOSSES = {
    "softmax": {"name": "softmax", "head": {"split": True, "reduction": CHUNKED}},
    "bd_lmcl": {"name": "bd_lmcl", "head": {"split": True, "s": 8}},
    "ignored": {"name": "bd_lmcl", "head": {"split": True, "s": 8}, "others": "ignored", "normalise_by": "selected"},
    "hardest": {"name": "lmcl", "head": {"split": True, "s": 8}, "selector": {"name": "hardest", "share": 0.4}},
    # a batch as large as all classes draws all of them
    "sampled": {"name": "lmcl", "head": {"split": True, "s": 8, "sample": {"share": 0.5}}},
    "adaface": {"name": "adaface", "head": {"split": True, "s": 8}},
    "magface": {"name": "magface", "margin": {"l_a": 1.5, "u_a": 3.5}, "head": {"split": True, "s": 8}},
    "elastic": {"name": "elastic_aam", "margin": {"plus": True}, "head": {"split": True, "s": 8}},
    "hyperbolic": {"name": "hyperbolic_am", "head": {"split": True, "s": 8, "reduction": CHUNKED}},
    "centres": {"name": "aam", "head": {"split": True, "s": 8, "centres": 2, "reduction": CHUNKED}},
}
every_loss = pytest.mark.parametrize("name", LOSSES)
every_number = pytest.mark.parametrize("processes", [2, 3])


def unsplit(tree):
    torch.manual_seed(5)
    return MarginLoss(validate(losses.LOSSES, {**tree, "head": {**tree["head"], "split": False}}), 6, CLASSES).double()


@pytest.fixture(scope="module")
def one():
    """The results of one process by loss: the loss after its backward pass, its output, the batch."""
    random = torch.Generator().manual_seed(0)
    # labels of the first classes only, so the last process has none of them
    y = torch.randint(5, (12,), generator=random)
    found = {}
    for name, tree in LOSSES.items():
        loss = unsplit(tree)
        x = torch.randn(12, 6, generator=random.manual_seed(1), dtype=torch.float64).requires_grad_()
        out = loss(x, y)
        out.loss.backward()
        found[name] = (loss, out, x, y)
    return found


@pytest.fixture(scope="module")
def found(one, tmp_path_factory):
    """The results of process r of n: found[n][r]."""
    folder = tmp_path_factory.mktemp("split")
    _, _, x, y = next(iter(one.values()))
    losses = {name: (tree, unsplit(tree).state_dict()) for name, tree in LOSSES.items()}
    torch.save({"x": x.detach(), "y": y, "classes": CLASSES, "losses": losses}, folder / "batch.pt")
    worker = Path(__file__).with_name("split_worker.py")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, str(worker), str(folder)], env=environment, check=True, timeout=600)
    return {number: [torch.load(folder / f"{number}-{rank}.pt") for rank in range(number)] for number in (2, 3)}


@every_loss
@every_number
def test_values_and_gradients_equal_those_of_one_process(one, found, name, processes):
    loss, out, x, _ = one[name]
    parts = [each[name] for each in found[processes]]
    mean = [torch.stack(values).mean(0) for values in zip(*([value.double() for value in p["out"]] for p in parts))]
    for got, expected in zip([mean[0], *mean[2:]], [out.loss, *out[2:]]):
        torch.testing.assert_close(got, expected.detach().double(), check_dtype=False)
    torch.testing.assert_close(torch.cat([part["out"][1] for part in parts]), out.per_sample)
    # the gradient of each process's own loss, which DistributedDataParallel averages
    torch.testing.assert_close(torch.cat([part["x"] for part in parts]) / processes, x.grad)
    for key, parameter in loss.named_parameters():
        torch.testing.assert_close(torch.cat([part["weights"][key] for part in parts]), parameter.grad)


@every_number
def test_split_is_uneven_and_some_processes_have_no_label(found, processes):
    shards = [each["bd_lmcl"]["state"]["shard"].tolist() for each in found[processes]]
    assert shards == {2: [[0, 6, 11], [6, 11, 11]], 3: [[0, 4, 11], [4, 8, 11], [8, 11, 11]]}[processes]


@every_number
def test_initial_weights_do_not_depend_on_the_number_of_processes(found, processes):
    started = torch.cat([each["centres"]["started"] for each in found[processes]]).float()
    assert torch.equal(started, unsplit(LOSSES["centres"]).head.weight.float())


@every_loss
def test_checkpoint_loads_with_another_number_of_processes(one, found, name):
    loss = one[name][0]
    expected = {key: p.detach() - 0.1 * p.grad for key, p in loss.head.named_parameters()}
    for processes in (2, 3):
        whole = join([each[name]["state"] for each in found[processes][::-1]])
        torch.testing.assert_close({key: whole[key] for key in expected}, expected)
        unsplit(LOSSES[name]).head.load_state_dict(whole)


def test_three_processes_load_the_state_of_two(found):
    saved = join([each[list(LOSSES)[-1]]["state"] for each in found[2]])
    assert torch.equal(join([each["loaded"] for each in found[3]])["weight"], saved["weight"])


def test_fewer_speakers_than_processes_are_rejected(found):
    assert "2 speakers cannot be split over 3 processes" in found[3][0]["refused"]


# ---- in one process ----


def test_one_process_equals_the_plain_head(batch):
    x, y = batch
    torch.manual_seed(0)
    whole = Normalised(NormalisedConfig(), 6, 7).double()
    alone = Normalised(NormalisedConfig(split=True), 6, 7).double()
    alone.load_state_dict(whole.state_dict())
    threshold = whole.target(x, y).logit.detach()
    torch.testing.assert_close(alone.target(x, y), whole.target(x, y))
    torch.testing.assert_close(alone.others(x, y, [threshold]), whole.others(x, y, [threshold]))
    assert torch.equal(join([alone.state_dict()])["weight"], whole.weight)


def test_mismatching_parts_are_rejected():
    parts = [torch.zeros(4, 2), torch.zeros(3, 2)]
    assert join_rows(parts, [torch.tensor([3, 7, 7]), torch.tensor([0, 3, 7])]).shape == (7, 2)
    for shards in ([[0, 4, 7], [5, 8, 7]], [[0, 4, 7], [3, 6, 7]], [[0, 4, 9], [4, 7, 9]], [[0, 4, 7], [4, 7, 8]]):
        with pytest.raises(InputError, match="do not form one head: speakers 0 to 3 of"):
            join_rows(parts, list(map(torch.tensor, shards)))
    with pytest.raises(InputError, match="do not state their speakers"):
        join([{"weight": parts[0]}])
    head = Normalised(NormalisedConfig(split=True), 2, 7)
    with pytest.raises(InputError, match="has the speakers 0 to 3 of 7, but this process needs 0 to 6 of 7"):
        head.load_state_dict({"weight": parts[0], "shard": torch.tensor([0, 4, 7])})
