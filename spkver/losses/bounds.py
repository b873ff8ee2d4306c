"""What scale s and margin m can be: the bounds of LMCL's paper (Wang et al., CVPR 2018, section 3.4), and warnings.

They assume prototypes at the corners of a simplex and every embedding on its prototype, so they are necessary for a
loss that can be learnt, not sufficient. They speak of LMCL's m and of m3, cosines, not of AAM's m, an angle.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spkver.schedules import SCHEDULES, Run, ScheduleConfig

if TYPE_CHECKING:
    from spkver.losses.loss import LossConfig
    from spkver.losses.margin_loss import MarginLossConfig


def smallest_scale(classes: int, posterior: float = 0.9, m: float = 0.0) -> float:
    """The s below which no embedding can reach the posterior, with LMCL's margin m taken off its own logit.

    ln((C-1)P/(1-P)) / (1 - m + 1/(C-1)); without a margin that is (C-1)/C·ln((C-1)P/(1-P)). Infinite where the margin
    is as large as two prototypes can be apart.
    """
    room = 1 - m + 1 / (classes - 1)
    return max(0.0, math.log((classes - 1) * posterior / (1 - posterior))) / room if room > 0 else math.inf


def largest_margin(classes: int, dim: int) -> float:
    """The largest m of LMCL that C classes in K dimensions leave room for.

    1 - cos(2π/C) for K = 2; C/(C-1) for C <= K + 1; else 1, and in practice far less.
    """
    if dim == 2:
        return 1 - math.cos(2 * math.pi / classes)
    return classes / (classes - 1) if classes <= dim + 1 else 1.0


def check(config: LossConfig, classes: int, dim: int, posterior: float = 0.9, run: Run | None = None) -> list[str]:
    """Warnings, with their numbers, about a loss whose scale or margin ends beyond a bound; empty if none does.

    Of margin losses; pair losses have no prototypes, SphereFace2 no softmax, and so no bounds.
    """
    from spkver.losses.margin_loss import MarginLossConfig  # loads torch, which the bounds themselves do without

    if not isinstance(config, MarginLossConfig):
        return []
    (name, m), s = _final_margin(config, run), _final_scale(config, run)
    warnings = []
    if s is not None and s < (bound := smallest_scale(classes, posterior, m)):
        case = f"{classes} speakers and {name} = {m:g}" if m else f"{classes} speakers"
        warnings.append(f"scale s = {s:g} is below {bound:.2f}: with {case} no posterior can reach {posterior:g}")
    if m > (limit := largest_margin(classes, dim)):
        case = f"{classes} speakers in {dim} dimensions"
        warnings.append(f"margin {name} = {m:g} is above {limit:.3f}, the most that {case} leave room for")
    return warnings


def _final_margin(config: MarginLossConfig, run: Run | None) -> tuple[str, float]:
    """What is taken off the cosine at the end of the run, annealing included, and its name in the config."""
    share = _final(config.schedules.m, run) / (1 + _final(config.schedules.annealing, run))
    return config.margin.off_cosine(config.m * share)


def _final_scale(config: MarginLossConfig, run: Run | None) -> float | None:
    s = config.head.scale
    return None if s is None else s * _final(config.schedules.s, run)


def _final(schedule: ScheduleConfig, run: Run | None) -> float:
    return SCHEDULES.build(schedule, run).at(1.0)
