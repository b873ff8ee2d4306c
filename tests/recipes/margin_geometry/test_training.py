from __future__ import annotations

import numpy as np
import pytest
import torch

from recipes.margin_geometry.data import Dataset, Points
from recipes.margin_geometry.training import Plan, Task, spread_evenly, train, train_all

PLAN = Plan(steps=12, batch=16, hidden=8, looks=4)


@pytest.fixture(scope="module")
def points() -> Dataset:
    """Three classes in five dimensions, far from separate."""
    random = np.random.default_rng(0)

    def draw(number: int) -> Points:
        y = np.arange(number) % 3
        return Points(np.float32(random.normal(size=(number, 5)) + np.eye(3, 5)[y]), y)

    return Dataset(draw(60), draw(30))


def same(one, other):
    return np.array_equal(one.test.embeddings, other.test.embeddings) and one.history == other.history


def test_a_run_is_seen_from_start_to_end(points):
    run = train(Task(points, {"name": "softmax"}, PLAN, seed=1))
    assert [moment.step for moment in run.history] == [0, 3, 6, 9, 12]
    assert run.train.embeddings.shape == (60, 2) and run.test.predicted.shape == (30,)
    assert run.train.loss == pytest.approx(run.train.cross_entropy) == pytest.approx(run.history[-1].cross_entropy)
    assert run.train.loss < run.history[0].cross_entropy
    assert run.test.cross_entropy == pytest.approx(run.history[-1].test_cross_entropy)
    assert run.train.selected_share == 1
    assert run.train.boundary_share == pytest.approx(1 - run.train.accuracy)
    assert run.history[-1].length == pytest.approx(np.linalg.norm(run.train.embeddings, axis=1).mean())
    assert run.history[-1].length_low < run.history[-1].length < run.history[-1].length_high


def test_same_seed_same_numbers_in_any_number_of_processes(points):
    tasks = {seed: Task(points, {"name": "lmcl", "m": 0.1}, PLAN, seed) for seed in (1, 2)}
    alone, together = train_all(tasks), train_all(tasks, jobs=2)
    assert list(alone) == list(together) == [1, 2]
    assert all(same(alone[seed], together[seed]) for seed in tasks)
    assert not same(alone[1], alone[2])


def test_lmcl_without_a_margin_is_nsl_to_the_bit(points):
    nsl, lmcl, bd = (train(Task(points, {"name": name, "m": 0}, PLAN, seed=3)) for name in ("nsl", "lmcl", "bd_lmcl"))
    assert same(nsl, lmcl)
    assert np.array_equal(nsl.test.embeddings, bd.test.embeddings)


def test_the_margin_is_in_force_at_the_end(points):
    nsl, lmcl = (train(Task(points, loss, PLAN, seed=3)) for loss in ({"name": "nsl"}, {"name": "lmcl", "m": 0.2}))
    assert lmcl.history[0] == nsl.history[0]  # the same first weights, and no margin yet
    assert lmcl.train.loss > lmcl.train.cross_entropy
    assert lmcl.train.boundary_share > 1 - lmcl.train.accuracy


def test_nothing_of_the_process_is_changed(points):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    before = torch.get_num_threads()
    train(Task(points, {"name": "nsl"}, PLAN, seed=1))
    assert torch.rand(1) == expected and torch.get_num_threads() == before


@pytest.mark.parametrize(("number", "dim", "angle"), [(8, 2, 45), (10, 2, 36), (4, 3, 109.47), (8, 3, 72)])
def test_prototypes_start_far_apart(number, dim, angle):
    torch.manual_seed(0)
    units = spread_evenly(number, dim).double()
    cosine = (units @ units.T).fill_diagonal_(-1).max()
    assert torch.linalg.vector_norm(units, dim=1) == pytest.approx(np.ones(number), abs=1e-6)
    assert torch.rad2deg(torch.acos(cosine)) > angle - 1
