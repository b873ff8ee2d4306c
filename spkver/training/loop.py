"""The training loop, on one CPU, one GPU or many."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch

from spkver import progress
from spkver.errors import StoppedError
from spkver.files import atomic_directory, atomic_file, recover
from spkver.losses.loss import check_labels
from spkver.modeldir import CONFIG
from spkver.training.config import TrainingConfig
from spkver.training.data.batches import Prefetcher
from spkver.training.monitoring.log import CHECKPOINTS
from spkver.training.monitoring.monitor import Averages, Monitor
from spkver.training.monitoring.pace import Clock, duration, fast_cpu
from spkver.training.monitoring.stopping import EarlyStopping
from spkver.training.monitoring.validation import DevSet
from spkver.training.monitoring.writers import open_writers
from spkver.training.parallel.interrupt import Interrupt
from spkver.training.state import checkpoint
from spkver.training.state.checkpoint import Checkpoint
from spkver.training.state.head import head_file
from spkver.training.step.learner import Learner
from spkver.training.step.outcome import SkippedSteps


class Trainer:
    """Trains a model and writes the experiment directory."""

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
        self.world = learner.world
        self.averages = Averages()
        self.skips = SkippedSteps(config.max_skipped, learner.sampler, self.world, say)
        self.stopping = EarlyStopping(config.patience)
        self.done = 0

    def run(self, interrupt: Interrupt, *, resume: bool) -> None:
        """Train to the last step and write `model`. resume: continue from the last intact checkpoint, if any.

        Raises RunError, naming the utterances of the batch, if too many steps have a non-finite loss or gradient;
        StoppedError, after writing a checkpoint, if the run was stopped by a signal.
        """
        learner, config = self.learner, self.config
        check_labels(torch.from_numpy(learner.sampler.labels), len(learner.sampler.classes))
        first = self.done = self._restore() if resume else 0
        last = first if self.stopping.stops else config.steps
        writers = open_writers(self.out, first, self.say, config.wandb) if self.world.main else []
        monitor = Monitor(self.say, writers)
        positives = learner.sampler.positives
        every = None if positives is None else positives.every
        batches = Prefetcher(learner.inputs.batch, first, last, device=learner.device, every=every)
        try:
            with (
                fast_cpu(config.threads),
                progress.bar(total=config.steps, initial=first, what="train", unit="step") as bar,
            ):
                for done in self._steps(first, batches, monitor, bar):
                    if interrupt.asked() and done < config.steps and not self.stopping.stops:
                        self._leave(interrupt)
            interrupt.settle()
        finally:
            batches.close()
            learner.close()
            monitor.close()
        self._finish()

    def _steps(self, first: int, batches: Prefetcher, monitor: Monitor, bar: Any) -> Iterator[int]:
        config, learner, clock = self.config, self.learner, Clock(batches)
        learner.train()
        for step, batch in enumerate(batches, start=first):
            outcome = learner.step(step, batch)
            self.averages.add(outcome.finite, outcome.values)
            self.skips.add(outcome)
            clock.steps += 1
            bar.update()
            done = self.done = step + 1
            last = done == config.steps
            log = last or done % config.log_every == 0
            validate = self.dev is not None and (last or done % config.dev_every == 0)
            keep = last or done % config.checkpoint_every == 0
            renew = learner.renews(done)
            # on a GPU the outcome of a step is checked during the next one, unless it is needed now
            self.skips.look(all_=log or validate or keep or renew or learner.device.type == "cpu")
            if log:
                rates = learner.moving(step) | self.skips.counted() | clock.rates(config.batch_size)
                left = duration(clock.left(config.steps - done))
                monitor.record(done, config.steps, self.averages.read() | rates, f"{left} left" if not last else "")
            with clock.paused():
                if renew:
                    learner.renew()
                if validate:
                    self._validate(done, monitor)
                if keep or self.stopping.stops:
                    self._checkpoint(done)
            if log or validate:
                bar.set_postfix_str(monitor.glance(), refresh=False)
            yield done
            if self.stopping.stops:
                break

    def _leave(self, interrupt: Interrupt) -> NoReturn:
        self._checkpoint(self.done)
        raise StoppedError(
            f"stopped by {interrupt.signal or 'a signal'} after step {self.done} of {self.config.steps}; a checkpoint "
            "was written: continue with --resume"
        )

    def _validate(self, step: int, monitor: Monitor) -> None:
        assert self.dev is not None
        self.learner.same_buffers()
        with self.learner.averaged():
            rates = self.dev.error_rates(self.learner.encoder, self.world)
        better = self.stopping.add(step, rates)
        if better:
            self.learner.save(self.out / "model-best", self._card(f"best dev EER, step {step}"))
        monitor.record(step, self.config.steps, rates, "best so far" if better else "")

    def _checkpoint(self, step: int) -> None:
        self.skips.look(all_=True)
        averages = {f"averages.{name}": tensor for name, tensor in self.averages.state().items()}
        numbers = self.stopping.state() | {"skipped": self.skips.count}
        state = Checkpoint(step, self.learner.state() | averages, numbers, frozenset(self.learner.own_names()))
        checkpoint.save(self._checkpoints, state, self.config.keep_checkpoints, self.world)

    def _restore(self) -> int:
        if self.world.main:
            for folder in (self.out, self._checkpoints):
                recover(folder)
        found = checkpoint.latest(self._checkpoints, self.say, self.world)
        if found is None:
            return 0
        with self.world.together():
            self.learner.restore(found.tensors, f"{self._checkpoints} step {found.step}")
        self.averages.restore(checkpoint.part(found.tensors, "averages."), self.learner.device)
        self.stopping.restore(found.numbers)
        self.skips.count = found.numbers.get("skipped", 0)
        self.say(f"resuming after step {found.step} of {self.config.steps}")
        return found.step

    def _finish(self) -> None:
        if self.stopping.stops:
            self.say(f"stopped early after step {self.done}: {self.stopping.reason()}")
        final = self.config.final
        if final == "best" and self.stopping.rates:
            if self.world.main:
                self._best_as_model()
        else:
            what = f"step {self.done}"
            if final == "average" and self.done:
                paths = self.world.broadcast(checkpoint.saved(self._checkpoints)[-self.config.average_last :])
                with self.world.together():
                    self.learner.adopt(checkpoint.averaged(paths, self.world), str(self._checkpoints))
                what = f"mean of the last {len(paths)} checkpoints"
            self.learner.save(self.out / "model", self._card(what))
        self.say(f"model: {self.out / 'model'}")

    def _best_as_model(self) -> None:
        with atomic_directory(self.out / "model", holds=CONFIG) as part:
            shutil.copytree(self.out / "model-best", part, dirs_exist_ok=True)
        best_head = head_file(self.out / "model-best")
        if best_head.is_file():  # missing if an older version wrote the best model
            with atomic_file(head_file(self.out / "model")) as file:
                shutil.copyfile(best_head, file)

    def _card(self, which: str) -> str:
        rows = "".join(f"- {name}: {value:.4g}\n" for name, value in self.stopping.rates.items())
        return f"{self.card}\nWeights: {which}.\n" + (f"\nBest on the dev speakers:\n\n{rows}" if rows else "")

    @property
    def _checkpoints(self) -> Path:
        return self.out / CHECKPOINTS
