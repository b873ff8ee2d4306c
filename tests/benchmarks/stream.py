"""`python tests/benchmarks/stream.py DATA [--model MODEL]`: error rates of early decisions (`/v1/stream`).

DATA is a data directory. The first recording of each speaker enrols them. Every other recording is streamed, and claims
to be its own speaker and each of the others. Prints, for several wished rates, the rates that were measured, the share
that stays undecided at the end, and when decisions come.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from spkver import audio
from spkver.datadir import read_datadir
from spkver.modeldir import default_model
from spkver.serve.batching import SharedVerifier
from spkver.serve.config import Limits
from spkver.serve.service import Service
from spkver.serve.stream import Bounds, Listener, Start
from spkver.verify import book as books
from spkver.verify.model import embeddings_of
from spkver.verify.people import people_for

WISHES = ((0.05, 0.05), (0.01, 0.05), (0.001, 0.05))


def main() -> None:
    """See the head of the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--model")
    parser.add_argument("--recordings", type=int, default=200, help="at most so many are streamed")
    given = parser.parse_args()
    verifier = SharedVerifier.open(given.model or default_model()).prepare()
    data = read_datadir(given.data)
    with tempfile.TemporaryDirectory() as folder:
        service = Service(verifier, Path(folder) / "book", Limits(seconds=3600))
        first: dict[str, int] = {}
        for row, speaker in enumerate(data.speakers):
            first.setdefault(speaker, row)
        for speaker, row in first.items():
            heard = verifier.listen(str(data.paths[row]))
            books.enrol(service.root, speaker, embeddings_of(verifier, [heard]), seconds=[heard.seconds])
        rows = [row for row in range(len(data.ids)) if row not in first.values()]
        rows = np.random.default_rng(0).permutation(rows)[: given.recordings].tolist()
        people = people_for(verifier, books.open_book(service.root))
        paths = [path(service, people, str(data.paths[row])) for row in rows]
    names = sorted(first)
    own = np.array([[data.speakers[row] == name for name in names] for row in rows])
    print(f"{len(rows)} recordings, {own.sum()} targets, {(~own).sum()} non-targets")
    print("| wished | accepted non-targets | rejected targets | undecided targets | s to accept | s to reject |")
    print("|---|---|---|---|---|---|")
    for alpha, beta in WISHES:
        bounds = Bounds.of(alpha, beta)
        decided = [[decide(bounds, times, ratios[name]) for name in names] for times, ratios in paths]
        words = np.array([[word for word, _ in row] for row in decided])
        seconds = np.array([[when for _, when in row] for row in decided])
        accepted, rejected = words == "accept", words == "reject"
        print(
            f"| {100 * alpha:g} %, {100 * beta:g} % | {100 * accepted[~own].mean():.2f} % | "
            f"{100 * rejected[own].mean():.1f} % | {100 * (words[own] == 'undecided').mean():.1f} % | "
            f"{np.median(seconds[own & accepted]):.1f} | {np.median(seconds[~own & rejected]):.1f} |"
        )
    last = np.array([[ratios[name][-1] for name in names] for _, ratios in paths])
    decision = verifier.decision
    assert decision is not None
    accepted = last >= decision.calibration.ratio(decision.threshold)
    print(
        f"whole recordings (median {np.median([times[-1] for times, _ in paths]):.1f} s) at the threshold: accepted "
        f"non-targets {100 * accepted[~own].mean():.2f} %, rejected targets {100 * (~accepted)[own].mean():.1f} %"
    )


def path(service: Service, people: books.People, file: str) -> tuple[list[float], dict[str, list[float]]]:
    """Seconds at which a stream of a recording is answered, and the log-likelihood ratios of all people then."""
    waveform, rate = audio.read(file, service.verifier.sample_rate)
    samples = audio.to_int16(waveform)
    listener = Listener(service, "", Start(rate=rate), None, Bounds.of(0.01, 0.05))
    ends = [
        listener.samples
        for start in range(0, len(samples), rate // 4)
        if listener.add(samples[start : start + rate // 4].tobytes())
    ]
    times: list[float] = []
    ratios: dict[str, list[float]] = {}
    for end in dict.fromkeys([*ends, len(samples)]):
        try:
            heard = service.listen(samples[:end], rate)
        except books.InputError:  # silent so far
            continue
        times.append(end / rate)
        for name, score in people.rank(heard.vector, len(people.names), heard.seconds):
            ratios.setdefault(name, []).append(service.log_likelihood_ratio(score) or 0.0)
    return times, ratios


def decide(bounds: Bounds, times: list[float], ratios: list[float]) -> tuple[str, float]:
    """The first decision of a stream, and when it comes."""
    for seconds, ratio in zip(times, ratios):
        if decision := bounds.decide(ratio):
            return decision, seconds
    return "undecided", times[-1]


if __name__ == "__main__":
    main()
