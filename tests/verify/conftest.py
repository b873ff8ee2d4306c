from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def damaged():
    """Change one byte of a file, 300 times: `for _ in damaged(path)` runs with the changed file in place."""

    def each(path):
        content = path.read_bytes()
        random = np.random.default_rng(0)
        for _ in range(300):
            changed = bytearray(content)
            changed[random.integers(len(content))] = random.integers(256)
            path.write_bytes(bytes(changed))
            yield

    return each
