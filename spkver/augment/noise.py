"""Additive noise: recorded noise, music and babble from packs, or coloured noise and babble from the batch."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from spkver.augment.draw import WHITE, Crops, Drawn, IntRange, Open, Paths, Range, floats, power, white
from spkver.config import Component, Config, refuse_unused

KINDS = ("noise", "music", "babble")


class NoisePacks(Config):
    """Audio packs to mix in, one or several per kind; babble is the sum of several voices."""

    noise: Paths = ()
    """recordings of noises"""
    music: Paths = ()
    """recordings of music"""
    babble: Paths = ()
    """recordings of speech; babble is the sum of several. Default: other samples of the batch"""


class NoiseShares(Config):
    """Relative probabilities of the kinds of noise; music needs a pack."""

    noise: float = Field(1.0, ge=0)
    """recorded noise, or coloured noise without a pack"""
    music: float = Field(1.0, ge=0)
    """recorded music"""
    babble: float = Field(1.0, ge=0)
    """sum of several voices"""


class NoiseConfig(Component):
    """Signal-to-noise ratios are in dB, drawn uniformly per sample.

    The defaults of the ratios and of the number of voices are those usual for MUSAN (Snyder et al., ICASSP 2018,
    section 3.3). Without packs, noise is Gaussian with a random spectral slope, and babble is mixed from the batch.
    """

    name: Literal["noise"] = "noise"
    probability: float = Field(0.5, ge=0, le=1)
    """probability that noise is added to a sample"""
    packs: NoisePacks = NoisePacks()
    shares: NoiseShares = NoiseShares()
    noise_snr_db: Range = (0.0, 15.0)
    """SNR of noise in dB: lowest and highest"""
    music_snr_db: Range = (5.0, 15.0)
    """SNR of music in dB: lowest and highest"""
    babble_snr_db: Range = (13.0, 20.0)
    """SNR of babble in dB: lowest and highest"""
    babble_voices: IntRange = (3, 7)
    """number of voices: lowest and highest"""
    slope_db_per_octave: Range = (-6.0, 0.0)
    """spectral slope of coloured noise: lowest and highest"""

    @model_validator(mode="after")
    def _something(self) -> NoiseConfig:
        if self.babble_voices[0] < 1:
            raise ValueError(f"babble_voices must be at least 1, got {self.babble_voices[0]}")
        if self.shares.noise + self.shares.babble + (self.shares.music if self.packs.music else 0) <= 0:
            raise ValueError("shares: at least one available kind must have a positive share (music needs a pack)")
        if self.packs.noise:
            refuse_unused(self, "with packs.noise", "slope_db_per_octave")
        if not self.packs.music:
            refuse_unused(self, "without packs.music", "music_snr_db")
            if self.shares.music:  # with a share of 0, no pack is needed
                refuse_unused(self, "without packs.music", "shares.music")
        return self


class Noise:
    """Adds one kind of noise to a share of the batch at a random SNR; the speech keeps its level."""

    Config = NoiseConfig

    def __init__(self, config: NoiseConfig, sample_rate: int, open_pack: Open) -> None:
        self.config = config
        paths = {kind: dict(config.packs)[kind] for kind in KINDS}
        self._crops = {kind: Crops([open_pack(path) for path in paths[kind]]) for kind in KINDS if paths[kind]}
        self._ranges = np.array([dict(config)[f"{kind}_snr_db"] for kind in KINDS])
        self._shares = np.array([dict(config.shares)[kind] for kind in KINDS])
        self._shares[KINDS.index("music")] *= "music" in self._crops

    def draw(self, batch: int, places: np.ndarray, length: int, random: np.random.Generator) -> Drawn:
        """rows: indices into `places`, ordered by recorded noise, coloured noise, babble from the batch."""
        config = self.config
        pick = random.random(batch) < config.probability
        shares = self._shares * ([1, 1, 1] if "babble" in self._crops or batch > 1 else [1, 1, 0])
        if not shares.any():  # only babble, but no other speaker in the batch
            pick, shares = np.zeros_like(pick), np.ones(3)
        kind = random.choice(len(KINDS), batch, p=shares / shares.sum())
        snr = random.uniform(*self._ranges[kind].T)
        voices = random.integers(config.babble_voices[0], config.babble_voices[1] + 1, batch)
        chance = random.random((batch, config.babble_voices[1], 2))
        slope = random.uniform(*config.slope_db_per_octave, batch)

        stored = np.isin(kind, [number for number, name in enumerate(KINDS) if name in self._crops])
        groups = [stored, ~stored & (kind == KINDS.index("noise")), ~stored & (kind == KINDS.index("babble"))]
        recorded, coloured, mixed = (np.flatnonzero((pick & group)[places]) for group in groups)
        rows = np.concatenate([recorded, coloured, mixed])
        return {
            "rows": torch.from_numpy(rows),
            "snr_db": floats(snr[places[rows]]),
            "recorded": self._read(places[recorded], kind, voices, chance, length),
            "first": torch.from_numpy((chance[places[coloured], 0, 0] * WHITE).astype(np.int64)),
            "slope": floats(slope[places[coloured]]),
            "mix": torch.from_numpy(_others(mixed, voices[places[mixed]], chance[places[mixed]], len(places))),
        }

    def __call__(self, values: Tensor, drawn: Drawn) -> Tensor:
        """(batch, time) to the same shape."""
        rows = drawn["rows"]
        if not len(rows):
            return values
        length = values.shape[-1]
        noise = [drawn["recorded"].float(), self._coloured(drawn["first"], drawn["slope"], length)]
        if len(drawn["mix"]):
            noise.append(drawn["mix"] @ (values / power(values).sqrt()))
        added = torch.cat(noise)
        clean = values.index_select(0, rows)
        gain = (power(clean) / power(added)).sqrt() * 10 ** (-drawn["snr_db"] / 20)
        return values.index_copy(0, rows, clean + gain * added)

    def _read(
        self, places: np.ndarray, kind: np.ndarray, voices: np.ndarray, chance: np.ndarray, length: int
    ) -> Tensor:
        """int16 (places, length) from the packs; babble is the mean of its voices."""
        out = np.empty((len(places), length), np.int16)
        for row, place in enumerate(places.tolist()):
            name = KINDS[kind[place]]
            count = int(voices[place]) if name == "babble" else 1
            numbers = chance[place, :count].tolist()
            pieces = (self._crops[name].piece(which, where, length) for which, where in numbers)
            if count == 1:
                out[row] = next(pieces)
                continue
            total = np.zeros(length, np.int32)
            for piece in pieces:
                total += piece
            np.multiply(total, 1 / count, out=out[row], casting="unsafe")
        return torch.from_numpy(out)

    def _coloured(self, first: Tensor, slope: Tensor, length: int) -> Tensor:
        """(rows, length) of Gaussian noise whose power falls by `slope` dB per octave."""
        if not len(first):
            return first.new_empty((0, length), dtype=torch.float32)
        size = 1 << (length - 1).bit_length()
        spectrum = torch.fft.rfft(white(first, size))
        octaves = torch.arange(1, spectrum.shape[-1] + 1, device=first.device).log2()
        return torch.fft.irfft(spectrum * 10 ** (slope * octaves / 20), n=size)[:, :length]


def _others(rows: np.ndarray, voices: np.ndarray, chance: np.ndarray, batch: int) -> np.ndarray:
    """float32 (rows, batch): ones at random other rows, as many as there are voices."""
    mix = np.zeros((len(rows), batch), np.float32)
    for number, row in enumerate(rows.tolist()):
        others = [other for other in range(batch) if other != row]
        for which in chance[number, : min(int(voices[number]), len(others)), 0].tolist():
            mix[number, others.pop(int(which * len(others)))] = 1.0
    return mix
