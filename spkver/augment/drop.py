"""SpeechBrain's DropFreq and DropChunk, with separate random choices for every sample.

SpeechBrain makes random choices and computes in one call. Both effects are linear, so `draw` applies it to an impulse,
or to ones, and stores the result. The call applies the result to the samples on the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from spkver import compat
from spkver.augment.draw import Drawn, IntRange, Open, Range, convolve
from spkver.config import Component

TAPS = 101  # length of SpeechBrain's notch filters


class DropFreqConfig(Component):
    """Notch filters at random frequencies, each 5 % of half the sample rate wide."""

    name: Literal["drop_freq"] = "drop_freq"
    probability: float = Field(0.5, ge=0, le=1)
    """probability that a sample is changed"""
    count: IntRange = (1, 3)
    """number of notches per sample: lowest and highest"""


class DropChunkConfig(Component):
    """Random intervals of zeros. Front ends remove such silence, so the network sees a cut."""

    name: Literal["drop_chunk"] = "drop_chunk"
    probability: float = Field(0.5, ge=0, le=1)
    """probability that a sample is changed"""
    count: IntRange = (1, 5)
    """number of intervals per sample: lowest and highest"""
    seconds: Range = (0.0625, 0.125)
    """length of an interval: lowest and highest"""


class _DrawnFrom(TorchFunctionMode):
    """Within this block and thread, random functions of torch use a given generator instead of the global one."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = {**(kwargs or {}), **({"generator": self.generator} if func in (torch.rand, torch.randint) else {})}
        return func(*args, **given)


class _Drop(ABC):
    """Base class: applies the random choices of SpeechBrain to a share of the batch, separate for each sample."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def draw(self, batch: int, places: np.ndarray, length: int, random: np.random.Generator) -> Drawn:
        """rows: indices into `places`; what: SpeechBrain's result for each of them."""
        pick, seeds = random.random(batch) < self.probability, random.integers(1 << 62, size=batch)
        rows = np.flatnonzero(pick[places])
        drawn = []
        for seed in seeds[places[rows]].tolist():
            with _DrawnFrom(torch.Generator().manual_seed(seed)):
                drawn.append(self.one(length))
        return {"rows": torch.from_numpy(rows), "what": torch.stack(drawn) if drawn else torch.empty(0)}

    def __call__(self, values: Tensor, drawn: Drawn) -> Tensor:
        """(batch, time) to the same shape."""
        rows = drawn["rows"]
        if not len(rows):
            return values
        return values.index_copy(0, rows, self.apply(values.index_select(0, rows), drawn["what"]))

    @abstractmethod
    def one(self, length: int) -> Tensor:
        """SpeechBrain's result on an impulse or on ones, for a sample of this length."""

    @abstractmethod
    def apply(self, waveform: Tensor, what: Tensor) -> Tensor:
        """Apply these results to (rows, time)."""


class DropFreq(_Drop):
    """Removes narrow bands."""

    Config = DropFreqConfig

    def __init__(self, config: DropFreqConfig, sample_rate: int, open_pack: Open) -> None:
        super().__init__(config.probability)
        compat.speechbrain()
        from speechbrain.augment.time_domain import DropFreq as Module

        low, high = config.count
        self.module = Module(drop_freq_count_low=low, drop_freq_count_high=high)
        self.impulse = torch.zeros(1, TAPS)
        self.impulse[0, TAPS // 2] = 1.0

    def one(self, length: int) -> Tensor:
        """The impulse response (taps,) of the notch filters."""
        response: Tensor = self.module(self.impulse)[0]
        return response

    def apply(self, waveform: Tensor, what: Tensor) -> Tensor:
        """Filter (rows, time) by responses (rows, taps)."""
        delay = TAPS // 2
        return convolve(F.pad(waveform, (0, delay)), what)[:, delay:]


class DropChunk(_Drop):
    """Sets random intervals to zero."""

    Config = DropChunkConfig

    def __init__(self, config: DropChunkConfig, sample_rate: int, open_pack: Open) -> None:
        super().__init__(config.probability)
        compat.speechbrain()
        from speechbrain.augment.time_domain import DropChunk as Module

        shortest, longest = (max(1, round(seconds * sample_rate)) for seconds in config.seconds)
        self.module = Module(shortest, longest, *config.count)

    def one(self, length: int) -> Tensor:
        """The samples to keep, bool (time,)."""
        kept: Tensor = self.module(torch.ones(1, length), torch.ones(1))[0] > 0
        return kept

    def apply(self, waveform: Tensor, what: Tensor) -> Tensor:
        """Set the other samples of (rows, time) to zero."""
        return waveform * what
