"""Processor time of augmentations and codecs: python tests/benchmarks/augment.py

Prints processor times of one core, so that other work on the machine matters little: the speed of each codec and band
limit of `spkver pack --simulate` relative to real time, and the milliseconds per utterance of 2 s of the augmentations
in training, the best of several batches of 64.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from spkver.augment import CODECS, FEATURES, WAVEFORM
from spkver.augment.speed import change_speed
from spkver.config import validate
from spkver.features import FrontEnd, FrontEndConfig

RATE, BATCH = 16000, 64


class Noises:
    """Recordings of noise in memory, with the interface of a pack."""

    path = Path("noises")
    lengths = np.full(20, 10 * RATE)

    def __init__(self) -> None:
        self._samples = np.random.default_rng(0).normal(0, 3000, size=11 * RATE).astype(np.int16)

    def crop(self, row: int, start: int, length: int) -> np.ndarray:
        return self._samples[row + start : row + start + length]


def processor_ms(work: Callable[[], object], repeat: int = 7) -> float:
    work()
    times = []
    for _ in range(repeat):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return 1e3 * min(times)


def main() -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    speech = np.convolve(random.normal(size=8 * RATE), np.ones(8) / 8, "same") * np.repeat(
        random.uniform(0, 0.3, 80), 1600
    )
    speech = speech.astype(np.float32)
    for name in CODECS:
        codec = CODECS.build(validate(CODECS.get(name).Config, {}))
        took = processor_ms(lambda: codec(speech, RATE, np.random.default_rng(0)), 3)  # noqa: B023
        print(f"{name:8} {8000 / took:7.0f} times as fast as the recording")

    batch = torch.from_numpy(np.stack([np.roll(speech, 999 * row)[: 2 * RATE] for row in range(BATCH)]))
    noises, places = Noises(), np.arange(BATCH)
    front_end = FrontEnd(FrontEndConfig())
    packs = dict.fromkeys(("noise", "music", "babble"), "noises")
    parts = {
        "noise and babble made here": (WAVEFORM, "noise", {"probability": 1}),
        "noise, music, babble of packs": (WAVEFORM, "noise", {"probability": 1, "packs": packs}),
        "rooms made here": (WAVEFORM, "reverb", {"probability": 1}),
        "rooms of packs": (WAVEFORM, "reverb", {"probability": 1, "packs": "noises"}),
        "notches": (WAVEFORM, "drop_freq", {"probability": 1}),
        "dropped stretches": (WAVEFORM, "drop_chunk", {"probability": 1}),
        "masks": (FEATURES, "spec_augment", {}),
    }
    with torch.no_grad():
        features = front_end(batch)
        for words, (registry, name, keys) in parts.items():
            config = validate(registry.get(name).Config, keys)
            if registry is WAVEFORM:
                part, values = registry.build(config, RATE, lambda path: noises), batch
            else:
                part, values = registry.build(config, 80), features
            draw = lambda: part.draw(BATCH, places, values.shape[1], np.random.default_rng(0))  # noqa: B023, E731
            drawn = draw()
            ahead, then = processor_ms(draw) / BATCH, processor_ms(lambda: part(values, drawn)) / BATCH  # noqa: B023
            print(f"{words:30} {ahead:6.3f} ms drawn and read ahead, {then:6.3f} ms applied, an utterance")
        print(f"{'speed 0.9':30} {processor_ms(lambda: change_speed(batch, 0.9)) / BATCH:6.3f} ms")
        print(f"{'filterbank':30} {processor_ms(lambda: front_end(batch)) / BATCH:6.3f} ms")


if __name__ == "__main__":
    main()
