"""Bounds on scale s and margin m from the LMCL paper (Wang et al., CVPR 2018, section 3.4), and warnings.

They assume prototypes at the corners of a simplex and embeddings equal to their prototypes, so they are necessary but
not sufficient. They apply to margins on the cosine (m of LMCL, m3), not to angles (m of AAM).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spkver.schedules import SCHEDULES, Run, ScheduleConfig

if TYPE_CHECKING:
    from spkver.losses.loss import LossConfig
    from spkver.losses.margin_loss import MarginLossConfig


def smallest_scale(classes: int, posterior: float = 0.9, m: float = 0.0) -> float:
    """The smallest s with which an embedding can reach the posterior, with LMCL's margin m.

    ln((C-1)P/(1-P)) / (1 - m + 1/(C-1)); without a margin, (C-1)/C·ln((C-1)P/(1-P)). Infinite if the margin is the
    largest possible distance of two prototypes or more.
    """
    room = 1 - m + 1 / (classes - 1)
    return max(0.0, math.log((classes - 1) * posterior / (1 - posterior))) / room if room > 0 else math.inf


def largest_margin(classes: int, dim: int) -> float:
    """The largest possible m of LMCL for C classes in K dimensions.

    1 - cos(2π/C) for K = 2; C/(C-1) for C <= K + 1; otherwise 1, in practice much less.
    """
    if dim == 2:
        return 1 - math.cos(2 * math.pi / classes)
    return classes / (classes - 1) if classes <= dim + 1 else 1.0


def check(config: LossConfig, classes: int, dim: int, posterior: float = 0.9, run: Run | None = None) -> list[str]:
    """Warnings about a margin loss whose final scale or margin violates a bound.

    There are no bounds for pair losses, which have no prototypes, for SphereFace2, which is not a softmax, and for
    heads without cosines.
    """
    from spkver.losses.margin_loss import MarginLossConfig  # loads torch, which the bounds themselves do without

    if not isinstance(config, MarginLossConfig) or not config.head.angular:
        return []
    (name, m), s = _final_margin(config, run), _final_scale(config, run)
    warnings = []
    if s is not None and s < (bound := smallest_scale(classes, posterior, m)):
        case = f"{classes} speakers and {name} = {m:g}" if m else f"{classes} speakers"
        warnings.append(f"scale s = {s:g} is below {bound:.2f}: with {case} no posterior can reach {posterior:g}")
    if m > (limit := largest_margin(classes, dim)):
        case = f"{classes} speakers in {dim} dimensions"
        warnings.append(f"margin {name} = {m:g} is above {limit:.3f}, the largest possible for {case}")
    return warnings


def _final_margin(config: MarginLossConfig, run: Run | None) -> tuple[str, float]:
    """The key of the margin, and the value subtracted from the cosine at the end of the run, including annealing."""
    share = _final(config.schedules.m, run) / (1 + _final(config.schedules.annealing, run))
    return config.margin.off_cosine(config.m * share)


def _final_scale(config: MarginLossConfig, run: Run | None) -> float | None:
    s = config.head.scale
    return None if s is None else s * _final(config.schedules.s, run)


def _final(schedule: ScheduleConfig, run: Run | None) -> float:
    return SCHEDULES.build(schedule, run).at(1.0)
