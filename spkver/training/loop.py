"""The training loop, on one CPU or one GPU."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spkver import progress
from spkver.encoder import Encoder, load_weights, pick_device
from spkver.errors import RunError
from spkver.features.fbank import normalise
from spkver.files import atomic_directory, recover
from spkver.losses import SCHEDULES
from spkver.losses.loss import Loss, check_labels
from spkver.losses.schedules import Run
from spkver.training import checkpoint
from spkver.training.batches import Batch, Prefetcher, Sampler, to_waveform
from spkver.training.checkpoint import Checkpoint
from spkver.training.config import TrainingConfig
from spkver.training.monitor import Averages, Monitor
from spkver.training.optim import OPTIMIZERS
from spkver.training.validation import DevSet

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


@dataclasses.dataclass(frozen=True)
class Augmentations:
    """What is done to a batch on the device, in order."""

    waveform: Sequence[Augmentation] = ()
    features: Sequence[Augmentation] = ()


class Trainer:
    """A run: parts in, an experiment directory out. Everything random is a function of the seed and the step."""

    def __init__(
        self,
        config: TrainingConfig,
        encoder: Encoder,
        loss: Loss,
        sampler: Sampler,
        augmentations: Augmentations,
        dev: DevSet | None,
        out: Path,
        *,
        seed: int,
        say: Callable[[str], None],
        card: str = "",
    ) -> None:
        self.config, self.out, self.seed, self.say, self.card = config, out, seed, say, card
        self.device = pick_device(config.device)
        self.sampler, self.augmentations, self.dev = sampler, augmentations, dev
        # channels-last is the layout in which convolutions over the plane run fastest, on CPU and GPU
        self.encoder: Encoder = encoder.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss.to(self.device)
        self.modules = nn.ModuleDict({"network": self.encoder.network, "loss": self.loss})
        self.parameters = dict(self.modules.named_parameters())
        self.optimizer: torch.optim.Optimizer = OPTIMIZERS.build(config.optimizer, self.parameters.values())
        self.peak_lr = float(config.optimizer.lr)
        self.lr_schedule = SCHEDULES.build(config.lr_schedule, Run(config.steps, sampler.steps_per_epoch))
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and computes_in_bf16(self.device))
        self.averages = Averages()
        self.best: dict[str, float] = {}

    # --- the run ------------------------------------------------------------------------------------------------------

    def run(self, *, resume: bool) -> None:
        """Train to the last step and write `model`; with `resume`, from the last whole checkpoint if there is one.

        Raises RunError at a loss or gradient that is not finite, naming the utterances of the batch.
        """
        check_labels(torch.from_numpy(self.sampler.labels), self.sampler.classes)
        first = self._restore() if resume else 0
        monitor = Monitor(self.out, first, self.say)
        batches = Prefetcher(self.sampler, first, self.config.steps, pin=self.device.type == "cuda")
        try:
            with (
                _fast_cpu(self.config.threads),
                progress.bar(total=self.config.steps, initial=first, what="train", unit="step") as bar,
            ):
                self._steps(first, batches, monitor, bar)
        finally:
            batches.close()
            monitor.close()
        self._finish()

    def _steps(self, first: int, batches: Prefetcher, monitor: Monitor, bar: Any) -> None:
        config, clock = self.config, _Clock(batches)
        before: _Outcome | None = None
        self.encoder.train()
        for step, batch in enumerate(batches, start=first):
            values = self._step(step, batch)
            outcome = _Outcome.of(step, batch, values["loss"].isfinite() & values["gradient_norm"].isfinite())
            self.averages.add(**values)
            clock.steps += 1
            bar.update()
            done = step + 1
            last = done == config.steps
            log = last or done % config.log_every == 0
            validate = self.dev is not None and (last or done % config.dev_every == 0)
            keep = last or done % config.checkpoint_every == 0
            # nothing is logged, measured or kept of a step that failed; else a step is looked at during the next
            looked_at = outcome if log or validate or keep else before
            if looked_at is not None:
                looked_at.check(self.sampler)
            before = outcome
            if log:
                rates = {"lr": self._lr(step)} | self.loss.moving(step / config.steps) | clock.rates(config.batch_size)
                left = _duration((config.steps - done) * config.batch_size / rates["utterances_per_second"])
                monitor.record(done, config.steps, self.averages.read() | rates, f"{left} left" if not last else "")
            with clock.paused():
                if validate:
                    self._validate(done, monitor)
                if keep:
                    self._checkpoint(done)

    def _step(self, step: int, batch: Batch) -> dict[str, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(step)
        features = self._features(step, batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            embeddings = self.encoder.network(features)
        labels = batch.labels.to(self.device, non_blocking=True)
        output = self.loss(embeddings, labels, step / self.config.steps)
        self.optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        limit = self.config.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), limit)
        self.optimizer.step()
        return {
            "loss": output.loss.detach(),
            "accuracy": output.accuracy,
            "margin_accuracy": output.margin_accuracy,
            "boundary_share": output.selected_share,
            "gradient_norm": norm.detach(),
        }

    @torch.no_grad()
    def _features(self, step: int, batch: Batch) -> Tensor:
        """The batch as the network gets it, augmented: (batch, frames, bins)."""
        generator = torch.Generator(self.device).manual_seed(_mix(self.seed, step))
        front_end = self.encoder.front_end
        if self.sampler.pack.kind == "audio":
            waveform = to_waveform(batch, self.sampler.crop, self.device)
            for change in self.augmentations.waveform:
                waveform = change(waveform, generator)
            features = front_end(waveform)
        else:
            ((_, payload),) = batch.groups
            # the pack's mean is over the utterance, the network is to see the crop's
            features = normalise(payload.to(self.device).float(), front_end.config.normalise)
        for change in self.augmentations.features:
            features = change(features, generator)
        return features

    def _lr(self, step: int) -> float:
        # the first of n steps is at 1/n of the run, so that a warm-up from 0 does not waste it
        return self.peak_lr * self.lr_schedule.at((step + 1) / self.config.steps)

    # --- what is kept -------------------------------------------------------------------------------------------------

    def _validate(self, step: int, monitor: Monitor) -> None:
        assert self.dev is not None
        rates = self.dev.error_rates(self.encoder)
        better = not self.best or rates["dev_eer"] < self.best["dev_eer"]
        if better:
            self.best = {"step": step, **rates}
            self.encoder.save(self.out / "model-best", self._card(f"best dev EER, step {step}"))
        monitor.record(step, self.config.steps, rates, "best so far" if better else "")

    def _checkpoint(self, step: int) -> None:
        tensors = {f"state.{name}": tensor for name, tensor in self.modules.state_dict().items()}
        optimizer = checkpoint.optimizer_state(self.optimizer, self.parameters)
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer.items()}
        tensors |= {f"averages.{name}": tensor for name, tensor in self.averages.state().items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        numbers = {"best": self.best}
        checkpoint.save(self._checkpoints, Checkpoint(step, tensors, numbers), self.config.keep_checkpoints)

    def _restore(self) -> int:
        for folder in (self.out, self._checkpoints):
            recover(folder)
        found = checkpoint.latest(self._checkpoints, self.say)
        if found is None:
            return 0
        load_weights(self.modules, checkpoint.part(found.tensors, "state."), f"{self._checkpoints} step {found.step}")
        state = checkpoint.part(found.tensors, "optimizer.")
        checkpoint.load_optimizer_state(self.optimizer, self.parameters, state)
        torch.set_rng_state(found.tensors["random.cpu"])
        if "random.cuda" in found.tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(found.tensors["random.cuda"], self.device)
        self.averages.restore(checkpoint.part(found.tensors, "averages."), self.device)
        self.best = found.numbers["best"]
        self.say(f"resuming after step {found.step} of {self.config.steps}")
        return found.step

    def _finish(self) -> None:
        final, steps = self.config.final, self.config.steps
        if final == "best" and self.best:
            with atomic_directory(self.out / "model") as part:
                shutil.copytree(self.out / "model-best", part, dirs_exist_ok=True)
        else:
            what = f"step {steps}"
            if final == "average" and steps:
                paths = checkpoint.saved(self._checkpoints)[-self.config.average_last :]
                weights = checkpoint.average(paths, "state.network.")
                load_weights(self.encoder.network, weights, str(self._checkpoints))
                what = f"mean of the last {len(paths)} checkpoints"
            self.encoder.save(self.out / "model", self._card(what))
        self.say(f"model: {self.out / 'model'}")

    def _card(self, which: str) -> str:
        rows = "".join(f"- {name}: {value:.4g}\n" for name, value in self.best.items())
        return f"{self.card}\nWeights: {which}.\n" + (f"\nBest on the dev speakers:\n\n{rows}" if rows else "")

    @property
    def _checkpoints(self) -> Path:
        return self.out / "checkpoints"


@contextlib.contextmanager
def _fast_cpu(threads: int | None) -> Iterator[None]:
    """That many threads, and no denormal numbers: they slow a CPU down many times and stand for nothing here."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


