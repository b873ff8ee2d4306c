"""Embeddings of an audio pack from a public GE2E encoder, for comparison.

    pip install --no-deps resemblyzer webrtcvad-wheels
    python tests/benchmarks/ge2e.py packs/test ge2e.parquet [--seconds 2]
    spkver score trials.txt ge2e.parquet ge2e.scores

Resemblyzer 0.1.4 (Apache-2.0) is an LSTM of 1,423,616 parameters, trained by its authors on thousands of speakers. As
in their code, the level is raised and long silences are removed first. A recording that it takes for silence is used
whole.
"""

import argparse

import numpy as np
import torch
from resemblyzer import VoiceEncoder, preprocess_wav

from spkver import audio
from spkver.embeddings import Embeddings, write_embeddings
from spkver.packs.reader import Pack
from spkver.progress import bar

SHORTEST = 4000  # samples that must be left without silences, else they stay

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack")
    parser.add_argument("out")
    parser.add_argument("--seconds", type=float, help="the middle of every recording, this long")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pack = Pack.open(arguments.pack)
    encoder = VoiceEncoder("cpu", verbose=False)
    vectors = []
    with bar(total=len(pack), what="ge2e", unit="utt") as progress:
        for row, samples in enumerate(pack.lengths.tolist()):
            length = min(samples, round(arguments.seconds * pack.sample_rate)) if arguments.seconds else samples
            waveform = audio.from_int16(pack.crop(row, (samples - length) // 2, length))
            speech = preprocess_wav(waveform, source_sr=pack.sample_rate)
            vectors.append(encoder.embed_utterance(speech if len(speech) >= SHORTEST else waveform))
            progress.update()
    vectors = np.array(vectors, np.float32)
    write_embeddings(arguments.out, Embeddings(list(pack.ids), vectors, list(pack.speakers), "ge2e"))
