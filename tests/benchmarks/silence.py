"""EER by cosine when one side of every trial has pauses: digital silence, noise gates, background noise.

    python tests/benchmarks/silence.py packs/test trials.txt [--model exp/my/model] [--per-speaker 20] [--vad energy]

Enrolments are as recorded; test recordings get the zeros, some a lossy codec after that.
"""

import argparse
import io

import numpy as np
import soundfile
import torch
from scipy.ndimage import maximum_filter1d

from spkver import audio, metrics
from spkver.features import VADS
from spkver.packs.reader import Pack
from spkver.progress import bar
from spkver.verify.model import load_model

RATE = 16000
FRAME = 160  # samples of a gate's decision


def after(seconds):
    return lambda x: np.concatenate([x, np.zeros(round(seconds * RATE), np.float32)])


def both_ends(seconds):
    return lambda x: np.pad(x, round(seconds * RATE))


def as_long_again(x):
    return np.concatenate([x, np.zeros_like(x)])


def background(below_db, times=9):
    """A pause so many times as long, half before and half after; the whole has noise so far below the speech."""

    def apply(x):
        noise = np.random.default_rng(len(x)).normal(size=(times + 1) * len(x)).astype(np.float32)
        noise *= np.sqrt(np.square(x).mean()) * 10 ** (-below_db / 20)
        start = times * len(x) // 2
        noise[start : start + len(x)] += x
        return noise / max(1.0, np.abs(noise).max())

    return apply


def gate(below_db, hold_frames=5):
    """Zeros where the level stays so far below the recording's loudest frames."""

    def apply(x):
        power = np.square(x[: len(x) // FRAME * FRAME].reshape(-1, FRAME)).mean(1)
        open_ = maximum_filter1d(power > np.percentile(power, 98) * 10 ** (-below_db / 10), 2 * hold_frames + 1)
        kept = np.zeros_like(x)
        kept[: len(open_) * FRAME] = np.repeat(open_, FRAME)
        return x * kept

    return apply


def codec(change, container, subtype):
    def apply(x):
        stream = io.BytesIO()
        soundfile.write(stream, change(x), RATE, format=container, subtype=subtype)
        stream.seek(0)
        return soundfile.read(stream, dtype="float32")[0]

    return apply


WAYS = {
    "as recorded": lambda x: x,
    "0.1 s after": after(0.1),
    "0.5 s after": after(0.5),
    "0.5 s on both sides": both_ends(0.5),
    "as much as the recording": as_long_again,
    "gate at -40 dB": gate(40.0),
    "gate at -30 dB": gate(30.0),
    "pause x9, noise at -50 dB": background(50.0),
    "pause x9, noise at -30 dB": background(30.0),
    "pause x9, noise at -20 dB": background(20.0),
    "no pause, noise at -20 dB": background(20.0, times=0),
    "MP3": codec(lambda x: x, "MP3", "MPEG_LAYER_III"),
    "0.5 s after, MP3": codec(after(0.5), "MP3", "MPEG_LAYER_III"),
    "Opus": codec(lambda x: x, "OGG", "OPUS"),
    "0.5 s after, Opus": codec(after(0.5), "OGG", "OPUS"),
}


def embed(encoder, pack, rows, change):
    vectors = {}
    with bar(total=len(rows), what="embed", unit="utt") as progress:
        for row in rows:
            x = change(audio.from_int16(pack[row])).astype(np.float32)
            vectors[pack.ids[row]] = encoder.embed(x)
            progress.update()
    return {name: vector / np.linalg.norm(vector) for name, vector in vectors.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack")
    parser.add_argument("trials", help="lines of '1|0 enrol test'")
    parser.add_argument("--model", help="a model directory; by default the package's own")
    parser.add_argument("--per-speaker", type=int, default=20, help="recordings of each speaker that take part")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--vad", choices=["none", *VADS], help="in place of the model's own")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pack, encoder = Pack.open(arguments.pack), load_model(arguments.model)
    if arguments.vad:
        config = type(encoder.config.front_end)(**{**dict(encoder.config.front_end), "vad": arguments.vad})
        encoder.front_end.vad = None if config.vad is None else VADS.build(config.vad, config)
    seen: dict[str, list[int]] = {}
    for row, speaker in enumerate(pack.speakers):
        seen.setdefault(speaker, []).append(row)
    rows = [row for own in seen.values() for row in own[: arguments.per_speaker]]
    names = {pack.ids[row] for row in rows}
    with open(arguments.trials, encoding="utf-8") as stream:
        trials = [line.split() for line in stream]
    trials = [(label == "1", one, other) for label, one, other in trials if one in names and other in names]
    target = np.array([label for label, *_ in trials])
    plain = embed(encoder, pack, rows, WAYS["as recorded"])
    print(f"{len(rows)} recordings, {target.sum()} target and {(~target).sum()} non-target trials", flush=True)
    for name in arguments.ways:
        changed = plain if name == "as recorded" else embed(encoder, pack, rows, WAYS[name])
        scores = np.array([plain[one] @ changed[other] for _, one, other in trials])
        own = np.mean([plain[utterance] @ changed[utterance] for utterance in plain])
        eer = metrics.eer(scores, target)
        print(f"{name:26s} EER {100 * eer:6.2f} %   cosine to the recording as it was {own:.3f}", flush=True)
