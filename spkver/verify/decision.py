"""The threshold and calibration of a model, stored in the model directory as decision.yaml.

The file names the hash of its model. The hash does not cover the file, so a new threshold does not change the model.
Does not need torch.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from pydantic import Field

from spkver import modeldir
from spkver.config import Config
from spkver.embeddings import Embeddings, read_embeddings, unit, write_embeddings
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.storage import located
from spkver.verify.cohort import Cohort
from spkver.verify.lengths import Lengths

DECISION = "decision.yaml"


class Rate(Config):
    """A measured error rate and its 95 % interval over speakers."""

    rate: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    errors: int = Field(ge=0)
    trials: int = Field(gt=0)


class Calibration(Config):
    """Map from a score to a natural-log likelihood ratio: scale * score + offset, clipped to [least, most].

    The limits are set by the size of the training list: -log(targets + 1) and log(nontargets + 1).
    prior: the target prior of the fit
    """

    scale: float = Field(gt=0)
    offset: float
    least: float
    most: float
    prior: float = Field(gt=0, lt=1)

    def ratio(self, score: float) -> float:
        """The natural-log likelihood ratio of a score."""
        return min(max(self.scale * score + self.offset, self.least), self.most)

    def probability(self, score: float, prior: float = 0.5) -> float:
        """Posterior probability of the same speaker, in (0, 1), at the prior probability `prior`."""
        return 1 / (1 + math.exp(-self.ratio(score) - log_odds(prior)))


class KeptCohort(Config):
    """The stored cohort of S-norm: its file in the model directory, and the number of highest scores used."""

    file: str = Field(pattern=r"^cohort-[0-9a-f]{8}\.parquet$")
    top: int = Field(ge=2)


class Decision(modeldir.Kept):
    """A threshold (accept if score >= threshold), its calibration, and the data they were measured on.

    low, high: 95 % interval of the threshold over speakers
    wish: how the threshold was chosen, in words; far, frr: false-accept and false-reject rate at the threshold
    speakers: number of speakers in the list; scores, trials: names of the files
    lengths: the correction of scores for the seconds of speech, which threshold and calibration assume; or None
    """

    threshold: float
    low: float
    high: float
    wish: str
    far: Rate
    frr: Rate
    calibration: Calibration
    speakers: int
    scores: str = ""
    trials: str = ""
    cohort: KeptCohort | None = None
    lengths: Lengths | None = None


def log_odds(prior: float) -> float:
    """The natural logarithm of the odds of a probability. Raises InputError outside (0, 1)."""
    if not 0 < prior < 1:
        raise InputError(f"the prior must be between 0 and 1, got {prior:g}")
    return math.log(prior / (1 - prior))


def write_decision(
    model: StrPath, decision: Decision, cohort: Embeddings | None = None, top: int | None = None
) -> Path:
    """Store a decision in a model directory; cohort, top: those of the S-norm of the scores.

    The cohort is stored without speaker names. Raises InputError if `model` is not a model directory, the cohort is of
    another model, or `top` does not fit the cohort.
    """
    root = modeldir.check(model)
    identity, kept = modeldir.identity(model), None
    if cohort is not None:
        if cohort.model != identity:
            raise InputError(
                f"the cohort is of the model '{cohort.model}', not '{identity}': extract it with this model"
            )
        if top is None or not 2 <= top <= len(cohort):
            raise InputError(f"--top {top} with a cohort of {len(cohort)}: use a value from 2 to {len(cohort)}")
        vectors = unit(cohort.vectors, cohort.ids, "embedding")
        name = f"cohort-{hashlib.sha256(vectors.tobytes()).hexdigest()[:8]}.parquet"
        numbers = [str(number) for number in range(len(cohort))]
        write_embeddings(root / name, Embeddings(numbers, vectors, None, identity, cohort.front_end))
        kept = KeptCohort(file=name, top=top)
    path = modeldir.keep(root, DECISION, decision.model_copy(update={"cohort": kept}))
    for old in root.glob("cohort-*.parquet"):  # last, so that a killed run leaves a decision with its cohort
        if kept is None or old.name != kept.file:
            old.unlink()
    return path


def read_decision(model: StrPath, identity: str = "") -> Decision | None:
    """The decision of a model directory, or None if it has none; identity: the model's hash, if known.

    Raises InputError for the decision of another model and for an invalid file.
    """
    return modeldir.kept(model, DECISION, Decision, "choose a new threshold with spkver threshold --model", identity)


def read_cohort(model: StrPath, decision: Decision) -> Cohort | None:
    """The cohort of a decision, or None if it has none. Raises InputError for a file that does not match."""
    if decision.cohort is None:
        return None
    path = located(model) / decision.cohort.file
    voices = read_embeddings(path)
    if voices.model != decision.model or decision.cohort.top > len(voices):
        raise InputError(
            f"{path}: not the cohort of {DECISION}; choose the threshold again with spkver threshold --model"
        )
    return Cohort(voices.vectors, decision.cohort.top)
