"""Correct scores for the seconds of speech of the two recordings.

Cosines of short recordings are lower for the same speaker and vary more for different ones, so one threshold gives
different error rates, and one calibration is overconfident about short recordings. The correction is linear in the
score, and in the logarithm of 1/a + 1/b for a and b seconds of speech; it is fitted by logistic regression together
with the calibration. Similar measures of duration are usual in calibration (Mandasari et al., "Quality measure
functions for calibration of speaker recognition systems in various duration conditions", IEEE TASLP 21(11), 2013).
Does not need torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from spkver.config import Config
from spkver.errors import InputError
from spkver.scoring.calibration import fit_affine

SECONDS = 4.0
LEAST_SECONDS = 0.05  # less speech than this counts as this much


class Lengths(Config):
    """score + x · (shift + slope · score), for x = log(1/a + 1/b) - log(2/seconds), limited to [least, most].

    The result is the score of two recordings with `seconds` of speech and the same likelihood ratio.
    least, most: the range of x in the trials of the fit
    """

    seconds: float = Field(SECONDS, gt=0)
    shift: float
    slope: float
    least: float
    most: float

    @model_validator(mode="after")
    def _rising(self) -> Lengths:
        if not (self.least <= self.most and min(1 + self.slope * x for x in (self.least, self.most)) > 0):
            raise ValueError("a corrected score must rise with the score for all lengths")
        return self

    def corrected(self, scores: ArrayLike, one: ArrayLike, other: ArrayLike) -> np.ndarray:
        """Corrected scores, float32. one, other: seconds of speech of the two sides; NaN, if unknown, is `seconds`."""
        x = np.clip(shortness(one, other, self.seconds), self.least, self.most)
        scores = np.asarray(scores, np.float64)
        return (scores + x * (self.shift + self.slope * scores)).astype(np.float32)


def shortness(one: ArrayLike, other: ArrayLike, seconds: float = SECONDS) -> np.ndarray:
    """log(1/a + 1/b) - log(2/seconds): 0 for two recordings of `seconds`, positive for shorter ones."""
    sides = [np.nan_to_num(np.asarray(side, np.float64), nan=seconds).clip(LEAST_SECONDS) for side in (one, other)]
    x: np.ndarray = np.log(1 / sides[0] + 1 / sides[1]) - np.log(2 / seconds)
    return x


def fit_lengths(scores: np.ndarray, target: np.ndarray, one: np.ndarray, other: np.ndarray, prior: float) -> Lengths:
    """The correction of least prior-weighted logistic loss.

    scores, one, other: (trials,); one, other: seconds of speech; target: bool (trials,)
    If corrected scores would not rise with the score at all lengths, as can happen with few trials, `slope` is 0.
    Raises InputError if all trials are of the same length, and if targets do not score higher than non-targets.
    """
    x = shortness(one, other)
    if np.ptp(x) < 1e-6:
        raise InputError("all trials have the same seconds of speech: a correction for lengths needs different ones")
    least, most = float(x.min()), float(x.max())
    inputs = np.column_stack([scores, x, x * scores]).astype(np.float64)
    scale, shift, slope = fit_affine(inputs, target, prior).weights
    if not min(scale + slope * least, scale + slope * most) > 0:
        (scale, shift), slope = fit_affine(inputs[:, :2], target, prior).weights, 0.0
    if not scale > 0:
        raise InputError("targets do not score higher than non-targets of the same length")
    return Lengths(shift=float(shift / scale), slope=float(slope / scale), least=least, most=most)
