"""Is a person better represented by one mean of embeddings, or by several prototypes?

    python tests/benchmarks/prototypes.py NAME=PACK=EMBEDDINGS... [--model MODEL] [--enrol 6] [--cuts 0.3,0.4,0.5]

Each speaker is enrolled from some random recordings, and tested with the others against all speakers, three times. The
prototypes of a speaker are the means of the clusters (average linkage of cosines, cut at `--cuts`) of the enrolment.
For each way of scoring: EER, and false accepts and false rejects at the threshold stored with the model. Embeddings of
two packs under one name (`NAME=PACK,PACK=EMBEDDINGS,EMBEDDINGS`, for example of another device) are joined.

Then, for the means, how often `spkver identify` names the right person, a wrong one, nobody, or finds it ambiguous: for
people of the book, and for each of them after the person was taken out of the book.
"""

import argparse
from collections import Counter

import numpy as np
from scipy.cluster import hierarchy

from spkver import metrics
from spkver.embeddings import read_embeddings, unit
from spkver.modeldir import default_model
from spkver.quality import speech_seconds
from spkver.source import open_source
from spkver.verify.book import Match, answer
from spkver.verify.cohort import Voices, compare
from spkver.verify.decision import read_cohort, read_decision

DRAWS = 3
MOST = 3  # prototypes
OUTCOMES = ("right", "wrong", "ambiguous", "nobody")


def corpus(packs, files):
    """Embeddings of length 1, speakers and seconds of speech."""
    vectors, speakers, seconds = [], [], []
    for pack, file in zip(packs.split(","), files.split(",")):
        source, found = open_source(pack).audio(), read_embeddings(file)
        place = {name: row for row, name in enumerate(found.ids)}
        vectors.append(found.vectors[[place[one] for one in source.ids]])
        speakers += source.speakers
        seconds += [speech_seconds(*source.read(row)) for row in range(len(source.ids))]
    joined = np.concatenate(vectors)
    return unit(joined, list(map(str, range(len(joined)))), "embedding"), np.array(speakers), np.array(seconds)


def clusters(vectors, cut):
    """The cluster of each vector, at most MOST."""
    if len(vectors) == 1:
        return np.zeros(1, int)
    tree = hierarchy.linkage(vectors, "average", metric="cosine")
    labels = hierarchy.fcluster(tree, 1 - cut, "distance")
    return (labels if labels.max() <= MOST else hierarchy.fcluster(tree, MOST, "maxclust")) - 1


def sides(vectors, seconds, rows, labels, cohort):
    """Prototypes (voices) of one enrolment."""
    means = np.stack([vectors[rows[labels == label]].mean(axis=0) for label in np.unique(labels)])
    spoken = np.array([seconds[rows[labels == label]].sum() for label in np.unique(labels)])
    return Voices.of(unit(means, ["x"] * len(means), "mean"), cohort, spoken)


def trials(vectors, speakers, seconds, number, cut, decision, cohort, seed):
    """Scores of each way, and labels."""
    random = np.random.default_rng(seed)
    enrolments, tests = {}, []
    for name in np.unique(speakers):
        rows = random.permutation(np.flatnonzero(speakers == name))
        if len(rows) > number:
            enrolments[name] = rows[:number]
            tests += rows[number:].tolist()
    test = Voices.of(vectors[tests], cohort, seconds[tests])
    found, several = {}, 0
    for rows in enrolments.values():
        labels = clusters(vectors[rows], cut)
        several += labels.max() > 0
        whole = sides(vectors, seconds, rows, np.zeros(len(rows), int), cohort)
        parts = sides(vectors, seconds, rows, labels, cohort)
        each = sides(vectors, seconds, rows, np.arange(len(rows)), cohort)
        mean, four = (
            compare(Voices(whole.vectors, whole.worth, spoken), test, decision.lengths)[0]
            for spoken in (whole.seconds, None)
        )
        ranked = -np.sort(-compare(parts, test, decision.lengths), axis=0)
        scores = {
            "mean, as 4 s": four,
            "mean": mean,
            "best prototype": ranked[0],
            "best of prototypes and mean": np.maximum(ranked[0], mean),
            "mean of the best two": ranked[:2].mean(axis=0),
            "best recording": compare(each, test, decision.lengths).max(axis=0),
        }
        for way, values in scores.items():
            found.setdefault(way, []).append(values)
    label = np.concatenate([speakers[tests] == name for name in enrolments])
    outcomes = identified(np.stack(found["mean"]), label.reshape(len(enrolments), -1), decision)
    return {way: np.concatenate(values) for way, values in found.items()}, label, several / len(enrolments), outcomes


def identified(scores, own, decision):
    """Shares of OUTCOMES, (4, 4): speakers of the book and strangers, each by `identify` and without its margin."""
    shares = []
    for table in (scores, np.where(own, -np.inf, scores)):
        ranked = np.argsort(-table, axis=0)[:2]
        for scale in (decision.calibration.scale, None):
            counts = Counter()
            for test, rows in enumerate(ranked.T):
                found = answer([Match(row, table[row, test]) for row in rows], decision.threshold, scale)
                named = "nobody" if found.name is None else "right" if own[found.name, test] else "wrong"
                counts["ambiguous" if found.ambiguous else named] += 1
            shares.append([counts[outcome] / own.shape[1] for outcome in OUTCOMES])
    return np.array(shares)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", metavar="NAME=PACK=EMBEDDINGS")
    parser.add_argument("--model", default=default_model())
    parser.add_argument("--enrol", type=int, default=6, help="recordings of an enrolment")
    parser.add_argument("--cuts", default="0.3,0.4,0.5")
    arguments = parser.parse_args()
    decision = read_decision(arguments.model)
    cohort = read_cohort(arguments.model, decision)
    for one in arguments.corpora:
        name, packs, files = one.split("=")
        whole = corpus(packs, files)
        for cut in map(float, arguments.cuts.split(",")):
            runs = [trials(*whole, arguments.enrol, cut, decision, cohort, seed) for seed in range(DRAWS)]
            labels = np.concatenate([run[1] for run in runs])
            share = np.mean([run[2] for run in runs])
            print(f"{name}, cut {cut:g}: {100 * share:.0f} % of the people have several prototypes")
            for way in runs[0][0]:
                scores = np.concatenate([run[0][way] for run in runs])
                far, frr = (scores[~labels] >= decision.threshold).mean(), (scores[labels] < decision.threshold).mean()
                eer = metrics.eer(scores, labels)
                print(f"  {way:28s} EER {100 * eer:5.2f}  FAR {100 * far:5.2f}  FRR {100 * frr:5.2f}", flush=True)
            shares = 100 * np.mean([run[3] for run in runs], axis=0)
            for who, row in zip(("people", "people, without margin", "strangers", "strangers, without margin"), shares):
                told = ", ".join(f"{outcome} {share:.1f}" for outcome, share in zip(OUTCOMES, row))
                print(f"  {who}: {told} %", flush=True)
