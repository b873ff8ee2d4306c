"""Estimate the memory, time and disk space of a run from one step of everything (`spkver train --dry-run`)."""

from __future__ import annotations

import copy
import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from spkver.files import readable_size
from spkver.losses.loss import SelfTaught
from spkver.losses.pairs import PairLoss
from spkver.training.config import TrainingConfig
from spkver.training.data.batches import Batch, Prefetcher, Sampler
from spkver.training.data.inputs import Inputs
from spkver.training.loop import Trainer
from spkver.training.monitoring import memory
from spkver.training.monitoring.memory import OutOfMemoryError
from spkver.training.monitoring.pace import Clock, duration, fast_cpu
from spkver.training.monitoring.validation import DevSet
from spkver.training.state import checkpoint
from spkver.training.state.checkpoint import Checkpoint
from spkver.training.step.learner import Learner

PARTS = (8, 4, 2)
"""Smaller batches are tried first: the batch size divided by the first two of these that fit."""
SPARE = 0.95
"""Target memory use of the advised batch size, as a share of the available memory."""
WARM_UP, MEASURED, SECONDS = 3, (5, 200), 5.0
"""Steps before timing; minimum and maximum number of timed steps; seconds after which timing may end."""
DEV_RECORDINGS = 128
"""Approximate number of recordings to embed from a larger dev set."""


@dataclasses.dataclass(frozen=True)
class Requirements:
    """Measured bytes and seconds of one step of everything."""

    memory: int
    memory_limit: int | None
    step: float
    first_step: float
    waiting: float
    """share of the time spent waiting for data"""
    dev: float
    """seconds for the whole dev set, estimated from `dev_share` of its audio"""
    dev_share: float
    checkpoint: float
    checkpoint_bytes: int
    model_bytes: int
    free_bytes: int

    def seconds(self, config: TrainingConfig) -> float:
        """Estimated seconds of the whole run."""
        times = math.ceil(config.steps / config.dev_every), math.ceil(config.steps / config.checkpoint_every)
        return config.steps * self.step + times[0] * self.dev + times[1] * self.checkpoint

    def disk(self, config: TrainingConfig) -> int:
        """The peak number of bytes on disk: a checkpoint is written before an old one is deleted."""
        return (config.keep_checkpoints + 1) * self.checkpoint_bytes + 2 * self.model_bytes

    def lines(self, config: TrainingConfig) -> Iterator[str]:
        """The lines to print."""
        size = readable_size
        of = "" if self.memory_limit is None else f" of {size(self.memory_limit)}"
        yield f"memory: {size(self.memory)}{of} at the peak of a step"
        rate = config.batch_size / self.step
        first = f"; the first took {self.first_step:.1f} s" if self.first_step > 5 * self.step else ""
        yield f"step: {self.step:.3g} s, {rate:.0f} utterances/s, {self.waiting:.1%} of it waiting for data{first}"
        if self.dev:
            part = "" if self.dev_share == 1 else f" (estimated from {self.dev_share:.1%} of its audio)"
            yield f"dev set: {self.dev:.3g} s{part}, every {config.dev_every} steps"
        every = f"every {config.checkpoint_every} steps, {config.keep_checkpoints} kept"
        yield f"checkpoint: {size(self.checkpoint_bytes)} in {self.checkpoint:.2g} s, {every}"
        yield f"disk: {size(self.disk(config))} of {size(self.free_bytes)} free"
        if self.disk(config) > self.free_bytes:
            yield "warning: not enough disk space; lower train.keep_checkpoints, or free some space"
        yield f"whole run: {config.steps} steps in about {duration(self.seconds(config))}"


def measure(trainer: Trainer, *, limit: int | None = None) -> Requirements:
    """Run one step of everything in the trainer's directory. The trainer cannot be used afterwards.

    limit: bytes of memory; default: all that is available
    Raises OutOfMemoryError with a batch size that fits, if train.batch_size does not.
    """
    learner, config, out = trainer.learner, trainer.config, trainer.out
    limit = memory.limit(learner.device) if limit is None else limit
    with fast_cpu(config.threads):
        learner.train()
        longest, relative = _crops(learner.sampler, config.steps)
        start = time.perf_counter()
        used = _memory_of_step(learner, longest, limit)
        first = time.perf_counter() - start
        step, waiting = _pace(learner, longest)
        dev, dev_share = (0.0, 1.0) if trainer.dev is None else _dev(trainer.dev, learner)
        learner.save(out / "model", "")
        model_bytes = _bytes_below(out)
        saving = _time(lambda: checkpoint.save(out / "checkpoints", Checkpoint(1, learner.state(), {}), keep=1))
    return Requirements(
        memory=used,
        memory_limit=limit,
        step=step * relative,
        first_step=first,
        waiting=waiting,
        dev=dev,
        dev_share=dev_share,
        checkpoint=saving,
        checkpoint_bytes=_bytes_below(out / "checkpoints"),
        model_bytes=model_bytes,
        free_bytes=shutil.disk_usage(out).free,
    )


