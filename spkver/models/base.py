"""Base classes of networks and poolings."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from spkver.config import Component
from spkver.models import masks


class Network(nn.Module, ABC):
    """Base class of networks: `Network(config, bins)`."""

    dim: int
    """dimension of the embedding"""
    min_frames: int
    """number of frames of the shortest input"""
    whole_seconds: float = 300.0
    """longer recordings are embedded in windows of at most this length"""
    masked: bool = False
    """whether `forward` takes lengths: a padded batch then gives the same as single utterances"""
    fixed_precision: bool = False
    """whether the precision is fixed and autocast has no effect"""
    resolved: Component | None = None
    """complete config to store in a model directory, if the given config refers to another source"""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, dim)."""

    def stored(self) -> dict[str, Tensor]:
        """The weights to store in a model directory, with the names of a network of the config `resolved`."""
        return self.state_dict()

    def stored_config(self) -> Component | None:
        """The config to store with `stored`; None: the given one."""
        return self.resolved

    def penalty(self, progress: float) -> Tensor | None:
        """A term to add to the loss, at this share of the run."""
        return None


class FrameNetwork(Network):
    """Base class of networks of a trunk that gives frames, a pooling, and an embedding.

    Frame i of the trunk is centred on frame `edge + step · i` of the features. The first and last `edge` frames of the
    features are context only.
    """

    pooling: Pooling
    edge: int = 0
    step: int = 1

    @abstractmethod
    def trunk(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, frames, bins) to (batch, channels, frames of the trunk); mask: see `masks`, if `masked`."""

    @abstractmethod
    def embedding(self, pooled: Tensor) -> Tensor:
        """(batch, pooling size) to (batch, dim)."""

    def forward(self, features: Tensor, lengths: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """(batch, frames, bins) to (batch, dim).

        lengths: (batch,) frames of each utterance, at least `min_frames`, if the batch is padded; for evaluation
        weights: (batch, frames), see Pooling; or (batch, speakers, frames), which gives (batch, speakers, dim): the
            speakers of one recording from one pass of the trunk. A frame counts for the speaker wholly or in part, but
            the trunk sees all of the recording.
        """
        if lengths is None and weights is None:
            return self.embedding(self.pooling(self.trunk(features, None)))
        if lengths is not None and not self.masked:
            raise ValueError(f"{type(self).__name__} needs utterances of equal length")
        x = self.trunk(features, None if lengths is None else masks.up_to(lengths, features.shape[1]))
        shares = None if weights is None else weights[..., self.edge :: self.step][..., : x.shape[-1]].float()
        if lengths is not None:
            real = masks.up_to((lengths - 2 * self.edge + self.step - 1) // self.step, x.shape[-1]).float()
            shares = real if shares is None else shares * (real if shares.ndim == 2 else real[:, None])
        assert shares is not None
        if shares.ndim == 2:
            return self.embedding(self.pooling(x, shares))
        speakers = shares.shape[1]
        pooled = self.pooling(x.repeat_interleave(speakers, dim=0), shares.flatten(0, 1))
        return self.embedding(pooled).unflatten(0, (-1, speakers))


class Pooling(nn.Module, ABC):
    """Base class of poolings: `Pooling(config, channels)`."""

    size: int
    """number of output values"""

    @abstractmethod
    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """(batch, channels, frames), one frame or more, to (batch, size).

        weights: (batch, frames), at least 0: how much each frame counts; by default all count alike
        """
