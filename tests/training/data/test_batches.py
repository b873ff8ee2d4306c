from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from spkver.errors import InputError
from spkver.packs import Pack, PackWriter
from spkver.training.data.batches import Prefetcher, Sampler, Share, to_waveform
from spkver.training.data.classes import Class

CROP = 2000
CPU = torch.device("cpu")


@pytest.fixture
def make_sampler(packs):
    def make(speeds=(1.0,), batch_size=8, crop=CROP, seed=3, name="train", **keys):
        return Sampler(Pack.open(packs / name), batch_size=batch_size, crop=crop, speeds=speeds, seed=seed, **keys)

    return make


def same(one, other):
    assert [speed for speed, _ in one.groups] == [speed for speed, _ in other.groups]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(one.groups, other.groups))
    assert torch.equal(one.labels, other.labels) and np.array_equal(one.rows, other.rows)


def test_batch_depends_on_seed_and_step_only(make_sampler):
    first, second = make_sampler((0.9, 1.0)), make_sampler((0.9, 1.0))
    later = second.batch(7)
    second.batch(0)
    same(first.batch(7), later)
    assert not np.array_equal(first.batch(7).rows, first.batch(8).rows)
    assert not np.array_equal(make_sampler(seed=4).batch(7).rows, make_sampler().batch(7).rows)


