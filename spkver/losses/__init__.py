"""Margin losses: one factorisation, loss = log(1 + exp(L - ψ)), put together from parts that combine freely.

A head gives a sample's own logit and the log-sum L of the others, a margin turns the own logit into ψ, a selector says
which samples of the batch get the margin, schedules move the numbers over the run. This file holds tables only.
"""

from __future__ import annotations

from typing import Any

from spkver.registry import Registry

HEADS = Registry(
    "head",
    {
        "linear": "spkver.losses.heads:Linear",
        "normalised": "spkver.losses.heads:Normalised",
        "unit": "spkver.losses.heads:Unit",
    },
)

REDUCTIONS = Registry(
    "reduction",
    {
        "dense": "spkver.losses.reductions.dense:Dense",
        "chunked": "spkver.losses.reductions.chunked:Chunked",
    },
)

MARGINS = Registry(
    "margin",
    {
        "none": "spkver.losses.margins:NoMargin",
        "lmcl": "spkver.losses.margins:AdditiveCosine",
        "aam": "spkver.losses.margins:AdditiveAngle",
    },
)

SELECTORS = Registry(
    "selector",
    {
        "all": "spkver.losses.selectors:All",
        "boundary": "spkver.losses.selectors:Boundary",
    },
)

SCHEDULES = Registry(
    "schedule",
    {
        "constant": "spkver.losses.schedules:Constant",
        "warmup": "spkver.losses.schedules:Warmup",
        "linear": "spkver.losses.schedules:Linear",
        "exponential": "spkver.losses.schedules:Exponential",
        "piecewise": "spkver.losses.schedules:Piecewise",
    },
)

PRESETS: dict[str, dict[str, Any]] = {
    "softmax": {"head": "linear", "margin": "none", "selector": "all", "m": 0.0},
    "nsl": {"head": "normalised", "margin": "none", "selector": "all", "m": 0.0},
    "lmcl": {"head": "normalised", "margin": "lmcl", "selector": "all", "m": 0.2},
    "bd_lmcl": {"head": "normalised", "margin": "lmcl", "selector": "boundary", "m": 0.2},
    "aam": {"head": "normalised", "margin": "aam", "selector": "all", "m": 0.2},
}
"""The losses by the names their papers gave them: what `loss: NAME` stands for (see margin_loss.LossConfig)."""

LOSSES = Registry("loss", dict.fromkeys(PRESETS, "spkver.losses.margin_loss:MarginLoss"))