class _Clock:
    """Utterances per second and the share of time spent waiting for data, without what happens in `paused`."""

    def __init__(self, batches: Prefetcher) -> None:
        self._batches = batches
        self.steps = 0
        self._restart()

    def _restart(self) -> None:
        self.steps, self._waited, self._start = 0, self._batches.waited, time.perf_counter()

    def rates(self, batch_size: int) -> dict[str, float]:
        seconds = max(time.perf_counter() - self._start, 1e-9)
        rates = {
            "utterances_per_second": self.steps * batch_size / seconds,
            "waiting": (self._batches.waited - self._waited) / seconds,
        }
        self._restart()
        return rates

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._start += time.perf_counter() - start


@dataclasses.dataclass(frozen=True)
class _Outcome:
    """Whether a step stayed finite. Asking waits for that step, not for those that the device was given after it."""

    step: int
    batch: Batch
    finite: Tensor
    copied: torch.cuda.Event | None

    @classmethod
    def of(cls, step: int, batch: Batch, finite: Tensor) -> _Outcome:
        copied = None
        if finite.is_cuda:
            finite = finite.to("cpu", non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        return cls(step, batch, finite, copied)

    def check(self, sampler: Sampler) -> None:
        if self.copied is not None:
            self.copied.synchronize()
        if not self.finite:
            ids = " ".join(sampler.pack.ids[row] for row in self.batch.rows)
            raise RunError(
                f"the loss or its gradient is not finite at step {self.step + 1}; lower the learning rate, or look at "
                f"the utterances of its batch: {ids}"
            )


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively (elsewhere it is slower than float32)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None) or getattr(torch.cpu, "_is_avx512_bf16", None)
    return bool(device.type == "cpu" and supported is not None and supported())


def _mix(seed: int, step: int) -> int:
    """One 63-bit seed of two numbers."""
    low, high = np.random.SeedSequence([seed, step]).generate_state(2, np.uint32).tolist()
    return (high << 32 | low) & (2**63 - 1)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
