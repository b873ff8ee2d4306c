from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spkver.errors import InputError
from spkver.rttm import Region, Turn, read_turns, read_uem, write_turns, write_uem

TURNS = [
    Turn("call", 0.0, 1.25, "Anna"),
    Turn("call", 1.25, 3.0, "Bo"),
    Turn("call", 2.5, 2.75, "Anna"),
    Turn("talk", 0.5, 1.0, "Anna"),
]


@pytest.mark.parametrize("name", ["turns.rttm", "turns.json", "turns"])
def test_turns_are_read_as_they_were_written(tmp_path, name):
    write_turns(tmp_path / name, reversed(TURNS))
    assert read_turns(tmp_path / name) == TURNS


def test_a_label_track_is_of_the_recording_with_its_name(tmp_path):
    write_turns(tmp_path / "call.txt", TURNS[:3])
    assert (tmp_path / "call.txt").read_text().splitlines()[0] == "0.000\t1.250\tAnna"
    assert read_turns(tmp_path / "call.txt") == TURNS[:3]
    with pytest.raises(InputError, match="of one recording, these turns are of 2"):
        write_turns(tmp_path / "call.txt", TURNS)


def test_rttm_has_the_form_that_scoring_tools_read(tmp_path):
    write_turns(tmp_path / "a.rttm", TURNS[:1])
    assert (tmp_path / "a.rttm").read_text() == "SPEAKER call 1 0.000 1.250 <NA> <NA> Anna <NA> <NA>\n"


def test_pyannote_reads_what_is_written(tmp_path):
    load_rttm = pytest.importorskip("pyannote.database.util").load_rttm
    write_turns(tmp_path / "a.rttm", TURNS)
    found = load_rttm(str(tmp_path / "a.rttm"))
    read = [
        Turn(name, round(segment.start, 9), round(segment.end, 9), speaker)
        for name, annotation in found.items()
        for segment, _, speaker in annotation.itertracks(yield_label=True)
    ]
    assert sorted(read) == TURNS


@given(st.lists(st.floats(0.001, 1e5), min_size=2, max_size=20, unique=True))
def test_turns_that_follow_each_other_do_so_in_the_file(tmp_path_factory, times):
    path = tmp_path_factory.mktemp("rttm") / "a.rttm"
    edges = sorted(times)
    write_turns(path, [Turn("a", *pair, "x") for pair in itertools.pairwise(edges)])
    read = [(float(fields[3]), float(fields[4])) for fields in map(str.split, path.read_text().splitlines())]
    for (start, duration), (following, _) in itertools.pairwise(read):
        assert start + duration == pytest.approx(following, abs=1e-6)


def test_other_lines_of_rttm_are_ignored(tmp_path):
    path = tmp_path / "a.rttm"
    path.write_text(
        "\ufeff;; a comment\nSPKR-INFO call 1 <NA> <NA> <NA> adult_male Anna <NA>\r\n\n"
        "SPEAKER call A 0 1.25 <NA> <NA> Anna <NA>\r\nLEXEME call 1 0.5 0.1 hm lex Anna 0.9 <NA>\n"
        "SPEAKER call 1 2 0 <NA> <NA> Bo <NA> <NA>\n"  # no duration
    )
    assert read_turns(path) == TURNS[:1]


def test_a_file_may_have_no_turns(tmp_path):
    for name in ("a.rttm", "a.json", "a.txt"):
        write_turns(tmp_path / name, [])
        assert read_turns(tmp_path / name) == []


def test_turns_that_milliseconds_cannot_tell_are_left_out(tmp_path):
    write_turns(tmp_path / "a.rttm", [Turn("a", 1, 1.0004, "x"), Turn("a", 1, 1.001, "y"), Turn("a", 2, 2, "z")])
    assert (tmp_path / "a.rttm").read_text() == "SPEAKER a 1 1.000 0.001 <NA> <NA> y <NA> <NA>\n"


