from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from spkver.embeddings import Embeddings
from spkver.verify import advice
from spkver.verify import book as books
from spkver.verify.advice import RENEW_DAYS, remarks, renewals, unlike
from spkver.verify.book import enrol, open_book

DAY = date(2030, 5, 1)


@pytest.fixture
def on_day(monkeypatch):
    """Set the day that the book takes for today."""

    def set_day(day):
        for module in (books, advice):
            monkeypatch.setattr(module, "today", lambda: day)

    return set_day


def add(folder, name, seed, seconds, until=None):
    vectors = np.random.default_rng(seed).normal(size=(len(seconds), 8)).astype(np.float32)
    ids = [f"{seed}-{row}" for row in range(len(seconds))]
    return enrol(folder, name, Embeddings(ids, vectors, None, "m"), seconds=seconds, until=until)


def test_who_should_be_enrolled_again(tmp_path, on_day):
    on_day(DAY)
    add(tmp_path / "book", "Ada", 0, [3.0, 5.0])
    add(tmp_path / "book", "Bob", 1, [9.0])
    book = add(tmp_path / "book", "Eve", 2, [1.5, 2.0])
    assert renewals(book) == [
        "'Bob': one recording only: add recordings with spkver enrol",
        "'Eve': 3.5 s of speech only: add recordings with spkver enrol",
    ]
    on_day(DAY + timedelta(RENEW_DAYS))
    assert renewals(book, ["Ada"]) == []
    on_day(DAY + timedelta(RENEW_DAYS + 1))
    (line,) = renewals(book, ["Ada"])
    assert line == f"'Ada': last enrolled on {DAY}, and voices change: add recordings with spkver enrol"
    book = add(tmp_path / "book", "Ada", 3, [5.0])
    assert renewals(book, ["Ada"]) == []  # the last enrolment counts
    assert len(renewals(book, ["Bob"])) == 1 and "; " in renewals(book, ["Bob"])[0]


def test_unknown_age_and_speech_give_no_advice(tmp_path):
    vectors = np.eye(2, dtype=np.float32)
    book = enrol(tmp_path / "book", "Ada", Embeddings(["a", "b"], vectors, None, "m"))
    assert renewals(book) == []
    assert unlike(book, "Ada", 0.5) == ["the two recordings of 'Ada' sound unlike each other"]


def test_expired_people_are_mentioned_without_names(tmp_path, on_day):
    on_day(DAY)
    add(tmp_path / "book", "Ada", 0, [3.0], until=DAY)
    on_day(DAY + timedelta(1))
    assert remarks(open_book(tmp_path / "book")) == [
        "people of the book who have expired: 1; `spkver book expire` removes them"
    ]
