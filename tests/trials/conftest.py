"""Small trial lists."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from spkver.trials import Trials


@pytest.fixture(scope="session")
def trials():
    """A trial list from rows `enrol test` and labels."""

    def made(rows, target=None):
        enrol, test = zip(*(row.split() for row in rows))
        return Trials(pa.array(enrol), pa.array(test), None if target is None else np.array(target, bool))

    return made


@pytest.fixture(scope="session")
def rows():
    """The pairs of a trial list."""
    return lambda listed: list(zip(listed.enrol.to_pylist(), listed.test.to_pylist()))
