"""Build the parts of a run from its recipe: data, network, loss, teacher, trainer."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from spkver import __version__
from spkver.augment import FEATURES, WAVEFORM
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError, load_optional
from spkver.files import readable_size
from spkver.lists import first_duplicate, read_columns
from spkver.losses import LOSSES, bounds
from spkver.losses.dino import DINOConfig
from spkver.packs.joined import AnyPack, join, with_speakers
from spkver.packs.reader import Pack, open_audio
from spkver.recipe.schema import RECORDINGS, Recipe
from spkver.schedules import SCHEDULES, Run
from spkver.storage import cache, located
from spkver.training.data.batches import Local, Sampler, Share
from spkver.training.data.inputs import Augmentations
from spkver.training.data.positives import Positives
from spkver.training.loop import Trainer
from spkver.training.monitoring.validation import DevSet
from spkver.training.parallel.distributed import ALONE, World
from spkver.training.state.start import Start
from spkver.training.step.distil import Targets, Teacher
from spkver.training.step.learner import Learner

_REMOTE_WINDOW = 4e9  # bytes of shards that are mixed at a time, if the config does not say


def build(recipe: Recipe, out: Path, say: Callable[[str], None], world: World = ALONE) -> Trainer:
    """Build the trainer of a recipe. Raises InputError if the recipe and the data do not match."""
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
        same_speaker_at_all_speeds=recipe.augment.speeds_as == "same",
        share=_share(recipe, world),
        window_bytes=_window_bytes(recipe, pack),
        local=_local(recipe, pack),
    )
    if len(sampler.speakers) < 2:
        raise InputError(f"{pack.path}: training needs at least two speakers, got {len(sampler.speakers)}")
    encoder = Encoder(EncoderConfig(front_end=recipe.front_end, model=recipe.model))
    _check_crop(recipe, encoder, pack)
    _check_share(recipe, world)
    if recipe.data.positives is not None:
        each_round, steps = sampler.steps_per_round, recipe.train.steps
        sampler.positives = Positives(
            recipe.data.positives, len(sampler.speakers), encoder.dim, each_round=each_round, steps=steps
        )
    run = Run(recipe.train.steps, sampler.steps_per_epoch)
    classes = sampler.classes
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
        say(f"also learning from {teacher}, of dimension {teacher.dim}")
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


def _check_share(recipe: Recipe, world: World) -> None:
    """Raise InputError if a process would have a part of the utterances of a speaker, where it needs all."""
    data, size, each = recipe.data, recipe.train.batch_size, recipe.data.utterances_per_speaker or 1
    whole = isinstance(recipe.loss, DINOConfig) or data.local or data.positives
    if whole and (over := size % (each * world.size)):
        raise InputError(
            f"train.batch_size {size} is not a multiple of {world.size} processes times data.utterances_per_speaker "
            f"{each}; set it to {size - over + each * world.size}"
        )


def _local(recipe: Recipe, pack: AnyPack) -> Local | None:
    local = recipe.data.local
    return None if local is None else Local(local.crops, _crop(recipe, pack, local.seconds))


def _window_bytes(recipe: Recipe, pack: AnyPack) -> float | None:
    """The bytes of shards that are mixed at a time; None: all. Raises InputError if the cache is too small for it."""
    remote = [one for one in ((pack,) if isinstance(pack, Pack) else pack.packs) if one.remote]
    given = recipe.data.shuffle_gb
    window = None if given is None else given * 1e9
    if remote and window is None and recipe.data.utterances_per_speaker is None:
        window = _REMOTE_WINDOW
    total = sum(shard.bytes for one in remote for shard in one.shards)
    needed = total if window is None else min(total, 2 * window)  # a window is read while the next one comes
    if needed > cache.limit():
        raise InputError(
            f"data.train: reading {remote[0].path} in this order needs a cache of {readable_size(needed)}; set "
            f"{cache.GIGABYTES} to more"
            + (", or copy the pack to this computer" if window is None else ", or data.shuffle_gb to less")
        )
    return window


def _open(recipe: Recipe, path: str) -> Pack:
    pack = Pack.open(path)
    pack.require(recipe.front_end)
    return pack


def _open_training(recipe: Recipe) -> AnyPack:
    named = recipe.data.train
    pack = join([_open(recipe, path) for path in ([named] if isinstance(named, str) else named)])
    if pack.kind == "features" and (recipe.augment.waveform or recipe.augment.speeds != (1.0,)):
        raise InputError(
            f"{pack.path}: a feature pack, but augment.waveform and augment.speeds need audio; "
            "train from the audio pack, or make the speeds with 'spkver features --speed'"
        )
    if recipe.data.speakers is not None:
        pack = with_speakers(pack, _speakers(recipe.data.speakers, pack))
    most = recipe.data.max_utterances
    if most is None or most >= len(pack):
        return pack
    return pack.subset(np.sort(np.random.default_rng(recipe.seed).permutation(len(pack))[:most]))


def _speakers(named: str, pack: AnyPack) -> list[str | None]:
    """The speaker of every utterance of a pack by `data.speakers`; None for those that the file does not name."""
    if named == RECORDINGS:
        return list(pack.ids)
    columns = read_columns(located(named), ["utterance", "speaker"])
    if (twice := first_duplicate(columns["utterance"])) is not None:
        raise InputError(f"{named}: '{twice}' is named twice")
    of = dict(zip(columns["utterance"].to_pylist(), columns["speaker"].to_pylist()))
    found = [of.get(name) for name in pack.ids]
    if not any(found):
        raise InputError(f"{named}: names no utterance of {pack.path}, whose first one is '{pack.ids[0]}'")
    return found


def _crop(recipe: Recipe, pack: AnyPack, seconds: float) -> int:
    samples = round(seconds * recipe.front_end.sample_rate)
    return samples if pack.kind == "audio" else recipe.front_end.frames(samples)


def _crops(recipe: Recipe, pack: AnyPack) -> int | Callable[[int], int]:
    """The length of crops in samples or frames, or with a schedule a function from the step to it."""
    data, steps = recipe.data, max(recipe.train.steps, 1)
    if data.crop_schedule is None:
        return _crop(recipe, pack, data.crop_seconds)
    schedule = SCHEDULES.build(data.crop_schedule, Run(steps, len(pack) / recipe.train.batch_size))
    return lambda step: _crop(recipe, pack, _in_tenths(data.crop_seconds * schedule.at(step / steps)))


def _in_tenths(seconds: float) -> float:
    """Rounded to 0.1 s: for every new length, kernels are selected and graphs compiled again."""
    return round(10 * seconds) / 10


def _check_crop(recipe: Recipe, encoder: Encoder, pack: AnyPack) -> None:
    least = encoder.min_samples if pack.kind == "audio" else encoder.network.min_frames
    shortest = {"crop_seconds": recipe.data.crop_seconds}
    if recipe.data.crop_schedule is not None:
        shortest["crop_seconds"] = _in_tenths(recipe.data.crop_seconds * min(recipe.data.crop_schedule.values))
    if recipe.data.local is not None:
        shortest["local.seconds"] = recipe.data.local.seconds
    for key, length in shortest.items():
        if _crop(recipe, pack, max(length, 0)) < least:
            seconds = math.ceil(1000 * encoder.min_samples / encoder.sample_rate) / 1000
            raise InputError(
                f"data.{key} {length:g} is too short for {encoder.config.model.name}: at least {seconds:g}"
            )


def _card(recipe: Recipe, pack: AnyPack, hours: float, parameters: int) -> str:
    return (
        f"# {recipe.model.name}, {parameters / 1e6:.2f} M parameters\n\n"
        f"Trained by spkver {__version__} on {len(pack)} utterances of {len(set(pack.speakers))} speakers, "
        f"{hours:.2f} h at {recipe.front_end.sample_rate} Hz, with the loss {recipe.loss.summary} "
        f"for {recipe.train.steps} steps of {recipe.train.batch_size} crops of "
        f"{recipe.data.crop_seconds:g} s{'' if recipe.start is None else f', starting from {recipe.start.model}'}"
        f"{'' if recipe.distil is None else f', and to resemble the embeddings of {recipe.distil.teacher}'}."
        "\n\nEmbeddings are not normalised; compare them by cosine.\n"
    )
