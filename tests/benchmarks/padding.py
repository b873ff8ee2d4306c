"""Does padding pay? Throughput of networks on utterances of unequal lengths, in batches of equal and of padded lengths.

    python tests/benchmarks/padding.py [--seconds FILE] [--models xvector campplus ...] [--number 200] [--device cpu]

--seconds: a table (TSV) with a column `seconds`; without it, lengths are log-normal with a median of 4 s. Features are
random numbers, networks have random weights. Times are the best of `--repeat`, taken in turn: processor time of one
thread on a CPU, as in each worker of `spkver extract`, and wall time on a GPU.
"""

import argparse
import csv
import time

import numpy as np
import torch

from spkver.config import validate
from spkver.encoder import BATCH_SECONDS, Encoder, EncoderConfig, equal_lengths, similar_lengths

FRAMES = 100  # per second


def seconds_of(path, number, random):
    """The lengths of that many utterances."""
    if path is None:
        return random.lognormal(np.log(4), 0.5, number)
    with open(path, encoding="utf-8") as stream:
        known = [float(row["seconds"]) for row in csv.DictReader(stream, delimiter="\t")]
    return random.choice(known, number)


def run(network, features, batches, device):
    """Embeddings in the order of the features, and the seconds that they took."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    found, start = np.empty((len(features), network.dim), np.float32), clock()
    with torch.inference_mode():
        for batch in batches:
            rows = [torch.from_numpy(features[row]) for row in batch]
            lengths = torch.tensor([len(row) for row in rows])
            padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
            same = len(set(lengths.tolist())) == 1
            out = network(padded) if same else network(padded, lengths=lengths.to(device))
            found[batch] = out.float().cpu().numpy()
    return found, clock() - start


def main(given):
    random = np.random.default_rng(0)
    seconds = np.maximum(seconds_of(given.seconds, given.number, random), 0.5)
    features = [random.normal(size=(round(one * FRAMES), 80)).astype(np.float32) for one in seconds]
    lengths = np.array([len(one) for one in features]) / FRAMES
    ways = {"equal": list(equal_lengths(lengths, BATCH_SECONDS))}
    ways |= {f"padded {share:g}": list(similar_lengths(lengths, BATCH_SECONDS, share)) for share in given.shares}
    print(f"{given.number} utterances, {lengths.sum():.0f} s, median {np.median(lengths):.1f} s; {given.device}")
    print(f"{'network':14s} {'batches':12s} {'number':>6s} {'seconds':>8s} {'speech/s':>9s} {'gain':>5s} difference")
    for name in given.models:
        torch.manual_seed(0)
        network = Encoder(validate(EncoderConfig, {"model": name})).network.eval().to(given.device)
        runs = {way: [] for way in ways}
        for _ in range(given.repeat):
            for way, batches in ways.items():
                runs[way].append(run(network, features, batches, given.device))
        plain = runs["equal"][0][0]
        base = min(took for _, took in runs["equal"])
        for way, batches in ways.items():
            took = min(each for _, each in runs[way])
            apart = np.abs(runs[way][0][0] - plain).max() / np.abs(plain).max()
            print(
                f"{name:14s} {way:12s} {len(batches):6d} {took:8.2f} {lengths.sum() / took:9.0f} {base / took:5.2f} "
                f"{apart:.1e}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds")
    parser.add_argument("--models", nargs="+", default=["xvector", "ecapa_tdnn", "campplus", "resnet34"])
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.2])
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    torch.set_num_threads(1)
    main(parser.parse_args())
