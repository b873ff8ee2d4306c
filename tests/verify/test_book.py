from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spkver.embeddings import Embeddings, read_embeddings, write_embeddings
from spkver.errors import InputError
from spkver.files import locked
from spkver.verify import book as books
from spkver.verify.advice import odd, strangers
from spkver.verify.bookfile import parse, serialise
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
    assert books.forget(folder, ["C\u030capek"]).left == 0


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
    assert books.forget(filled, ["Ada"]).left == 2
    assert books.open_book(filled).recordings() == {"Bob": 1, "Čapek": 3}
    assert [path.name for path in filled.iterdir()] == [books.VOICES]
    after = (filled / books.VOICES).read_bytes()
    assert not any(mark in after for mark in marks)
    books.forget(filled, ["Bob", "Čapek"])
    last = read_embeddings(filled / books.VOICES)  # the file stays, for the hashes of those who were removed
    assert (len(last), last.speakers) == (0, None) and not len(books.open_book(filled))
    after = (filled / books.VOICES).read_bytes()
    assert not any(mark in after for mark in (b"Bob", "Čapek".encode(), b"0-0", b"2-0"))


def test_forget_of_an_unknown_name_changes_nothing(filled):
    before = (filled / books.VOICES).read_bytes()
    with pytest.raises(InputError, match="'Eve' is not in the book"):
        books.forget(filled, ["Ada", "Eve"])
    assert (filled / books.VOICES).read_bytes() == before
    with pytest.raises(InputError, match="there is no book"):
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
            with pytest.raises(InputError, match=r"private data: run chmod [67]00"):
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
    with pytest.raises(InputError, match=r"voices\.parquet: not the file of a speaker book"):
        books.open_book(filled)


def test_odd_warns_of_unlike_recordings_and_similar_people(folder):
    axes = np.eye(4, dtype=np.float32)
    books.enrol(folder, "Ada", Embeddings(["a", "b", "c"], axes[[0, 0, 1]], None, "m"))
    book = books.enrol(folder, "Bob", Embeddings(["d"], axes[:1], None, "m"))
    assert odd(book, "Ada", 0.5) == [
        "1 of 3 recordings of 'Ada' sound unlike the others",
        "'Bob', who is already in the book, sounds like 'Ada' (cosine 0.89)",
    ]
    assert odd(book, "Bob", 0.95) == []


def test_strangers_warns_when_many_would_be_accepted():
    rate = Rate(rate=0.001, low=0, high=0.002, errors=10, trials=10_000)
    assert strangers(10, rate) == []
    assert "at a false-accept rate of 0.1 % per pair, 95 % of strangers are accepted" in strangers(3000, rate)[0]
    unseen = Rate(rate=0, low=0, high=0.0004, errors=0, trials=10_000)
    assert "up to 0.04 % per pair, up to 70 % of strangers" in strangers(3000, unseen)[0]


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
    assert odd(book, "Ada", 0.5) == ["the two recordings of 'Ada' sound unlike each other"]
    assert odd(book, "Ada", 0.3) == []


def test_odd_compares_each_recording_with_the_mean_of_the_others(folder):
    """The unlike recording has cosine 0.58 with the mean of all, and 0.13 with the mean of the others."""
    vectors = np.array([[1, 0.1, 0], [1, 0, 0.1], [0.13, 1, 0.05]], np.float32)
    book = books.enrol(folder, "Ada", Embeddings(["a", "b", "c"], unit(vectors).astype(np.float32), None, "m"))
    assert odd(book, "Ada", 0.4) == ["1 of 3 recordings of 'Ada' sound unlike the others"]


@pytest.fixture
def on_day(monkeypatch):
    """Set the day that the book takes for today."""
    return lambda day: monkeypatch.setattr(books, "today", lambda: day)


DAY = date(2030, 5, 1)


