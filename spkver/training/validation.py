"""Error rates on held-out speakers during training, through the same encoder and metrics as at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from spkver import metrics
from spkver.embeddings import Embeddings
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.extraction import embed_pack
from spkver.packs.reader import Pack
from spkver.scoring import cosine
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
        """With a trial list, or with all target pairs (across sessions where there are sessions) and random others."""
        shared = sorted(training_speakers.intersection(pack.speakers))
        if shared:
            raise InputError(f"{pack.path}: speaker {shared[0]} is in the training set too; hold dev speakers out")
        if trials is not None:
            return cls(pack, read_trials(trials))
        sessions = pack.sessions if all(pack.sessions) and len(set(pack.sessions)) > 1 else None
        per_speaker = np.unique(pack.speakers, return_counts=True)[1]
        targets = int((per_speaker * (per_speaker - 1) // 2).sum())
        made = make_trials(
            pack.ids,
            pack.speakers,
            sessions,
            nontargets=NONTARGETS_PER_TARGET * targets,
            seed=0,
            across_sessions=sessions is not None,
        )
        return cls(pack, made)

    def error_rates(self, encoder: Encoder) -> dict[str, float]:
        """EER and minDCF of the encoder as it is now; its training mode is left as it was."""
        training = encoder.training
        encoder.eval()
        try:
            vectors, _ = embed_pack(encoder, self.pack)
        finally:
            encoder.train(training)
        rows = sorted(vectors)
        ids = [self.pack.ids[row] for row in rows]
        trials = _between(self.trials, ids)
        scores = cosine.score(trials, Embeddings(ids=ids, vectors=np.stack([vectors[row] for row in rows])))
        assert trials.target is not None
        point = metrics.operating_point(POINT)
        return {
            "dev_eer": metrics.eer(scores, trials.target),
            "dev_min_dcf": metrics.min_dcf(scores, trials.target, p_target=point.p_target),
        }


def _between(trials: Trials, ids: list[str]) -> Trials:
    """The trials whose two sides have embeddings (a dev recording too short for the network is left out)."""
    if trials.target is None:
        raise InputError("the dev trial list has no labels; give one with target and nontarget")
    known = pa.array(ids)
    import pyarrow.compute as pc

    keep = np.asarray(pc.and_(pc.is_in(trials.enrol, known), pc.is_in(trials.test, known)))
    if not keep.any():
        raise InputError("no trial of the dev list is between utterances of the dev pack; check the ids")
    mask = pa.array(keep)
    return Trials(trials.enrol.filter(mask), trials.test.filter(mask), trials.target[keep])
