"""A training run in its experiment directory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from spkver.config import flat, load, save
from spkver.encoder import Encoder, EncoderConfig, load_weights
from spkver.errors import InputError
from spkver.files import StrPath, locked, write_text
from spkver.packs.reader import Pack
from spkver.recipe.parts import build
from spkver.recipe.schema import Recipe
from spkver.training import estimate
from spkver.training.loop import Trainer
from spkver.training.monitoring import memory
from spkver.training.monitoring.log import CHECKPOINTS, CONFIG
from spkver.training.parallel.distributed import World, joined
from spkver.training.parallel.interrupt import Interrupt
from spkver.training.state import checkpoint, provenance
from spkver.training.state.head import SavedHead, head_file

COMPLETE = "complete"
# What may differ between a run and its resumption: where it computes and what it says, not what it is.
FREE = ("device", "threads", "log_every", "wandb", "max_skipped", "timeout_minutes")


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
