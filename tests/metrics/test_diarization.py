from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from spkver.metrics.diarization import Errors, compare_turns, merged, recording_bootstrap, summed


class Turn(NamedTuple):
    start: float
    end: float
    speaker: str


def turns(*rows: tuple[float, float, str]) -> list[Turn]:
    return [Turn(*row) for row in rows]


REFERENCE = turns((0, 10, "A"), (12, 20, "B"), (24, 27, "A"), (30, 40, "C"))
HYPOTHESIS = turns((2, 13, "a"), (13, 14, "d"), (14, 20, "b"), (22, 38, "c"), (38, 40, "d"))


def test_the_worked_example_of_pyannote_metrics():
    # https://pyannote.github.io/pyannote-metrics/reference.html#diarization: DER 0.516, of 31 s of speech; there the
    # components are not printed: missed are [0, 2], false alarms [10, 12], [20, 24] without [20, 22], [27, 30],
    # confused are [12, 14], [24, 27], [38, 40]
    found = compare_turns(REFERENCE, HYPOTHESIS).errors()
    assert found[:4] == (31.0, 2.0, 7.0, 7.0)
    assert found.der == pytest.approx(0.516, abs=5e-4)


def test_mapping_is_one_to_one():
    assert compare_turns(REFERENCE, HYPOTHESIS).mapping == {"a": "A", "b": "B", "c": "C"}


def test_jaccard_error_is_a_mean_over_speakers_of_the_reference():
    # A is 10 + 3 s with `a` of 11 s, 8 s of them together; B is 8 s with `b` of 6 s in it; C is 10 s with `c` of 16 s,
    # 8 s of them together
    found = compare_turns(REFERENCE, HYPOTHESIS).errors()
    assert found.jer == pytest.approx(1 - np.mean([8 / 16, 6 / 8, 8 / 18]))
    assert (found.speakers, found.found) == (3, 4)


def test_a_collar_lies_on_both_sides_of_changes_in_the_reference():
    reference = turns((10, 20, "A"))
    found = compare_turns(reference, turns((9.7, 19.8, "x")), collar=0.25).errors()
    assert found.speech == pytest.approx(9.5)
    assert found.false_alarm == pytest.approx(0.05)
    assert found.miss == 0


def test_overlap_of_the_reference_may_be_left_out():
    reference = turns((0, 10, "A"), (8, 12, "B"))
    whole = compare_turns(reference, turns((0, 12, "x"))).errors()
    assert (whole.speech, whole.miss, whole.confusion) == (14, 2, 2)
    alone = compare_turns(reference, turns((0, 12, "x")), skip_overlap=True).errors()
    assert (alone.speech, alone.miss, alone.confusion) == (10, 0, 2)


def test_only_the_regions_are_scored():
    found = compare_turns(turns((0, 10, "A"), (15, 99, "B")), turns((5, 12, "x")), [(2, 6), (4, 11)]).errors()
    assert found[:4] == (8, 3, 1, 0)
    assert (found.speakers, found.found) == (1, 1)  # B speaks outside
    assert compare_turns(turns((0, 1, "A")), [], [(5, 6)]).errors() == Errors()


def test_turns_of_one_speaker_count_once():
    assert merged(turns((3, 4, "A"), (0, 2, "A"), (1, 3, "A"), (5, 5, "A"), (0, 1, "B"))) == {
        "A": [(0, 4)],
        "B": [(0, 1)],
    }
    found = compare_turns(turns((0, 2, "A"), (1, 3, "A")), turns((0, 3, "x"), (1, 2, "x"))).errors()
    assert found[:4] == (3, 0, 0, 0)


def test_nothing_on_a_side():
    spoken = turns((0, 2, "A"), (1, 3, "B"))
    missed = compare_turns(spoken, []).errors()
    assert (missed.der, missed.jer, missed.speech, missed.miss) == (1, 1, 4, 4)
    invented = compare_turns([], spoken).errors()
    assert (invented.der, invented.jer, invented.false_alarm) == (1, 1, 4)
    silent = compare_turns([], []).errors()
    assert (silent.der, silent.jer) == (0, 0)
    assert compare_turns(turns((1, 1, "A")), []).errors() == Errors()


