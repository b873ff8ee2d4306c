"""Do the warnings of `verify` predict errors, and do they notice what is wrong with a recording?

    python tests/benchmarks/doubts.py NAME=PACK... [--model exp/my/model] [--most 300]

Every recording is changed in one way in turn: as recorded, babble, pink noise, telephone band, clipping, cut to a
second, gated, quiet. All pairs of a corpus are scored as `verify` does. First table: share of the recordings that get
each warning, by change. Second: miss and false-accept rates of pairs with a warning, or a change, on at least one side.
The threshold of a corpus is that where both rates of all its pairs are equal.
"""

import argparse

import numpy as np
import soxr
import torch

from spkver import audio, metrics
from spkver.packs.reader import Pack
from spkver.progress import bar
from spkver.verify.cohort import Voices, compare
from spkver.verify.model import load_model

RATE = 16000
# beginnings of the warnings, after the name of the recording
KINDS = {"short": "short:", "noisy": "noisy:", "clipped": "clipped:", "band": "nothing above", "silence": "% digital"}


def with_noise(x, noise, snr_db):
    noise = np.resize(noise, x.shape)
    return x + noise * np.sqrt(np.square(x).mean() / max(np.square(noise).mean(), 1e-12)) * 10 ** (-snr_db / 20)


def babble(x, others, random):
    return with_noise(x, sum(np.resize(other, x.shape) for other in others), 10)


def pink(x, others, random):
    spectrum = np.fft.rfft(random.normal(size=len(x)))
    return with_noise(x, np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(x)), 10)


def telephone(x, others, random):
    return np.resize(soxr.resample(soxr.resample(x, RATE, 8000), 8000, RATE), x.shape)


def clipped(x, others, random):
    return np.clip(x, *np.percentile(x, (2, 98)))


def a_second(x, others, random):
    start = max(0, (len(x) - RATE) // 2)
    return x[start : start + RATE]


def gated(x, others, random):
    frames = x[: len(x) // 160 * 160].reshape(-1, 160)
    power = np.square(frames).mean(axis=1)
    loud = power > np.percentile(power, 98) * 1e-3
    opened = np.convolve(loud, np.ones(11), "same") > 0
    return (frames * opened[:, None]).ravel()


WAYS = {
    "as recorded": lambda x, others, random: x,
    "babble at 10 dB": babble,
    "pink noise at 10 dB": pink,
    "telephone band": telephone,
    "clipped": clipped,
    "cut to a second": a_second,
    "gate at -30 dB": gated,
    "40 dB quieter": lambda x, others, random: x / 100,
}


def listened(model, pack, rows, random):
    """The change of each recording, and what the model hears."""
    heard = []
    for place, row in enumerate(bar(total=len(rows), what="listen", unit="utt", iterable=rows.tolist())):
        others = [audio.from_int16(pack[other]) for other in random.choice(rows, 6)]
        way = list(WAYS)[place % len(WAYS)]
        changed = WAYS[way](audio.from_int16(pack[row]), others, random).astype(np.float32)
        changed = audio.from_int16(audio.to_int16(changed / max(1.0, np.abs(changed).max())))
        heard.append((way, model.listen(changed, RATE)))
    return heard


def judged(model, heard, speakers):
    """For all pairs of rows: accepted at the threshold of equal error rates, target, first row, second row."""
    seconds = np.array([each.seconds for _, each in heard])
    voices = Voices.of(np.stack([each.vector for _, each in heard]), model.cohort, seconds)
    first, second = np.triu_indices(len(heard), 1)
    scores, target = compare(voices, voices, model.lengths)[first, second], speakers[first] == speakers[second]
    return scores >= metrics.equal_error(metrics.error_curve(scores, target)).threshold, target, first, second


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs", nargs="+", metavar="NAME=PACK")
    parser.add_argument("--model", help="a model directory with a decision; by default the package's own")
    parser.add_argument("--most", type=int, default=400, help="recordings of a corpus")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, random = load_model(arguments.model), np.random.default_rng(0)
    everything, pairs = [], []
    for one in arguments.packs:
        pack = Pack.open(one.partition("=")[2])
        rows = random.permutation(len(pack.ids))[: arguments.most]
        heard = listened(model, pack, rows, random)
        accepted, target, first, second = judged(model, heard, np.array(pack.speakers)[rows])
        pairs.append((accepted, target, first + len(everything), second + len(everything)))
        everything += heard
    accepted, target, first, second = (np.concatenate(column) for column in zip(*pairs))
    ways = np.array([way for way, _ in everything])
    warned = {
        kind: np.array([any(start in line for line in each.doubts) for _, each in everything])
        for kind, start in KINDS.items()
    }
    warned["none"] = ~np.any(list(warned.values()), axis=0)
    print(f"{'recordings with the warning, %':32s}" + "".join(f"{kind:>9s}" for kind in warned))
    for way in WAYS:
        print(f"{way:32s}" + "".join(f"{100 * each[ways == way].mean():9.0f}" for each in warned.values()))
    none = warned.pop("none")
    groups = {"all": np.ones(len(target), bool), "no warning": none[first] & none[second]}
    groups["a warning"] = ~groups["no warning"]
    groups |= {f"warning: {kind}": each[first] | each[second] for kind, each in warned.items()}
    groups |= {f"change: {way}": (ways[first] == way) | (ways[second] == way) for way in WAYS}
    print(f"\n{'pairs':32s}{'targets':>9s}{'miss %':>9s}{'FA %':>9s}{'mean':>9s}")
    for name, group in groups.items():
        if (group & target).any() and (group & ~target).any():
            miss, false = 100 * (~accepted[group & target]).mean(), 100 * accepted[group & ~target].mean()
            print(f"{name:32s}{(group & target).sum():9d}{miss:9.2f}{false:9.2f}{(miss + false) / 2:9.2f}")
