"""Losses that compare the embeddings of a batch with each other instead of with prototypes.

They have the interface of MarginLoss and at most two parameters. A batch must have several utterances of each of its
speakers (`data.utterances_per_speaker`), in any order. Samples without a pair are ignored; if there are no pairs, the
loss is 0. With several processes, each compares the samples of all, and `per_sample` has those of its own.

c is a matrix of cosines; `same` (N, N) is true for samples of the same speaker.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from spkver.config import refuse_unused
from spkver.losses.gathering import over_processes, own_part
from spkver.losses.loss import Loss, LossConfig, LossOutput, check_batch, check_classes, nan_where_not_finite
from spkver.losses.reductions.base import full_precision, normalise
from spkver.schedules import Run

SMALLEST_W = 1e-6
"""Lower limit of a learnt scale."""


class Compared(NamedTuple):
    """The comparison of the samples of a batch; tensors of shape (N,)."""

    loss: Tensor
    """with gradient"""
    counts: Tensor
    """bool: whether the sample has a pair"""
    own: Tensor
    """similarity to the own speaker"""
    rival: Tensor
    """similarity to the nearest other speaker"""


class PairOutput(LossOutput):
    """See LossOutput; selected_share is the share of samples with a loss > 0, because there is no selector."""

    def logged(self) -> dict[str, Tensor]:
        """See LossOutput.logged; the share is logged as active_share."""
        values = super().logged()
        return values | {"active_share": values.pop("boundary_share")}


class PairConfig(LossConfig):
    """Base class of the configs of pair losses."""

    @property
    def margin(self) -> float:
        """The margin between own and rival."""
        return 0.0


class PairLoss(Loss):
    """Base class of the pair losses."""

    def __init__(self, config: PairConfig, dim: int, classes: int, run: Run | None = None) -> None:
        super().__init__()
        check_classes(classes)
        self.config, self.classes = config, classes

    def forward(self, x: Tensor, y: Tensor, progress: float = 1.0) -> LossOutput:
        """See Loss.forward. All shares are relative to the samples that have a pair."""
        check_batch(x, y, self.classes)
        with full_precision(x):
            x = over_processes(x.to(torch.promote_types(x.dtype, torch.float32)))
            y = over_processes(y)
            loss, counts, own, rival = self.compare(x, y[:, None] == y)
            loss = nan_where_not_finite(torch.where(counts, loss, 0), x)
            number = counts.sum().clamp_min(1)
            ahead = (own - rival).detach()
            return PairOutput(
                loss=loss.sum() / number,
                per_sample=own_part(loss.detach()),
                accuracy=(counts & (ahead >= 0)).sum() / number,
                margin_accuracy=(counts & (ahead >= self.config.margin)).sum() / number,
                selected_share=(counts & (loss.detach() != 0)).sum() / number,
                target_cosine=_mean(self.cosine(own.detach()), counts),
                hardest_cosine=_mean(self.cosine(rival.detach()), counts & rival.isfinite()),
            )

    @abstractmethod
    def compare(self, x: Tensor, same: Tensor) -> Compared:
        """Compare embeddings x (N, dim), at least float32."""

    def cosine(self, nearness: Tensor) -> Tensor:
        """The cosine of a similarity (`own` or `rival`)."""
        return nearness


class TripletConfig(PairConfig):
    """[m + c_an - c_ap]_+ for an anchor a, a positive p (same speaker) and a negative n, with cosines c.

    `batch_hard`: for each anchor the farthest positive and the nearest negative (Hermans et al., 2017, equation 5).
    `semi_hard`: for each anchor and positive the nearest of the negatives that are farther than the positive (Schroff
    et al., CVPR 2015, section 3.2; with their squared distance 2 - 2c, the margin is 2m). If there is none, the
    farthest negative, so that the loss can leave a collapse. An anchor's loss is the mean over its positives.
    """

    name: Literal["triplet"] = "triplet"
    mining: Literal["batch_hard", "semi_hard"] = "batch_hard"
    """choice of the positive and the negative of an anchor"""
    m: float = Field(default=0.2, ge=0, le=2)
    """margin between the two cosines"""

    @property
    def margin(self) -> float:
        """See PairConfig.margin."""
        return self.m

    @property
    def summary(self) -> str:
        """See LossConfig.summary."""
        return f"{self.name} (m {self.m:g})"


class Triplet(PairLoss):
    """The triplet loss."""

    Config = TripletConfig
    config: TripletConfig

    def compare(self, x: Tensor, same: Tensor) -> Compared:
        """See PairLoss.compare: own is the cosine to the farthest positive, rival to the nearest negative."""
        c, positive, own, rival = _hardest(x, same)
        if self.config.mining == "batch_hard":
            loss = functional.relu(self.config.m + rival - own)
        else:
            losses = functional.relu(self.config.m + _semi_hard_negative(c, same) - c)
            loss = torch.where(positive, losses, 0).sum(dim=1) / positive.sum(dim=1).clamp_min(1)
        return Compared(loss, positive.any(dim=1) & ~same.all(dim=1), own, rival)


def _semi_hard_negative(c: Tensor, same: Tensor) -> Tensor:
    """(N, N): for anchor i and positive j, the cosine of the nearest negative farther than j, or of the farthest."""
    negatives = c.masked_fill(same, torch.inf).sort(dim=1).values
    farther = torch.searchsorted(negatives.detach(), c.detach())  # the number of negatives farther than each positive
    return negatives.gather(1, (farther - 1).clamp_min(0))


class AngularPrototypicalConfig(PairConfig):
    """Softmax over the speakers of a batch, with logits w·cos + b of a query and the mean of the other utterances.

    Chung et al., Interspeech 2020, equations 9 to 11. The query of a speaker is its first utterance in the batch.
    w and b are learnt. b has no effect on a softmax; it is there because the paper has it.
    """

    name: Literal["angular_prototypical"] = "angular_prototypical"
    w: float = Field(default=10.0, gt=0)
    """initial scale of the cosines"""
    b: float = -5.0
    """initial offset of the cosines; other values are refused, because they would have no effect"""

    @model_validator(mode="after")
    def _offset(self) -> AngularPrototypicalConfig:
        refuse_unused(self, "on a softmax", "b")
        return self


class AngularPrototypical(PairLoss):
    """The angular prototypical loss."""

    Config = AngularPrototypicalConfig

    def __init__(self, config: AngularPrototypicalConfig, dim: int, classes: int, run: Run | None = None) -> None:
        super().__init__(config, dim, classes)
        self.similarity = _Similarity(config.w, config.b)

    def cosine(self, nearness: Tensor) -> Tensor:
        """See PairLoss.cosine."""
        return self.similarity.inverse(nearness)

    def compare(self, x: Tensor, same: Tensor) -> Compared:
        """See PairLoss.compare; only queries count."""
        query = _first_of_its_speaker(same)
        support = same & ~query
        prototypes = support.to(x.dtype) @ x / support.sum(dim=1, keepdim=True).clamp_min(1)
        logits = self.similarity(normalise(x) @ normalise(prototypes).T)  # of sample i to the speaker of sample j
        counts = query & support.any(dim=1)
        return _softmax(logits.diagonal(), logits, others=counts & ~same, counts=counts)


class GE2EConfig(PairConfig):
    """Every utterance against the centroids of the speakers in the batch, with similarities w·cos + b.

    The own centroid excludes the utterance. Wan et al., ICASSP 2018: `softmax` is equation 6, `contrast` equation 7,
    with the centroids of equations 1 and 8 of embeddings of length 1. w and b are learnt.
    """

    name: Literal["ge2e"] = "ge2e"
    form: Literal["softmax", "contrast"] = "softmax"
    """softmax over all centroids, or contrast with the nearest rival only"""
    w: float = Field(default=10.0, gt=0)
    """initial scale of the cosines"""
    b: float = -5.0
    """initial offset of the cosines, for the form contrast"""

    @model_validator(mode="after")
    def _offset(self) -> GE2EConfig:
        if self.form == "softmax":
            refuse_unused(self, "on a softmax", "b")
        return self


class GE2E(PairLoss):
    """The generalised end-to-end loss."""

    Config = GE2EConfig
    config: GE2EConfig

    def __init__(self, config: GE2EConfig, dim: int, classes: int, run: Run | None = None) -> None:
        super().__init__(config, dim, classes)
        self.similarity = _Similarity(config.w, config.b)

    def cosine(self, nearness: Tensor) -> Tensor:
        """See PairLoss.cosine."""
        return self.similarity.inverse(nearness)

    def compare(self, x: Tensor, same: Tensor) -> Compared:
        """See PairLoss.compare."""
        u = normalise(x)
        sums, number = same.to(x.dtype) @ u, same.sum(dim=1)
        logits = self.similarity(u @ normalise(sums).T)  # of sample i to the speaker of sample j
        own = self.similarity((u * normalise(sums - u)).sum(dim=1))
        others, counts = _first_of_its_speaker(same) & ~same, number > 1
        if self.config.form == "softmax":
            return _softmax(own, logits, others, counts)
        rival = logits.masked_fill(~others, -torch.inf).amax(dim=1)
        return Compared(1 - own.sigmoid() + rival.sigmoid(), counts, own, rival)


class SimCLRConfig(PairConfig):
    """Softmax over all other utterances of the batch, with logits cos / temperature, own pairs against all others.

    Chen et al., ICML 2020, equation 1; with a margin m on the cosine of own pairs, as in Lepage & Dehak, "Additive
    margin in contrastive self-supervised frameworks to learn discriminative speaker representations", Odyssey 2024. An
    utterance with several others of its own speaker counts the mean over these pairs (Khosla et al., NeurIPS 2020).
    Without labels, set `data.speakers: recordings`: the pairs are crops of one recording.
    """

    name: Literal["simclr"] = "simclr"
    temperature: float = Field(default=0.05, gt=0)
    """divides the cosines"""
    m: float = Field(default=0.0, ge=0, le=2)
    """subtracted from the cosine of own pairs"""

    @property
    def margin(self) -> float:
        """See PairConfig.margin."""
        return self.m


class SimCLR(PairLoss):
    """The contrastive loss of SimCLR, also called NT-Xent."""

    Config = SimCLRConfig
    config: SimCLRConfig

    def compare(self, x: Tensor, same: Tensor) -> Compared:
        """See PairLoss.compare: own is the smallest cosine of an own pair, rival the largest one to another speaker."""
        c, positive, own, rival = _hardest(x, same)
        others = torch.logsumexp((c / self.config.temperature).masked_fill(same, -torch.inf), dim=1, keepdim=True)
        psi = (c - self.config.m) / self.config.temperature
        losses = torch.logaddexp(torch.zeros_like(psi), others - psi)
        loss = torch.where(positive, losses, 0).sum(dim=1) / positive.sum(dim=1).clamp_min(1)
        return Compared(loss, positive.any(dim=1) & ~same.all(dim=1), own, rival)


class _Similarity(nn.Module):
    """w·c + b with learnt w > 0 and b."""

    def __init__(self, w: float, b: float) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.tensor(w)), nn.Parameter(torch.tensor(b))

    def forward(self, c: Tensor) -> Tensor:
        return self.w.clamp_min(SMALLEST_W) * c + self.b

    def inverse(self, z: Tensor) -> Tensor:
        """The cosine c of a similarity w·c + b."""
        return (z - self.b.detach()) / self.w.detach().clamp_min(SMALLEST_W)


def _hardest(x: Tensor, same: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The cosines (N, N), the own pairs (N, N), and each sample's smallest own and largest other cosine (N,)."""
    u = normalise(x)
    c = u @ u.T
    positive = same & ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    own = c.masked_fill(~positive, torch.inf).amin(dim=1)
    return c, positive, own, c.masked_fill(same, -torch.inf).amax(dim=1)


def _first_of_its_speaker(same: Tensor) -> Tensor:
    """(N,) bool: whether the sample is the first of its speaker in the batch."""
    return ~same.tril(diagonal=-1).any(dim=1)


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    """The mean of the values that count; 0 if there are none."""
    return torch.where(counts, values, 0).sum() / counts.sum().clamp_min(1)


def _softmax(own: Tensor, logits: Tensor, others: Tensor, counts: Tensor) -> Compared:
    """-log softmax of own (N,) against the logits (N, N) for which `others` (N, N) is true."""
    rivals = logits.masked_fill(~others, -torch.inf)
    every = torch.cat([own[:, None], rivals], dim=1)
    return Compared(torch.logsumexp(every, dim=1) - own, counts, own, rivals.amax(dim=1))
