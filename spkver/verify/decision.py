"""What turns a score into a decision: threshold and calibration of a model, kept in its directory as decision.yaml.

The file names the hash of the model that it belongs to and is no part of that hash, so that a model can be given a new
threshold without becoming another model. Needs no torch.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from pydantic import Field

from spkver import modeldir
from spkver.config import Config, load, save
from spkver.embeddings import Embeddings, read_embeddings, write_embeddings
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.scoring.cosine import unit
from spkver.verify.cohort import Cohort

DECISION = "decision.yaml"


class Rate(Config):
    """An error rate as it was counted, and the interval of 95 % in which it may lie with other speakers."""

    rate: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    errors: int = Field(ge=0)
    trials: int = Field(gt=0)


class Calibration(Config):
    """From a score to a natural-log likelihood ratio: scale * score + offset, between `least` and `most`.

    The ends are what the list that it was learnt on can bear witness to: log(targets + 1) below 0, log(nontargets + 1)
    above. prior: the P(target) at which it was learnt
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
        """How likely one speaker is at this score where a share `prior` of all pairs are of one speaker, in (0, 1)."""
        return 1 / (1 + math.exp(-self.ratio(score) - log_odds(prior)))


class KeptCohort(Config):
    """The cohort that scores are normalised by: its file in the model directory, and how many of its voices count."""

    file: str = Field(pattern=r"^cohort-[0-9a-f]{8}\.parquet$")
    top: int = Field(ge=2)


class Decision(Config):
    """A threshold (accepted at score >= threshold), its calibration, and what they were measured on.

    low, high: where the threshold may lie with other speakers, 95 %
    wish: what the threshold is for, in words; far, frr: the rates of false accepts and false rejects that it gives
    speakers: how many the list had; scores, trials: the names of the files; model: the hash, "" where it has none yet
    """

    model: str = ""
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


def log_odds(prior: float) -> float:
    """The natural logarithm of the odds of a probability. Raises InputError outside (0, 1)."""
    if not 0 < prior < 1:
        raise InputError(f"a prior lies between 0 and 1, got {prior:g}")
    return math.log(prior / (1 - prior))


def write_decision(
    model: StrPath, decision: Decision, cohort: Embeddings | None = None, top: int | None = None
) -> Path:
    """Store a decision in a model directory, as that model's; cohort, top: those that its scores were normalised by.

    The cohort is kept without the names of its speakers. Raises InputError for what is no model directory, for a cohort
    of another model, and a top that is not of it.
    """
    root = modeldir.check(model)
    identity, kept = modeldir.identity(model), None
    if cohort is not None:
        if cohort.model != identity:
            raise InputError(
                f"the cohort is of the model '{cohort.model}', this is '{identity}': extract it with this one"
            )
        if top is None or not 2 <= top <= len(cohort):
            raise InputError(f"a top of {top} of a cohort of {len(cohort)}: take between 2 and {len(cohort)}")
        vectors = unit(cohort.vectors, cohort.ids, "embedding")
        name = f"cohort-{hashlib.sha256(vectors.tobytes()).hexdigest()[:8]}.parquet"
        numbers = [str(number) for number in range(len(cohort))]
        write_embeddings(root / name, Embeddings(numbers, vectors, None, identity, cohort.front_end))
        kept = KeptCohort(file=name, top=top)
    path = root / DECISION
    save(decision.model_copy(update={"model": identity, "cohort": kept}), path)
    for old in root.glob("cohort-*.parquet"):  # only now: a run that was killed leaves a decision with its cohort
        if kept is None or old.name != kept.file:
            old.unlink()
    return path


def read_decision(model: StrPath, identity: str = "") -> Decision | None:
    """The decision of a model directory, or None where it has none; identity: the model's hash, where it is known.

    Raises InputError for the decision of another model, and for a file that is none.
    """
    path = Path(model) / DECISION
    if not path.exists():
        return None
    decision = load(Decision, path)
    if decision.model != (identity or modeldir.identity(model)):
        raise InputError(f"{path}: the threshold of another model; measure this one's by spkver threshold --model")
    return decision


def read_cohort(model: StrPath, decision: Decision) -> Cohort | None:
    """The cohort of a model's decision, or None where it has none. Raises InputError for a file that is not it."""
    if decision.cohort is None:
        return None
    path = Path(model) / decision.cohort.file
    voices = read_embeddings(path)
    if voices.model != decision.model or decision.cohort.top > len(voices):
        raise InputError(
            f"{path}: not the cohort of {DECISION}; measure the threshold again by spkver threshold --model"
        )
    return Cohort(voices.vectors, decision.cohort.top)
