"""Recordings that take the place of a second crop: the nearest ones in a memory of embeddings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spkver.packs import Pack
from spkver.packs.joined import with_speakers
from spkver.training.config import PositivesConfig
from spkver.training.data.batches import Batch, Local, Prefetcher, Sampler, Share
from spkver.training.data.positives import Positives

CPU = torch.device("cpu")


def positives(recordings=6, dim=3, **keys):
    keys = {"neighbours": 2, "start": 0.0} | keys
    return Positives(PositivesConfig(**keys), recordings, dim, each_round=4, steps=20)


@pytest.fixture
def sampler(packs):
    """A sampler of the training pack with every recording as a speaker."""

    def make(**keys):
        pack = Pack.open(packs / "train")
        settings = {"batch_size": 12, "crop": 1600, "speeds": (1.0,), "seed": 1, "utterances_per_speaker": 2}
        return Sampler(with_speakers(pack, pack.ids), **settings | keys)

    return make


def test_nearest_are_those_of_the_largest_cosines():
    found = positives(recordings=40, dim=5, neighbours=3)
    vectors = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    found.add(torch.arange(40).flip(0), (3 * vectors).flip(0))
    cosines = (
        np.corrcoef(np.eye(40)) * 0 + (vectors @ vectors.T / vectors.norm(dim=1) / vectors.norm(dim=1)[:, None]).numpy()
    )
    np.fill_diagonal(cosines, -2)
    assert (found.search() == np.argsort(-cosines, axis=1)[:, :3]).all()


def test_recordings_without_an_embedding():
    """They are no positives and have none, and too few positives are completed with the recording itself."""
    found = positives()
    found.add(torch.tensor([1, 4]), torch.tensor([[1.0, 0, 0], [-1, 0, 0]]))
    found.add(torch.tensor([2, 4]), torch.tensor([[torch.nan, 0, 0], [torch.inf, 0, 0]]))
    assert found.search().tolist() == [[0, 0], [4, 1], [2, 2], [3, 3], [1, 4], [5, 5]]
    assert found.share == 0
    found.nearest = found.search()
    assert found.share == pytest.approx(2 / 6)


def test_more_neighbours_than_recordings():
    found = positives(recordings=2, neighbours=5)
    found.add(torch.arange(2), torch.eye(2, 3))
    found.nearest = found.search()
    assert set(found.draw(np.array([0, 1]), 50, np.random.default_rng(0))[0]) == {0, 1}


def test_due():
    assert [step for step in range(21) if positives(start=0.4).due(step)] == [8, 12, 16, 20]
    assert [step for step in range(12) if positives(every=5, start=0).due(step)] == [0, 5, 10]


def test_batches_without_found_positives_are_those_of_two_crops(sampler):
    plain, other = sampler(), sampler()
    other.positives = positives(recordings=36)
    for step in range(8):
        one, two = plain.batch(step), other.batch(step)
        assert (one.rows == two.rows).all() and torch.equal(one.labels, two.labels)
        assert torch.equal(one.groups[0][1], two.groups[0][1])


def test_second_crops_are_of_the_positives(sampler):
    some = sampler(local=Local(3, 800), speeds=(0.9, 1.0))
    some.positives = positives(recordings=36)
    some.positives.nearest = (np.arange(36)[:, None] + [1, 2]) % 36
    numbers = {name: number for number, name in enumerate(some.speakers)}
    seen = set()
    for step in range(20):
        batch = some.batch(step)
        of_rows = np.array([numbers[some.pack.ids[row]] for row in batch.rows])
        assert (of_rows[::2] == batch.labels[::2].numpy() % 36).all()  # the label is that of the first one
        assert torch.equal(batch.labels[::2], batch.labels[1::2])
        seen |= set(((of_rows[1::2] - of_rows[::2]) % 36).tolist())
        local = batch.local
        assert (local.rows.reshape(-1, 3) == batch.rows.reshape(-1, 2)[:, [0, 1, 0]]).all()
        assert torch.equal(local.labels, batch.labels[::2].repeat_interleave(3)) and local.crop == 800
    assert seen == {1, 2}


def test_processes_share_a_batch_with_short_crops(sampler):
    whole = sampler(local=Local(3, 800)).batch(5)
    parts = [sampler(local=Local(3, 800), share=Share(rank, 3)).batch(5) for rank in range(3)]
    for views in ((whole, parts), (whole.local, [part.local for part in parts])):
        one, others = views
        assert torch.equal(one.labels, torch.cat([other.labels for other in others]))
        assert torch.equal(one.groups[0][1], torch.cat([other.groups[0][1] for other in others]))
        assert [other.first for other in others] == [0, len(one.rows) // 3, 2 * len(one.rows) // 3]


@pytest.mark.parametrize("first", [0, 3])
def test_batches_are_not_prepared_before_the_steps_that_they_depend_on(first):
    done, asked = first, []

    def make(step):
        asked.append((step, done))
        return Batch([], torch.zeros(0), np.zeros(0), 0)

    for _ in Prefetcher(make, first, 11, device=CPU, every=4):
        done += 1
    assert done == 11 and [step for step, _ in asked] == list(range(first, 11))
    assert all(before >= step // 4 * 4 for step, before in asked)
