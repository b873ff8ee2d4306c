from __future__ import annotations

import numpy as np
import pytest

from spkver.config import validate
from spkver.diarization.clustering import Number
from spkver.diarization.diarize import Heard, Stages, cluster
from spkver.diarization.settings import Settings
from spkver.diarization.windows import Windows


def windows(vectors, starts):
    starts = np.asarray(starts, float)
    vectors = np.asarray(vectors, np.float32)
    times = np.stack([starts, starts + 1], axis=1)
    return Windows(times, np.zeros(len(starts), np.int64), vectors, np.ones(len(starts)))


def test_the_share_of_a_window_in_regions():
    regions = [(0, 5), (12, 22), (30, 31)]  # tenths of a second
    found = windows(np.eye(5), [0, 0.7, 1.0, 1.9, 2.5]).covered(regions, 10)
    assert found == pytest.approx([0.5, 0.5, 0.8, 0.3, 0.1])
    assert windows(np.eye(2), [0, 7]).covered([], 10) == pytest.approx([0, 0])


def test_windows_with_overlap_make_no_speaker():
    one, other = np.eye(3)[:2]
    mixed = (one + 0.8 * other + 0.6 * np.eye(3)[2]) / np.sqrt(2)
    vectors = [one] * 5 + [mixed] * 4 + [other] * 5
    heard = Heard("r", [(0, 14 * 100)], windows(vectors, range(14)), 100, [(500, 900)])
    settings = validate(Settings, {"shift": 1, "clustering": {"name": "agglomerative", "threshold": 0.9}})
    found = cluster(heard, settings, Number(), Stages())
    assert len(found.seconds) == 2 and found.seconds.sum() == pytest.approx(18, abs=0.1)
    assert [(one.start, one.end) for one in found.stretches] == [
        (0, pytest.approx(9)),
        (pytest.approx(5), 14),
    ]
    without = cluster(Heard("r", heard.regions, heard.windows, 100), settings, Number(), Stages())
    assert len(without.seconds) == 3


def test_a_recording_of_overlap_alone_has_speakers():
    heard = Heard("r", [(0, 400)], windows([[1, 0], [1, 0], [0, 1], [0, 1]], range(4)), 100, [(0, 400)])
    settings = validate(Settings, {"shift": 1, "clustering": {"name": "agglomerative", "threshold": 0.9}})
    assert len(cluster(heard, settings, Number(), Stages()).seconds) == 2
