from __future__ import annotations

import json
import re

import numpy as np
import pytest

from spkver import audio
from spkver.errors import InputError
from spkver.report.diarization import sounds, write_page
from spkver.rttm import Turn
from spkver.scoring.diarization import evaluate_turns

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"
REFERENCE = [Turn("a b", 0, 4, HOSTILE), Turn("a b", 5, 8, "Bo")]
HYPOTHESIS = [Turn("a b", 1, 4, "1"), Turn("a b", 5, 9, "2"), Turn("a b", 10, 11, "3")]


def timelines(page):
    return json.loads(re.search(r'<script type="application/json" id="timelines">(.*?)</script>', page)[1])


def test_tracks_are_speakers_beside_their_reference_and_errors(tmp_path):
    scored = evaluate_turns(REFERENCE, HYPOTHESIS)
    write_page(tmp_path / "page.html", HYPOTHESIS, scored, REFERENCE, title=HOSTILE)
    page = (tmp_path / "page.html").read_text()
    (found,) = timelines(page)
    assert found["seconds"] == 11
    assert found["tracks"] == [
        [HOSTILE, "reference", 0, [[0, 4]]],
        ["1", "found", 0, [[1, 4]]],
        ["Bo", "reference", 1, [[5, 8]]],
        ["2", "found", 1, [[5, 9]]],
        ["3", "found", 2, [[10, 11]]],
        ["missed", "error", 0, [[0, 1]]],
        ["false alarm", "error", 1, [[8, 9], [10, 11]]],
        ["confused", "error", 2, []],
    ]
    assert "<img" not in page and "DER 42.9 %: missed 14.3 %, false alarm 28.6 %, confused 0.0 %" in page
    assert "3 speakers found of 2" in page and "<audio" not in page


def test_without_a_reference_there_are_turns_and_shares(tmp_path):
    write_page(tmp_path / "page.html", HYPOTHESIS)
    page = (tmp_path / "page.html").read_text()
    assert [track[0] for track in timelines(page)[0]["tracks"]] == ["2", "1", "3"]
    assert re.findall(r'class="number">(\d+\.\d)<', page) == ["50.0", "37.5", "12.5"]
    assert "DER" not in page.split("<body>")[1].split("<script")[0]
    with pytest.raises(InputError, match="no turns to show"):
        write_page(tmp_path / "page.html", [])


def test_a_speaker_who_was_not_found_is_in_the_shares(tmp_path):
    write_page(tmp_path / "page.html", [], evaluate_turns(REFERENCE, []), REFERENCE)
    page = (tmp_path / "page.html").read_text()
    assert page.count(">nobody<") == 2 and ">0:04<" in page


def test_recordings_are_linked_or_embedded(tmp_path):
    (tmp_path / "wav #1").mkdir()
    wav = tmp_path / "wav #1" / "a b.wav"
    audio.write(wav, np.zeros(24000, np.float32), 16000)
    page = tmp_path / "pages" / "page.html"
    found = sounds(wav, ["a b"], page)
    assert found["a b"] == ("../wav%20%231/a%20b.wav", 1.5)
    write_page(page, HYPOTHESIS, found=found)
    assert 'preload="none" src="../wav%20%231/a%20b.wav"' in page.read_text()
    assert sounds(wav, ["a b"], page, embed=True)["a b"].source.startswith("data:audio/mpeg;base64,")
    with pytest.raises(InputError, match="has none of the 2 recordings, first 'x'"):
        sounds(wav, ["x", "y"], page)


def test_many_turns_stay_small(tmp_path):
    turns = [Turn("long", 2 * n, 2 * n + 1.5, f"{n % 6}") for n in range(10_000)]
    write_page(tmp_path / "page.html", turns, evaluate_turns(turns, turns), turns)
    page = (tmp_path / "page.html").read_text()
    assert len(page) < 1_000_000 and page.count("<") < 1000
