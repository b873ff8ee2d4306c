"""Rules that find problems in a training run.

A rule is a function of a run that returns None or a message: what was observed and what to do. Its docstring explains
its threshold. A rule returns None if the data it needs are missing (a short log, a metric that this loss lacks). If
numbers are not finite, all rules except `diverged` return None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from spkver.errors import InputError
from spkver.files import StrPath
from spkver.packs.reader import Pack, read_index
from spkver.report.curves import Curve, read_curves
from spkver.storage import located
from spkver.training.monitoring.log import CONFIG, shown

NONE: Curve = (np.empty(0, np.int64), np.empty(0))


@dataclass(frozen=True)
class Run:
    """The curves of a run and values from its config. Unknown values are None."""

    curves: Mapping[str, Curve]
    steps: int | None = None
    """planned number of steps"""
    classes: int | None = None
    """speakers, times the speeds that count as new speakers; for pair losses, speakers per batch"""
    dev: bool | None = None
    """whether `data.dev` is set"""
    m: float | None = None
    """the margin of the loss; the log has it only if it changes"""
    head: bool = True
    """whether the loss has class weights, with scale, selector and schedules; pair losses do not"""

    def of(self, name: str) -> np.ndarray:
        """The values of a metric, (points,); empty if it was not logged."""
        return self.curves.get(name, NONE)[1]

    def steps_of(self, name: str) -> np.ndarray:
        """The steps of a metric, (points,)."""
        return self.curves.get(name, NONE)[0]

    @property
    def margin(self) -> float:
        """The last margin; 0 if there is none."""
        moved = self.of("margin")
        return float(moved[-1]) if len(moved) else self.m or 0.0

    @property
    def last_step(self) -> int:
        """The last logged step."""
        return max((int(steps[-1]) for steps, _ in self.curves.values() if len(steps)), default=0)


@dataclass(frozen=True)
class Finding:
    """A problem: the rule's name, and a message that ends with what to do."""

    rule: str
    text: str


def read_run(experiment: StrPath) -> Run:
    """Read a run from metrics.jsonl and, if present, config.yaml of its directory.

    Raises InputError as `read_curves` does, and for an invalid config.yaml.
    """
    curves = read_curves(experiment)
    config = _read_config(located(experiment) / CONFIG)
    if config is None:
        return Run(curves)
    data, train = _part(config, "data"), _part(config, "train")
    return Run(
        curves,
        steps=train.get("steps"),
        classes=_classes(config),
        dev=data.get("dev") is not None,
        m=_part(config, "loss").get("m"),
        head=_has_head(config),
    )


def findings(run: Run) -> list[Finding]:
    """The problems of a run, in the order of RULES."""
    found = ((name, rule(run)) for name, rule in RULES.items())
    return [Finding(name, text) for name, text in found if text is not None]


def summary(run: Run) -> str:
    """One line: the last step, the last values, and the best dev EER."""
    length = f"step {run.last_step}{f' of {run.steps}' if run.steps is not None else ''}"
    last = [
        shown(name, float(run.of(name)[-1])) for name in ("loss", "accuracy", "margin_accuracy") if len(run.of(name))
    ]
    rates = run.of("dev_eer")
    if len(rates):
        best = int(rates.argmin())
        last.append(f"best {shown('dev_eer', float(rates[best]))} at step {run.steps_of('dev_eer')[best]}")
    speeds = run.of("utterances_per_second")
    if len(speeds):
        last.append(shown("utterances_per_second", float(np.median(speeds))))
    return ", ".join([length, *last])


# --- the rules --------------------------------------------------------------------------------------------------------


def no_learning(run: Run) -> str | None:
    """The loss is at least 97 % of its first value, and accuracy at most 1.5 times chance (or 0.5 %).

    In a run that learns, the loss falls by a tenth of ln C within the first log lines. Accuracy is checked as well,
    because a growing margin raises the loss of a healthy run. With thousands of speakers, an accuracy below 0.5 % is no
    evidence of learning.
    """
    loss, accuracy = run.of("loss"), run.of("accuracy")
    if min(len(loss), len(accuracy)) < 8 or run.classes is None:
        return None
    now, share = _late(loss), _late(accuracy)
    if not (now >= 0.97 * loss[0] and share <= max(1.5 / run.classes, 0.005)):
        return None
    later = " and a margin that starts later (loss.schedules.m)" if run.head else ""
    return (
        f"The run does not learn: the loss was {loss[0]:.2f} at first and is {now:.2f} (chance with {run.classes} "
        f"classes is ln {run.classes} = {math.log(run.classes):.2f}), accuracy is {share:.2%}. Try a tenth and ten "
        f"times train.optimizer.lr{later}, and check the speaker labels (spkver data stats)."
    )