def _crops(sampler: Sampler, steps: int) -> tuple[int, float]:
    """A step with the longest crops of the run, and the mean length of the run's crops relative to these."""
    sampled = np.unique(np.linspace(0, steps - 1, 1000).astype(int)).tolist()
    crops = [sampler.crop_at(step) for step in sampled]
    return sampled[int(np.argmax(crops))], float(np.mean(crops) / max(crops))


def _memory_of_step(learner: Learner, step: int, limit: int | None) -> int:
    """The peak memory of a step with a whole batch. Smaller batches are tried first."""

    def peak(size: int) -> int:
        batch = _batch(learner, step, size)
        return memory.peak(learner.device, lambda: learner.step(step, batch))

    tried: list[tuple[int, int]] = []
    size = learner.config.batch_size
    try:
        for small in _smaller(learner):
            if not tried:  # the first step allocates the optimizer's state, which all later ones include
                peak(small)
            tried.append((small, peak(small)))
        if limit is not None and len(tried) == 2 and memory.largest(tried, limit) < size:
            raise OutOfMemoryError("estimated from smaller batches")
        used = peak(size)
        if limit is not None and used > limit:
            raise OutOfMemoryError("more than the limit")
    except OutOfMemoryError as error:
        raise OutOfMemoryError(_advice(learner, tried, limit)) from error
    return used


def _smaller(learner: Learner) -> list[int]:
    """Two smaller batch sizes, or none if the batch is too small."""
    unit = _unit(learner)
    sizes = sorted({learner.config.batch_size // part // unit * unit for part in PARTS})
    usable = [size for size in sizes if size >= 2 * unit]  # a batch needs two speakers, or two utterances
    return usable[:2] if len(usable) > 1 else []


def _unit(learner: Learner) -> int:
    """The number that batch sizes are multiples of."""
    return math.lcm(learner.sampler.utterances_per_speaker or 1, learner.config.accumulate)


def _batch(learner: Learner, step: int, size: int) -> Batch:
    """The batch of a step, with another size."""
    inputs, sampler = learner.inputs, copy.copy(learner.sampler)
    sampler.batch_size = size
    batch = Inputs(sampler, inputs.augmentations, inputs.front_end).batch(step)
    return batch.to(learner.device) if learner.device.type == "cuda" else batch


def _advice(learner: Learner, tried: list[tuple[int, int]], limit: int | None) -> str:
    size, unit, accumulate = learner.config.batch_size, _unit(learner), learner.config.accumulate
    what = f"train.batch_size {size} needs more memory than the {learner.device.type} has"
    if limit is not None:
        what += f" ({readable_size(limit)})"
    if len(tried) < 2 or limit is None:
        return f"{what}; use a smaller batch, a smaller network or shorter crops"
    fits = min(memory.largest(tried, int(SPARE * limit)), size - 1) // unit * unit
    if fits < 2 * unit:
        return f"{what}, and so does any other; use a smaller network, shorter crops, or head.reduction: chunked"
    advice = f"{what}; {fits} fits"
    if isinstance(learner.loss, PairLoss | SelfTaught):
        return advice
    parts = next(number for number in range(2, size + 1) if size % number == 0 and size * accumulate <= fits * number)
    return f"{advice}, or {size} with train.accumulate {parts}"


def _pace(learner: Learner, step: int) -> tuple[float, float]:
    """Seconds per step, and the share of time spent waiting for data."""
    least, most = MEASURED
    batches = Prefetcher(learner.inputs.batch, step, step + WARM_UP + most, device=learner.device)
    clock, start, number = Clock(batches), 0.0, 0
    try:
        for number, batch in enumerate(batches, start=1 - WARM_UP):
            learner.step(step, batch)
            if number == 0:
                _wait(learner.device)
                clock.rates(1)
                start = time.perf_counter()
            if number >= least and time.perf_counter() - start > SECONDS:
                break
        _wait(learner.device)
        clock.steps = number
        rates = clock.rates(1)
    finally:
        batches.close()
    return 1 / rates["utterances_per_second"], rates["waiting"]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _dev(dev: DevSet, learner: Learner) -> tuple[float, float]:
    """Estimated seconds of a measurement on the dev set, and the share of its audio that was used for the estimate."""
    share = 1.0
    if len(dev.pack) > DEV_RECORDINGS:
        number = np.unique(dev.pack.speakers, return_inverse=True)[1]
        order = np.argsort(number, kind="stable")
        # all recordings of at least two speakers, so that there are trials of both kinds
        last = number[order[max(DEV_RECORDINGS - 1, int(np.searchsorted(number[order], 1)))]]
        rows = np.flatnonzero(number <= last)
        share = float(dev.pack.seconds[rows].sum() / dev.pack.seconds.sum())
        dev = DevSet.open(dev.pack.subset(rows), None, set())
    with learner.averaged():
        return _time(lambda: dev.error_rates(learner.encoder)) / share, share


def _time(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
