from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from spkver.diarization.diarize import Spoken
from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.verify.book import enrol, open_book
from spkver.verify.naming import named

RANDOM = np.random.default_rng(0)
AXES = np.linalg.qr(RANDOM.normal(size=(16, 16)))[0].astype(np.float32)
ADA, BO, EVE, UNO, DUE = AXES[:5]


def near(voice, noise=0.2, seed=0):
    vector = voice + noise * np.random.default_rng(seed).normal(size=16) / 4
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def verifier(scale=20.0):
    return SimpleNamespace(
        model_id="m", cohort=None, lengths=None, scale=scale, required_threshold=lambda given: given or 0.6
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
