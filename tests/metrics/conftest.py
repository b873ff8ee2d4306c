"""Lists of trials: tiny, heavily tied, at least one target and one non-target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st


@pytest.fixture(scope="session")
def trial_lists():
    return _trial_lists


@st.composite
def _trial_lists(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    size = draw(st.integers(2, 30))
    few = st.integers(-3, 3).map(lambda i: i / 4)
    any_score = st.floats(-5, 5, width=32)
    scores = draw(st.lists(draw(st.sampled_from([few, any_score])), min_size=size, max_size=size))
    target = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    target[0], target[1] = True, False
    order = draw(st.permutations(range(size)))
    return np.array(scores, np.float32)[order], np.array(target)[order]