def too_short(run: Run) -> str | None:
    """A finished run whose training accuracy is below 25 % and was still rising.

    On real recordings, runs that were long enough ended at 30 to 97 %, runs of a few hundred steps at 6 to 13 %.
    """
    accuracy = run.of("accuracy")
    if len(accuracy) < 8 or run.steps is None or run.last_step < run.steps or no_learning(run) or diverged(run):
        return None
    now, before = _late(accuracy), _late(accuracy[: -_quarter(accuracy)])
    if now >= 0.25 or now < before:
        return None
    return (
        f"The run ended too early: training accuracy is {now:.1%}, it was {before:.1%} a quarter of the run earlier. "
        "Train for more steps (train.steps), use shorter crops for the same time (data.crop_seconds), or fine-tune "
        "a model (start.model)."
    )


def diverged(run: Run) -> str | None:
    """The loss is not finite, or with a constant margin it rose by half, or accuracy fell by half.

    Only log lines after all schedules of the loss have reached their last values are compared. Log lines are means over
    many steps; in healthy runs they vary by a few per cent.
    """
    loss, accuracy = run.of("loss"), run.of("accuracy")
    bad = np.flatnonzero(~np.isfinite(loss))
    advice = "Lower train.optimizer.lr or train.clip_norm, or warm up longer (train.lr_schedule)."
    if len(bad):
        return f"The loss is not finite from step {run.steps_of('loss')[bad[0]]} on. {advice}"
    settled = loss[_settled(run) :]
    if len(settled) >= 4 and _late(settled) > 1.5 * settled.min() + 0.1:
        step = run.steps_of("loss")[len(loss) - len(settled) + int(settled.argmin())]
        return f"It diverged: the loss was {settled.min():.2f} at step {step} and is {_late(settled):.2f}. {advice}"
    settled = accuracy[_settled(run) :]
    if len(settled) >= 4 and settled.max() > 0.1 and _late(settled) < 0.5 * settled.max():
        step = run.steps_of("accuracy")[len(accuracy) - len(settled) + int(settled.argmax())]
        return f"It diverged: accuracy was {settled.max():.1%} at step {step} and is {_late(settled):.1%}. {advice}"
    return None


