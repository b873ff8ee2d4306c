from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spkver.embeddings import Embeddings, read_embeddings, write_embeddings
from spkver.errors import InputError
from spkver.files import locked
from spkver.verify import book as books
from spkver.verify.cohort import Voices
from spkver.verify.decision import Rate

posix = pytest.mark.skipif(os.name != "posix", reason="modes of files")


def recordings(seed, number=2, dim=8, model="m") -> Embeddings:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=dim) + 0.2 * random.normal(size=(number, dim))
    return Embeddings([f"{seed}-{row}" for row in range(number)], vectors.astype(np.float32), None, model)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep" / "book"


@pytest.fixture
def filled(folder):
    for seed, name in enumerate(["Bob", "Ada", "Čapek"]):
        books.enrol(folder, name, recordings(seed, number=seed + 1))
    return folder


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_people_are_means_of_embeddings_of_length_1(filled):
    people = books.open_book(filled).people()
    assert people.names == ["Ada", "Bob", "Čapek"]
    for name, vector in zip(people.names, people.voices.vectors):
        own = recordings(["Bob", "Ada", "Čapek"].index(name), ["Bob", "Ada", "Čapek"].index(name) + 1).vectors
        assert vector == pytest.approx(unit(unit(own).mean(axis=0)), abs=1e-6)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 9))
def test_rank_equals_sorted_cosines(number, top, seed):
    random = np.random.default_rng(seed)
    vectors = unit(random.normal(size=(number, 5))).astype(np.float32)
    people = books.People([f"p{row}" for row in range(number)], Voices(vectors))
    heard = unit(random.normal(size=5)).astype(np.float32)
    found = people.rank(heard, top)
    scores = vectors @ heard
    assert [match.score for match in found] == pytest.approx(np.sort(scores)[::-1][:top])
    assert all(match.score == pytest.approx(scores[int(match.name[1:])]) for match in found)


def test_book_of_twenty_thousand_people_is_fast(folder):
    random = np.random.default_rng(0)
    people = 20_000
    vectors = np.repeat(unit(random.normal(size=(people, 64))), 2, axis=0) + 0.05 * random.normal(size=(2 * people, 64))
    order = random.permutation(2 * people)
    speakers = [f"person {row // 2}" for row in order]
    folder.mkdir(parents=True, mode=0o700)
    ids = [str(row) for row in order]
    everyone = Embeddings(ids, unit(vectors[order]).astype(np.float32), speakers, "m")
    write_embeddings(folder / books.VOICES, everyone, mode=0o600)
    start = time.process_time()
    found = books.open_book(folder).people()
    loaded = time.process_time() - start
    wanted = random.integers(people, size=20)
    start = time.process_time()
    for one in wanted:
        heard = unit(vectors[2 * one]).astype(np.float32)
        assert found.rank(heard, 3)[0].name == f"person {one}"
    assert loaded < 5 and time.process_time() - start < 5  # a generous limit, for busy machines


def test_enrol_skips_recordings_already_in_the_book(folder):
    assert books.enrol(folder, "Ada", recordings(0, 2)).recordings() == {"Ada": 2}
    assert books.enrol(folder, " Ada ", recordings(0, 3)).recordings_of("Ada") == 3  # one new, two known
    with pytest.raises(InputError, match="one of the recordings of 'Bob' is already enrolled as 'Ada'"):
        books.enrol(folder, "Bob", recordings(0, 1))
    assert len(books.open_book(folder)) == 1


def test_enrol_treats_unicode_spellings_as_one_name(folder):
    books.enrol(folder, "Čapek", recordings(0))
    assert books.enrol(folder, "C\u030capek", recordings(1)).recordings() == {"Čapek": 4}
    assert len(books.forget(folder, ["C\u030capek"])) == 0


@pytest.mark.parametrize("name", ["", "  ", "a\tb", "a\nb", "\x1b[31m", "\u202eevil"])
def test_enrol_rejects_an_invalid_name(folder, name):
    with pytest.raises(InputError, match="a name must not be empty"):
        books.enrol(folder, name, recordings(0))


def test_forget_removes_embeddings_from_all_files(filled):
    kept = read_embeddings(filled / books.VOICES)
    marks = [b"Ada", b"1-0", b"1-1", kept.vectors[kept.speakers.index("Ada")].tobytes()[:12]]
    before = (filled / books.VOICES).read_bytes()
    assert marks[-1] in before
    (filled / ".voices.parquet.x.part").write_bytes(before)  # left behind by a killed writer
    left = books.forget(filled, ["Ada"])
    assert left.recordings() == books.open_book(filled).recordings() == {"Bob": 1, "Čapek": 3}
    assert [path.name for path in filled.iterdir()] == [books.VOICES]
    after = (filled / books.VOICES).read_bytes()
    assert not any(mark in after for mark in marks)
    books.forget(filled, ["Bob", "Čapek"])
    assert list(filled.iterdir()) == [] and not len(books.open_book(filled))


def test_forget_of_an_unknown_name_changes_nothing(filled):
    before = (filled / books.VOICES).read_bytes()
    with pytest.raises(InputError, match="'Eve' is not in the book"):
        books.forget(filled, ["Ada", "Eve"])
    assert (filled / books.VOICES).read_bytes() == before
    with pytest.raises(InputError, match="is not in the book"):
        books.forget(filled.parent / "none", ["Ada"])


def test_book_rejects_another_model(filled):
    books.open_book(filled).require("m")
    with pytest.raises(InputError, match="made with the model m, not with other"):
        books.open_book(filled).require("other")
    with pytest.raises(InputError, match="made with the model m, not with other"):
        books.enrol(filled, "Eve", recordings(9, model="other"))
    assert len(books.open_book(filled)) == 3