def test_enrol_stores_facts_of_person_and_recordings(folder, on_day):
    on_day(DAY)
    books.enrol(folder, "Ada", recordings(0, 2), seconds=[3.5, 8], session="phone", purpose="door", until=DAY)
    on_day(DAY - timedelta(1))
    book = books.enrol(folder, "Ada", recordings(0, 3), seconds=[1, 1, 1])
    assert book.voices.ids == ["0-0", "0-1", "0-2"]
    person = books.open_book(folder).person("Ada")
    assert (person.created, person.purpose, person.consented, person.until) == (DAY, "door", DAY, DAY)
    rows = books.open_book(folder).contents.recordings
    assert [(row.enrolled, row.session, row.seconds) for row in rows] == [
        (DAY, "phone", 3.5),
        (DAY, "phone", 8),
        (DAY - timedelta(1), "", 1),
    ]
    renewed = books.enrol(folder, "Ada", recordings(0, 1), purpose="door and lift").person("Ada")
    assert (renewed.purpose, renewed.consented, renewed.until) == ("door and lift", DAY - timedelta(1), DAY)


def test_seconds_of_a_person_are_the_sum_over_recordings(folder):
    books.enrol(folder, "Ada", recordings(0, 2), seconds=[3.5, 8])
    people = books.enrol(folder, "Bob", recordings(1, 2)).people()
    assert people.voices.seconds[0] == 11.5 and np.isnan(people.voices.seconds[1])


def test_expired_people_are_not_returned_and_are_removed_by_any_write(folder, on_day):
    on_day(DAY)
    books.enrol(folder, "Ada", recordings(0), until=DAY)
    books.enrol(folder, "Bob", recordings(1))
    assert len(books.open_book(folder)) == 2  # the last day is included
    with pytest.raises(InputError, match="this last day has passed"):
        books.enrol(folder, "Eve", recordings(2), until=DAY - timedelta(1))
    on_day(DAY + timedelta(1))
    book = books.open_book(folder)
    assert (book.recordings(), book.people().names, book.expired) == ({"Bob": 2}, ["Bob"], ("Ada",))
    assert not book.recordings_of("Ada")
    with pytest.raises(InputError, match="'Ada' is not in the book"):
        book.person("Ada")
    assert b"Ada" in (folder / books.VOICES).read_bytes()
    said = []
    books.enrol(folder, "Bob", recordings(1), say=said.append)  # nothing new
    assert b"Ada" not in (folder / books.VOICES).read_bytes() and "removed: 1" in said[0] and "Ada" not in said[0]
    assert books.expire(folder) == []


def test_expire(folder, on_day):
    on_day(DAY)
    books.enrol(folder, "Ada", recordings(0), until=DAY)
    on_day(DAY + timedelta(1))
    assert books.expire(folder) == ["Ada"] and not len(books.open_book(folder))


def test_receipt_says_what_was_removed_without_embeddings(filled):
    before = books.open_book(filled)
    receipt = books.forget(filled, ["Ada", "Bob", "Ada"])
    after = books.open_book(filled)
    assert [(one.name, one.recordings) for one in receipt.removed] == [("Ada", 2), ("Bob", 1)]
    assert receipt.removed[0].ids == hashlib.sha256(b"1-0\n1-1").hexdigest()
    assert (receipt.before, receipt.after, receipt.left) == (before.hash, after.hash, 1)
    assert after.hash == hashlib.sha256((filled / books.VOICES).read_bytes()).hexdigest() != before.hash
    assert json.loads(json.dumps(receipt.plain()))["removed"][1]["name"] == "Bob"


