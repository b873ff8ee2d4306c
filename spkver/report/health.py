"""What looks wrong in a training run, in words.

Every rule is a function of a run that returns a sentence or None: what was seen, and what to do. Its docstring says why
its threshold is where it is. A rule that lacks what it needs (a short log, a metric that this loss has not) is silent,
and so are all but `diverged` where numbers are not finite.
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
from spkver.training.log import CONFIG, shown

NONE: Curve = (np.empty(0, np.int64), np.empty(0))


@dataclass(frozen=True)
class Run:
    """The curves of a run, and what its config says of it. What is not known is None."""

    curves: Mapping[str, Curve]
    steps: int | None = None
    """planned"""
    classes: int | None = None
    """speakers, times the speeds that make speakers of their own; of a batch for losses that compare within it"""
    dev: bool | None = None
    """whether held-out speakers were named"""
    m: float | None = None
    """the margin of the loss, which the log has only where it moves"""
    head: bool = True
    """whether the loss has class weights, and with them a scale, a selector and schedules; pair losses have none"""

    def of(self, name: str) -> np.ndarray:
        """The values of a metric, (points,); empty if it was not logged."""
        return self.curves.get(name, NONE)[1]

    def steps_of(self, name: str) -> np.ndarray:
        """The steps of a metric, (points,)."""
        return self.curves.get(name, NONE)[0]

    @property
    def margin(self) -> float:
        """The last margin; 0 where there is none."""
        moved = self.of("margin")
        return float(moved[-1]) if len(moved) else self.m or 0.0

    @property
    def last_step(self) -> int:
        """The last step that was logged."""
        return max((int(steps[-1]) for steps, _ in self.curves.values() if len(steps)), default=0)


@dataclass(frozen=True)
class Finding:
    """What looks wrong: the rule's name, and a sentence that ends with what to do."""

    rule: str
    text: str


def read_run(experiment: StrPath) -> Run:
    """The run in a directory, from its metrics.jsonl and, where it is there, its config.yaml.

    Raises InputError as `read_curves` does, and for a config.yaml that is not one.
    """
    curves = read_curves(experiment)
    config = _read_config(Path(experiment) / CONFIG)
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
    """What looks wrong in a run, in the order of RULES."""
    found = ((name, rule(run)) for name, rule in RULES.items())
    return [Finding(name, text) for name, text in found if text is not None]


def summary(run: Run) -> str:
    """One line: how far the run got, what it measured last, and its best dev EER."""
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
    """The loss is within 3 % of where it began, or above, and accuracy within half of what guessing gives.

    A network that learns at all loses a tenth of ln C within the first log lines. Accuracy is asked too, since a margin
    that grows lifts the loss of a healthy run; below 0.5 % it says nothing about thousands of speakers.
    """
    loss, accuracy = run.of("loss"), run.of("accuracy")
    if min(len(loss), len(accuracy)) < 8 or run.classes is None:
        return None
    now, share = _late(loss), _late(accuracy)
    if not (now >= 0.97 * loss[0] and share <= max(1.5 / run.classes, 0.005)):
        return None
    later = " and a margin that comes later (loss.schedules.m)" if run.head else ""
    return (
        f"It has not learnt: the loss was {loss[0]:.2f} at first and is {now:.2f} (guessing among {run.classes} "
        f"classes costs ln {run.classes} = {math.log(run.classes):.2f}), accuracy is {share:.2%}. Try a tenth and ten "
        f"times of train.optimizer.lr{later}, and see whether the utterances have their own speakers "
        "(spkver data stats)."
    )


def too_short(run: Run) -> str | None:
    """A finished run that was still learning, and tells fewer than a quarter of its own training samples.

    Runs on real recordings that were long enough ended at 30 to 97 %, those of a few hundred steps at 6 to 13 %.
    """
    accuracy = run.of("accuracy")
    if len(accuracy) < 8 or run.steps is None or run.last_step < run.steps or no_learning(run) or diverged(run):
        return None
    now, before = _late(accuracy), _late(accuracy[: -_quarter(accuracy)])
    if now >= 0.25 or now < before:
        return None
    return (
        f"It ended before it had learnt much: {now:.1%} of the training samples are told from other speakers, "
        f"{before:.1%} a quarter of the run before. Take more steps (train.steps), shorter crops for the same time "
        "(data.crop_seconds), or a model to start from (start.model)."
    )