@posix
def test_book_rejects_access_by_other_users(filled):
    old = os.umask(0)  # files would be open to everyone
    try:
        books.enrol(filled, "Eve", recordings(5))
    finally:
        os.umask(old)
    assert stat.S_IMODE(filled.stat().st_mode) == 0o700
    assert stat.S_IMODE((filled / books.VOICES).stat().st_mode) == 0o600
    for path, mode in ((filled / books.VOICES, 0o640), (filled, 0o755), (filled, 0o701)):
        own = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode)
        for action in (lambda: books.open_book(filled), lambda: books.enrol(filled, "Max", recordings(6))):
            with pytest.raises(InputError, match=r"personal data: run chmod [67]00"):
                action()
        path.chmod(own)
    assert len(books.open_book(filled)) == 4


def test_enrol_fails_when_another_writer_holds_the_lock(filled, monkeypatch):
    monkeypatch.setattr(books, "PATIENCE", 0.1)
    with locked(filled), pytest.raises(InputError, match="in use by another run"):
        books.enrol(filled, "Eve", recordings(5))
    assert len(books.open_book(filled)) == 3  # readers need no lock


def test_writers_wait_for_each_other(filled):
    said = []
    with locked(filled):
        threads = [
            threading.Thread(
                target=books.enrol, args=(filled, f"P{n}", recordings(10 + n)), kwargs={"say": said.append}
            )
            for n in range(8)
        ]
        threads.append(threading.Thread(target=books.forget, args=(filled, ["Bob"]), kwargs={"say": said.append}))
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while len(said) < len(threads) and time.monotonic() < deadline:
            time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert len(said) == 9 and all("waiting for another run" in text for text in said)
    assert list(books.open_book(filled).recordings()) == ["Ada", *(f"P{n}" for n in range(8)), "Čapek"]


def test_killed_writer_leaves_the_book_intact(filled):
    before = (filled / books.VOICES).read_bytes()
    code = (
        "import os, sys, spkver.files as files\n"
        "files.sync = lambda path: os._exit(9)\n"  # the new file is written, but not renamed yet
        "from spkver.verify.book import forget\nforget(sys.argv[1], ['Ada'])"
    )
    assert subprocess.run([sys.executable, "-c", code, str(filled)]).returncode == 9
    assert (filled / books.VOICES).read_bytes() == before
    assert len(list(filled.glob(".*.part"))) == 1
    books.forget(filled, ["Ada"])
    assert [path.name for path in filled.iterdir()] == [books.VOICES]


def test_book_is_a_file_of_embeddings(filled):
    found = read_embeddings(filled / books.VOICES)
    assert found.model == "m" and sorted(set(found.speakers)) == ["Ada", "Bob", "Čapek"]


def test_open_book_names_a_damaged_file(filled):
    path = filled / books.VOICES
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"voices\.parquet: not an embeddings file"):
        books.open_book(filled)


def test_odd_warns_of_unlike_recordings_and_similar_people(folder):
    axes = np.eye(4, dtype=np.float32)
    books.enrol(folder, "Ada", Embeddings(["a", "b", "c"], axes[[0, 0, 1]], None, "m"))
    book = books.enrol(folder, "Bob", Embeddings(["d"], axes[:1], None, "m"))
    assert books.odd(book, "Ada", 0.5) == [
        "1 of 3 recordings of 'Ada' sound unlike the others",
        "'Bob', who is already in the book, sounds like 'Ada' (cosine 0.89)",
    ]
    assert books.odd(book, "Bob", 0.95) == []


def test_strangers_warns_when_many_would_be_accepted():
    rate = Rate(rate=0.001, low=0, high=0.002, errors=10, trials=10_000)
    assert books.strangers(10, rate) == []
    assert "at a false-accept rate of 0.1 % per pair, 95 % of strangers are accepted" in books.strangers(3000, rate)[0]
    unseen = Rate(rate=0, low=0, high=0.0004, errors=0, trials=10_000)
    assert "up to 0.04 % per pair, up to 70 % of strangers" in books.strangers(3000, unseen)[0]


def test_default_book_is_in_the_data_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert books.default_book() == tmp_path / "spkver" / "book"
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert books.default_book() == tmp_path / ".local" / "share" / "spkver" / "book"


def test_open_book_with_a_changed_byte_raises_only_input_errors(filled, damaged):
    path = filled / books.VOICES
    outcomes = set()
    for _ in damaged(path):
        try:
            outcomes.add(len(books.open_book(filled).people().names))
        except InputError:
            outcomes.add("refused")
    assert {3, "refused"} <= outcomes


def test_odd_compares_two_recordings_with_each_other(folder):
    """Not with the mean of both, which is close to both."""
    turned = np.array([[1, 0], [np.cos(1.2), np.sin(1.2)]], np.float32)  # cosine 0.36; with the mean 0.83
    book = books.enrol(folder, "Ada", Embeddings(["a", "b"], turned, None, "m"))
    assert books.odd(book, "Ada", 0.5) == ["the two recordings of 'Ada' sound unlike each other"]
    assert books.odd(book, "Ada", 0.3) == []


def test_odd_compares_each_recording_with_the_mean_of_the_others(folder):
    """The unlike recording has cosine 0.58 with the mean of all, and 0.13 with the mean of the others."""
    vectors = np.array([[1, 0.1, 0], [1, 0, 0.1], [0.13, 1, 0.05]], np.float32)
    book = books.enrol(folder, "Ada", Embeddings(["a", "b", "c"], unit(vectors).astype(np.float32), None, "m"))
    assert books.odd(book, "Ada", 0.4) == ["1 of 3 recordings of 'Ada' sound unlike the others"]
