"""The threshold for an operating point, from labelled scores, with its error rates and their uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver import metrics
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.formats.convert import read
from spkver.metrics import ErrorCurve, OperatingPoint
from spkver.progress import bar
from spkver.scoring.calibration import fit_affine
from spkver.scoring.comparison import FEWEST_SPEAKERS
from spkver.scoring.metadata import read_speakers, speakers_of
from spkver.storage import located
from spkver.trials import Scores, Trials, codes, falling, read_labelled
from spkver.verify.decision import Calibration, Decision, Rate, write_decision
from spkver.verify.lengths import fit_lengths

ERRORS = 30  # give a rate to within 30 % at 90 % confidence: the "rule of 30" (Doddington et al., 2000)
LEVEL = 0.95
_COSINE = 1.001  # the largest cosine, with rounding


@dataclass(frozen=True)
class Criterion:
    """How a threshold is chosen.

    words: description for messages
    threshold: function that returns the threshold of a curve; infinity if only rejecting all trials fulfils it
    kinds: the trials that determine the threshold: non-targets, targets, or both
    rate: target error rate of these trials, or None
    """

    words: str
    threshold: Callable[[ErrorCurve], float]
    kinds: tuple[str, ...]
    rate: float | None = None


def at_far(rate: float) -> Criterion:
    """The lowest threshold with a false-accept rate of at most `rate`."""
    words = f"a false-accept rate of {rate:g}"
    return Criterion(words, lambda curve: metrics.threshold_at_false_alarm(curve, rate), ("non-targets",), rate)


def at_frr(rate: float) -> Criterion:
    """The highest threshold with a false-reject rate of at most `rate`."""
    words = f"a false-reject rate of {rate:g}"
    return Criterion(words, lambda curve: metrics.threshold_at_miss(curve, rate), ("targets",), rate)


def at_cost(point: OperatingPoint) -> Criterion:
    """The threshold of the least expected cost."""
    words = f"the least cost at P(target) {point.p_target:g}, a miss {point.c_miss:g}, a false accept {point.c_fa:g}"
    return Criterion(words, lambda curve: metrics.least_cost(curve, point).threshold, ("non-targets", "targets"))


def at_eer() -> Criterion:
    """The threshold of the equal error rate."""
    words = "equal false-accept and false-reject rates"
    return Criterion(words, lambda curve: metrics.equal_error(curve).threshold, ("non-targets", "targets"))


def set_threshold(
    scores: StrPath,
    criterion: Criterion,
    *,
    trials: StrPath | None = None,
    speakers: Sequence[StrPath] = (),
    model: StrPath | None = None,
    cohort: StrPath | None = None,
    top: int | None = None,
    audio: StrPath | None = None,
    prior: float = 0.5,
    replicates: int = 1000,
) -> tuple[Decision, list[str]]:
    """As `choose`, from files; stores the decision in a model directory if given.

    scores, trials: score file, and the trial list with the labels if the score file has none
    speakers: files with the speakers of the ids, see `read_speakers`
    model: model directory; the scores must then be cosines of this model, or cosines after S-norm by the `top` highest
        scores of `cohort`, a file of embeddings, which is stored as well
    audio: data directory or audio pack of the recordings; the decision then depends on their seconds of speech
    Raises InputError as `choose` and `write_decision` do, and for scores that a stored threshold cannot use.
    """
    if (cohort is None) != (top is None) or (cohort and not model):
        raise InputError("cohort, top and model go together: give all three, or the model alone")
    scored = read_labelled(scores, trials)
    if model:
        require_cosines(scored, str(scores), normalised=cohort is not None)
        scored = replace(scored, values=scored.values.astype(np.float32))  # the type of the cosines in `verify`
    known = read_speakers(speakers) if speakers else None
    voices = read(cohort) if cohort else None  # before the long work
    seconds = seconds_of(scored.trials, audio) if audio else None
    decision, doubts = choose(scored, criterion, known, seconds=seconds, prior=prior, replicates=replicates)
    # names, not paths: the file may be published with the model
    names = {"scores": located(scores).name, "trials": located(trials).name if trials else ""}
    decision = decision.model_copy(update=names)
    if model:
        write_decision(model, decision, voices, top)
    return decision, doubts


def choose(
    scores: Scores,
    criterion: Criterion,
    speakers: Mapping[str, str] | None = None,
    *,
    seconds: tuple[np.ndarray, np.ndarray] | None = None,
    prior: float = 0.5,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[Decision, list[str]]:
    """Choose the threshold for an operating point from labelled scores; returns it with warnings, one line each.

    speakers: the speaker of every id, for the intervals; by default, ids linked by target trials count as one speaker
    seconds: seconds of speech of both sides of every trial, for a correction that makes scores of different lengths
        comparable; threshold and calibration are then of corrected scores
    prior: target prior of the calibration
    The intervals come from a bootstrap over speakers and are at least as wide as those of independent trials.
    Raises InputError for a list without targets or non-targets, if only rejecting all trials fulfils the operating
    point, and if targets do not score higher than non-targets.
    """
    if doubt := falling(scores):
        raise InputError(doubt)
    lengths = None
    if seconds is not None:
        lengths = fit_lengths(scores.values, scores.labels, *seconds, prior)
        scores = replace(scores, values=lengths.corrected(scores.values, *seconds))
    curve = metrics.error_curve(scores.values, scores.labels)
    threshold = criterion.threshold(curve)
    if not np.isfinite(threshold):
        raise InputError(
            f"no threshold gives {criterion.words}: all {curve.targets:.0f} targets would be rejected; "
            f"score more than {curve.nontargets:.0f} non-targets, or choose a higher rate"
        )
    if speakers is None:
        enrol, test = linked_speakers(scores.trials)
    else:
        enrol, test, _ = speakers_of(scores.trials, speakers)

    def far(drawn: ErrorCurve) -> float:
        return _errors(drawn, threshold).false_alarm

    def frr(drawn: ErrorCurve) -> float:
        return _errors(drawn, threshold).miss

    drawn = metrics.speaker_bootstrap(
        [scores.values],
        scores.labels,
        enrol,
        test,
        [lambda curve: min(criterion.threshold(curve), float(curve.thresholds[-2])), far, frr],
        replicates=replicates,
        seed=seed,
    )
    (low, *lows), (high, *highs) = metrics.interval(drawn[:, 0], LEVEL)
    found = _errors(curve, threshold)
    alarms = round(found.false_alarm * curve.nontargets), int(curve.nontargets)
    misses = round(found.miss * curve.targets), int(curve.targets)
    decision = Decision(
        threshold=threshold,
        low=min(low, threshold),
        high=max(high, threshold),
        wish=criterion.words,
        far=_rate(*alarms, lows[0], highs[0]),
        frr=_rate(*misses, lows[1], highs[1]),
        calibration=_calibration(scores, prior),
        speakers=len(np.unique(np.concatenate([enrol, test]))),
        lengths=lengths,
    )
    warnings = []
    if decision.speakers < FEWEST_SPEAKERS:
        warnings.append(f"the intervals are too narrow: they need at least {FEWEST_SPEAKERS} speakers, there are 2")
    counted = {"non-targets": ("false accepts", decision.far), "targets": ("false rejects", decision.frr)}
    few = (_too_few(kind, *counted[kind], criterion.rate) for kind in criterion.kinds)
    return decision, [*warnings, *filter(None, few)]


def seconds_of(trials: Trials, audio: StrPath) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of speech of both sides of the trials, float64 (trials,) each; audio: data directory or audio pack.

    Raises InputError for ids without a recording and for recordings that cannot be read.
    """
    from spkver.quality import speech_seconds  # loads soundfile, which plain thresholds do not need
    from spkver.source import open_source

    source = open_source(audio).audio()
    place = {name: row for row, name in enumerate(source.ids)}
    known: dict[str, float] = {}
    names = pc.unique(pa.concat_arrays([trials.enrol.dictionary, trials.test.dictionary])).to_pylist()
    for name in bar(total=len(names), what="speech", unit="utt", iterable=names):
        if name not in place:
            raise InputError(f"{audio}: no recording '{name}', which is in the trials")
        known[name] = speech_seconds(*source.read(place[name]))
    one, other = (
        np.array([known[name] for name in side.dictionary.to_pylist()])[codes(side)]
        for side in (trials.enrol, trials.test)
    )
    return one, other


