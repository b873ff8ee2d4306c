"""What a step is fed: chosen and read on the host ahead of it, made on the device when it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from spkver.augment.draw import Augmentation
from spkver.features.base import FrontEndModule
from spkver.features.fbank import normalise_again
from spkver.packs.reader import Pack
from spkver.training.data.batches import AUGMENTATION, Batch, Sampler, to_waveform


@dataclass(frozen=True)
class Augmentations:
    """What is done to a batch, in order; and the packs that it is done with."""

    waveform: Sequence[Augmentation] = ()
    features: Sequence[Augmentation] = ()
    packs: Sequence[Pack] = ()


class Inputs:
    """From the step's number to the features of its batch. Everything random is a function of the seed and the step."""

    def __init__(self, sampler: Sampler, augmentations: Augmentations, front_end: FrontEndModule) -> None:
        self.sampler, self.augmentations, self.front_end = sampler, augmentations, front_end

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0, with what the augmentations chose and read for it; on the host."""
        batch = self.sampler.batch(step)
        crop = batch.crop
        random = np.random.default_rng([self.sampler.seed, AUGMENTATION, step])
        frames = self.front_end.config.frames(crop) if self.sampler.pack.kind == "audio" else crop
        parts = [(part, crop) for part in self.augmentations.waveform]
        parts += [(part, frames) for part in self.augmentations.features]
        size, places = self.sampler.batch_size, batch.first + np.arange(len(batch.rows))
        return replace(batch, drawn=tuple(part.draw(size, places, length, random) for part, length in parts))

    def features(self, batch: Batch) -> Tensor:
        """The batch, which is where the front end is, as the network gets it: float32 (batch, frames, bins)."""
        return self.pair(batch, None, clean=False)[0]

    @torch.no_grad()
    def pair(self, batch: Batch, other: FrontEndModule | None, *, clean: bool) -> tuple[Tensor, Tensor]:
        """The features, and those that another network gets of the same crops.

        other: its front end, which hears the waveform with its augmentations, or with `clean` without them. Where it
        is None, or the crops are features, these are the first network's, or with `clean` as before augmentation.
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
            # the pack's mean is over the utterance, the network is to see the crop's
            crop = features = normalise_again(payload.float(), self.front_end.config.normalise)
        for change, drawn in zip(self.augmentations.features, batch.drawn[split:]):
            features = change(features, drawn)
        if audio and other is not None:
            return features, other(crop if clean else waveform)
        return features, crop if clean and not audio else features
