from __future__ import annotations

import itertools
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from spkver.diarization.diarize import Spoken
from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.verify import book as books
from spkver.verify import naming
from spkver.verify.book import enrol, forget, name_voice, open_book
from spkver.verify.model import Heard
from spkver.verify.naming import keep_unknown, named

RANDOM = np.random.default_rng(0)
AXES = np.linalg.qr(RANDOM.normal(size=(16, 16)))[0].astype(np.float32)
ADA, BO, EVE, UNO, DUE = AXES[:5]


def near(voice, noise=0.2, seed=0):
    vector = voice + noise * np.random.default_rng(seed).normal(size=16) / 4
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def verifier(scale=20.0):
    return SimpleNamespace(
        model_id="m",
        cohort=None,
        lengths=None,
        scale=scale,
        required_threshold=lambda given: given or 0.6,
        config=SimpleNamespace(front_end=SimpleNamespace(model_dump=lambda mode: {})),
    )


@pytest.fixture
def book(tmp_path):
    for seed, (name, voice) in enumerate((("Ada", ADA), ("Bo", BO), ("Eve", EVE))):
        enrol(tmp_path / "book", name, Embeddings([name], near(voice, seed=seed)[None], None, "m"))
    return open_book(tmp_path / "book")


def spoken(name, *voices):
    return Spoken(name, [], np.stack(voices), np.full(len(voices), 10.0))


def names(found):
    return [[speaker.name for speaker in one] for one in found]


def test_people_of_the_book_and_unknown_voices(book):
    monday = spoken("monday", near(BO, seed=5), near(UNO, seed=6), near(ADA, seed=7))
    friday = spoken("friday", near(DUE, seed=8), near(UNO, seed=9), near(BO, seed=10))
    expected = {"friday": ["unknown 1", "unknown 2", "Bo"], "monday": ["Bo", "unknown 2", "Ada"]}
    for order in itertools.permutations([monday, friday]):
        assert names(named(verifier(), order, book)) == [expected[one.recording] for one in order]
    first = named(verifier(), [monday], book)[0][0]
    assert first.candidates[0].name == "Bo" and first.candidates[0].score > first.candidates[1].score


def test_unknown_voices_of_one_recording_differ(book):
    found = named(verifier(), [spoken("x", near(UNO, seed=1), near(UNO, seed=2))], book)
    assert names(found) == [["unknown 1", "unknown 2"]]


def test_between_two_people_nobody_is_named(book):
    middle = (ADA + BO) / np.sqrt(2)
    assert names(named(verifier(), [spoken("x", middle)], book, threshold=0.5)) == [["unknown 1"]]
    assert names(named(verifier(), [spoken("x", near(ADA, seed=3))], book, threshold=0.5)) == [["Ada"]]


def test_the_names_of_people_do_not_matter(book, tmp_path):
    voices = [near(BO, seed=5), near(UNO, seed=6), near(ADA, seed=7)]
    for seed, (name, voice) in enumerate((("Zoe", ADA), ("Bo", BO), ("Ann", EVE))):
        enrol(tmp_path / "other", name, Embeddings([name], near(voice, seed=seed)[None], None, "m"))
    found = names(named(verifier(), [spoken("x", *voices)], open_book(tmp_path / "other")))
    assert found == [["Bo", "unknown 1", "Zoe"]]


def test_an_empty_book_links_recordings_and_another_model_is_refused(book, tmp_path):
    pair = [spoken("a", near(UNO, seed=1)), spoken("b", near(DUE, seed=2), near(UNO, seed=3))]
    assert names(named(verifier(), pair, open_book(tmp_path / "none"))) == [["unknown 1"], ["unknown 2", "unknown 1"]]
    other = verifier()
    other.model_id = "other"
    with pytest.raises(InputError, match="made with the model m"):
        named(other, pair, book)


def heard(voice, seed, seconds=10.0):
    return Heard(near(voice, seed=seed), f"digest {seed}", [], seconds)


@pytest.fixture
def on_day(monkeypatch):
    """Set the day that the book takes for today."""

    def set_day(day):
        for module in (books, naming):
            monkeypatch.setattr(module, "today", lambda: day)

    return set_day


def test_an_unknown_voice_keeps_its_number(book):
    folder = book.folder
    assert keep_unknown(verifier(), folder, [heard(UNO, 1), heard(DUE, 2), heard(UNO, 3)], 30) == [
        "unknown 1",
        "unknown 2",
        "unknown 1",
    ]
    assert keep_unknown(verifier(), folder, [heard(DUE, 4), heard(UNO, 1)], 30) == ["unknown 2", "unknown 1"]
    now = open_book(folder)
    assert now.unknown() == {"unknown 1": 2, "unknown 2": 2}
    assert now.recordings() == book.recordings() and len(now) == 3
    assert now.people().names == ["Ada", "Bo", "Eve"]  # an unnamed voice is never found as a person
    assert now.people(known=False).names == ["unknown 1", "unknown 2"]


def test_short_speech_and_recordings_of_people_are_not_kept(book):
    before = open_book(book.folder).hash
    enrolled = Heard(near(UNO, seed=1), "Ada", [], 10.0)  # the id of a recording of Ada
    assert keep_unknown(verifier(), book.folder, [heard(UNO, 1, seconds=1.9), enrolled], 30) == ["", ""]
    assert open_book(book.folder).hash == before


def test_unnamed_voices_expire_unless_they_are_heard_again(book, on_day):
    first = date(2030, 5, 1)
    on_day(first)
    keep_unknown(verifier(), book.folder, [heard(UNO, 1), heard(DUE, 2)], 10)
    on_day(first + timedelta(8))
    keep_unknown(verifier(), book.folder, [heard(UNO, 3)], 10)
    on_day(first + timedelta(18))
    assert open_book(book.folder).unknown() == {"unknown 1": 2}
    on_day(first + timedelta(19))
    assert open_book(book.folder).unknown() == {} and len(open_book(book.folder)) == 3


def test_naming_an_unnamed_voice(book, on_day):
    on_day(date(2030, 5, 1))
    keep_unknown(verifier(), book.folder, [heard(UNO, 1), heard(DUE, 2), heard(ADA, 3)], 10)
    named_now = name_voice(book.folder, "unknown 1", "Uno", purpose="minutes")
    assert named_now.recordings()["Uno"] == 1 and named_now.person("Uno").known
    assert (named_now.person("Uno").until, named_now.person("Uno").purpose) == (None, "minutes")
    added = name_voice(book.folder, "unknown 3", "Ada")
    assert added.recordings()["Ada"] == 2 and list(added.unknown()) == ["unknown 2"]
    assert keep_unknown(verifier(), book.folder, [heard(EVE, 4)], 10) == ["unknown 3"]
    with pytest.raises(InputError, match="reserved for unnamed voices"):
        name_voice(book.folder, "Bo", "unknown 7")
    forget(book.folder, ["unknown 2"])
    assert list(open_book(book.folder).unknown()) == ["unknown 3"]


def test_numbers_of_a_conversation_go_on_from_those_of_the_book(book):
    keep_unknown(verifier(), book.folder, [heard(UNO, 1)], 10)
    talk = spoken("x", near(DUE, seed=5), near(UNO, seed=6), near(UNO, seed=7), near(BO, seed=8))
    found = names(named(verifier(), [talk], open_book(book.folder)))
    assert found == [["unknown 2", "unknown 1", "unknown 3", "Bo"]]
