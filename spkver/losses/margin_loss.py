"""The loss that training uses: head, margin and selector put together.

For a sample with label y, its ψ from the margin and L = logsumexp over j != y of z_j from the head:

    loss = -log( e^ψ / (e^ψ + Σ_{j != y} e^{z_j}) ) = log(1 + e^{L - ψ})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from spkver.config import Config, component
from spkver.errors import InputError, nearest
from spkver.losses import HEADS, MARGINS, PRESETS, SELECTORS
from spkver.losses.heads import Head, full_precision


class LossConfig(Config):
    """A loss, by the name of a preset and what differs from it.

    `loss: bd_lmcl`, or with changes `loss: {name: bd_lmcl, m: 0.3, head: {s: 40}, selector: {k: 2}}`. The preset gives
    every key that is not written; a part that is named anew (`selector: all`) replaces the preset's.
    """

    name: str
    """the preset: softmax, nsl, lmcl, bd_lmcl, aam"""
    head: component(HEADS)  # type: ignore[valid-type]
    margin: component(MARGINS)  # type: ignore[valid-type]
    selector: component(SELECTORS)  # type: ignore[valid-type]
    m: float = Field(ge=0)
    """the margin at the end of its schedule: a cosine for lmcl, radians for aam"""
    others: Literal["unmargined", "ignored"] = "unmargined"
    """samples that the selector leaves out: stay in the loss with m = 0, or get weight 0"""
    normalise_by: Literal["batch", "selected"] = "batch"
    """with `others: ignored`, the sum of the losses is divided by N, or by the number selected (at least 1)"""

    @model_validator(mode="before")
    @classmethod
    def _over_preset(cls, value: Any) -> Any:
        tree = {"name": value} if isinstance(value, str) else value
        if not isinstance(tree, Mapping):
            return tree
        name = str(tree.get("name", "bd_lmcl"))
        if name not in PRESETS:
            raise ValueError(f"unknown loss '{name}'{nearest(name, PRESETS)}")
        return {"name": name, **PRESETS[name], **{key: _part(PRESETS[name].get(key), tree[key]) for key in tree}}

    @model_validator(mode="after")
    def _makes_sense(self) -> LossConfig:
        if self.margin.name == "none":
            if self.m != 0:
                raise ValueError(f"margin 'none' takes no m, got m = {self.m:g}; name another margin, such as lmcl")
        elif getattr(self.head, "bias", False):
            raise ValueError(f"margin '{self.margin.name}' is not defined with a bias; set head.bias to false")
        if self.normalise_by == "selected" and self.others != "ignored":
            raise ValueError("normalise_by: selected belongs to others: ignored")
        return self


def _part(preset: str | None, own: Any) -> Any:
    """A key of the user's; a part without a name keeps the preset's."""
    return {"name": preset, **own} if isinstance(own, Mapping) and isinstance(preset, str) else own


class LossOutput(NamedTuple):
    """What a batch gave. Everything but the loss is detached; nothing here waits for the device."""

    loss: Tensor
    """scalar, with gradient"""
    per_sample: Tensor
    """(N,) the loss of each sample, before weights"""
    accuracy: Tensor
    """share of samples with no z_j > z_y"""
    margin_accuracy: Tensor
    """share of samples with no z_j > ψ, the margin on every sample"""
    selected_share: Tensor
    """share of samples that got the margin"""


class MarginLoss(nn.Module):
    """The loss of a batch of embeddings of a given dimension against a number of classes."""

    Config = LossConfig

    def __init__(self, config: LossConfig, dim: int, classes: int) -> None:
        super().__init__()
        self.config = config
        self.head: Head = HEADS.build(config.head, dim, classes)
        self.margin = MARGINS.build(config.margin)
        self.selector = SELECTORS.build(config.selector)

    def forward(self, x: Tensor, y: Tensor, m: float | None = None) -> LossOutput:
        """The loss of embeddings x (N, dim) with labels y (N,) int64, at the margin m (default: the config's).

        An embedding that is not finite, or whose norm is not, gives a NaN loss. For labels see check_labels.
        """
        m = self.config.m if m is None else m
        with full_precision(x):
            target = self.head.target(x, y)
            with torch.no_grad():
                psi = self.margin(target, m)
                asked = self.selector.threshold(target, self.margin, m)
                thresholds = [target.logit.detach(), psi] + ([] if asked is None else [asked])
            others = self.head.others(x, y, thresholds)
            with torch.no_grad():
                selected = self.selector.select(target, others, rivals=others.counts[-1])
                mask = selected.to(target.cosine.dtype)

            # ψ of a sample that is left alone is its plain logit: all selected is LMCL and none NSL, to the bit
            loss = torch.logaddexp(mask.new_zeros(()), others.logsumexp - self.margin(target, m * mask))
            finite = torch.linalg.vector_norm(x.detach().to(loss.dtype), dim=1).isfinite()
            loss = torch.where(finite, loss, torch.nan)

            return LossOutput(
                loss=self._reduce(loss, mask),
                per_sample=loss.detach(),
                accuracy=_share(others.counts[0] == 0),
                margin_accuracy=_share(others.counts[1] == 0),
                selected_share=_share(selected),
            )

    def _reduce(self, loss: Tensor, mask: Tensor) -> Tensor:
        if self.config.others == "unmargined":
            return loss.mean()
        number = mask.sum().clamp_min(1) if self.config.normalise_by == "selected" else len(loss)
        return (loss * mask).sum() / number


def _share(hits: Tensor) -> Tensor:
    return hits.to(torch.float32).mean()


def check_labels(y: Tensor, classes: int) -> None:
    """Refuse labels outside [0, classes). Meant for labels on the CPU: on a GPU it would wait for the device.

    Raises InputError naming the first such label.
    """
    wrong = y[(y < 0) | (y >= classes)]
    if len(wrong):
        raise InputError(f"label {int(wrong[0])} is out of range: the loss has {classes} classes, 0 to {classes - 1}")
