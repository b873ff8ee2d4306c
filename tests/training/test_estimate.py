from __future__ import annotations

import pytest
import torch

from spkver.errors import InputError
from spkver.recipe import build, dry_run
from spkver.training import estimate
from spkver.training.estimate import Requirements, measure
from spkver.training.monitoring import memory
from spkver.training.monitoring.memory import OutOfMemoryError

QUIET = {"say": lambda text: None}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(estimate, "SECONDS", 0.0)


@pytest.fixture
def line(monkeypatch):
    """A stand-in for memory: 1000 bytes, and 100 for each utterance of the batch."""
    sizes = []

    def peak(device, work):
        assert work().stayed_finite()
        return 1000 + 100 * sizes[-1]

    step = estimate._batch
    monkeypatch.setattr(estimate, "_batch", lambda learner, at, size: sizes.append(size) or step(learner, at, size))
    monkeypatch.setattr(memory, "peak", peak)
    return sizes


def test_dry_run_measures_every_stage_and_leaves_no_files(recipe, tmp_path, device):
    told = []
    parts = recipe(
        train={"steps": 1000, "batch_size": 16, "ema": {}, "keep_checkpoints": 3, "device": device},
        augment={"speeds": [0.9, 1.0], "features": ["spec_augment"]},
    )
    dry_run(parts, tmp_path / "exp" / "new", say=told.append)
    text = "\n".join(told)
    for word in (
        " at the peak of a step",
        " utterances/s, ",
        "dev set: ",
        "checkpoint: ",
        "3 kept",
        " free",
        "whole run: 1000 steps in about ",
    ):
        assert word in text
    assert [path.name for path in tmp_path.iterdir()] == ["recipe"]  # no experiment directory, no hidden files


def test_requirements_of_the_whole_run(recipe, out):
    needs = measure(build(recipe(), out, **QUIET))
    assert needs.step > 0 and needs.checkpoint > 0 and needs.dev > 0 and needs.dev_share == 1
    assert needs.memory > 10**7 and 0 <= needs.waiting <= 1
    needs = Requirements(2**20, None, 0.5, 10.0, 0.01, 4.0, 0.25, 2.0, 1000, 300, 5000)
    config = recipe(train={"steps": 90, "dev_every": 30, "checkpoint_every": 40, "keep_checkpoints": 2}).train
    assert needs.seconds(config) == 90 * 0.5 + 3 * 4 + 3 * 2
    assert needs.disk(config) == 3 * 1000 + 2 * 300
    text = "\n".join(needs.lines(config))
    assert "memory: 1.0 MB at the peak" in text and "16 utterances/s" in text and "the first took 10.0 s" in text
    assert "(estimated from 25.0% of its audio)" in text and "about 1:03" in text and "warning" not in text
    assert "not enough disk space" in "\n".join(Requirements(1, 2, 1, 1, 0, 0, 1, 1, 1000, 300, 3599).lines(config))


def test_smaller_batches_are_tried_before_one_that_fits(recipe, out, line):
    assert measure(build(recipe(train={"batch_size": 32}), out, **QUIET), limit=4200).memory == 1000 + 100 * 32
    assert line == [4, 4, 8, 32]


@pytest.mark.parametrize(
    ("each", "limit", "advice"),
    [
        (None, 4100, "28 fits, or 32 with train.accumulate 2"),  # (0.95 limit - 1000) / 100
        (4, 4100, "28 fits, or 32 with train.accumulate 2"),
        (4, 3700, "24 fits"),
        (None, 2000, "9 fits, or 32 with train.accumulate 4"),
        (None, 1150, "and so does any other; use a smaller network"),
    ],
)
def test_advised_batch_size(recipe, out, line, each, limit, advice):
    parts = recipe(train={"batch_size": 32}, data={"utterances_per_speaker": each})
    with pytest.raises(OutOfMemoryError, match=f"train.batch_size 32 needs more memory than the cpu has .*{advice}"):
        measure(build(parts, out, **QUIET), limit=limit)
    assert 32 not in line  # not tried


def test_small_batch_is_tried_directly(recipe, out, line):
    with pytest.raises(OutOfMemoryError, match=r"train.batch_size 4 needs more memory .*; use a smaller batch"):
        measure(build(recipe(train={"batch_size": 4}), out, **QUIET), limit=1100)


def test_memory_is_measured_with_the_longest_crops(recipe, out, monkeypatch):
    grows = {"name": "piecewise", "points": [[0, 0.5], [0.5, 1]], "shape": "step"}
    trainer = build(recipe(data={"crop_seconds": 0.6, "crop_schedule": grows}, train={"steps": 10}), out, **QUIET)
    step, relative = estimate._crops(trainer.learner.sampler, 10)
    assert step == 5 and relative == pytest.approx(0.75)


def test_large_dev_set_is_sampled(recipe, out, monkeypatch):
    monkeypatch.setattr(estimate, "DEV_RECORDINGS", 3)
    trainer = build(recipe(), out, **QUIET)
    needs = measure(trainer)
    assert 0.2 < needs.dev_share < 0.6  # two of five speakers


def test_dry_run_of_several_processes_is_rejected(recipe, out, monkeypatch):
    for name, value in {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(InputError, match=r"start it without torchrun, with train.batch_size=2"):
        dry_run(recipe(), out)


def test_accumulation_is_advised_and_respected(recipe, out, line):
    parts = recipe(train={"batch_size": 32, "accumulate": 2})
    with pytest.raises(OutOfMemoryError, match=r"28 fits, or 32 with train.accumulate 4"):
        measure(build(parts, out, **QUIET), limit=4150)
    assert line == [4, 4, 8]


def test_dry_run_without_steps_is_rejected(recipe, out):
    with pytest.raises(InputError, match="no step to try"):
        dry_run(recipe(train={"steps": 0}), out)


def test_largest_size_by_linear_extrapolation():
    assert memory.largest([(10, 2000), (20, 3000)], 4000) == 30
    assert memory.largest([(10, 2000), (20, 2000)], 10**6) > 10**5
    assert memory.largest([(10, 2000), (20, 3000)], 0) == 0


def test_peak_is_that_of_the_measured_work():
    peaks = [memory.peak(CPU, lambda size=size: torch.ones(size << 18)) for size in (1, 200, 400)]
    assert 180 << 20 < peaks[1] - peaks[0] < 220 << 20
    assert 180 << 20 < peaks[2] - peaks[1] < 220 << 20
    assert memory.limit(CPU) > peaks[0]


@pytest.mark.parametrize(
    "work",
    [
        lambda: torch.empty(1 << 60),
        lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0")),
    ],
)
def test_allocation_failures_become_out_of_memory_errors(work):
    with pytest.raises(OutOfMemoryError, match=r"out of memory .*; 'spkver train ... --dry-run' finds a train"):
        memory.peak(CPU, lambda: list(work()))


def test_other_errors_are_not_changed():
    with pytest.raises(RuntimeError, match="shape"):
        memory.peak(CPU, lambda: torch.ones(2) + torch.ones(3).view(3, 2))
