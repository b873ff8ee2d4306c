"""Changes at pack time: what was recorded, as another room, background and channel would have given it.

What is drawn for an utterance is a function of the seed and its id, so a pack does not depend on the order of the
utterances, on shards or processes; another seed gives another pack of the same corpus.
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
    """One of the codecs, each as likely as the others, for a share of the utterances."""

    probability: float = Field(0.5, ge=0, le=1)
    codecs: tuple[Annotated[Component, Of(CODECS)], ...] = Field(
        default=("mu_law", "gsm", "opus", "mp3"), min_length=1, validate_default=True
    )


class SimulationConfig(Config):
    """What `spkver pack --simulate` reads: waveform changes as in training, in their order, then a codec."""

    seed: int = Field(1, ge=0)
    waveform: tuple[Annotated[Component, Of(WAVEFORM)], ...] = ()
    codec: CodecChoice | None = None


class Simulation:
    """The changes of a config, for utterances of one sample rate (Hz). open_pack: opens what is mixed in."""

    def __init__(self, config: SimulationConfig, sample_rate: int, open_pack: Open) -> None:
        self.config, self.sample_rate = config, sample_rate
        self._waveform: list[Augmentation] = [WAVEFORM.build(part, sample_rate, open_pack) for part in config.waveform]
        self._codecs = [CODECS.build(part) for part in config.codec.codecs] if config.codec else []

    def __call__(self, waveform: np.ndarray, id: str) -> np.ndarray:
        """float32 (time,) in [-1, 1] to the same shape; where noise would leave that range, all is made softer."""
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
