"""Inputs of a step: equal for a part of a batch and for the whole, and on GPU and CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from spkver.augment import FEATURES, WAVEFORM
from spkver.config import validate
from spkver.features import FrontEnd, FrontEndConfig
from spkver.packs import Pack
from spkver.training.data.batches import Prefetcher, Sampler
from spkver.training.data.inputs import Augmentations, Inputs

RATE, CROP = 8000, 3000


@pytest.fixture
def make_inputs(packs):
    """All augmentations, with packs."""

    def make(speeds=(0.9, 1.0), seed=0):
        dev = str(packs / "dev")
        configs = {"reverb": {"packs": dev, "longest": 0.2}, "noise": {"packs": {"noise": dev, "babble": dev}}}
        waveform = [
            WAVEFORM.build(validate(WAVEFORM.get(name).Config, {"probability": 0.6, **keys}), RATE, Pack.open)
            for name, keys in configs.items()
        ]
        masks = FEATURES.build(validate(FEATURES.get("spec_augment").Config, {}), 24)
        sampler = Sampler(Pack.open(packs / "train"), batch_size=12, crop=CROP, speeds=speeds, seed=seed)
        front_end = FrontEnd(FrontEndConfig(sample_rate=RATE, bins=24, high_hz=3600.0))
        return Inputs(sampler, Augmentations(waveform, [masks]), front_end)

    return make


def test_inputs_depend_on_seed_and_step_only(make_inputs):
    one, other = make_inputs(), make_inputs()
    other.batch(3)
    features = one.features(one.batch(7))
    assert features.shape == (12, one.front_end.frames(CROP), 24) and features.isfinite().all()
    assert torch.equal(features, other.features(other.batch(7)))
    assert not torch.equal(features, one.features(one.batch(8)))
    assert not torch.equal(features, make_inputs(seed=1).features(make_inputs(seed=1).batch(7)))


def test_part_of_a_batch_gets_the_same_augmentation(make_inputs, monkeypatch):
    """As with several processes: each has some rows of the batch and their position."""
    inputs = make_inputs(speeds=(1.0,))
    whole, sample = inputs.features(inputs.batch(5)), inputs.sampler.batch

    def part(step):
        batch = sample(step)
        ((speed, payload),) = batch.groups
        return replace(batch, groups=[(speed, payload[4:9])], labels=batch.labels[4:9], rows=batch.rows[4:9], first=4)

    monkeypatch.setattr(inputs.sampler, "batch", part)
    torch.testing.assert_close(inputs.features(inputs.batch(5)), whole[4:9], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("how", ["mean", "mean_variance", "none"])
def test_crops_of_feature_packs_are_normalised_again(packs, how):
    """The pack is normalised over utterances; the network gets features normalised over the crop, as from audio."""
    sampler = Sampler(Pack.open(packs / "features"), batch_size=12, crop=30, speeds=(1.0,), seed=0)
    front_end = FrontEnd(FrontEndConfig(sample_rate=RATE, bins=24, high_hz=3600.0, normalise=how))
    inputs = Inputs(sampler, Augmentations(), front_end)
    batch = inputs.batch(0)
    features, kept = inputs.features(batch), batch.groups[0][1].float()
    if how == "none":
        assert torch.equal(features, kept)
        return
    assert kept.mean(dim=1).abs().max() > 0.1 and features.mean(dim=1).abs().max() < 1e-4
    deviation = features.std(dim=1, correction=0)
    expected = torch.ones(12, 24) if how == "mean_variance" else kept.std(dim=1, correction=0)
    torch.testing.assert_close(deviation, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_equals_cpu_without_waiting(make_inputs):
    """Features equal those of the CPU up to rounding, from prefetched batches, and the host never waits."""
    here, there = make_inputs(), make_inputs()
    device = torch.device("cuda")
    there.front_end.to(device)
    batches = Prefetcher(there.batch, 0, 12, device=device)
    try:
        for step, batch in enumerate(batches):
            assert batch.labels.device.type == "cuda"
            torch.cuda.set_sync_debug_mode("error" if step > 5 else "default")  # tables are created at their first use
            features = there.features(batch)
            torch.cuda.set_sync_debug_mode("default")
            assert (features.cpu() - here.features(here.batch(step))).abs().mean() < 1e-3  # log energies
            assert np.array_equal(batch.rows, here.batch(step).rows)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        batches.close()
