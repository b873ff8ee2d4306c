"""One training step: from a batch of crops to new weights."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from spkver.encoder import Encoder, load_weights
from spkver.errors import InputError
from spkver.losses.gathering import over_processes
from spkver.losses.heads import Head
from spkver.losses.loss import Loss, LossOutput, SelfTaught
from spkver.losses.reductions.split import join
from spkver.models.base import Network
from spkver.schedules import SCHEDULES, Run
from spkver.training.config import TrainingConfig
from spkver.training.data.batches import Batch, Sampler
from spkver.training.data.classes import Class
from spkver.training.data.inputs import Augmentations, Inputs
from spkver.training.monitoring.validation import evaluating
from spkver.training.optim import OPTIMIZERS
from spkver.training.parallel.batch_norm import synchronise
from spkver.training.parallel.distributed import ALONE, World
from spkver.training.state import checkpoint
from spkver.training.state.head import SavedHead, head_file
from spkver.training.step.compiling import forward_of
from spkver.training.step.distil import Distillation, Targets, Teacher, Teaching
from spkver.training.step.ema import EMA
from spkver.training.step.momentum import Momentum
from spkver.training.step.outcome import Guard, Outcome
from spkver.training.step.parameters import freeze, lr_factors


class _Part(NamedTuple):
    """A part of a batch whose gradient is computed at once."""

    views: tuple[Tensor, ...]
    """features (crops, frames, bins) of the crops of each length"""
    labels: Tensor
    """of all crops"""
    of_teacher: Tensor
    """what the targets are made from; the first features without a teacher"""
    rows: Tensor
    """rows of the pack, of the crops with targets"""


class Objective(nn.Module):
    """The network and its loss as one module. Its parameter names are those of the checkpoint."""

    def __init__(
        self,
        network: Network,
        loss: Loss,
        distil: Distillation | None,
        forward: Callable[[Tensor], Tensor],
        *,
        bf16: bool,
    ) -> None:
        super().__init__()
        self.network: Network = network
        self.loss, self.distil = loss, distil
        # a function, so that a compiled module is not registered as a second submodule
        self._forward, self._bf16 = functools.partial(forward), bf16

    def forward(
        self, features: Sequence[Tensor], labels: Tensor, progress: float, targets: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The loss of features with labels, see Loss.forward, the values to log, and the embeddings without gradient.

        features: (crops, frames, bins), and others with other numbers of frames; labels: those of all, (N,)
        targets: those of the teacher for the first features, if there is one
        """
        with torch.autocast(labels.device.type, torch.bfloat16, enabled=self._bf16):
            embeddings = torch.cat([self._forward(one) for one in features])
        values: dict[str, Tensor] = {}
        output: LossOutput
        if isinstance(self.loss, SelfTaught) and targets is not None:
            values = self.loss.describe(targets, progress)
            output = self.loss(embeddings, labels, progress, targets)
        else:
            output = self.loss(embeddings, labels, progress)
        if self.distil is not None and targets is not None:
            distance, values["distil_cosine"] = self.distil(embeddings, targets)
            output = output._replace(loss=output.loss + distance)
        if (penalty := self.network.penalty(progress)) is not None:
            output, values["penalty"] = output._replace(loss=output.loss + penalty), penalty.detach()
        return output.loss, output.logged() | values, embeddings.detach()