def gradient_spikes(run: Run) -> str | None:
    """The gradient norm of a log line is above 5 times the median, after the first tenth of the log.

    A line is the mean over several steps, so a single step was far above that.
    """
    norms = run.of("gradient_norm")
    first = max(2, len(norms) // 10)
    later = norms[first:]
    if np.isfinite(later).sum() < 4:
        return None
    middle = float(np.nanmedian(later))
    high = np.flatnonzero(later > 5 * middle)
    if not len(high):
        return None
    worst = int(high[np.argmax(later[high])])
    return (
        f"The gradient norm has spikes: {later[worst]:.3g} around step "
        f"{run.steps_of('gradient_norm')[first + worst]}, median {middle:.3g} ({len(high)} of {len(later)} log lines "
        f"are above 5 times the median). Lower train.clip_norm to about {2 * middle:.2g}, or train.optimizer.lr."
    )


def skipped_steps(run: Run) -> str | None:
    """Any step whose loss or gradient was not finite: there is always a cause, for example a damaged recording."""
    skipped = run.of("skipped")
    if not len(skipped) or not skipped.max() > 0:
        return None
    return (
        f"{int(skipped.max())} steps were skipped because the loss or gradient was not finite, the first before step "
        f"{run.steps_of('skipped')[int(np.argmax(skipped > 0))]}. Check their utterances (named in the log), lower "
        "train.optimizer.lr, or try train.precision=fp32."
    )


def collapsed(run: Run) -> str | None:
    """Samples are about as close to another speaker's prototype as to their own, with cosines near 1.

    In a network that learns, the cosine to the nearest other speaker is about 0.2 to 0.6, never above 0.8.
    """
    own, other = run.of("target_cosine"), run.of("hardest_cosine")
    if min(len(own), len(other)) < 8 or not _late(other) >= max(0.8, _late(own) - 0.05):
        return None
    scale = ", and raise the scale (loss.head.s) if it is below 10" if run.head else ""
    return (
        f"The embeddings collapsed: the mean cosine to the own speaker is {_late(own):.2f}, to the nearest other "
        f"speaker {_late(other):.2f}. Lower train.optimizer.lr{scale}."
    )


def margin_too_large(run: Run) -> str | None:
    """Accuracy is above 10 %, but accuracy with the margin on every sample is below 0.2 % and no longer rises.

    No sample reaches the margin then, so it acts on all samples alike. Healthy runs start like this. So only the last
    quarter of a run past its half counts, if it is no better than the quarter before.
    """
    accuracy, margin_accuracy = run.of("accuracy"), run.of("margin_accuracy")
    if min(len(accuracy), len(margin_accuracy)) < 8 or not run.margin or not _late(accuracy) >= 0.1:
        return None
    if run.steps is not None and run.last_step < run.steps / 2:
        return None
    now, before = _late(margin_accuracy), _late(margin_accuracy[: -_quarter(margin_accuracy)])
    if not now < 0.002 or now > 1.2 * before:
        return None
    share = run.of("boundary_share")
    stuck = " (every sample is a boundary sample)" if len(share) and share.min() < 1 and _late(share) > 0.99 else ""
    other = ", let it grow longer (loss.schedules.m), or lower loss.head.s" if run.head else ""
    return (
        f"The margin is too large: accuracy is {_late(accuracy):.1%}, but {now:.2%} with the margin of {run.margin:g}"
        f"{stuck}, and no longer rises. Halve loss.m{other}."
    )


def boundary_empty(run: Run) -> str | None:
    """In the last third of the run, fewer than 1 sample in 200 gets the margin: BD-LMCL then acts as NSL.

    The last third, because late in training a batch may briefly have few boundary samples. Only for losses with a head:
    older logs of pair losses use this name for the share of samples with a loss above 0.
    """
    share = run.of("boundary_share")
    third = len(share) // 3
    if third < 2 or not run.margin or not run.head or share[-third:].max() >= 0.005:
        return None
    return (
        f"Almost no sample gets the margin: {share[-third:].mean():.2%} are boundary samples since step "
        f"{run.steps_of('boundary_share')[-third]}, so the loss has no margin in effect. Raise loss.m, choose a "
        "loss.selector that selects more, or stop earlier."
    )


def overfitting(run: Run) -> str | None:
    """The last two dev EERs are at least a tenth above the best one, and the training loss is not higher than then.

    A tenth, because with a few thousand trials the EER varies by half of that between two measurements.
    """
    rates, steps = run.of("dev_eer"), run.steps_of("dev_eer")
    if len(rates) < 4:
        return None
    best = int(rates.argmin())
    if best > len(rates) - 3 or rates[-2:].min() < 1.1 * rates[best] + 1e-4:
        return None
    loss, then = run.of("loss"), int(np.searchsorted(run.steps_of("loss"), steps[best]))
    if _settled(run) <= then < len(loss) and _late(loss) > loss[then]:
        return None  # the training loss rises too: see `diverged`
    return (
        f"The run overfits: the best dev EER was {rates[best]:.2%} at step {steps[best]}, it is {rates[-1]:.2%} at "
        f"step {steps[-1]}, while the training loss did not rise. Use train.final=best or train.patience, more "
        "augmentation, or a larger train.optimizer.weight_decay."
    )


def starved(run: Run) -> str | None:
    """Waiting for data took more than 5 % of the time. The first log line, in which the readers start, is ignored.

    With a fast enough loader it is a few tenths of a per cent.
    """
    waiting = run.of("waiting")[1:]
    if len(waiting) < 2 or waiting.mean() <= 0.05:
        return None
    return (
        f"Training waited for data {waiting.mean():.0%} of the time. Put the pack on a local disk or in memory "
        "(/dev/shm), pack with --coding pcm, or train from a feature pack."
    )


def slowing(run: Run) -> str | None:
    """In the last quarter, the speed is below 0.7 times that of the first half.

    On an otherwise idle machine, the speed varies by less than a tenth.
    """
    speeds = run.of("utterances_per_second")[1:]
    if len(speeds) < 8:
        return None
    before, now = float(np.median(speeds[: len(speeds) // 2])), float(np.median(speeds[-_quarter(speeds) :]))
    if now >= 0.7 * before:
        return None
    return (
        f"Training became slower: {before:.0f} utterances per second at first, {now:.0f} at the end. Check what else "
        "runs on the machine, and whether it throttles (temperature) or swaps (memory)."
    )


def rate_never_decayed(run: Run) -> str | None:
    """A finished run whose learning rate ends above half of its peak; recipes end at a thousandth."""
    rates = run.of("lr")
    if len(rates) < 4 or run.steps is None or run.last_step < run.steps or rates[-1] <= 0.5 * rates.max():
        return None
    return (
        f"The learning rate did not decay: {rates[-1]:.3g} at the end, {rates.max():.3g} at most. The last weights are "
        "noisy then; use a falling train.lr_schedule, or average checkpoints (train.final=average)."
    )


def dev_not_measured(run: Run) -> str | None:
    """No dev EER in the log: training metrics do not show how well unseen speakers are separated."""
    if len(run.of("dev_eer")) or run.dev is None:
        return None
    if run.dev:
        return "Dev EER was not measured yet: the run has fewer steps than train.dev_every."
    return "Dev EER was not measured: hold out some speakers (spkver data split) and set data.dev to their pack."


RULES: dict[str, Callable[[Run], str | None]] = {
    rule.__name__: rule
    for rule in (
        no_learning,
        too_short,
        diverged,
        gradient_spikes,
        skipped_steps,
        collapsed,
        margin_too_large,
        boundary_empty,
        overfitting,
        starved,
        slowing,
        rate_never_decayed,
        dev_not_measured,
    )
}


def _quarter(values: np.ndarray) -> int:
    return max(1, len(values) // 4)


def _late(values: np.ndarray) -> float:
    """The mean over the last quarter of the log."""
    return float(values[-_quarter(values) :].mean())


def _settled(run: Run) -> int:
    """The first log line from which on all scheduled numbers of the loss have their last values."""
    first = 0
    for name in ("margin", "penalty", "scale", "annealing"):
        values = run.of(name)
        moving = np.flatnonzero(values != values[-1]) if len(values) else values
        first = max(first, int(moving[-1]) + 1 if len(moving) else 0)
    return first


# --- what the config knows --------------------------------------------------------------------------------------------


def _read_config(path: Path) -> dict[str, Any] | None:
    # plain YAML: the schema would load torch, and the run has validated the config already
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read; give an experiment directory") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path}: not the config of a training run; give an experiment directory")
    return tree


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    return part if isinstance(part, dict) else {}


def _has_head(config: Mapping[str, Any]) -> bool:
    """The config of a run has all keys, so a loss with class weights has the key `head`."""
    return "head" in _part(config, "loss")


def _classes(config: Mapping[str, Any]) -> int | None:
    """Number of classes: speakers times speeds, or the speakers of a batch for pair losses."""
    data = _part(config, "data")
    if not _has_head(config):
        each, size = data.get("utterances_per_speaker"), _part(config, "train").get("batch_size")
        return size // each if each and size else None
    # the classes of the start model are not known without opening its weights
    if data.get("max_utterances") is not None or _part(config, "start").get("head") == "extend":
        return None
    try:
        speakers = _speakers(data.get("train"))
    except (InputError, KeyError, TypeError, ValueError):  # the pack does not exist any more
        return None
    augment = _part(config, "augment")
    return speakers * (len(augment.get("speeds") or (1.0,)) if augment.get("speeds_as") != "same" else 1)


def _speakers(train: Any) -> int:
    """Number of speakers of a pack, or of several packs, where equal names are one speaker."""
    if isinstance(train, list):
        return len({speaker for path in train for speaker in Pack.open(str(path)).speakers})
    return int(read_index(located(str(train)))["speakers"])