def test_json_has_room_for_more(tmp_path):
    write_turns(tmp_path / "a.json", TURNS, model="x")
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["model"] == "x"
    assert found["turns"][0] == {"recording": "call", "start": 0.0, "end": 1.25, "speaker": "Anna"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.rttm", "SPEAKER a 1 0 1 <NA> <NA> x <NA>\nSPEAKER a 1 0 1 x\n", "a.rttm:2: expected 'SPEAKER recording"),
        ("a.rttm", "SPEAKER a 1 -1 1 <NA> <NA> x <NA> <NA>\n", "a.rttm:1: expected seconds.*'-1"),
        ("a.rttm", "SPEAKER a 1 0 -1 <NA> <NA> x <NA> <NA>\n", "a.rttm:1: expected seconds"),
        ("a.rttm", "SPEAKER a 1 nan 1 <NA> <NA> x <NA> <NA>\n", "expected seconds.*'nan'"),
        ("a.rttm", "SPEAKER a 1 0 1e999 <NA> <NA> x <NA> <NA>\n", "expected seconds.*'inf'"),
        ("a.rttm", "SPEAKER a 1 0 1_0 <NA> <NA> x <NA> <NA>\n", "expected seconds.*'1_0'"),
        ("a.rttm", "SPEAKER a 1 0 1 <NA> <NA> x\x1b[2J <NA> <NA>\n", "without control characters"),
        ("a.rttm", "spk1 a 0 1\n", "a.rttm:1: not a line of RTTM"),
        ("a.txt", "0\t1\tx\n0 1 x\n", "a.txt:2: expected 'start end speaker' with tabs"),
        ("a.txt", "2\t1\tx\n", "a.txt:1: the turn ends at 1 s, before it starts at 2 s"),
        ("a.json", "[]", "a.json: expected {"),
        ("a.json", '{"turns": [1]}', "a.json: turn 1: expected an object"),
        ("a.json", '{"turns": [{"recording": "a", "start": 0, "end": 1}]}', "turn 1: 'speaker': a name is a text"),
        ("a.json", '{"turns": [{"recording": "a", "start": true, "end": 1, "speaker": "x"}]}', "'start': expected sec"),
        ("a.json", '{"turns": [{"recording": "a", "start": NaN, "end": 1, "speaker": "x"}]}', "'start': expected sec"),
        ("a.json", '{"turns": [{"recording": "a", "start": 2, "end": 1, "speaker": "x"}]}', "before it starts"),
    ],
)
def test_what_is_not_a_turn_is_named_with_its_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_turns(tmp_path / name)


def test_names_stay_inside_their_field(tmp_path):
    named = [Turn("my call", 0, 1, "Anna Berg\u00a0II")]
    write_turns(tmp_path / "a.rttm", named)
    assert read_turns(tmp_path / "a.rttm") == [Turn("my_call", 0, 1, "Anna_Berg_II")]
    write_turns(tmp_path / "a.json", named)
    assert read_turns(tmp_path / "a.json") == named
    with pytest.raises(InputError, match="'A b' and 'A_b' are both 'A_b'"):
        write_turns(tmp_path / "b.rttm", [Turn("a", 0, 1, "A b"), Turn("a", 1, 2, "A_b")])
    for bad in ("", " ", "a\nSPEAKER b", "a\tb", "\x1b]0;x\x07", "\u202eevil", "a\u2028b", "\ud800"):
        for suffix in ("rttm", "json", "txt"):
            with pytest.raises(InputError, match="a name is a text without control characters"):
                write_turns(tmp_path / f"c.{suffix}", [Turn("a", 0, 1, bad)])
            assert not (tmp_path / f"c.{suffix}").exists()


def test_regions(tmp_path):
    path = tmp_path / "a.uem"
    regions = [Region("b", 0.0, 2.5), Region("a", 1.0, 2.0), Region("a", 3.0, 4.0)]
    write_uem(path, regions)
    assert read_uem(path) == sorted(regions)
    for text, message in (
        ("a 1 0 1\nb 1 0\n", "a.uem:2: expected 'recording channel start end'"),
        ("a 1 1 1\n", "a.uem:1: the region ends at 1 s"),
        ("", "no regions"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_uem(path)