def test_answer_is_ambiguous_if_the_runner_up_is_close():
    matches = [books.Match("Ada", 0.8), books.Match("Bob", 0.7)]
    close, clear = np.log(books.ODDS) / 0.1 * 0.99, np.log(books.ODDS) / 0.1 * 1.01
    assert books.answer(matches, 0.75, clear).name == "Ada"
    assert books.answer(matches, 0.75, close) == (None, True, pytest.approx(np.log(9) * 0.99))
    assert books.answer(matches, 0.85, close) == (None, False, pytest.approx(np.log(9) * 0.99))  # nobody
    assert books.answer(matches, 0.75, None) == ("Ada", False, None)
    assert books.answer(matches[:1], 0.75, close) == ("Ada", False, None)
    assert books.answer([], 0.75, close) == (None, False, None)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(-5, 5), st.floats(0.1, 100))
def test_answer_is_one_of_known_nobody_ambiguous(scores, least, scale):
    matches = [books.Match(str(row), score) for row, score in enumerate(sorted(scores, reverse=True))]
    found = books.answer(matches, least, scale)
    assert not (found.name and found.ambiguous)
    assert (found.name is None and not found.ambiguous) == (matches[0].score < least)
    assert books.answer(matches[:2], least, scale) == found  # two people are enough


def test_rename(filled):
    key = books.open_book(filled).person("Ada").key
    book = books.name_voice(filled, "Ada", "Ada Lovelace", purpose="talks")
    assert book.recordings() == books.open_book(filled).recordings() == {"Ada Lovelace": 2, "Bob": 1, "Čapek": 3}
    assert book.person("Ada Lovelace").key == key and book.person("Ada Lovelace").purpose == "talks"
    with pytest.raises(InputError, match="'Bob' is already in the book"):
        books.name_voice(filled, "Ada Lovelace", "Bob")
    with pytest.raises(InputError, match="'Ada' is not in the book"):
        books.name_voice(filled, "Ada", "Eve")
    with pytest.raises(InputError, match="this last day has passed"):
        books.name_voice(filled, "Bob", "Eve", until=date(2020, 1, 1))
    named = books.name_voice(filled, "Bob", "Rob", until=date(2999, 1, 1)).person("Rob")
    assert named.consented is not None and named.until == date(2999, 1, 1)


def test_about_is_everything_held(filled):
    held = json.loads(json.dumps(books.open_book(filled).about("Ada")))
    assert [row["id"] for row in held["recordings"]] == ["1-0", "1-1"]
    assert np.array(held["recordings"][0]["embedding"]) == pytest.approx(unit(recordings(1, 2).vectors)[0])
    assert held["purpose"] == "" and held["model"] == "m" and held["created"]


def test_contents_of_a_book_survive_the_file(filled):
    book = books.open_book(filled)
    again = parse(serialise(book.contents), "x")
    assert (again.people, again.recordings, again.salt) == (
        book.contents.people,
        book.contents.recordings,
        book.contents.salt,
    )
    np.testing.assert_array_equal(again.voices.vectors, book.voices.vectors)


@posix
def test_sigkill_at_any_moment_loses_no_earlier_person(filled):
    """A process enrols people one after the other, and is killed at various moments."""
    code = (
        "import sys\nfrom spkver.embeddings import Embeddings\nimport numpy as np\n"
        "from spkver.verify.book import enrol\n"
        "for row in range(10_000):\n"
        "    vector = np.random.default_rng(row).normal(size=(1, 8)).astype(np.float32)\n"
        "    enrol(sys.argv[1], f'P{row}', Embeddings([f'p{row}'], vector, None, 'm'))\n"
        "    print(row, flush=True)"
    )
    for number in range(3):
        with subprocess.Popen([sys.executable, "-c", code, str(filled)], stdout=subprocess.PIPE, text=True) as process:
            done = [int(process.stdout.readline()) for _ in range(1 + 3 * number)]
            time.sleep(0.003 * number)
            process.send_signal(signal.SIGKILL)
        known = books.open_book(filled).recordings()
        assert {"Ada", "Bob", "Čapek", *(f"P{row}" for row in done)} <= set(known)
    books.enrol(filled, "Eve", recordings(5))
    assert [path.name for path in Path(filled).iterdir()] == [books.VOICES]
