"""Compare the embeddings of an exported model with PyTorch, from the shortest input length to long ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from spkver.encoder import Encoder
from spkver.errors import RunError
from spkver.features import FrontEnd

FRAMES = (1, 2, 3, 50, 99, 100, 101, 199, 203, 250)  # more than the shortest
SECONDS = (4.0, 10.01)


@dataclass(frozen=True)
class Agreement:
    """error: largest distance relative to the norm of the PyTorch embedding; cosine: the lowest cosine."""

    error: float
    cosine: float
    lengths: int

    def __str__(self) -> str:
        return (
            f"against PyTorch at {self.lengths} lengths: largest relative error {self.error:.1e}, "
            f"lowest cosine {self.cosine:.7f}"
        )


@torch.inference_mode()
def agreement(encoder: Encoder, exported: Callable[[torch.Tensor], np.ndarray], kind: str) -> Agreement:
    """Compare the embeddings of an exported model with PyTorch's.

    exported: from a batch of inputs to embeddings; kind: its input, `features` or `waveform`.
    Raises RunError if the exported model fails.
    """
    errors, cosines = [], []
    for waveform in waveforms(encoder):
        features = encoder.front_end(waveform)
        expected = encoder.network(features).double().numpy()
        given = waveform if kind == "waveform" else _as_others_compute(encoder.front_end, waveform)
        try:
            found = exported(given).astype(np.float64)
        except Exception as error:  # runtimes have exception classes of their own
            reason = " ".join(str(error).split())[:300]
            raise RunError(
                f"the exported model fails on a batch of {len(given)}, {features.shape[1]} frames: {reason}"
            ) from error
        lengths = np.linalg.norm(expected, axis=1)
        errors.append((np.linalg.norm(found - expected, axis=1) / lengths).max())
        cosines.append(((found * expected).sum(axis=1) / lengths / np.linalg.norm(found, axis=1)).min())
    return Agreement(float(np.max(errors)), float(np.min(cosines)), len(errors))


def _as_others_compute(front_end: Any, waveform: torch.Tensor) -> torch.Tensor:
    """The input features of the exported network: plain Kaldi filterbank, or the output of any other front end."""
    return front_end.fbank(waveform) if isinstance(front_end, FrontEnd) else front_end(waveform)


def waveforms(encoder: Encoder) -> Iterator[torch.Tensor]:
    """Synthetic voices (batch, time) of many lengths in batches of one to three, some with digital silence."""
    front_end, least = encoder.config.front_end, encoder.network.min_frames
    lengths = [front_end.samples(least + more) for more in (0, *FRAMES)]
    lengths += [round(seconds * front_end.sample_rate) for seconds in SECONDS]
    for number, samples in enumerate(lengths):
        samples += number % 3
        voices = [voice(samples, front_end.sample_rate, 3 * number + row) for row in range(1 + number % 3)]
        yield torch.from_numpy(np.stack(voices))
    samples = lengths[0] + front_end.sample_rate
    gated = np.stack([voice(samples, front_end.sample_rate, row) for row in range(2)])
    gated[0, samples // 2 :] = 0
    gated[1, samples // 4 : samples // 3] = 0
    yield torch.from_numpy(gated)


def voice(samples: int, sample_rate: int, seed: int) -> np.ndarray:
    """Harmonics of a varying pitch with a slow envelope, and noise: float32 (samples,) in [-1, 1]."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / sample_rate
    pitch = random.uniform(80, 250) * (1 + 0.1 * np.sin(2 * np.pi * random.uniform(1, 3) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    tones = sum(np.sin(k * phase + random.uniform(0, 6)) * random.uniform(0.1, 1) / k for k in range(1, 20))
    loudness = 0.6 + 0.4 * np.sin(2 * np.pi * random.uniform(2, 5) * time)
    return (0.1 * loudness * tones + random.normal(0, 0.003, samples)).astype(np.float32)
