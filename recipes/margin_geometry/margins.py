"""The margins themselves: ψ over the angle, and the boundaries between two classes. Nothing is trained."""

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
        "AAM m = 0.5 as others have it": {"name": "aam", "m": 0.5, "margin": {"beyond": "peers"}},
    },
    "A-softmax and L-softmax\nψ = σ·cos(mθ), folded down": {
        f"A-softmax m = {m}": {"name": "a_softmax", "m": m} for m in (2, 3, 4)
    },
    "combined, m = (m₁, m₂, m₃)\nψ = σ·(cos(m₁θ + m₂) - m₃)": {
        f"combined m = {m}": _combined(*m) for m in ((1, 0.2, 0.1), (1.2, 0.2, 0.1), (1.2, 0.4, 0.2))
    },
}
"""ψ / σ by panel."""

PAIRS: Losses = {
    "NSL": {"name": "nsl"},
    "A-softmax m = 2": {"name": "a_softmax", "m": 2},
    "LMCL m = 0.35": {"name": "lmcl", "m": 0.35},
    "AAM m = 0.5": {"name": "aam", "m": 0.5},
}
"""The losses whose boundaries are measured; softmax is drawn beside them."""

LENGTHS = 1.5
"""How much longer one class weight of softmax is drawn than the other."""

COSINES = np.cos(np.linspace(0, np.pi, 721))
BETWEEN = np.radians(np.arange(1.0, 181.0))


def margins() -> Experiment:
    """ψ(θ) of every margin, two-class boundaries with their widths, and the angle that a margin leaves free."""
    curves = {label: curve(loss) for label, loss in PAIRS.items()}
    planes = {label: (cosine_plane(psi), angle_plane(psi)) for label, psi in curves.items()}
    widths = {label: (width(cosine.lines()), width(angle.lines())) for label, (cosine, angle) in planes.items()}
    free = {label: np.degrees(margin_angle(psi, BETWEEN)) for label, psi in curves.items()}
    with style():
        drawn = _pictures(planes, free)
    return Experiment(
        title="The margins",
        text="Drawn and measured on the toolkit's own margins, in full (no annealing) and at scale 1.",
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
            "What the losses make of a sample's own logit at the angle θ to its class weight. The thin line is cos θ: "
            "softmax and NSL. A-softmax and L-softmax share their curves and differ in the scale σ.",
            pictures.psi(panels),
        ),
        Picture(
            "boundaries",
            "Two classes in the plane of the cosines (above) and of the angles (below) to their class weights. Dashed: "
            "where a sample of class 1, and one of class 2, is just right in the eyes of the loss; grey: the margin "
            f"between. For softmax either class weight is {LENGTHS:g} times as long as the other: where the colours "
            "overlap, a sample can be of either class, depending on lengths that cosine scoring does not see.",
            pictures.boundaries({"softmax": softmax, **planes}, {"LMCL m = 0.35": 0, "AAM m = 0.5": 1}),
        ),
        Picture(
            "margin_angle",
            "The angle that belongs to neither of two classes, on the arc between their class weights. AAM keeps it "
            "constant, A-softmax in proportion to the distance of the class weights, LMCL makes it the wider the "
            "closer they are. A line begins where they are far enough apart for any sample to satisfy the loss.",
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
