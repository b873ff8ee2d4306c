"""A training run in its experiment directory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from spkver.config import first_difference, load, save
from spkver.encoder import Encoder, EncoderConfig, load_weights
from spkver.errors import InputError
from spkver.files import StrPath, local, locked, write_text
from spkver.packs.reader import Pack
from spkver.recipe.parts import build
from spkver.recipe.schema import RECORDINGS, Recipe
from spkver.storage import located
from spkver.training import estimate
from spkver.training.loop import Trainer
from spkver.training.monitoring import memory
from spkver.training.monitoring.log import CHECKPOINTS, CONFIG
from spkver.training.parallel.distributed import World, joined
from spkver.training.parallel.interrupt import Interrupt
from spkver.training.state import checkpoint, provenance
from spkver.training.state.head import SavedHead, head_file

COMPLETE = "complete"
# keys of `train` that may change when a run is resumed, because they do not affect its result
MAY_CHANGE = ("device", "threads", "log_every", "wandb", "max_skipped", "timeout_minutes")


def train(recipe: Recipe, out: StrPath, *, resume: bool = False, say: Callable[[str], None] = print) -> None:
    """Train the model of a recipe in the experiment directory `out`.

    It gets config.yaml, checkpoints, metrics.jsonl, events and model. Processes started by torchrun train one model
    together; the first one writes, and all must see the directory.
    resume: continue a stopped run from its last intact checkpoint, also with another number of processes; a complete
        run is left unchanged
    Raises InputError if the recipe and the data do not match, and if `out` has another or a running experiment;
    StoppedError if the run was stopped by a signal.
    """
    folder = local(out)
    with joined(recipe.train.device, recipe.train.timeout_minutes) as world, contextlib.ExitStack() as held:
        interrupt = Interrupt(world)
        held.enter_context(interrupt.listening())
        with world.together():
            if world.main:
                held.enter_context(locked(folder))
                _check_out(recipe, folder, resume)
        if world.broadcast(_has_ended(folder)):
            if world.main:
                say(f"already complete: {folder / 'model'}")
            return
        log = provenance.RunLog(say, folder)
        with world.together():  # before anything is written, so that a wrong recipe leaves no files
            trainer = build(recipe, folder, log if world.main else _silent, world)
        with world.together():
            if world.main:
                save(recipe, folder / CONFIG)
                log.open()
            begun = resume and bool(checkpoint.saved(folder / CHECKPOINTS))
            sources = _sources(recipe, trainer)
            provenance.start(folder, world, trainer.learner.device, sources, recipe.seed, begun=begun)
        with memory.as_error(), _errors_logged(log, world):
            trainer.run(interrupt, resume=resume)
        if world.main:
            write_text(folder / COMPLETE, "")


def is_complete(recipe: Recipe, out: StrPath) -> bool:
    """Whether the experiment directory `out` has the complete run of a recipe.

    Raises InputError if it has a run of another recipe, or something else.
    """
    folder = local(out)
    _check_out(recipe, folder, resume=True)
    return _has_ended(folder)


def _has_ended(folder: Path) -> bool:
    return (folder / COMPLETE).is_file() and (folder / "model").is_dir()


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
    if recipe.data.speakers not in (None, RECORDINGS):
        files["data.speakers"] = recipe.data.speakers
    if recipe.data.dev_trials is not None:
        files["data.dev_trials"] = recipe.data.dev_trials
    return provenance.Sources(
        {name: some for name, some in packs.items() if some},
        {name: one.model for name, one in models.items() if one is not None and one.model is not None},
        files,
    )


@contextlib.contextmanager
def _errors_logged(log: provenance.RunLog, world: World) -> Iterator[None]:
    """Write an error that ends the run to its log. It is printed by the caller."""
    try:
        yield
    except Exception as error:
        if world.main:
            log.note(f"ended: {error}")
        raise


def _silent(text: str) -> None:
    """`say` of all processes but the first."""


def dry_run(
    recipe: Recipe, out: StrPath, *, say: Callable[[str], None] = print, memory_limit: int | None = None
) -> None:
    """Try one step of everything in a temporary directory beside `out`, and print what the whole run will need.

    memory_limit: bytes; default: the memory of the device
    Raises memory.OutOfMemoryError with a batch size that fits, if the recipe's does not; InputError if the recipe and
    the data do not match.
    """
    if recipe.train.steps == 0:
        raise InputError("train.steps is 0: there is no step to try; set it to 1 or more")
    if (size := World.from_environment().size) > 1:
        raise InputError(
            f"--dry-run needs a single process; start it without torchrun, with train.batch_size="
            f"{recipe.train.batch_size // size}, the part of one process"
        )
    beside = next(path for path in local(out).resolve().parents if path.is_dir())
    with tempfile.TemporaryDirectory(prefix=".dry-run-", dir=beside) as scratch:
        trainer = build(recipe, Path(scratch), say)
        for line in estimate.measure(trainer, limit=memory_limit).lines(recipe.train):
            say(line)


def average(experiment: StrPath, out: StrPath, *, last: int, say: Callable[[str], None] = print) -> None:
    """Write the mean of the last checkpoints of a run as the model directory `out`. The run may be incomplete.

    For a run with `train.ema`, the averages are used. If the run has saved a head, its mean is saved too.
    Raises InputError if there are too few checkpoints, or the run cannot be read.
    """
    folder = located(experiment)
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: not an experiment directory (no {CONFIG})")
    recipe = load(Recipe, folder / CONFIG)
    paths = checkpoint.saved(folder / CHECKPOINTS)[-last:]
    if len(paths) < last:
        raise InputError(
            f"{folder}: has {len(paths)} checkpoints, not {last}; train.keep_checkpoints sets how many are kept"
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
    """Raise InputError for an experiment directory that cannot be used for this run."""
    config = folder / CONFIG
    if config.is_file():
        if not resume:
            raise InputError(f"{folder}: already contains a run; continue it with --resume, or give another --out")
        _check_same(load(Recipe, config), recipe, config)
    # a process killed during its first write leaves a hidden temporary file
    elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise InputError(f"{folder}: not empty, and not an experiment directory; give another --out")
    elif folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give another --out")


def _check_same(old: Recipe, new: Recipe, path: Path) -> None:
    if (found := first_difference(old, new, {f"train.{name}" for name in MAY_CHANGE})) is not None:
        key, before, after = found
        raise InputError(
            f"{path}: the run was started with {key} {before}, not {after}; resume with the same config, or give "
            "another --out"
        )
