from __future__ import annotations

import pytest

from spkver.config import validate
from spkver.diarization.settings import Settings
from spkver.diarization.tuning import Tried, best_of
from spkver.metrics.diarization import Errors


def tried(der, right):
    settings = validate(Settings, {"clustering": {"name": "spectral"}})
    return Tried(settings, Errors(speech=1000.0, confusion=1000 * der), right)


@pytest.mark.parametrize(
    ("found", "best"),
    [
        ([(0.2, 5), (0.1, 3)], 1),
        ([(0.1, 3), (0.1004, 4)], 1),  # as good, and more numbers are right
        ([(0.1, 3), (0.1004, 3)], 0),
        ([(0.1, 3), (0.102, 9)], 0),
    ],
)
def test_best(found, best):
    found = [tried(*one) for one in found]
    assert best_of(found) is found[best]
