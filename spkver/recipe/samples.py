"""Analysis of the training samples at each checkpoint of a run: angles, selection, gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from spkver import progress
from spkver.config import load
from spkver.encoder import load_weights
from spkver.errors import InputError
from spkver.extraction import embed
from spkver.files import StrPath, atomic_file, local, sha256
from spkver.losses.heads import Head, HeadLoss
from spkver.losses.loss import Loss
from spkver.losses.margin_loss import MarginLoss
from spkver.losses.reductions.base import normalise
from spkver.packs.reader import Pack
from spkver.recipe.parts import build
from spkver.recipe.schema import Recipe
from spkver.source import PackSource
from spkver.storage import located
from spkver.training.loop import Trainer
from spkver.training.monitoring.log import CHECKPOINTS, CONFIG
from spkver.training.state import checkpoint

_CHECKPOINT = "checkpoint"  # key of a table's metadata
_BLOCK = 1024  # samples at a time, for the cosines to all classes


def describe_samples(experiment: StrPath, out: StrPath, *, say: Callable[[str], None] = print) -> list[Path]:
    """Write a table of all training utterances for each checkpoint of a run: `out`/step-NNNNNNNN.parquet.

    The network embeds the middle of each utterance, as long as the crops, without augmentation and with the batch norms
    of inference. Columns:
        id, speaker: as in the training data
        own_angle, nearest_angle: degrees to the own class and to the nearest other one (of several centres, the
            nearest); nearest: the speaker of the latter
        norm: of the embedding
        selected: the share of the margin that the selector gives to the sample, 0 to 1
        loss: of the sample; gradient: the norm of its gradient with respect to the embedding, times the batch size
    Tables of these checkpoints that exist are kept. Returns the paths. Raises InputError if there is no checkpoint, and
    for losses without class weights.
    """
    folder, target = located(experiment), local(out)
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: not an experiment directory (no {CONFIG})")
    paths = {target / f"{path.name}.parquet": path for path in checkpoint.saved(folder / CHECKPOINTS)}
    if not paths:
        raise InputError(f"{folder}: no checkpoints; train.keep_checkpoints sets how many are kept")
    recipe = load(Recipe, folder / CONFIG)
    samples = None
    for place, path in paths.items():
        of = sha256(path / checkpoint.MANIFEST)  # it has the hashes of the weights
        if place.is_file() and _made_from(place) == of:
            say(f"already complete: {place}")
            continue
        samples = samples or _Samples.of(recipe, folder)
        table = samples.at(checkpoint.read(path))
        with atomic_file(place) as part:
            pq.write_table(table.replace_schema_metadata({_CHECKPOINT: of}), part)
        say(f"{place}: {len(table)} utterances")
    return list(paths)


def _made_from(table: Path) -> str:
    """The hash of the checkpoint of a table, "" if unknown."""
    try:
        metadata = pq.read_schema(table).metadata or {}
    except (pa.ArrowInvalid, OSError):  # not a table
        return ""
    return metadata.get(_CHECKPOINT.encode(), b"").decode(errors="replace")


@dataclass(frozen=True)
class _Samples:
    """The training utterances of a run, and a trainer that takes the weights of its checkpoints.

    labels: class of each utterance; names: speaker of each class
    """

    recipe: Recipe
    trainer: Trainer
    pack: Pack
    labels: Tensor
    names: list[str]

    @classmethod
    def of(cls, recipe: Recipe, folder: Path) -> _Samples:
        """Raises InputError for a run that cannot be described."""
        plain = recipe.model_copy(update={"train": recipe.train.model_copy(update={"compile": False})})
        trainer = build(plain, folder, lambda text: None)
        learner, sampler = trainer.learner, trainer.learner.sampler
        if not isinstance(learner.loss, HeadLoss):
            raise InputError(f"{folder}: loss '{recipe.loss.name}' has no class weights to measure angles to")
        if not isinstance(sampler.pack, Pack):
            raise InputError(f"{folder}: data.train names several packs; only the samples of one can be described")
        if sampler.plain is None:
            raise InputError(
                f"{folder}: augment.speeds has no 1.0, so there is no class for the recordings as they are"
            )
        labels = torch.from_numpy(sampler.plain[sampler.labels])
        return cls(recipe, trainer, sampler.pack, labels, [one.speaker for one in learner.classes])

    def at(self, saved: checkpoint.Checkpoint) -> pa.Table:
        """The table for a checkpoint."""
        learner = self.trainer.learner
        load_weights(learner.modules, checkpoint.part(saved.tensors, "state."), "the checkpoint")
        if learner.ema is not None:
            learner.ema.restore(checkpoint.part(saved.tensors, "ema."))
        learner.encoder.eval()
        learner.loss.eval()
        with learner.averaged():
            found, _ = embed(
                learner.encoder, PackSource(self.pack), seconds=self.recipe.data.crop_seconds, jobs=1
            )  # too short ones are left out
            rows = np.array(sorted(found))
            x = torch.from_numpy(np.stack([found[row] for row in rows.tolist()])).to(learner.device)
            y = self.labels[torch.from_numpy(rows)].to(learner.device)
            columns = _of_loss(learner.loss, x, y, saved.step / self.recipe.train.steps, self.recipe.train.batch_size)
            own, nearest, other = _cosines(learner.loss.head, x, y)  # type: ignore[arg-type]
        words = {
            "id": [self.pack.ids[row] for row in rows.tolist()],
            "speaker": [self.pack.speakers[row] for row in rows.tolist()],
            "nearest": [self.names[number] for number in other.tolist()],
        }
        numbers = {
            "own_angle": own.clamp(-1, 1).acos().rad2deg(),
            "nearest_angle": nearest.clamp(-1, 1).acos().rad2deg(),
            "norm": torch.linalg.vector_norm(x, dim=1),
            **columns,
        }
        return pa.table(words | {name: values.float().cpu().numpy() for name, values in numbers.items()})


def _of_loss(loss: Loss, x: Tensor, y: Tensor, at: float, batch_size: int) -> dict[str, Tensor]:
    """Selection, loss and gradient of each sample, in random batches as large as those of the training."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).to(x.device)
    parts: dict[str, list[Tensor]] = {"selected": [], "loss": [], "gradient": []}
    with progress.bar(total=len(x), what="loss", unit="utt") as bar:
        for rows in order.split(batch_size):
            here = x[rows].requires_grad_()
            output = loss(here, y[rows], at)
            (gradient,) = torch.autograd.grad(output.loss, here)
            # losses without a selector use all samples alike
            selected = loss.selected(here, y[rows], at) if isinstance(loss, MarginLoss) else torch.ones(len(rows))
            for name, values in (
                ("selected", selected.float()),
                ("loss", output.per_sample),
                ("gradient", torch.linalg.vector_norm(gradient, dim=1) * len(rows)),
            ):
                parts[name].append(values.cpu())
            bar.update(len(rows))
    back = order.cpu().argsort()
    return {name: torch.cat(values)[back] for name, values in parts.items()}


@torch.no_grad()
def _cosines(head: Head, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The cosine of each sample to its own class, to the nearest other class, and the number of the latter."""
    centres = normalise(head.weight)
    found = []
    for unit, label in zip(normalise(x).split(_BLOCK), y.split(_BLOCK)):
        cosines = (unit @ centres.T).unflatten(1, (-1, head.centres)).amax(dim=2)
        own = cosines.gather(1, label[:, None])
        nearest = cosines.scatter(1, label[:, None], -2.0).max(dim=1)
        found.append((own[:, 0], nearest.values, nearest.indices))
    own, nearest, other = (torch.cat(values) for values in zip(*found))
    return own, nearest, other