def test_every_utterance_once_per_epoch(make_sampler):
    sampler = make_sampler(batch_size=5)
    rows = np.concatenate([sampler.batch(step).rows for step in range(36 * 2 // 5 + 1)])
    assert sorted(rows[:36]) == sorted(rows[36:72]) == list(range(36))
    assert not np.array_equal(rows[:36], rows[36:72])


def test_crops_are_parts_of_their_utterances(make_sampler):
    sampler = make_sampler()
    batch = sampler.batch(0)
    ((_, payload),) = batch.groups
    assert payload.shape == (8, CROP) and payload.dtype == torch.int16
    for row, crop, label in zip(batch.rows, payload.numpy(), batch.labels.tolist()):
        windows = np.lib.stride_tricks.sliding_window_view(sampler.pack[row], CROP)
        assert (windows == crop).all(axis=1).any()
        assert sampler.speakers[label] == sampler.pack.speakers[row]


def test_short_utterances_are_repeated(make_sampler):
    sampler = make_sampler(crop=20000)
    batch = sampler.batch(0)
    whole = sampler.pack[batch.rows[0]]
    np.testing.assert_array_equal(batch.groups[0][1][0].numpy(), np.resize(whole, 20000))


def test_speeds_are_separate_classes(make_sampler):
    sampler = make_sampler((0.9, 1.0, 1.1), batch_size=36)
    assert len(sampler.classes) == 3 * 12
    batch = sampler.batch(0)
    assert to_waveform(batch).shape == (36, CROP)
    speeds = np.repeat([sampler.speeds.index(speed) for speed, _ in batch.groups], [len(p) for _, p in batch.groups])
    assert set(speeds) == {0, 1, 2}
    np.testing.assert_array_equal(batch.labels.numpy(), sampler.labels[batch.rows] + speeds * 12)


def test_a_voice_at_one_speed_is_one_class(tmp_path):
    """The copies of a pack, e.g. sp0.9-ann at speed 1, and ann at speed 0.9."""
    with PackWriter(tmp_path / "p", kind="audio", sample_rate=8000, rows_per_shard=4) as writer:
        for number in range(16):
            speaker = ("ann", "bob", "sp0.9-ann", "sp0.9-bob")[number % 4]
            writer.add(f"u{number}", speaker, "", np.arange(9000, dtype="<i2"))
    sampler = Sampler(Pack.open(tmp_path / "p"), batch_size=8, crop=CROP, speeds=(0.9, 1.0), seed=1)
    assert len(sampler.speakers) == 4 and len(sampler.classes) == 2 * 3
    assert {one.speed for one in sampler.classes} == {0.81, 0.9, 1.0}
    for step in range(4):
        batch = sampler.batch(step)
        speeds = np.repeat([speed for speed, _ in batch.groups], [len(payload) for _, payload in batch.groups])
        for row, speed, label in zip(batch.rows.tolist(), speeds.tolist(), batch.labels.tolist()):
            assert sampler.classes[label] == Class.of(sampler.pack.speakers[row], speed)
    assert [sampler.classes[label] for label in sampler.plain] == [Class.of(one, 1.0) for one in sampler.speakers]


@pytest.mark.parametrize("crop", range(2000, 2012))
def test_crop_length_after_a_change_of_speed(make_sampler, crop):
    """1800 samples at speed 0.9 give 2000, but 2001 need 1801."""
    batch = make_sampler((0.5, 0.83, 0.9, 1.0, 1.1, 1.37), batch_size=36, crop=crop).batch(0)
    assert len(batch.groups) == 6 and to_waveform(batch).shape == (36, crop)


def test_speeds_can_keep_the_speaker(make_sampler):
    other, one = (
        make_sampler((0.9, 1.1), batch_size=36),
        make_sampler((0.9, 1.1), batch_size=36, same_speaker_at_all_speeds=True),
    )
    assert (len(other.classes), len(one.classes)) == (24, 12)
    batch = one.batch(0)
    same(replace(batch, labels=other.batch(0).labels), other.batch(0))
    np.testing.assert_array_equal(batch.labels.numpy(), one.labels[batch.rows])


@pytest.mark.parametrize("each", [2, 3])
def test_batches_by_speaker(make_sampler, each):
    sampler = make_sampler(batch_size=4 * each, utterances_per_speaker=each)
    seen = []
    for step in range(6):  # two rounds of the 12 speakers
        batch = sampler.batch(step)
        labels, counts = np.unique(batch.labels.numpy(), return_counts=True)
        assert counts.tolist() == [each] * 4
        assert len(set(batch.rows.tolist())) == 4 * each  # no utterance twice
        seen.append(labels.tolist())
    for round_ in (seen[:3], seen[3:]):
        assert sorted(np.concatenate(round_)) == list(range(12))
    assert seen[:3] != seen[3:]
    same(sampler.batch(4), make_sampler(batch_size=4 * each, utterances_per_speaker=each).batch(4))
    assert sampler.steps_per_epoch == 36 / (4 * each)


def test_utterances_of_a_speaker_come_equally_often(make_sampler):
    sampler = make_sampler(batch_size=12, utterances_per_speaker=1)
    rows = np.concatenate([sampler.batch(step).rows for step in range(6)])
    assert sorted(rows[:36]) == sorted(rows[36:]) == list(range(36))


def test_too_few_utterances_are_repeated(make_sampler):
    sampler = make_sampler(batch_size=10, utterances_per_speaker=5)
    rows = sampler.batch(0).rows
    for speaker in np.unique(sampler.labels[rows]):
        assert sorted(np.unique(rows[sampler.labels[rows] == speaker], return_counts=True)[1]) == [1, 2, 2]


def test_speaker_has_one_speed_in_a_batch(make_sampler):
    sampler = make_sampler((0.9, 1.0, 1.1), batch_size=24, utterances_per_speaker=2)
    batch = sampler.batch(0)
    labels, counts = np.unique(batch.labels.numpy(), return_counts=True)
    assert counts.tolist() == [2] * 12 and len(batch.groups) == 3
    assert sorted(labels % 12) == list(range(12))


@pytest.mark.parametrize("keys", [{}, {"utterances_per_speaker": 3}, {"speeds": (0.9, 1.0, 1.1)}])
@pytest.mark.parametrize("size", [2, 3, 12])
def test_processes_divide_the_batch(make_sampler, size, keys):
    alone = make_sampler(batch_size=12, **keys)
    shares = [make_sampler(batch_size=12, share=Share(rank, size), **keys) for rank in range(size)]
    for step in (0, 2, 7):
        whole, parts = alone.batch(step), [sampler.batch(step) for sampler in shares]
        assert [part.first for part in parts] == [rank * 12 // size for rank in range(size)]
        assert np.array_equal(np.concatenate([part.rows for part in parts]), whole.rows)
        assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
        of_parts = [crop for part in parts for _, payload in part.groups for crop in payload]
        of_whole = [crop for _, payload in whole.groups for crop in payload]
        assert all(torch.equal(one, other) for one, other in zip(of_whole, of_parts, strict=True))
        assert np.array_equal(shares[1].rows(step), parts[1].rows)


def test_indivisible_batch_is_rejected(make_sampler):
    with pytest.raises(InputError, match="batch_size 8 cannot be divided evenly over 3 processes; set it to 6 or 9"):
        make_sampler(share=Share(0, 3))


@pytest.mark.parametrize("processes", [2, 4])
def test_nodes_read_their_own_shards(packs, tmp_path, processes):
    source = Pack.open(packs / "train")
    with PackWriter(tmp_path / "shards", kind="audio", sample_rate=8000, rows_per_shard=5) as writer:  # eight shards
        for row, name in enumerate(source.ids):
            writer.add(name, source.speakers[row], "", source[row])
    pack = Pack.open(tmp_path / "shards")
    local = processes // 2
    shares = [Share(rank, processes, node=rank // local, nodes=2) for rank in range(processes)]
    samplers = [Sampler(pack, batch_size=4, crop=CROP, speeds=(1.0,), seed=3, share=share) for share in shares]
    seen = [[], []]
    for step in range(9):
        batches = [sampler.batch(step) for sampler in samplers]
        assert [batch.first for batch in batches] == [4 * rank // processes for rank in range(processes)]
        for share, batch in zip(shares, batches):
            seen[share.node] += batch.rows.tolist()
    for node in (0, 1):
        own = np.concatenate([pack.rows_of_shard(number) for number in range(node, len(pack.shards), 2)])
        assert set(seen[node]) <= set(own.tolist())
        assert len(set(seen[node][: len(own)])) == min(len(own), 18)  # no utterance twice per epoch
    with pytest.raises(InputError, match="8 shards cannot be divided over 9 nodes"):
        Sampler(pack, batch_size=9, crop=CROP, speeds=(1.0,), seed=3, share=Share(0, 9, node=0, nodes=9))


def test_nodes_draw_different_crops(tmp_path):
    """Utterances of equal length with samples 0, 1, 2, ...: the first sample of a crop is its start."""
    with PackWriter(tmp_path / "p", kind="audio", sample_rate=8000, rows_per_shard=4) as writer:
        for number in range(16):
            writer.add(f"u{number}", f"s{number % 4}", "", np.arange(9000, dtype="<i2"))
    pack, starts = Pack.open(tmp_path / "p"), []
    for node in (0, 1):
        sampler = Sampler(pack, batch_size=8, crop=100, speeds=(1.0,), seed=3, share=Share(node, 2, node=node, nodes=2))
        starts.append(np.concatenate([sampler.batch(step).groups[0][1][:, 0] for step in range(3)]))
    assert not np.isin(*starts).any()


def test_batch_with_too_many_speakers_is_rejected(make_sampler):
    with pytest.raises(InputError, match="12 speakers, but a batch of 26 with 2 utterances of each needs 13"):
        make_sampler(batch_size=26, utterances_per_speaker=2)


def test_feature_crops(make_sampler):
    batch = make_sampler(name="features", crop=30).batch(0)
    assert batch.groups[0][1].shape == (8, 30, 24) and batch.groups[0][1].dtype == torch.float16


def test_prefetcher(make_sampler):
    sampler = make_sampler()
    for threads in (1, 3):
        made = Prefetcher(sampler.batch, 2, 12, device=CPU, threads=threads)
        for step, batch in enumerate(made, start=2):
            same(batch, sampler.batch(step))
        assert step == 11 and made.waited > 0
        made.close()
    assert list(Prefetcher(sampler.batch, 5, 5, device=CPU)) == []


def test_prefetcher_closes_early_and_raises_errors(make_sampler):
    sampler = make_sampler()
    before = threading.active_count()
    made = Prefetcher(sampler.batch, 0, 1000, device=CPU)
    next(iter(made))
    made.close()
    assert threading.active_count() == before
    made = Prefetcher(lambda step: 1 // (2 - step) and sampler.batch(step), 0, 5, device=CPU)
    batches = iter(made)
    next(batches)
    next(batches)
    with pytest.raises(ZeroDivisionError):
        next(batches)
    made.close()


@pytest.mark.parametrize("name", ["train", "features"])
def test_growing_crops(make_sampler, name):
    lengths = {"train": [1000, 2000], "features": [10, 30]}[name]
    sampler = make_sampler(name=name, crop=lambda step: lengths[step >= 3])
    for step in (0, 2, 3, 9):
        batch = sampler.batch(step)
        assert batch.crop == lengths[step >= 3] == batch.groups[0][1].shape[1]
        # the utterances of a step do not depend on the length of crops
        assert np.array_equal(batch.rows, make_sampler(name=name, crop=lengths[0]).batch(step).rows)
