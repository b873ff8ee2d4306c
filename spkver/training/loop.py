"""The training loop, on one CPU or one GPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from spkver import progress
from spkver.files import atomic_directory, atomic_file, recover
from spkver.losses.loss import check_labels
from spkver.training import checkpoint
from spkver.training.batches import Prefetcher
from spkver.training.checkpoint import Checkpoint
from spkver.training.config import TrainingConfig
from spkver.training.head import head_file
from spkver.training.learner import Learner
from spkver.training.monitor import Averages, Monitor
from spkver.training.outcome import Outcome
from spkver.training.pace import Clock, duration, fast_cpu
from spkver.training.stopping import Best
from spkver.training.validation import DevSet
from spkver.training.writers import open_writers


class Trainer:
    """A run: parts in, an experiment directory out."""

    def __init__(
        self,
        config: TrainingConfig,
        learner: Learner,
        dev: DevSet | None,
        out: Path,
        *,
        say: Callable[[str], None],
        card: str = "",
    ) -> None:
        self.config, self.learner, self.dev, self.out, self.say, self.card = config, learner, dev, out, say, card
        self.averages = Averages()
        self.best = Best(config.patience)
        self.done = 0

    def run(self, *, resume: bool) -> None:
        """Train to the last step and write `model`; with `resume`, from the last whole checkpoint if there is one.

        Raises RunError at a loss or gradient that is not finite, naming the utterances of the batch.
        """
        learner, config = self.learner, self.config
        check_labels(torch.from_numpy(learner.sampler.labels), learner.sampler.classes)
        first = self.done = self._restore() if resume else 0
        last = first if self.best.stops else config.steps
        monitor = Monitor(self.say, open_writers(self.out, first, self.say, config.wandb))
        batches = Prefetcher(learner.inputs.batch, first, last, device=learner.device)
        try:
            with (
                fast_cpu(config.threads),
                progress.bar(total=config.steps, initial=first, what="train", unit="step") as bar,
            ):
                self._steps(first, batches, monitor, bar)
        finally:
            batches.close()
            monitor.close()
        self._finish()

    def _steps(self, first: int, batches: Prefetcher, monitor: Monitor, bar: Any) -> None:
        config, clock = self.config, Clock(batches)
        before: Outcome | None = None
        self.learner.train()
        for step, batch in enumerate(batches, start=first):
            values = self.learner.step(step, batch)
            outcome = Outcome.of(step, batch, values["loss"].isfinite() & values["gradient_norm"].isfinite())
            self.averages.add(**values)
            clock.steps += 1
            bar.update()
            done = self.done = step + 1
            last = done == config.steps
            log = last or done % config.log_every == 0
            validate = self.dev is not None and (last or done % config.dev_every == 0)
            keep = last or done % config.checkpoint_every == 0
            # nothing is logged, measured or kept of a step that failed; else a step is looked at during the next
            looked_at = outcome if log or validate or keep else before
            if looked_at is not None:
                looked_at.check(self.learner.sampler)
            before = outcome
            if log:
                rates = self.learner.moving(step) | clock.rates(config.batch_size)
                left = duration((config.steps - done) * config.batch_size / rates["utterances_per_second"])
                monitor.record(done, config.steps, self.averages.read() | rates, f"{left} left" if not last else "")
            with clock.paused():
                if validate:
                    self._validate(done, monitor)
                if keep or self.best.stops:
                    self._checkpoint(done)
            if log or validate:
                bar.set_postfix_str(monitor.glance(), refresh=False)
            if self.best.stops:
                break

    def _validate(self, step: int, monitor: Monitor) -> None:
        assert self.dev is not None
        with self.learner.judged():
            rates = self.dev.error_rates(self.learner.encoder)
        better = self.best.add(step, rates)
        if better:
            self.learner.save(self.out / "model-best", self._card(f"best dev EER, step {step}"))
        monitor.record(step, self.config.steps, rates, "best so far" if better else "")

    def _checkpoint(self, step: int) -> None:
        averages = {f"averages.{name}": tensor for name, tensor in self.averages.state().items()}
        state = Checkpoint(step, self.learner.state() | averages, self.best.state())
        checkpoint.save(self._checkpoints, state, self.config.keep_checkpoints)

    def _restore(self) -> int:
        for folder in (self.out, self._checkpoints):
            recover(folder)
        found = checkpoint.latest(self._checkpoints, self.say)
        if found is None:
            return 0
        self.learner.restore(found.tensors, f"{self._checkpoints} step {found.step}")
        self.averages.restore(checkpoint.part(found.tensors, "averages."), self.learner.device)
        self.best.restore(found.numbers)
        self.say(f"resuming after step {found.step} of {self.config.steps}")
        return found.step

    def _finish(self) -> None:
        if self.best.stops:
            self.say(f"stopping after step {self.done}: {self.best.reason()}")
        final = self.config.final
        if final == "best" and self.best.rates:
            with atomic_directory(self.out / "model") as part:
                shutil.copytree(self.out / "model-best", part, dirs_exist_ok=True)
            best_head = head_file(self.out / "model-best")
            if best_head.is_file():  # not there if an older version wrote the best model
                with atomic_file(head_file(self.out / "model")) as file:
                    shutil.copyfile(best_head, file)
        else:
            what = f"step {self.done}"
            if final == "average" and self.done:
                paths = checkpoint.saved(self._checkpoints)[-self.config.average_last :]
                self.learner.adopt(checkpoint.averaged(paths), str(self._checkpoints))
                what = f"mean of the last {len(paths)} checkpoints"
            self.learner.save(self.out / "model", self._card(what))
        self.say(f"model: {self.out / 'model'}")

    def _card(self, which: str) -> str:
        rows = "".join(f"- {name}: {value:.4g}\n" for name, value in self.best.rates.items())
        return f"{self.card}\nWeights: {which}.\n" + (f"\nBest on the dev speakers:\n\n{rows}" if rows else "")

    @property
    def _checkpoints(self) -> Path:
        return self.out / "checkpoints"