def require_cosines(scores: Scores, name: str, *, normalised: bool = False) -> None:
    """Raises InputError for scores that cannot be cosines, which a stored threshold needs.

    normalised: the scores should be cosines after S-norm; raises InputError if they look like plain cosines
    """
    most = float(np.abs(scores.values).max())
    if normalised and most <= _COSINE:
        raise InputError(
            f"{name}: no score is above 1, so these are plain cosines; give the output of spkver normalise"
        )
    if not normalised and most > _COSINE:
        raise InputError(
            f"{name}: a score of {most:g} is not a plain cosine, as verify and identify use it; give scores of "
            "spkver score without --plda, normalisation or calibration, or scores of spkver normalise with --cohort"
        )


def linked_speakers(trials: Trials) -> tuple[np.ndarray, np.ndarray]:
    """Speakers of both sides as codes (trials,): ids linked by target trials, also indirectly, are one speaker.

    Raises InputError for trials without labels.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components  # takes a while to load

    if trials.target is None:
        raise InputError("the trials have no labels: give a trial list with labels")
    known = pc.unique(pa.concat_arrays([trials.enrol.dictionary, trials.test.dictionary]))
    enrol, test = (
        pc.index_in(side.dictionary, value_set=known).to_numpy()[codes(side)] for side in (trials.enrol, trials.test)
    )
    joined = enrol[trials.target], test[trials.target]
    graph = coo_matrix((np.ones(len(joined[0]), np.int8), joined), shape=(len(known), len(known)))
    speakers = connected_components(graph, directed=False)[1]
    return speakers[enrol], speakers[test]


def _errors(curve: ErrorCurve, threshold: float) -> metrics.Decision:
    return metrics.errors_at(curve, int(np.searchsorted(curve.thresholds, threshold)))


def _rate(errors: int, trials: int, low: float, high: float) -> Rate:
    """A rate whose interval is at least as wide as the Clopper-Pearson interval of independent trials."""
    from scipy.special import betaincinv  # takes a while to load

    tail = (1 - LEVEL) / 2
    least = betaincinv(errors, trials - errors + 1, tail) if errors else 0.0
    most = betaincinv(errors + 1, trials - errors, 1 - tail) if errors < trials else 1.0
    return Rate(
        rate=errors / trials, low=min(low, float(least)), high=max(high, float(most)), errors=errors, trials=trials
    )


def _calibration(scores: Scores, prior: float) -> Calibration:
    learnt = fit_affine(scores.values[:, None].astype(np.float64), scores.labels, prior)
    if not learnt.weights[0] > 0:  # rounding: the means that `falling` compares are almost equal
        raise InputError("targets do not score higher than non-targets, so no threshold separates them")
    targets = int(np.count_nonzero(scores.labels))
    return Calibration(
        scale=float(learnt.weights[0]),
        offset=learnt.offset,
        least=-float(np.log(targets + 1)),
        most=float(np.log(len(scores) - targets + 1)),
        prior=prior,
    )


def _too_few(kind: str, what: str, found: Rate, target: float | None) -> str | None:
    if found.errors >= ERRORS:
        return None
    rate = found.rate if target is None else target
    needed = f"about {ERRORS / rate:,.0f}" if rate else "far more"
    return (
        f"the threshold is based on {found.errors} {what} among {found.trials:,} {kind}; {needed} {kind} are needed "
        f"for {ERRORS} errors (rule of {ERRORS})"
    )
