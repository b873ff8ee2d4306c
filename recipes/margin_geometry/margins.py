"""The margins themselves: ψ as a function of the angle, and the boundaries between two classes, without training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recipes.margin_geometry import pictures
from recipes.margin_geometry.boundaries import Plane, Width, angle_plane, cosine_plane, curve, margin_angle, width
from recipes.margin_geometry.page import Experiment, Picture, Table
from recipes.margin_geometry.style import style

Losses = Mapping[str, Mapping[str, Any]]


def _combined(m1: float, m2: float, m3: float) -> dict[str, Any]:
    return {"name": "combined", "margin": {"m1": m1, "m2": m2, "m3": m3}}


CURVES: Mapping[str, Losses] = {
    "LMCL\nψ = σ·(cos θ - m)": {f"LMCL m = {m}": {"name": "lmcl", "m": m} for m in (0.1, 0.2, 0.35)},
    "AAM\nψ = σ·cos(θ + m)": {
        "AAM m = 0.2": {"name": "aam", "m": 0.2},
        "AAM m = 0.5": {"name": "aam", "m": 0.5},
        "AAM m = 0.5 in other toolkits": {"name": "aam", "m": 0.5, "margin": {"beyond": "peers"}},
    },
    "A-softmax and L-softmax\nψ = σ·cos(mθ), folded down": {
        f"A-softmax m = {m}": {"name": "a_softmax", "m": m} for m in (2, 3, 4)
    },
    "SphereFace-R\nψ = σ·cos(min(mθ, π))": {
        f"SphereFace-R m = {m}": {"name": "sphereface_r", "margin": {"factor": m}} for m in (1.2, 1.5, 1.8)
    },
    "combined, m = (m₁, m₂, m₃)\nψ = σ·(cos(m₁θ + m₂) - m₃)": {
        f"combined m = {m}": _combined(*m) for m in ((1, 0.2, 0.1), (1.2, 0.2, 0.1), (1.2, 0.4, 0.2))
    },
}
"""losses by panel of the plot of ψ / σ"""

PAIRS: Losses = {
    "NSL": {"name": "nsl"},
    "A-softmax m = 2": {"name": "a_softmax", "m": 2},
    "LMCL m = 0.35": {"name": "lmcl", "m": 0.35},
    "AAM m = 0.5": {"name": "aam", "m": 0.5},
}
"""losses whose boundaries are measured; softmax is only drawn"""

LENGTHS = 1.5
"""ratio of the lengths of the two class weights in the plot of softmax"""

COSINES = np.cos(np.linspace(0, np.pi, 721))
BETWEEN = np.radians(np.arange(1.0, 181.0))


def margins() -> Experiment:
    """ψ(θ) of every margin, the boundaries between two classes with their widths, and the angle between classes."""
    curves = {label: curve(loss) for label, loss in PAIRS.items()}
    planes = {label: (cosine_plane(psi), angle_plane(psi)) for label, psi in curves.items()}
    widths = {label: (width(cosine.lines()), width(angle.lines())) for label, (cosine, angle) in planes.items()}
    free = {label: np.degrees(margin_angle(psi, BETWEEN)) for label, psi in curves.items()}
    with style():
        drawn = _pictures(planes, free)
    return Experiment(
        title="The margins",
        text="Plotted and measured on the margins of the toolkit, without annealing and at scale 1.",
        tables=[
            Table("Width of the margin between two classes, measured from the dashed lines (radians)", _rows(widths))
        ],
        pictures=drawn,
        numbers={
            "widths": {
                label: {"cosine": cosine._asdict(), "angle": angle._asdict()}
                for label, (cosine, angle) in widths.items()
            },
            "margin_angle": {
                "between": [round(float(value)) for value in np.degrees(BETWEEN)],
                **{label: [_plain(value) for value in values] for label, values in free.items()},
            },
        },
    )


def _pictures(planes: Mapping[str, tuple[Plane, Plane]], free: Mapping[str, np.ndarray]) -> list[Picture]:
    panels = {
        title: {label: curve(loss)(COSINES) for label, loss in losses.items()} for title, losses in CURVES.items()
    }
    plain = curve({"name": "softmax"})
    softmax = cosine_plane(plain, length=LENGTHS), angle_plane(plain, length=LENGTHS)
    return [
        Picture(
            "psi",
            "The target logit with the margin, over the angle θ to the own class weight. The thin line is cos θ "
            "(softmax and NSL). A-softmax and L-softmax have the same curves and differ in the scale σ.",
            pictures.psi(panels),
        ),
        Picture(
            "boundaries",
            "Two classes in the plane of the cosines (above) and of the angles (below) to their class weights. The "
            "dashed lines are the decision boundaries of the loss for samples of class 1 and of class 2; grey: the "
            f"margin between them. For softmax, one class weight is {LENGTHS:g} times as long as the other, in turn. "
            "Where the colours overlap, the class depends on these lengths, which cosine scoring ignores.",
            pictures.boundaries({"softmax": softmax, **planes}, {"LMCL m = 0.35": 0, "AAM m = 0.5": 1}),
        ),
        Picture(
            "margin_angle",
            "The angle that belongs to neither of two classes, on the arc between their class weights. With AAM it is "
            "constant, with A-softmax proportional to the distance of the class weights, and with LMCL it is larger "
            "for closer class weights. A line begins where a sample can satisfy the loss.",
            pictures.margin_angle(np.degrees(BETWEEN), free),
        ),
    ]


def _rows(widths: Mapping[str, tuple[Width, Width]]) -> list[list[str]]:
    rows = [["loss", "in cos θ: least", "most", "in θ: least", "most", "√2·m"]]
    for label, (cosine, angle) in widths.items():
        m = PAIRS[label].get("m", 0)
        rows.append([label, *(f"{value:.4f}" for value in (*cosine, *angle)), f"{2**0.5 * m:.4f}"])
    return rows


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
