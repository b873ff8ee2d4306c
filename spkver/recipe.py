"""The YAML tree of a training run, and the run that it describes."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from spkver import __version__
from spkver.augment import FEATURES, WAVEFORM
from spkver.config import Component, Config, Of, flat, load, save
from spkver.encoder import Encoder, EncoderConfig, load_weights
from spkver.errors import InputError, load_optional
from spkver.features import FRONT_ENDS
from spkver.features.config import FrontEndBase
from spkver.files import StrPath, locked, write_text
from spkver.losses import LOSSES, bounds
from spkver.losses.loss import LossConfig
from spkver.losses.pairs import PairConfig
from spkver.models import MODELS
from spkver.packs.joined import AnyPack, join
from spkver.packs.reader import Pack, open_audio
from spkver.schedules import SCHEDULES, Run, ScheduleConfig
from spkver.training import checkpoint, estimate, memory, provenance
from spkver.training.batches import Sampler, Share
from spkver.training.config import DistilConfig, StartConfig, TrainingConfig
from spkver.training.distil import Targets, Teacher
from spkver.training.distributed import ALONE, World, joined
from spkver.training.head import SavedHead, classes_of, head_file
from spkver.training.inputs import Augmentations
from spkver.training.interrupt import Interrupt
from spkver.training.learner import Learner
from spkver.training.log import CHECKPOINTS, CONFIG
from spkver.training.loop import Trainer
from spkver.training.start import Start
from spkver.training.validation import DevSet

COMPLETE = "complete"
# What may differ between a run and its resumption: where it computes and what it says, not what it is.
FREE = ("device", "threads", "log_every", "wandb", "max_skipped", "timeout_minutes")


class DataConfig(Config):
    """Packs, of audio or of features: the choice between the two ways to train."""

    train: str | tuple[str, ...] = Field(
        description="audio pack or feature pack; of several, speakers of one name are one speaker", min_length=1
    )
    dev: str | None = Field(None, description="pack of held-out speakers; null trains without dev EER")
    dev_trials: str | None = Field(None, description="null makes them: all targets, random non-targets")
    crop_seconds: float = Field(2.0, gt=0)
    """length of a training sample"""
    crop_schedule: Annotated[ScheduleConfig, Of(SCHEDULES)] | None = None
    """factor on crop_seconds, in tenths of a second: `{name: piecewise, points: [[0, 0.5], [0.6, 1]], shape: step}`"""
    utterances_per_speaker: int | None = Field(
        None, ge=2, description="batches of so many utterances of each of their speakers; null mixes them all"
    )
    max_utterances: int | None = Field(None, gt=0, description="a random part of the pack, for quick trials")
    shards: Literal["all", "per_node"] = "all"
    """per_node: on several machines each reads shards of its own (every n-th), and draws its part of every batch from
    them; no utterance comes twice in a pass over them, but the order is another than on one machine"""


class AugmentConfig(Config):
    """Waveform changes need an audio pack; a feature pack has its speeds made by `spkver features --speed`."""

    speeds: tuple[float, ...] = (1.0,)
    """one is drawn for every crop"""
    speeds_as: Literal["new_speakers", "same"] = "new_speakers"
    """pitch and formants move with the speed: whether a speaker at another speed is another class"""
    waveform: tuple[Annotated[Component, Of(WAVEFORM)], ...] = ()
    """changes of the waveform, in their order"""
    features: tuple[Annotated[Component, Of(FEATURES)], ...] = ()
    """changes of the features, in their order"""

    @model_validator(mode="after")
    def _speeds(self) -> AugmentConfig:
        if not self.speeds or any(not 0.5 <= speed <= 2.0 for speed in self.speeds):
            raise ValueError(f"speeds must lie between 0.5 and 2, got {list(self.speeds)}")
        if len(set(self.speeds)) < len(self.speeds):
            raise ValueError(f"a speed is given twice: {list(self.speeds)}")
        return self


class Recipe(Config):
    """Everything that a training run depends on."""

    seed: int = Field(1, ge=0)
    """of everything random: the same seed gives the same run"""
    data: DataConfig
    front_end: Annotated[FrontEndBase, Of(FRONT_ENDS)] = Field(default="fbank", validate_default=True)
    model: Annotated[Component, Of(MODELS)] = Field(default="xvector", validate_default=True)
    loss: Annotated[LossConfig, Of(LOSSES)] = Field(default="bd_lmcl", validate_default=True)
    start: StartConfig | None = None
    distil: DistilConfig | None = None
    augment: AugmentConfig = AugmentConfig()
    train: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        if self.train.final == "best" and self.data.dev is None:
            raise ValueError("train.final: best is chosen by dev EER; name a data.dev")
        if self.train.patience is not None and self.data.dev is None:
            raise ValueError("train.patience counts dev measurements; name a data.dev")
        if self.data.dev_trials is not None and self.data.dev is None:
            raise ValueError("data.dev_trials lists trials between recordings of data.dev; name a data.dev")
        if self.model.name == "mean_fbank" and self.front_end.normalise != "none":
            raise ValueError("model mean_fbank is all zeros over normalised features; set front_end.normalise to none")
        self._check_batches()
        return self

    def _check_batches(self) -> None:
        size, each = self.train.batch_size, self.data.utterances_per_speaker
        if isinstance(self.loss, PairConfig) and (each is None or size < 2 * each):
            raise ValueError(
                f"loss '{self.loss.name}' compares utterances within a batch; set data.utterances_per_speaker to 2 or "
                "more, and train.batch_size to twice that or more"
            )
        if isinstance(self.loss, PairConfig) and self.train.accumulate > 1:
            raise ValueError(f"loss '{self.loss.name}' compares utterances within a batch; set train.accumulate to 1")
        if each is not None and self.data.shards == "per_node":
            raise ValueError("data.utterances_per_speaker looks for speakers in all shards; set data.shards to all")
        if size % self.train.accumulate:
            raise ValueError(f"train.batch_size {size} is no multiple of train.accumulate {self.train.accumulate}")
        if each is not None and size % each:
            raise ValueError(f"train.batch_size {size} is no multiple of data.utterances_per_speaker {each}")


def train(recipe: Recipe, out: StrPath, *, resume: bool = False, say: Callable[[str], None] = print) -> None:
    """Run a recipe in the experiment directory `out`: config.yaml, checkpoints, metrics.jsonl, events, model.

    Where torchrun started this process with others, they train one model; the first writes, and the directory is to be
    one that all see. With `resume` a run that was stopped goes on from its last whole checkpoint, and one that is
    complete is left as it is; the number of processes may be another. Raises InputError when the recipe and the data do
    not fit, or `out` holds another run or one that is at work; StoppedError when the run was asked to stop.
    """
    folder = Path(out)
    with joined(recipe.train.device, recipe.train.timeout_minutes) as world, contextlib.ExitStack() as held:
        interrupt = Interrupt(world)
        held.enter_context(interrupt.listening())
        with world.together():
            if world.main:
                held.enter_context(locked(folder))
                _check_out(recipe, folder, resume)
        if world.broadcast((folder / COMPLETE).is_file() and (folder / "model").is_dir()):
            if world.main:
                say(f"already complete: {folder / 'model'}")
            return
        log = provenance.Log(say, folder)
        with world.together():  # before anything is written: a recipe that does not fit leaves no trace
            trainer = build(recipe, folder, log if world.main else _nothing, world)
        with world.together():
            if world.main:
                save(recipe, folder / CONFIG)
                log.open()
            begun = resume and bool(checkpoint.saved(folder / CHECKPOINTS))
            sources = _sources(recipe, trainer)
            provenance.start(folder, world, trainer.learner.device, sources, recipe.seed, begun=begun)
        with memory.as_error(), _noted(log, world):
            trainer.run(interrupt, resume=resume)
        if world.main:
            write_text(folder / COMPLETE, "")


def _sources(recipe: Recipe, trainer: Trainer) -> provenance.Sources:
    pack = trainer.learner.sampler.pack
    packs = {
        "data.train": (pack,) if isinstance(pack, Pack) else pack.packs,
        "data.dev": () if trainer.dev is None else (trainer.dev.pack,),
        "augment": trainer.learner.inputs.augmentations.packs,
    }
    models = {"start.model": recipe.start, "distil.model": recipe.distil}
    targets = () if recipe.distil is None else recipe.distil.embeddings
    files = {f"distil.embeddings.{number}": path for number, path in enumerate(targets)}
    if recipe.data.dev_trials is not None:
        files["data.dev_trials"] = recipe.data.dev_trials
    return provenance.Sources(
        {name: some for name, some in packs.items() if some},
        {name: one.model for name, one in models.items() if one is not None and one.model is not None},
        files,
    )


@contextlib.contextmanager
def _noted(log: provenance.Log, world: World) -> Iterator[None]:
    """Why a run ended early, in its log; whoever calls says it."""
    try:
        yield
    except Exception as error:
        if world.main:
            log.note(f"ended: {error}")
        raise


def _nothing(text: str) -> None:
    """Said by a process that does not speak."""


def dry_run(
    recipe: Recipe, out: StrPath, *, say: Callable[[str], None] = print, memory_limit: int | None = None
) -> None:
    """One step of everything that a run does, in a temporary place beside `out`; says what the whole run will need.

    memory_limit: bytes, by default what the device has. Raises memory.OutOfMemoryError, with the batch size that would
    do, where it does not; InputError where the recipe and the data do not fit.
    """
    if recipe.train.steps == 0:
        raise InputError("train.steps is 0: there is no step to try")
    if (size := World.from_environment().size) > 1:
        raise InputError(
            f"--dry-run is of one process; leave torchrun out, and set train.batch_size to the share of one, "
            f"{recipe.train.batch_size // size}"
        )
    beside = next(path for path in Path(out).resolve().parents if path.is_dir())
    with tempfile.TemporaryDirectory(prefix=".dry-run-", dir=beside) as scratch:
        trainer = build(recipe, Path(scratch), say)
        for line in estimate.measure(trainer, limit=memory_limit).lines(recipe.train):
            say(line)


def average(experiment: StrPath, out: StrPath, *, last: int, say: Callable[[str], None] = print) -> None:
    """Write the mean of the last checkpoints of a run, complete or not, as the model directory `out`.

    Of a run with `train.ema` it is the mean of the averages. A head goes beside it where the run has written one.
    Raises InputError where there are not so many checkpoints, or the run cannot be read.
    """
    folder = Path(experiment)
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: not an experiment directory (no {CONFIG})")
    recipe = load(Recipe, folder / CONFIG)
    paths = checkpoint.saved(folder / CHECKPOINTS)[-last:]
    if len(paths) < last:
        raise InputError(
            f"{folder}: has {len(paths)} checkpoints, not {last}; train.keep_checkpoints says how many stay"
        )
    weights = checkpoint.averaged(paths)
    encoder = Encoder(EncoderConfig(front_end=recipe.front_end, model=recipe.model))
    load_weights(encoder.network, checkpoint.part(weights, "network."), str(folder / CHECKPOINTS))
    which = f"mean of {paths[0].name} to {paths[-1].name}, {last} checkpoints"
    if head_file(folder / "model").is_file():
        classes = SavedHead.read(folder / "model").classes
        SavedHead(head_file(out), classes, checkpoint.part(weights, "loss.")).write()
    encoder.save(out, f"# {recipe.model.name}\n\nWeights: {which} of {folder}.\n")
    say(f"model: {out}, {which}")


def build(recipe: Recipe, out: Path, say: Callable[[str], None], world: World = ALONE) -> Trainer:
    """The parts of a run, put together."""
    torch.manual_seed(recipe.seed)
    if recipe.train.wandb is not None:
        load_optional("wandb", "wandb")
    pack = _open_training(recipe)
    sampler = Sampler(
        pack,
        batch_size=recipe.train.batch_size,
        crop=_crops(recipe, pack),
        speeds=recipe.augment.speeds,
        seed=recipe.seed,
        utterances_per_speaker=recipe.data.utterances_per_speaker,
        one_voice=recipe.augment.speeds_as == "same",
        share=_share(recipe, world),
    )
    if len(sampler.speakers) < 2:
        raise InputError(f"{pack.path}: training needs at least two speakers, got {len(sampler.speakers)}")
    encoder = Encoder(EncoderConfig(front_end=recipe.front_end, model=recipe.model))
    _check_crop(recipe, encoder, pack)
    run = Run(recipe.train.steps, sampler.steps_per_epoch)
    classes = classes_of(sampler)
    start = None if recipe.start is None else Start(recipe.start)
    if start is not None:
        classes = start.classes(classes)
    loss = LOSSES.build(recipe.loss, encoder.dim, len(classes), run)
    for warning in bounds.check(recipe.loss, len(classes), encoder.dim, run=run):
        say(f"warning: {warning}")
    if start is not None:
        start.give(encoder, loss, classes, say)
    dev = None
    if recipe.data.dev is not None:
        dev = DevSet.open(_open(recipe, recipe.data.dev), recipe.data.dev_trials, set(pack.speakers))
    hours = pack.seconds.sum() / 3600
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    say(
        f"{len(pack)} utterances, {len(sampler.speakers)} speakers, {hours:.2f} h; {len(classes)} classes; "
        f"{recipe.model.name} with {parameters / 1e6:.2f} M parameters, {recipe.loss.name}"
    )
    teacher = _teacher(recipe, encoder, sampler)
    if teacher is not None:
        say(f"learning from {teacher} too, of dimension {teacher.dim}")
    rate = recipe.front_end.sample_rate
    mixed_in: list[Pack] = []

    def open_pack(path: str) -> Pack:
        mixed_in.append(open_audio(path, rate))
        return mixed_in[-1]

    augmentations = Augmentations(
        [WAVEFORM.build(part, rate, open_pack) for part in recipe.augment.waveform],
        [FEATURES.build(part, recipe.front_end.bins) for part in recipe.augment.features],
        mixed_in,
    )
    card = _card(recipe, pack, hours, parameters)
    learner = Learner(
        recipe.train, encoder, loss, sampler, augmentations, classes=classes, say=say, world=world, teacher=teacher
    )
    return Trainer(recipe.train, learner, dev, out, say=say, card=card)


def _teacher(recipe: Recipe, encoder: Encoder, sampler: Sampler) -> Teacher | Targets | None:
    if recipe.distil is None:
        return None
    if recipe.distil.model is None:
        return Targets(recipe.distil, sampler)
    teacher = Teacher(recipe.distil, encoder.config, sampler.pack.kind)
    _check_crop(recipe, teacher.encoder, sampler.pack)
    return teacher


def _share(recipe: Recipe, world: World) -> Share:
    if recipe.data.shards == "all":
        return Share(world.rank, world.size)
    return Share(world.rank, world.size, world.node, world.nodes)


def _open(recipe: Recipe, path: str) -> Pack:
    pack = Pack.open(path)
    pack.require(recipe.front_end)
    return pack


def _open_training(recipe: Recipe) -> AnyPack:
    named = recipe.data.train
    pack = join([_open(recipe, path) for path in ([named] if isinstance(named, str) else named)])
    if pack.kind == "features" and (recipe.augment.waveform or recipe.augment.speeds != (1.0,)):
        raise InputError(
            f"{pack.path}: a feature pack, but augment.waveform and augment.speeds work on audio; "
            "train from the audio pack, or make speeds with 'spkver features --speed'"
        )
    most = recipe.data.max_utterances
    if most is None or most >= len(pack):
        return pack
    return pack.subset(np.sort(np.random.default_rng(recipe.seed).permutation(len(pack))[:most]))


def _crop(recipe: Recipe, pack: AnyPack, seconds: float) -> int:
    samples = round(seconds * recipe.front_end.sample_rate)
    return samples if pack.kind == "audio" else recipe.front_end.frames(samples)


def _crops(recipe: Recipe, pack: AnyPack) -> int | Callable[[int], int]:
    """The crop, or with a schedule that of a step; in samples or frames."""
    data, steps = recipe.data, recipe.train.steps
    if data.crop_schedule is None:
        return _crop(recipe, pack, data.crop_seconds)
    schedule = SCHEDULES.build(data.crop_schedule, Run(steps, len(pack) / recipe.train.batch_size))
    return lambda step: _crop(recipe, pack, _in_tenths(data.crop_seconds * schedule.at(step / steps)))


def _in_tenths(seconds: float) -> float:
    """Few lengths: for each the device picks its algorithms, and a compiler may make a graph."""
    return round(10 * seconds) / 10


def _check_crop(recipe: Recipe, encoder: Encoder, pack: AnyPack) -> None:
    least = encoder.min_samples if pack.kind == "audio" else encoder.network.min_frames
    shortest = recipe.data.crop_seconds
    if recipe.data.crop_schedule is not None:
        shortest = _in_tenths(shortest * min(recipe.data.crop_schedule.values))
    if _crop(recipe, pack, max(shortest, 0)) < least:
        seconds = math.ceil(1000 * encoder.min_samples / encoder.sample_rate) / 1000
        raise InputError(
            f"data.crop_seconds {shortest:g} is too short for {encoder.config.model.name}: at least {seconds:g}"
        )


def _check_out(recipe: Recipe, folder: Path, resume: bool) -> None:
    """Refuse an experiment directory that is not for this run."""
    config = folder / CONFIG
    if config.is_file():
        if not resume:
            raise InputError(f"{folder}: holds a run already; go on with --resume, or give another --out")
        _check_same(load(Recipe, config), recipe, config)
    # a process killed at its first write leaves a hidden part
    elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise InputError(f"{folder}: not empty, and not an experiment directory; give another --out")
    elif folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give another --out")


def _check_same(old: Recipe, new: Recipe, path: Path) -> None:
    before, after = flat(old), flat(new)
    for key in sorted(before | after):
        if before.get(key) != after.get(key) and key not in {f"train.{name}" for name in FREE}:
            raise InputError(
                f"{path}: the run was started with {key} {before.get(key)}, not {after.get(key)}; "
                "resume with the same config, or give another --out"
            )


def _card(recipe: Recipe, pack: AnyPack, hours: float, parameters: int) -> str:
    return (
        f"# {recipe.model.name}, {parameters / 1e6:.2f} M parameters\n\n"
        f"Trained by spkver {__version__} on {len(pack)} utterances of {len(set(pack.speakers))} speakers, "
        f"{hours:.2f} h at {recipe.front_end.sample_rate} Hz, with the loss {recipe.loss.summary} "
        f"for {recipe.train.steps} steps of {recipe.train.batch_size} crops of "
        f"{recipe.data.crop_seconds:g} s{'' if recipe.start is None else f', from {recipe.start.model} on'}"
        f"{'' if recipe.distil is None else f', and to be near the embeddings of {recipe.distil.teacher}'}."
        "\n\nEmbeddings are not normalised; compare them by cosine.\n"
    )
