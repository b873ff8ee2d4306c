"""Inputs of the network: chosen and read ahead on the host, augmented and turned into features on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from spkver.augment.draw import Augmentation, Drawn
from spkver.features.base import FrontEndModule
from spkver.features.fbank import normalise_again
from spkver.packs.reader import Pack
from spkver.training.data.batches import AUGMENTATION, Batch, Sampler, to_waveform


@dataclass(frozen=True)
class Augmentations:
    """The augmentations, in order, and the packs that they read from."""

    waveform: Sequence[Augmentation] = ()
    features: Sequence[Augmentation] = ()
    packs: Sequence[Pack] = ()


class Inputs:
    """Makes the batch of a step and its features. All randomness depends on the seed and the step only."""

    def __init__(self, sampler: Sampler, augmentations: Augmentations, front_end: FrontEndModule) -> None:
        self.sampler, self.augmentations, self.front_end = sampler, augmentations, front_end

    def batch(self, step: int) -> Batch:
        """The batch of a step (from 0) on the host, with the random choices of the augmentations."""
        batch = self.sampler.batch(step)
        random = np.random.default_rng([self.sampler.seed, AUGMENTATION, step])
        drawn = self._draw(batch, self.sampler.batch_size, random)
        if batch.local is not None:
            of_local = self._draw(batch.local, self.sampler.local_size, random)
            batch = replace(batch, local=replace(batch.local, drawn=of_local))
        return replace(batch, drawn=drawn)

    def _draw(self, batch: Batch, size: int, random: np.random.Generator) -> tuple[Drawn, ...]:
        """The random choices for the crops of a batch that are a part of `size` crops over all processes."""
        frames = self.front_end.config.frames(batch.crop) if self.sampler.pack.kind == "audio" else batch.crop
        parts = [(part, batch.crop) for part in self.augmentations.waveform]
        parts += [(part, frames) for part in self.augmentations.features]
        places = batch.first + np.arange(len(batch.rows))
        return tuple(part.draw(size, places, length, random) for part, length in parts)

    def features(self, batch: Batch) -> Tensor:
        """The network's input, float32 (batch, frames, bins), from a batch on the front end's device."""
        return self.pair(batch, None, clean=False)[0]

    @torch.no_grad()
    def pair(self, batch: Batch, other: FrontEndModule | None, *, clean: bool) -> tuple[Tensor, Tensor]:
        """The features of the batch, and the features that a second network gets of the same crops.

        other: the second network's front end, or None if it uses the same features. Only audio can be passed to it.
        clean: the second network gets the crops without augmentation
        """
        split = len(self.augmentations.waveform)
        audio = self.sampler.pack.kind == "audio"
        if audio:
            crop = waveform = to_waveform(batch)
            for change, drawn in zip(self.augmentations.waveform, batch.drawn[:split]):
                waveform = change(waveform, drawn)
            features = self.front_end(waveform)
        else:
            ((_, payload),) = batch.groups
            # the pack is normalised over the utterance, the network expects it over the crop
            crop = features = normalise_again(payload.float(), self.front_end.config.normalise)
        for change, drawn in zip(self.augmentations.features, batch.drawn[split:]):
            features = change(features, drawn)
        if audio and other is not None:
            return features, other(crop if clean else waveform)
        return features, crop if clean and not audio else features