class Learner:
    """Network, loss and optimizer. All randomness of a step depends on the seed and the step only.

    With several processes, each computes its part of the batch, and all make the same step: gradients and logged values
    are those of the global batch. The classes of a split head are divided over the processes, and each process updates
    its own classes.
    """

    def __init__(
        self,
        config: TrainingConfig,
        encoder: Encoder,
        loss: Loss,
        sampler: Sampler,
        augmentations: Augmentations,
        *,
        classes: Sequence[Class],
        say: Callable[[str], None],
        world: World = ALONE,
        teacher: Teacher | Targets | None = None,
    ) -> None:
        self.config, self.sampler, self.world = config, sampler, world
        self.device = world.device(config.device)
        if config.batch_size % (world.size * config.accumulate):
            raise InputError(
                f"train.batch_size {config.batch_size} is not a multiple of {world.size} processes times "
                f"train.accumulate {config.accumulate}; change one of them"
            )
        self.classes = classes
        # 2-D convolutions are fastest in channels-last, on CPU and GPU
        self.encoder: Encoder = encoder.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss.to(self.device)
        if world.size > 1 and config.batch_norm == "sync":
            self.encoder.network = synchronise(self.encoder.network, self.device)
            synchronise(self.loss, self.device)
        self.inputs = Inputs(sampler, augmentations, self.encoder.front_end)
        if sampler.positives is not None:
            sampler.positives.to(self.device)
        forward = forward_of(self.encoder.network, config, self.device, say)
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and computes_in_bf16(self.device))
        distil = None
        if teacher is not None:
            teacher.prepare(self.inputs, self.device, bf16=self.bf16)
            distil = Distillation(teacher.config, encoder.dim, teacher.dim).to(self.device)
        self.modules = Objective(self.encoder.network, self.loss, distil, forward, bf16=self.bf16)
        self._frozen = freeze(self.modules, config.freeze)
        self.parameters = dict(self.modules.named_parameters())
        factors = lr_factors(self.parameters, config.lr_factors)
        scaled = [(parameter, factors[name]) for name, parameter in self.parameters.items()]
        self.optimizer: torch.optim.Optimizer = OPTIMIZERS.build(config.optimizer, scaled)
        run = Run(config.steps, sampler.steps_per_epoch)
        self.ema = None if config.ema is None else EMA(config.ema, self.modules, run)
        self.teacher: Teaching | None = teacher
        if isinstance(loss, SelfTaught) and self.ema is not None:
            self.teacher = Momentum(self.encoder.network, loss, self.ema)
        self.peak_lr = config.optimizer.lr
        self.lr_schedule = SCHEDULES.build(config.lr_schedule, run)
        self.own = _of_split_heads(self.modules)
        self.guard = Guard(self.optimizer, self.modules)
        alone = world.size == 1 or config.batch_norm == "local"
        if alone and config.batch_size == world.size * config.accumulate:
            self._refuse_one_at_a_time()
        self._parallel = self._over_processes()
        if not world.main:  # for dither and dropout; the first process draws the same numbers as a single process
            torch.manual_seed(int(np.random.SeedSequence([sampler.seed, world.rank]).generate_state(1)[0]))

    def _refuse_one_at_a_time(self) -> None:
        """Raise InputError if a batch norm in training gets a single value per channel, which has no variance."""
        features = self.inputs.features(self.inputs.batch(0).each(lambda tensor: tensor.to(self.device)))[:1]
        self.train()
        norms = {norm: name for name, norm in self.encoder.network.named_modules() if isinstance(norm, _BatchNorm)}
        lone: list[str] = []

        def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if inputs[0].numel() == inputs[0].shape[1]:
                lone.append(norms[norm])  # type: ignore[index]

        hooks = [norm.register_forward_pre_hook(look) for norm in norms if norm.training]
        with torch.no_grad(), evaluating(self.encoder.network):
            self.encoder.network(features)
        for hook in hooks:
            hook.remove()
        if lone:
            config, size = self.config, self.world.size
            raise InputError(
                f"train.batch_size {config.batch_size} with {size} processes and train.accumulate {config.accumulate} "
                f"is one utterance at a time, which is too few for the batch norm network.{lone[0]}; "
                f"set train.batch_size to {2 * config.batch_size} or more"
            )

    def train(self) -> None:
        """Set training mode, except for frozen modules."""
        self.encoder.train()
        self.loss.train()
        for module in self._frozen:
            module.eval()

    def step(self, step: int, batch: Batch) -> Outcome:
        """Make a step on this process's part of a batch. Does not wait for the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr(step) * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        self.guard.before()
        progress, parts = step / self.config.steps, self._parts(batch)
        gradients = [self._gradient(part, progress, synchronise=part is parts[-1]) for part in parts]
        each = [values for values, _ in gradients]
        values, norm = self._over_world({name: torch.stack([one[name] for one in each]).mean(0) for name in each[0]})
        finite = values["loss"].isfinite() & norm.isfinite()
        nn.utils.clip_grads_with_norm_(self.parameters.values(), self.config.clip_norm or float("inf"), norm)
        self.guard.update(finite)
        if self.ema is not None:
            self.ema.update(step)
        self._remember(batch, [embeddings for _, embeddings in gradients])
        return Outcome.of(step, values | {"gradient_norm": norm}, finite)

    def _parts(self, batch: Batch) -> list[_Part]:
        if self.teacher is None:
            features = of_teacher = self.inputs.features(batch)
        else:
            features, of_teacher = self.teacher.inputs(self.inputs, batch)
        views, labels, number = [features], [batch.labels], self.config.accumulate
        if batch.local is not None:
            views.append(self.inputs.features(batch.local))
            labels.append(batch.local.labels)
        of_parts = [zip(*(one.chunk(number) for one in many)) for many in (views, labels)]
        parts = zip(*of_parts, of_teacher.chunk(number), torch.from_numpy(batch.rows).chunk(number))
        return [_Part(some, torch.cat(y), given, rows) for some, y, given, rows in parts]

    def _gradient(self, part: _Part, progress: float, *, synchronise: bool) -> tuple[dict[str, Tensor], Tensor]:
        """Add the gradient of a part of the batch; return the values to log, and the embeddings of the whole crops.

        synchronise: average the gradients over the processes
        """
        targets = None if self.teacher is None else self.teacher(part.of_teacher, part.rows, bf16=self.bf16)
        alone = contextlib.nullcontext() if synchronise or self._parallel is None else self._parallel.no_sync()
        with alone:
            loss, values, embeddings = (self._parallel or self.modules)(part.views, part.labels, progress, targets)
            (loss / self.config.accumulate).backward()
        return values, embeddings[: len(part.views[0])]

    def _remember(self, batch: Batch, embeddings: list[Tensor]) -> None:
        """Give the embeddings of the first crop of each speaker to the memory of positives, if there is one."""
        sampler = self.sampler
        if sampler.positives is not None:
            each = sampler.utterances_per_speaker
            speakers = torch.from_numpy(sampler.labels[batch.rows[::each]]).to(batch.labels.device)
            recordings = over_processes(speakers)
            sampler.positives.add(recordings, over_processes(torch.cat(embeddings)[::each]))

    def renews(self, done: int) -> bool:
        """Whether `renew` is to be called after that number of steps, before the next batch is made."""
        return self.sampler.positives is not None and self.sampler.positives.due(done)

    def renew(self) -> None:
        """Search for the positives of the next batches. All processes must call it."""
        positives = self.sampler.positives
        assert positives is not None
        positives.nearest = self.world.broadcast(positives.search() if self.world.main else positives.nearest)

    def _over_world(self, values: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """The means of the values over the processes, and the norm of the whole gradient."""
        own = [parameter.grad for name, parameter in self.parameters.items() if name in self.own]
        common = [parameter.grad for name, parameter in self.parameters.items() if name not in self.own]
        if self.world.size == 1:
            return values, _norm([*common, *own], self.device)
        square = _norm(own, self.device).double().square()
        sums = self.world.sum(torch.stack([*(value.double() for value in values.values()), square]))
        norm = (_norm(common, self.device).double().square() + sums[-1]).sqrt().float()
        return dict(zip(values, (sums[:-1] / self.world.size).float())), norm

    def _over_processes(self) -> DistributedDataParallel | None:
        """The objective with gradients averaged over the processes, except those of split heads."""
        learnt = [name for name, one in self.parameters.items() if one.requires_grad and name not in self.own]
        if self.world.size == 1 or not learnt:
            return None
        # buffers are equal on all processes, or with local batch norms do not affect a step: see same_buffers
        buffers = [name for name, _ in self.modules.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self.modules, [*self.own, *buffers])
        device_ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(self.modules, device_ids=device_ids, gradient_as_bucket_view=True)

    def lr(self, step: int) -> float:
        """The learning rate of a step (from 0)."""
        # the first of n steps is at progress 1/n, so that it is not lost in a warm-up from 0
        return self.peak_lr * self.lr_schedule.at((step + 1) / self.config.steps)

    def moving(self, step: int) -> dict[str, float]:
        """The scheduled values in a step, by their names in the log."""
        positives = {} if self.sampler.positives is None else {"positives": self.sampler.positives.share}
        return {"lr": self.lr(step)} | self.loss.moving(step / self.config.steps) | positives

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step of this process depends on, by name; not copied."""
        tensors = {f"state.{name}": tensor for name, tensor in self.modules.state_dict().items()}
        optimizer = checkpoint.optimizer_state(self.optimizer, self.parameters)
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer.items()}
        if self.ema is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.state().items()}
        if self.sampler.positives is not None:
            tensors |= {f"positives.{name}": tensor for name, tensor in self.sampler.positives.state().items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return tensors

    def own_names(self) -> list[str]:
        """The names in `state` of tensors that differ between processes."""
        names = [f"{kind}.{name}" for name in self.own for kind in ("state", "optimizer", "ema")]
        return [key for key in self.state() if key.startswith("random.") or key.partition("|")[0] in names]

    def averaged(self) -> AbstractContextManager[None]:
        """Within the context, the weights are those for dev EER and the saved model: the average, if there is one."""
        return contextlib.nullcontext() if self.ema is None else self.ema.applied()

    def adopt(self, weights: dict[str, Tensor], source: str) -> None:
        """Replace the weights by the final ones, for `save`. source: their origin, for messages."""
        load_weights(self.modules, weights, source)
        self.ema = None

    def save(self, model: Path, card: str) -> None:
        """Write the encoder as a model directory, and the head beside it. All processes must call it."""
        with self.averaged():
            head = self._whole_loss()
            if self.world.main:
                SavedHead(head_file(model), self.classes, head).write()
                self.encoder.save(model, card)

    def _whole_loss(self) -> dict[str, Tensor]:
        """The state of the loss; on the main process with the classes of all processes."""
        state = self.loss.state_dict()
        held = {name: state[name].cpu() for name in (own.removeprefix("loss.") for own in self.own)}
        if not held:
            return state
        parts = [
            {name.removeprefix("head."): tensor for name, tensor in one.items()} for one in self.world.gather(held)
        ]
        rest = {name: tensor for name, tensor in state.items() if name not in held}
        return rest | {f"head.{name}": tensor for name, tensor in join(parts).items()}

    def restore(self, tensors: dict[str, Tensor], source: str) -> None:
        """Restore a `state`. source: its origin, for messages. Raises InputError if it does not match."""
        load_weights(self.modules, checkpoint.part(tensors, "state."), source)
        checkpoint.load_optimizer_state(self.optimizer, self.parameters, checkpoint.part(tensors, "optimizer."))
        if self.ema is not None:
            self.ema.restore(checkpoint.part(tensors, "ema."))
        if self.sampler.positives is not None:
            self.sampler.positives.restore(checkpoint.part(tensors, "positives."))
        if "random.cpu" in tensors:  # missing if the run had fewer processes before
            torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)

    def same_buffers(self) -> None:
        """Copy the running statistics of the first process to all, if batch norms are local."""
        if self.world.size > 1 and self.config.batch_norm == "local":
            for buffer in self.encoder.network.buffers():
                distributed.broadcast(buffer, src=0)

    def close(self) -> None:
        """Release the gradient reducer after the last step.

        It must be deleted before the process group: as the last owner of the group it would wait for a thread of gloo
        that waits for the GIL.
        """
        if self._parallel is not None:
            del self._parallel.reducer, self._parallel.logger
            self._parallel = None


def _of_split_heads(module: nn.Module) -> list[str]:
    """The names of the parameters and buffers of heads whose classes are divided over the processes."""
    return [
        f"{prefix}.{name}"
        for prefix, head in module.named_modules()
        if isinstance(head, Head) and head.split
        for name in [*dict(head.named_parameters(recurse=False)), *dict(head.named_buffers(recurse=False))]
    ]


def _norm(gradients: list[Tensor | None], device: torch.device) -> Tensor:
    there = [one for one in gradients if one is not None]
    return nn.utils.get_total_norm(there) if there else torch.zeros((), device=device)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device supports bfloat16 natively (otherwise it is slower than float32)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None) or getattr(torch.cpu, "_is_avx512_bf16", None)
    return bool(device.type == "cpu" and supported is not None and supported())