def test_spans_say_where_the_errors_are():
    found = compare_turns(REFERENCE, HYPOTHESIS)
    assert found.spans("miss") == [(0, 2)]
    assert found.spans("false_alarm") == [(10, 12), (22, 24), (27, 30)]
    assert found.spans("confusion") == [(12, 14), (24, 27), (38, 40)]
    assert compare_turns(REFERENCE, HYPOTHESIS, [(1, 11)]).spans("miss") == [(1, 2)]
    assert compare_turns(REFERENCE, HYPOTHESIS, [(1, 11)]).spans("false_alarm") == [(10, 11)]


def test_intervals_are_over_recordings():
    good, bad = Errors(100, 1, 0, 0, 0.1, 2, 2), Errors(100, 50, 0, 0, 1.0, 2, 1)
    assert summed([good, bad]).der == 0.255
    assert summed([]) == Errors()
    drawn = recording_bootstrap([good] * 10, replicates=20)
    assert drawn == pytest.approx(np.tile([0.01, 0.05], (20, 1)))
    mixed = recording_bootstrap([good] * 5 + [bad] * 5, replicates=2000)
    assert mixed[:, 0].mean() == pytest.approx(0.255, abs=0.01)
    assert mixed[:, 0].std() == pytest.approx(0.49 / 2 / 10**0.5, rel=0.1)
    assert np.array_equal(mixed, recording_bootstrap([good] * 5 + [bad] * 5, replicates=2000))


times = st.integers(0, 4000).map(lambda number: number / 64)
sides = st.lists(st.tuples(times, times, st.sampled_from("ABCDE")).map(lambda row: Turn(*row)), max_size=15)


@settings(max_examples=150, deadline=None)
@given(
    sides, sides, st.none() | st.lists(st.tuples(times, times), min_size=1, max_size=3), st.booleans(), st.booleans()
)
def test_equal_to_pyannote_metrics(reference, hypothesis, regions, collar, skip_overlap):
    """With tens of turns, random durations, collars, regions and overlap."""
    diarization = pytest.importorskip("pyannote.metrics.diarization")
    from pyannote.core import Annotation, Segment, Timeline

    def annotated(side):
        annotation = Annotation()
        for speaker, spans in merged(side).items():
            for number, span in enumerate(spans):
                annotation[Segment(*span), f"{speaker}{number}"] = speaker
        return annotation

    regions = [(start, end) for start, end in regions or [] if start < end] or None
    # pyannote's collar is the sum of both sides
    settings = {"collar": 0.5 if collar else 0.0, "skip_overlap": skip_overlap}
    uem = regions and Timeline([Segment(*region) for region in regions]).support()
    found = compare_turns(reference, hypothesis, regions, collar=settings["collar"] / 2, skip_overlap=skip_overlap)
    errors = found.errors()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an approximated uem
        theirs = diarization.DiarizationErrorRate(**settings)(
            annotated(reference), annotated(hypothesis), uem=uem, detailed=True
        )
        jaccard = diarization.JaccardErrorRate(**settings)(annotated(reference), annotated(hypothesis), uem=uem)
    names = ("total", "missed detection", "false alarm", "confusion")
    assert errors[:4] == pytest.approx([theirs[name] for name in names], abs=1e-6)
    assert errors.der == pytest.approx(theirs["diarization error rate"], abs=1e-9)
    # without a speaker, pyannote's Jaccard error rate is 1 even if both sides are silent; several mappings may agree as
    # long as each other, with different Jaccard errors
    if errors.speakers and not _has_another(found._together, found.pairs):
        assert errors.jer == pytest.approx(jaccard, abs=1e-9)


def _has_another(together: np.ndarray, pairs: np.ndarray) -> bool:
    """Whether another mapping agrees as long: the best one without one of the pairs."""
    longest = together[pairs[:, 0], pairs[:, 1]].sum()
    for pair in map(tuple, pairs.tolist()):
        without = together.copy()
        without[pair] = 0
        if without[linear_sum_assignment(without, maximize=True)].sum() > longest - 1e-9:
            return True
    return False