def diverged(run: Run) -> str | None:
    """The loss is not finite, or at an unchanged margin half as large again as it was, or accuracy halved.

    Only what was logged after the margin and the other numbers of the loss had reached their last values is compared.
    Log lines are means of many steps: in healthy runs they vary by some per cent.
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
    """A log line's gradient norm is above 5 times the median, after the first tenth of the log.

    A line is the mean over some ten steps, so one step was far more than that. In the first tenth norms are large.
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
        f"The gradient's norm has spikes: {later[worst]:.3g} around step "
        f"{run.steps_of('gradient_norm')[first + worst]}, {middle:.3g} as a rule ({len(high)} of {len(later)} log "
        f"lines are above 5 times that). Lower train.clip_norm to some {2 * middle:.2g}, or train.optimizer.lr."
    )


def skipped_steps(run: Run) -> str | None:
    """Any step whose loss or gradient was not finite: there is a cause, if only one recording."""
    skipped = run.of("skipped")
    if not len(skipped) or not skipped.max() > 0:
        return None
    return (
        f"{int(skipped.max())} steps were left out, whose loss or gradient was not finite, the first before step "
        f"{run.steps_of('skipped')[int(np.argmax(skipped > 0))]}. The log names their utterances: look at them, lower "
        "train.optimizer.lr, or train once with train.precision=fp32."
    )


def collapsed(run: Run) -> str | None:
    """Samples are about as near to another speaker's prototype as to their own, and to both nearly parallel.

    A cosine above 0.8 to a stranger is not seen in a network that learns: its hardest others are at some 0.2 to 0.6.
    """
    own, other = run.of("target_cosine"), run.of("hardest_cosine")
    if min(len(own), len(other)) < 8 or not _late(other) >= max(0.8, _late(own) - 0.05):
        return None
    scale = ", and raise the scale (loss.head.s) if it is below 10" if run.head else ""
    return (
        f"All embeddings look alike: the mean cosine to the own speaker is {_late(own):.2f}, to the nearest other "
        f"{_late(other):.2f}. Lower train.optimizer.lr{scale}."
    )


