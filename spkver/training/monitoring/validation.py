"""Error rates on held-out speakers during training, with the same encoder and metrics as in evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import nn

from spkver import metrics
from spkver.embeddings import Embeddings
from spkver.encoder import Encoder
from spkver.errors import InputError, RunError
from spkver.extraction import embed
from spkver.packs.reader import Pack
from spkver.scoring import cosine
from spkver.source import PackSource
from spkver.training.parallel.distributed import ALONE, World
from spkver.trials import Trials, make_trials, read_trials

NONTARGETS_PER_TARGET = 4
POINT = "vox-0.01"


@dataclass(frozen=True)
class DevSet:
    """Recordings of held-out speakers and trials between them."""

    pack: Pack
    trials: Trials

    @classmethod
    def open(cls, pack: Pack, trials: str | None, training_speakers: set[str]) -> DevSet:
        """Open a dev set with a trial list, or with all target pairs (across sessions if known) and random non-targets.

        Raises InputError for a dev speaker that is in the training set.
        """
        shared = sorted(training_speakers.intersection(pack.speakers))
        if shared:
            raise InputError(f"{pack.path}: speaker {shared[0]} is also in the training set; use other dev speakers")
        return cls(pack, _make(pack) if trials is None else _read(pack, trials))

    def error_rates(self, encoder: Encoder, world: World = ALONE) -> dict[str, float]:
        """EER and minDCF of the encoder, whose training mode is restored.

        The recordings are divided over the processes, and all get the rates.
        """
        mine = np.argsort(self.pack.lengths, kind="stable")[world.rank :: world.size]  # similar durations for all
        with world.together(), evaluating(encoder):
            try:
                vectors, _ = embed(encoder, PackSource(self.pack.subset(mine)), jobs=1)
            except InputError as error:
                raise RunError(f"{self.pack.path}: {error}; the run has diverged: lower the learning rate") from error
        embedded = {int(mine[row]): vector for row, vector in vectors.items()}
        parts = world.gather(embedded)
        rates: dict[str, float] = {}
        with world.together():
            if world.main:
                rates = self._rates({row: vector for part in parts for row, vector in part.items()})
        return world.broadcast(rates)

    def _rates(self, vectors: dict[int, np.ndarray]) -> dict[str, float]:
        rows = sorted(vectors)
        if not rows:
            raise InputError(f"{self.pack.path}: no dev recording is long enough for the network")
        ids = [self.pack.ids[row] for row in rows]
        trials = _between(self.trials, ids)
        scores = cosine.score(trials, Embeddings(ids=ids, vectors=np.stack([vectors[row] for row in rows])))
        assert trials.target is not None
        point = metrics.operating_point(POINT)
        return {
            "dev_eer": metrics.eer(scores, trials.target),
            "dev_min_dcf": metrics.min_dcf(scores, trials.target, p_target=point.p_target),
        }


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within the context; afterwards every submodule has its previous mode."""
    training = [one for one in module.modules() if one.training]
    module.eval()
    try:
        yield
    finally:
        for one in training:
            one.training = True


def _make(pack: Pack) -> Trials:
    pairs = set(zip(pack.speakers, pack.sessions))
    across = all(pack.sessions) and len(pairs) > len(set(pack.speakers))  # a speaker has two sessions
    per_speaker = np.unique(pack.speakers, return_counts=True)[1]
    if len(per_speaker) < 2:
        raise InputError(f"{pack.path}: dev trials need at least two speakers")
    targets = int((per_speaker * (per_speaker - 1) // 2).sum())
    others = len(pack) * (len(pack) - 1) // 2 - targets
    try:
        return make_trials(
            pack.ids,
            pack.speakers,
            pack.sessions if across else None,
            nontargets=min(NONTARGETS_PER_TARGET * max(targets, 1), others),
            seed=0,
            across_sessions=across,
        )
    except InputError as error:
        raise InputError(f"{pack.path}: {error}; dev EER needs them") from error


def _read(pack: Pack, path: str) -> Trials:
    trials = read_trials(path)
    if trials.target is None:
        raise InputError(f"{path}: no labels; dev trials need target and nontarget")
    for kind, number in (("target", trials.target.sum()), ("non-target", (~trials.target).sum())):
        if not number:
            raise InputError(f"{path}: no {kind} among {len(trials)} trials; dev EER needs targets and non-targets")
    known = pa.array(pack.ids)
    for side in (trials.enrol, trials.test):
        unknown = side.filter(pc.invert(pc.is_in(side, known)))
        if len(unknown):
            raise InputError(f"{path}: '{unknown[0]}' is not in the dev pack {pack.path}; check the list or the pack")
    return trials


def _between(trials: Trials, ids: list[str]) -> Trials:
    """The trials with embeddings on both sides (dev recordings that are too short for the network have none)."""
    known = pa.array(ids)
    keep = pc.and_(pc.is_in(trials.enrol, known), pc.is_in(trials.test, known))
    assert trials.target is not None
    return Trials(trials.enrol.filter(keep), trials.test.filter(keep), trials.target[np.asarray(keep)])
