"""Losses. Margin losses have one factorisation, loss = log(1 + exp(L - ψ)), and are composed of parts.

A head gives a sample's own logit and the log-sum L of the others, a margin turns the own logit into ψ, a selector
chooses the samples of the batch that get the margin, a weighting sets how much each sample counts, and schedules change
the values over the run. Inter-top-k and CurricularFace, which change the logits of rivals, and SphereFace2, which is
not a softmax, use the same heads. Pair losses compare the samples of a batch with each other, and DINO learns from the
moving average of its own weights. This file has tables only.
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
        "hyperbolic": "spkver.losses.hyperbolic:Hyperbolic",
    },
)

REDUCTIONS = Registry(
    "reduction",
    {
        "dense": "spkver.losses.reductions.dense:Dense",
        "chunked": "spkver.losses.reductions.chunked:Chunked",
        "fused": "spkver.losses.reductions.fused:Fused",
    },
)

MARGINS = Registry(
    "margin",
    {
        "none": "spkver.losses.margins:NoMargin",
        "lmcl": "spkver.losses.margins:AdditiveCosine",
        "aam": "spkver.losses.margins:AdditiveAngle",
        "multiplicative": "spkver.losses.margins:MultiplicativeAngle",
        "combined": "spkver.losses.margins:Combined",
        "adaface": "spkver.losses.adaface:AdaFace",
        "magface": "spkver.losses.magface:MagFace",
        "sphereface_r": "spkver.losses.sphereface_r:SphereFaceR",
        "elastic": "spkver.losses.elastic:Elastic",
    },
)

SELECTORS = Registry(
    "selector",
    {
        "all": "spkver.losses.selectors:All",
        "boundary": "spkver.losses.selectors:Boundary",
        "soft_boundary": "spkver.losses.selectors:SoftBoundary",
        "hardest": "spkver.losses.selectors:Hardest",
        "cosine": "spkver.losses.selectors:Cosine",
    },
)

WEIGHTINGS = Registry(
    "weighting",
    {
        "equal": "spkver.losses.weightings:Equal",
        "focal": "spkver.losses.weightings:Focal",
    },
)

_NO_BIAS = {"name": "linear", "bias": False}
# λ falls from a value at which the margin has no effect to that of the authors; m is constant
_ANNEALED = {"m": "constant", "annealing": {"name": "exponential", "initial": 1000.0, "final": 5.0, "end": 0.4}}

PRESETS: dict[str, dict[str, Any]] = {
    "softmax": {"head": "linear", "margin": "none", "m": 0.0},
    "nsl": {"head": "normalised", "margin": "none", "m": 0.0},
    "lmcl": {"head": "normalised", "margin": "lmcl", "m": 0.2},
    "bd_lmcl": {"head": "normalised", "margin": "lmcl", "selector": "boundary", "m": 0.2},
    "aam": {"head": "normalised", "margin": "aam", "m": 0.2},
    "bd_aam": {"head": "normalised", "margin": "aam", "selector": "boundary", "m": 0.2},
    "sub_centre_aam": {"head": {"name": "normalised", "centres": 3}, "margin": "aam", "m": 0.2},
    "combined": {"head": "normalised", "margin": {"name": "combined", "m2": 0.2, "m3": 0.1}, "m": 1.0},
    "adaface": {"head": "normalised", "margin": "adaface", "m": 0.4},
    "magface": {"head": "normalised", "margin": "magface", "m": 1.0},
    "sphereface_r": {"head": "normalised", "margin": "sphereface_r", "m": 1.0},
    "elastic_aam": {"head": "normalised", "margin": "elastic", "m": 0.2},
    "elastic_lmcl": {"head": "normalised", "margin": {"name": "elastic", "form": "cos"}, "m": 0.2},
    "hyperbolic_am": {"head": "hyperbolic", "margin": "lmcl", "m": 0.2},
    "l_softmax": {"head": _NO_BIAS, "margin": "multiplicative", "m": 2, "schedules": _ANNEALED},
    "a_softmax": {"head": "unit", "margin": "multiplicative", "m": 4, "schedules": _ANNEALED},
    "inter_top_k_lmcl": {"head": "normalised", "margin": "lmcl", "m": 0.2},
    "inter_top_k_aam": {"head": "normalised", "margin": "aam", "m": 0.2},
    "curricularface": {"head": "normalised", "margin": "aam", "m": 0.5},
    "sub_centre_curricularface": {"head": {"name": "normalised", "centres": 3}, "margin": "aam", "m": 0.5},
}
"""Margin losses by their names in the literature: the keys that `loss: NAME` sets."""

LOSSES = Registry(
    "loss",
    {
        **dict.fromkeys(PRESETS, "spkver.losses.margin_loss:MarginLoss"),
        **dict.fromkeys(("inter_top_k_lmcl", "inter_top_k_aam"), "spkver.losses.inter_top_k:InterTopK"),
        **dict.fromkeys(("curricularface", "sub_centre_curricularface"), "spkver.losses.curricular:Curricular"),
        "sphereface2": "spkver.losses.sphereface2:SphereFace2",
        "triplet": "spkver.losses.pairs:Triplet",
        "angular_prototypical": "spkver.losses.pairs:AngularPrototypical",
        "ge2e": "spkver.losses.pairs:GE2E",
        "simclr": "spkver.losses.pairs:SimCLR",
        "dino": "spkver.losses.dino:DINO",
    },
    PRESETS,
)