def margin_too_large(run: Run) -> str | None:
    """Accuracy is above 10 %, with the margin on every sample it is below 0.2 % and no longer rises.

    The margin is then met by nobody and pulls at all samples alike. Healthy runs start like that; so what counts is the
    last quarter of a run that is past its half, and that it is no better than the quarter before.
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
    stuck = " (so every sample is a boundary sample)" if len(share) and share.min() < 1 and _late(share) > 0.99 else ""
    other = ", let it grow longer (loss.schedules.m), or lower loss.head.s" if run.head else ""
    return (
        f"The margin is too large: accuracy is {_late(accuracy):.1%}, but {now:.2%} with the margin of {run.margin:g}"
        f"{stuck}, and no longer rises. Halve loss.m{other}."
    )


def boundary_empty(run: Run) -> str | None:
    """In the last third the margin goes to fewer than 1 sample in 200: BD-LMCL is then its loss without margin.

    The last third, since in the end a well-learnt set may have few boundary samples for a moment. Only of losses with a
    head: older logs of pair losses have the share of samples with a loss under that name.
    """
    share = run.of("boundary_share")
    third = len(share) // 3
    if third < 2 or not run.margin or not run.head or share[-third:].max() >= 0.005:
        return None
    return (
        f"The margin goes to nobody: {share[-third:].mean():.2%} of the samples lie near a boundary since step "
        f"{run.steps_of('boundary_share')[-third]}, so the loss is the one without margin. Raise loss.m, let "
        "loss.selector pick more, or stop earlier."
    )


def overfitting(run: Run) -> str | None:
    """Dev EER's best lies behind, the last two are both a tenth worse, and the training loss is no higher than then.

    A tenth: from one measurement to the next EER of some thousand trials moves by half of that without a reason.
    """
    rates, steps = run.of("dev_eer"), run.steps_of("dev_eer")
    if len(rates) < 4:
        return None
    best = int(rates.argmin())
    if best > len(rates) - 3 or rates[-2:].min() < 1.1 * rates[best] + 1e-4:
        return None
    loss, then = run.of("loss"), int(np.searchsorted(run.steps_of("loss"), steps[best]))
    if _settled(run) <= then < len(loss) and _late(loss) > loss[then]:
        return None  # it does not fit the training better either: see `diverged`
    return (
        f"It overfits: dev EER was best at step {steps[best]} with {rates[best]:.2%} and is {rates[-1]:.2%} at step "
        f"{steps[-1]}, while the training goes on. Take train.final=best or train.patience, more augmentation or a "
        "larger train.optimizer.weight_decay."
    )


def starved(run: Run) -> str | None:
    """Waiting for data took more than 5 % of the time; the first log line, in which readers start, does not count.

    A loader that keeps up shows some tenths of a per cent.
    """
    waiting = run.of("waiting")[1:]
    if len(waiting) < 2 or waiting.mean() <= 0.05:
        return None
    return (
        f"It waited for data {waiting.mean():.0%} of the time. Put the pack on a local disk or in memory (/dev/shm), "
        "pack with --coding pcm, or train from a feature pack."
    )


def slowing(run: Run) -> str | None:
    """The last quarter made fewer than 0.7 times the utterances per second of the first half.

    Speeds of a machine of one's own vary by less than a tenth; a run that shares it will be told so.
    """
    speeds = run.of("utterances_per_second")[1:]
    if len(speeds) < 8:
        return None
    before, now = float(np.median(speeds[: len(speeds) // 2])), float(np.median(speeds[-_quarter(speeds) :]))
    if now >= 0.7 * before:
        return None
    return (
        f"It became slower: {before:.0f} utterances per second at first, {now:.0f} in the end. See what else runs on "
        "the machine, and whether it throttles (temperature) or swaps (memory)."
    )


def rate_never_decayed(run: Run) -> str | None:
    """A finished run whose learning rate ends above half of its peak; recipes end at a thousandth."""
    rates = run.of("lr")
    if len(rates) < 4 or run.steps is None or run.last_step < run.steps or rates[-1] <= 0.5 * rates.max():
        return None
    return (
        f"The learning rate never decayed: {rates[-1]:.3g} in the end, {rates.max():.3g} at most. The last weights are "
        "noisy then; let it fall (train.lr_schedule), or average checkpoints (train.final=average)."
    )


def dev_not_measured(run: Run) -> str | None:
    """No dev EER in the log: the training's numbers alone do not tell how strangers are told apart."""
    if len(run.of("dev_eer")) or run.dev is None:
        return None
    if run.dev:
        return "Dev EER was not measured yet: train.dev_every is more steps than the run has made."
    return "Dev EER was not measured: set some speakers apart (spkver data split) and name their pack in data.dev."


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
    """From which of the log lines on the numbers that the loss's schedules move have their last values."""
    first = 0
    for name in ("margin", "penalty", "scale", "annealing"):
        values = run.of(name)
        moving = np.flatnonzero(values != values[-1]) if len(values) else values
        first = max(first, int(moving[-1]) + 1 if len(moving) else 0)
    return first


# --- what the config knows --------------------------------------------------------------------------------------------


def _read_config(path: Path) -> dict[str, Any] | None:
    # as plain YAML: the schema would load torch, and the run has checked it
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read; give the directory of a training run") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path}: not the config of a training run")
    return tree


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    return part if isinstance(part, dict) else {}


def _has_head(config: Mapping[str, Any]) -> bool:
    """A run writes every key of its config, so a loss with class weights has their key."""
    return "head" in _part(config, "loss")


def _classes(config: Mapping[str, Any]) -> int | None:
    """Among how many a sample's own is told: speakers by speeds, or the speakers of a batch."""
    data = _part(config, "data")
    if not _has_head(config):
        each, size = data.get("utterances_per_speaker"), _part(config, "train").get("batch_size")
        return size // each if each and size else None
    # not known without opening a file of weights: how many a model to start from adds
    if data.get("max_utterances") is not None or _part(config, "start").get("head") == "extend":
        return None
    try:
        speakers = _speakers(data.get("train"))
    except (InputError, KeyError, TypeError, ValueError):  # the pack is no longer there
        return None
    augment = _part(config, "augment")
    return speakers * (len(augment.get("speeds") or (1.0,)) if augment.get("speeds_as") != "same" else 1)


def _speakers(train: Any) -> int:
    """How many speakers a pack has; several packs together, in which one name is one speaker."""
    if isinstance(train, list):
        return len({speaker for path in train for speaker in Pack.open(str(path)).speakers})
    return int(read_index(Path(str(train)))["speakers"])
