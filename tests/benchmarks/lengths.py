"""Does a decision hold on another corpus? With and without the correction for seconds of speech.

    python tests/benchmarks/lengths.py NAME=PACK=EMBEDDINGS... [--far 0.01] [--most 1500] [--group FAMILY=NAME,NAME]

For each corpus, threshold and calibration are fitted on all pairs of the others, with equal weight for each, and then
applied to all pairs of that one: the false-accept and false-reject rate at the threshold for `--far`, Cllr, and its
minimum. Corpora of one `--group` never calibrate each other.

With `--model MODEL`, the decision stored with that model is applied instead.
"""

import argparse

import numpy as np

from spkver import metrics
from spkver.embeddings import read_embeddings, unit
from spkver.progress import bar
from spkver.quality import speech_seconds
from spkver.scoring.calibration import fit_affine
from spkver.source import open_source
from spkver.verify.cohort import Voices, compare
from spkver.verify.decision import read_cohort, read_decision
from spkver.verify.lengths import fit_lengths

EACH = 4000  # targets and non-targets of each corpus in the fit


def pairs(source, embeddings, most, random, cohort=None):
    """Scores, labels and seconds of speech of both sides of all pairs, of whole speakers."""
    source, found = open_source(source).audio(), read_embeddings(embeddings)
    place = {name: row for row, name in enumerate(found.ids)}
    speakers = np.array(source.speakers)
    names = random.permutation(np.unique(speakers))
    kept = names[: max(2, round(len(names) * min(1.0, most / len(speakers))))]
    rows = np.flatnonzero(np.isin(speakers, kept))
    vectors = unit(found.vectors[[place[source.ids[row]] for row in rows]], [source.ids[row] for row in rows], "row")
    voices = Voices.of(vectors, cohort)
    listened = bar(total=len(rows), what="speech", unit="utt", iterable=rows.tolist())
    seconds = np.array([speech_seconds(*source.read(row)) for row in listened])
    one, other = np.triu_indices(len(rows), 1)
    target = speakers[rows][one] == speakers[rows][other]
    return compare(voices, voices)[one, other], target, seconds[one], seconds[other]


def balanced(corpora, random):
    """As many targets and non-targets of each corpus, joined."""
    chosen = []
    for scores, target, one, other in corpora:
        for kind in (True, False):
            rows = np.flatnonzero(target == kind)
            rows = random.choice(rows, EACH, replace=len(rows) < EACH)
            chosen.append((scores[rows], target[rows], one[rows], other[rows]))
    return [np.concatenate(column) for column in zip(*chosen)]


def stored(decision, known):
    """Error rates and Cllr of a stored decision on each corpus."""
    print(f"{'corpus':28s} {'EER':>6s} {'min Cllr':>8s} | FAR, FRR %, Cllr")
    for name, (scores, target, one, other) in known.items():
        if decision.lengths is not None:
            scores = decision.lengths.corrected(scores, one, other)
        ratios = np.array([decision.calibration.ratio(score) for score in scores.tolist()])
        far, frr = (scores[~target] >= decision.threshold).mean(), (scores[target] < decision.threshold).mean()
        least, eer = metrics.min_cllr(scores, target), metrics.eer(scores, target)
        cost = metrics.cllr(ratios, target)
        print(f"{name:28s} {100 * eer:6.2f} {least:8.3f} | {100 * far:6.2f} {100 * frr:6.1f} {cost:6.3f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", metavar="NAME=PACK=EMBEDDINGS")
    parser.add_argument("--far", type=float, default=0.01)
    parser.add_argument("--most", type=int, default=1500, help="recordings of a corpus")
    parser.add_argument("--group", action="append", default=[], metavar="FAMILY=NAME,NAME")
    parser.add_argument("--model", help="model directory whose stored decision is applied")
    arguments = parser.parse_args()
    decision = read_decision(arguments.model) if arguments.model else None
    cohort = read_cohort(arguments.model, decision) if decision else None
    random = np.random.default_rng(0)
    family = {name: group.partition("=")[0] for group in arguments.group for name in group.partition("=")[2].split(",")}
    known = {}
    for one in arguments.corpora:
        name, pack, embeddings = one.split("=")
        known[name] = pairs(pack, embeddings, arguments.most, random, cohort)
    if decision is not None:
        stored(decision, known)
        raise SystemExit
    print(f"{'corpus':28s} {'EER':>6s} {'min Cllr':>8s} | plain: FAR, FRR %, Cllr | corrected: FAR, FRR %, Cllr")
    for name, (scores, target, one, other) in known.items():
        rest = [known[each] for each in known if family.get(each, each) != family.get(name, name)]
        fit_scores, fit_target, *fit_seconds = balanced(rest, random)
        lengths = fit_lengths(fit_scores, fit_target, *fit_seconds, 0.5)
        shown = []
        for fit, test in (
            (fit_scores, scores),
            (lengths.corrected(fit_scores, *fit_seconds), lengths.corrected(scores, one, other)),
        ):
            threshold = np.quantile(fit[~fit_target], 1 - arguments.far)
            ratios = fit_affine(fit[:, None].astype(np.float64), fit_target)(test[:, None].astype(np.float64))
            far, frr = (test[~target] >= threshold).mean(), (test[target] < threshold).mean()
            shown.append(f"{100 * far:6.2f} {100 * frr:6.1f} {metrics.cllr(ratios, target):6.3f}")
        least = metrics.min_cllr(scores, target)
        print(f"{name:28s} {100 * metrics.eer(scores, target):6.2f} {least:8.3f} |  {' | '.join(shown)}", flush=True)
