"""The effect of a margin on the boundary between two classes, measured on the margins of the toolkit.

With a margin, a sample of class 1 is correct if ψ(θ1) > z_2 = σ·cos θ2. Here σ = 1 and class weights have equal length,
so ψ is a function of the angle alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from recipes.margin_geometry.style import EXTRA
from spkver.config import validate
from spkver.errors import load_optional
from spkver.losses import LOSSES
from spkver.losses.margin_loss import MarginLoss
from spkver.losses.reductions.base import Target

Curve = Callable[[np.ndarray], np.ndarray]
"""function from the cosine to the own prototype to ψ / σ"""


def curve(loss: Mapping[str, Any]) -> Curve:
    """ψ of a loss as a function of the cosine, with the full margin (no annealing)."""
    config = validate(LOSSES, loss)
    margin = MarginLoss(config, dim=2, classes=2).margin

    def of(cosine: np.ndarray) -> np.ndarray:
        flat = torch.from_numpy(np.float64(cosine).ravel())
        ones = torch.ones_like(flat)
        with torch.no_grad():
            psi = margin(Target(logit=flat, cosine=flat, scale=ones, norm=ones), config.m)
        return psi.numpy().reshape(np.shape(cosine))

    return of


class Lines(NamedTuple):
    """The boundaries of class 1 and class 2: two lines (points, 2), mirror images of each other."""

    first: np.ndarray
    second: np.ndarray


class Plane(NamedTuple):
    """A grid of the cosines, or of the angles in radians, to both prototypes, and the excess of class 1 there."""

    side: np.ndarray
    """(n,) values of both axes"""
    excess: np.ndarray
    """(n, n) ψ(θ1) - cos θ2 at [θ2, θ1]: a sample of class 1 is correct if it is positive"""

    def lines(self) -> Lines:
        """The lines on which the excess of class 1, and of class 2, is zero."""
        generator = load_optional("contourpy", EXTRA).contour_generator(self.side, self.side, self.excess)
        line = max(generator.lines(0.0), key=len)
        return Lines(line, line[:, ::-1])


def cosine_plane(psi: Curve, *, length: float = 1.0, points: int = 401) -> Plane:
    """The plane (cos θ1, cos θ2); length: ‖W_1‖ / ‖W_2‖."""
    side = np.linspace(-1, 1, points)
    return Plane(side, length * psi(side)[None, :] - side[:, None])


def angle_plane(psi: Curve, *, length: float = 1.0, points: int = 401) -> Plane:
    """The plane (θ1, θ2)."""
    side = np.linspace(0, np.pi, points)
    return Plane(side, length * psi(np.cos(side))[None, :] - np.cos(side)[:, None])


class Width(NamedTuple):
    """Distance between the two boundaries, over the points of one whose nearest point is inside the other."""

    least: float
    most: float


def width(lines: Lines) -> Width:
    """The width of the margin between two lines."""
    starts, ends = lines.second[:-1], lines.second[1:]
    along = ends - starts
    squared = np.maximum((along**2).sum(axis=1), 1e-300)
    offset = lines.first[:, None] - starts
    place = np.clip((offset * along).sum(axis=2) / squared, 0, 1)
    distance = np.linalg.norm(offset - place[..., None] * along, axis=2)
    nearest = distance.argmin(axis=1)
    at = nearest + place[np.arange(len(nearest)), nearest]
    inside = distance.min(axis=1)[(at > 0) & (at < len(starts))]
    return Width(float(inside.min()), float(inside.max()))


def margin_angle(psi: Curve, between: np.ndarray, points: int = 20001) -> np.ndarray:
    """The angle between two classes that belongs to neither; `between`: angle between their prototypes, in radians.

    On the arc from W_1 to W_2, class 1 has the directions with ψ(θ1) ≥ cos(between - θ1). NaN if it has none, not even
    W_1 itself.
    """
    share = np.linspace(0, 0.5, points)  # share of the arc, from W_1 to its middle
    theta = between[:, None] * share
    excess = psi(np.cos(theta)) - np.cos(between[:, None] - theta)
    inside = (excess >= -1e-12).sum(axis=1)  # the excess decreases from W_1 on
    last = np.clip(inside - 1, 0, points - 2)
    rows = np.arange(len(between))
    here, there = excess[rows, last], excess[rows, last + 1]
    step = np.where(inside == points, 1.0, here / np.where(here == there, 1.0, here - there))
    reach = between * (share[last] + np.clip(step, 0, 1) * share[1])
    return np.where(inside == 0, np.nan, between - 2 * reach)
