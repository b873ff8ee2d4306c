"""Benchmarks of decisions: thresholds, long recordings, and the speaker book.

python tests/benchmarks/decisions.py halves SCORES TRIALS UTT2SPK
    set thresholds and calibrations on half of the speakers and test them on the other half
python tests/benchmarks/decisions.py windows MODEL FOLDER
    compare embeddings of long recordings by windows with those of whole recordings; FOLDER/SPEAKER/**/FILE
python tests/benchmarks/decisions.py memory NETWORK SECONDS [WHOLE_SECONDS]
    peak memory for a recording of SECONDS in windows of up to WHOLE_SECONDS
python tests/benchmarks/decisions.py book [PEOPLE]
    make, open and search a speaker book of PEOPLE people
"""

from __future__ import annotations

import itertools
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

DIM = 256


def halves(scores: str, trials: str, utt2spk: str, splits: int = 10) -> None:
    from spkver import metrics
    from spkver.scoring.metadata import read_speakers, speakers_of
    from spkver.trials import join, read_scores, read_trials
    from spkver.verify import threshold as th

    speakers = read_speakers([utt2spk])
    scored = join(read_scores(scores), read_trials(trials))
    enrol, test, names = speakers_of(scored.trials, speakers)
    for rate in (0.01, 0.001):
        rows = []
        for split in range(splits):
            first = np.random.default_rng(split).permutation(len(names)) < len(names) // 2
            own, other = (scored.take((first[enrol] == side) & (first[test] == side)) for side in (True, False))
            found, _ = th.choose(own, th.at_far(rate), speakers, replicates=200, seed=split)
            best = metrics.threshold_at_false_alarm(metrics.error_curve(other.values, other.labels), rate)
            accepted = other.values >= np.float32(found.threshold)
            far, frr = accepted[~other.labels].mean(), (~accepted)[other.labels].mean()
            ratios = np.array([found.calibration.ratio(score) for score in other.values.tolist()])
            rows.append(
                [
                    found.low <= best <= found.high,
                    found.far.low <= far <= found.far.high,
                    found.frr.low <= frr <= found.frr.high,
                    far,
                    metrics.cllr(ratios, other.labels),
                    metrics.min_cllr(ratios, other.labels),
                ]
            )
        held, (far, cllr, least) = np.sum(rows, axis=0)[:3].astype(int), np.mean(rows, axis=0)[3:]
        print(
            f"FAR {100 * rate:g} % set: {100 * far:.3f} % on the other half (mean of {splits}); its own threshold, "
            f"FAR and FRR lie within the intervals {held[0]}, {held[1]} and {held[2]} times of {splits}; "
            f"Cllr {cllr:.3f}, at the least {least:.3f}"
        )


def windows(model: str, folder: str, most: int = 24) -> None:
    from spkver import audio
    from spkver.verify.model import Verifier

    verifier = Verifier.open(model)
    lengths = (40.0, 20.0, 10.0)
    rows, wholes, seconds = [], [], []
    for speaker in sorted(path for path in Path(folder).iterdir() if path.is_dir())[:most]:
        files = sorted(path for path in speaker.rglob("*") if path.is_file())
        waveform = np.concatenate([audio.read(file, verifier.sample_rate)[0] for file in files])
        halves = np.array_split(waveform, 2)
        verifier.whole_seconds = 1e6
        whole = verifier.listen(waveform).vector
        row = [float(verifier.listen(halves[0]).vector @ verifier.listen(halves[1]).vector)]
        for length in lengths:
            verifier.whole_seconds = length
            row.append(float(verifier.listen(waveform).vector @ whole))
        rows.append(row)
        wholes.append(whole)
        seconds.append(len(waveform) / verifier.sample_rate)
    middle, least = np.median(rows, axis=0), np.min(rows, axis=0)
    print(f"{len(rows)} speakers, {np.median(seconds):.0f} s each (median); cosines, median and least:")
    print(f"one half with the other {middle[0]:.4f} {least[0]:.4f}")
    for length, mean, low in zip(lengths, middle[1:], least[1:]):
        print(f"the whole with its windows of up to {length:g} s {mean:.4f} {low:.4f}")
    others = [float(one @ other) for one, other in itertools.pairwise(wholes)]
    print(f"with another speaker {np.median(others):.4f}")


def memory(network: str, seconds: str, whole: str = "300") -> None:
    from spkver.config import validate
    from spkver.encoder import Encoder, EncoderConfig

    encoder = Encoder(validate(EncoderConfig, {"model": network})).eval()
    encoder.whole_seconds = float(whole)
    noise = np.random.default_rng(0).normal(scale=0.1, size=int(float(seconds) * 16000)).astype(np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    encoder.embed(noise)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    taken = time.perf_counter() - start
    print(f"{network}, {seconds} s, windows of up to {whole} s: {more:.0f} MiB more than before, {taken:.0f} s")


def book(people: str = "20000") -> None:
    from spkver.embeddings import Embeddings
    from spkver.verify import book as books
    from spkver.verify.bookfile import Person

    random = np.random.default_rng(0)
    number = int(people)
    vectors = np.repeat(random.normal(size=(number, DIM)), 3, axis=0) + random.normal(size=(3 * number, DIM))
    recordings = Embeddings([str(row) for row in range(3 * number)], vectors.astype(np.float32), None, "m")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "book"
        books.enrol(place, "x", recordings)
        found = books.open_book(place).voices
        names = [f"person {row // 3}" for row in range(3 * number)]

        def write() -> None:
            with books.edited(place, None) as opened:
                everybody = {name: Person(name) for name in names}
                voices = replace(found, speakers=names)
                books.write(opened, replace(opened.contents, voices=voices, people=everybody))

        steps = {"write": write}
        steps["open"] = lambda: books.open_book(place).people()
        steps["open again"] = steps["open"]
        everyone = None
        for name, step in steps.items():
            start = time.perf_counter()
            everyone = step()
            print(f"{name}: {time.perf_counter() - start:.2f} s")
        heard = found.vectors[::3][:1000]
        start = time.perf_counter()
        right = sum(everyone.rank(one, 5)[0].name == f"person {row}" for row, one in enumerate(heard))
        taken = (time.perf_counter() - start) / len(heard)
        print(f"search of {number} people: {1000 * taken:.2f} ms, {right} of {len(heard)} found first")


if __name__ == "__main__":
    commands = {"halves": halves, "windows": windows, "memory": memory, "book": book}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])
