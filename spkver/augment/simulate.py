"""Augmentation at pack time: simulate other rooms, backgrounds and channels.

The random choices for an utterance depend on the seed and its id only, so a pack does not depend on the order of
utterances, on shards or on processes.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from spkver.augment import CODECS, WAVEFORM
from spkver.augment.draw import Augmentation, Open
from spkver.config import Component, Config, Of


class CodecChoice(Config):
    """A random codec, all equally likely, for a share of the utterances."""

    probability: float = Field(0.5, ge=0, le=1)
    codecs: tuple[Annotated[Component, Of(CODECS)], ...] = Field(
        default=("mu_law", "gsm", "opus", "mp3"), min_length=1, validate_default=True
    )


class SimulationConfig(Config):
    """The file of `spkver pack --simulate`: waveform augmentations as in training, in order, then a codec."""

    seed: int = Field(1, ge=0)
    waveform: tuple[Annotated[Component, Of(WAVEFORM)], ...] = ()
    codec: CodecChoice | None = None


class Simulation:
    """Applies a simulation config at one sample rate (Hz). open_pack: opens packs to mix in."""

    def __init__(self, config: SimulationConfig, sample_rate: int, open_pack: Open) -> None:
        self.config, self.sample_rate = config, sample_rate
        self._waveform: list[Augmentation] = [WAVEFORM.build(part, sample_rate, open_pack) for part in config.waveform]
        self._codecs = [CODECS.build(part) for part in config.codec.codecs] if config.codec else []

    def __call__(self, waveform: np.ndarray, id: str) -> np.ndarray:
        """float32 (time,) in [-1, 1] to the same shape; scaled down if it would exceed that range."""
        seed = int.from_bytes(hashlib.blake2b(f"{self.config.seed} {id}".encode(), digest_size=7).digest(), "little")
        random, alone = np.random.default_rng(seed), np.zeros(1, np.int64)
        batch = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))[None]
        for change in self._waveform:
            batch = change(batch, change.draw(1, alone, len(waveform), random))
        changed = batch[0].numpy()
        changed = changed / max(1.0, float(np.abs(changed).max(initial=0.0)))
        choice = self.config.codec
        if choice and random.random() < choice.probability:
            codec = self._codecs[int(random.integers(len(self._codecs)))]
            changed = np.clip(codec(changed, self.sample_rate, random), -1.0, 1.0)
        return changed.astype(np.float32)
