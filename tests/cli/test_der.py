from __future__ import annotations

import json

import pytest

from spkver.rttm import Region, Turn, write_turns, write_uem

REFERENCE = [Turn("a", 0, 10, "x"), Turn("a", 12, 20, "y"), Turn("a", 24, 27, "x"), Turn("a", 30, 40, "z")]
HYPOTHESIS = [
    Turn("a", 2, 13, "1"),
    Turn("a", 13, 14, "4"),
    Turn("a", 14, 20, "2"),
    Turn("a", 22, 38, "3"),
    Turn("a", 38, 40, "4"),
]


@pytest.fixture
def files(tmp_path):
    write_turns(tmp_path / "ref.rttm", [*REFERENCE, Turn("b", 0, 9, "x")])
    write_turns(tmp_path / "hyp.rttm", [*HYPOTHESIS, Turn("b", 0, 9, "1")])
    return tmp_path / "ref.rttm", tmp_path / "hyp.rttm"


def test_table_and_json(spkver, files, tmp_path):
    done = spkver("der", *files)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[2] == ["a", "51.61", "6.45", "22.58", "22.58", "43.52", "31.0", "3", "4"]
    assert rows[3] == ["b", "0.00", "0.00", "0.00", "0.00", "0.00", "9.0", "1", "1"]
    assert rows[4] == ["all", "40.00", "5.00", "17.50", "17.50", "32.64", "40.0", "4", "5"]
    assert "95 % intervals over 2 recordings: DER 0.00 to 51.61 %, JER 0.00 to 43.52 %" in done.stdout
    assert "right number of speakers in 1 of 2 recordings" in done.stdout and not done.stderr
    found = json.loads(spkver("der", *files, "--json", "--out", tmp_path / "out.json").stdout)
    assert found == json.loads((tmp_path / "out.json").read_text())
    assert found["all"]["der"] == 0.4 and found["all"]["intervals"]["DER"] == [0, pytest.approx(16 / 31)]
    assert found["recordings"]["a"]["mapping"] == {"1": "x", "2": "y", "3": "z"}


def test_collar_overlap_and_regions(spkver, files, tmp_path):
    write_uem(tmp_path / "some.uem", [Region("a", 0, 20)])
    done = spkver("der", *files, "--uem", tmp_path / "some.uem", "--collar", 1, "--skip-overlap", "--json")
    assert "warning: 1 recording, first 'b', not in the UEM: not scored" in done.stderr
    found = json.loads(done.stdout)
    assert list(found["recordings"]) == ["a"] and "intervals" not in found["all"]
    assert found["all"]["speech"] == 8 + 6  # from 1 to 9 s and 13 to 19 s


def test_recordings_of_one_side_are_counted_and_named(spkver, files, tmp_path):
    write_turns(tmp_path / "other.rttm", [*HYPOTHESIS, Turn("c", 0, 5, "1")])
    done = spkver("der", files[0], tmp_path / "other.rttm", "--json")
    assert "1 recording, first 'b', no turns in the hypothesis: all missed" in done.stderr
    assert "1 recording, first 'c', no turns in the reference: all false alarm" in done.stderr
    found = json.loads(done.stdout)
    assert found["all"]["miss"] == 2 + 9 and found["all"]["false_alarm"] == 7 + 5
    assert found["recordings"]["b"]["der"] == found["recordings"]["c"]["der"] == 1


def test_bad_input(spkver, files, tmp_path):
    write_turns(tmp_path / "other.rttm", [Turn("a.wav", 0, 5, "1")])
    done = spkver("der", files[0], tmp_path / "other.rttm", code=2)
    assert "no recording of the hypothesis (first 'a.wav') is in the reference (first 'a')" in done.stderr
    write_turns(tmp_path / "empty.rttm", [])
    assert "all missed" in spkver("der", files[0], tmp_path / "empty.rttm").stderr
    assert "no turns to score" in spkver("der", tmp_path / "empty.rttm", tmp_path / "empty.rttm", code=2).stderr
    (tmp_path / "bad.rttm").write_text("SPEAKER a 1 0 x <NA> <NA> A <NA> <NA>\n")
    assert "bad.rttm:1: expected seconds" in spkver("der", files[0], tmp_path / "bad.rttm", code=2).stderr
    assert "none" in spkver("der", files[0], tmp_path / "none", code=2).stderr
