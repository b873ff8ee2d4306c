from __future__ import annotations

import itertools
import json
import os
import stat
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spkver import files
from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.verify import book as books
from spkver.verify import bookfile, upkeep, vault

DAY = date(2030, 5, 1)


def recording(name: str) -> Embeddings:
    vector = np.random.default_rng(len(name) + ord(name[0])).normal(size=(1, 8)).astype(np.float32)
    return Embeddings([f"of {name}"], vector, None, "m")


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(vault.KEY_FILE, raising=False)


@pytest.fixture
def folder(tmp_path):
    for name in ("Ada", "Bob"):
        books.enrol(tmp_path / "book", name, recording(name), purpose="door")
    return tmp_path / "book"


@pytest.fixture
def sealed(folder, tmp_path, monkeypatch):
    """An encrypted book, whose key is set."""
    pytest.importorskip("cryptography")
    upkeep.encrypt(folder, tmp_path / "key")
    monkeypatch.setenv(vault.KEY_FILE, str(tmp_path / "key"))
    return folder


def people(folder):
    return list(books.open_book(folder).recordings())


def test_export_is_private_and_complete(folder, tmp_path):
    assert upkeep.export(folder, "Ada", tmp_path / "ada.json") == 1
    held = json.loads((tmp_path / "ada.json").read_text())
    assert held["name"] == "Ada" and held["purpose"] == "door" and len(held["recordings"][0]["embedding"]) == 8
    assert stat.S_IMODE((tmp_path / "ada.json").stat().st_mode) == 0o600
    with pytest.raises(InputError, match="'Eve' is not in the book"):
        upkeep.export(folder, "Eve", tmp_path / "eve.json")


def test_restore_brings_back_what_was_lost_but_nobody_who_was_removed(folder, tmp_path):
    upkeep.backup(folder, tmp_path / "backup")
    books.forget(folder, ["Ada"])
    books.enrol(folder, "Eve", recording("Eve"))
    assert upkeep.restore(folder, tmp_path / "backup") == upkeep.Restored(1, 1)
    assert people(folder) == ["Bob"]
    books.enrol(folder, "Ada", recording("Ada"))  # the person agreed again
    upkeep.backup(folder, tmp_path / "later")
    assert upkeep.restore(folder, tmp_path / "backup") == upkeep.Restored(1, 1)
    assert upkeep.restore(folder, tmp_path / "later").people == 2 and people(folder) == ["Ada", "Bob"]


def test_restore_after_all_were_removed_and_after_a_rename(folder, tmp_path):
    upkeep.backup(folder, tmp_path / "backup")
    books.name_voice(folder, "Ada", "Ada Lovelace")
    books.forget(folder, ["Ada Lovelace", "Bob"])
    assert upkeep.restore(folder, tmp_path / "backup") == upkeep.Restored(0, 2)


def test_restore_into_a_new_folder_keeps_the_list_of_the_removed(folder, tmp_path):
    upkeep.backup(folder, tmp_path / "first")
    books.forget(folder, ["Ada"])
    upkeep.backup(folder, tmp_path / "second")
    assert upkeep.restore(tmp_path / "new", tmp_path / "second").people == 1
    assert upkeep.restore(tmp_path / "new", tmp_path / "first") == upkeep.Restored(1, 1)


def test_restore_leaves_out_who_expired_since(folder, tmp_path, monkeypatch):
    books.enrol(folder, "Ada", recording("Ada"), until=DAY)
    upkeep.backup(folder, tmp_path / "backup")
    for module in (books, upkeep):
        monkeypatch.setattr(module, "today", lambda: DAY + timedelta(1))
    assert upkeep.restore(tmp_path / "new", tmp_path / "backup") == upkeep.Restored(1, 1)


def test_restore_happens_completely_or_not_at_all(folder, tmp_path, monkeypatch):
    upkeep.backup(folder, tmp_path / "backup")
    books.enrol(folder, "Eve", recording("Eve"))
    before = (folder / books.VOICES).read_bytes()
    content = (tmp_path / "backup").read_bytes()
    (tmp_path / "cut").write_bytes(content[:-30])
    with pytest.raises(InputError, match="cut: not the file of a speaker book"):
        upkeep.restore(folder, tmp_path / "cut")
    with pytest.raises(InputError, match="no such file"):
        upkeep.restore(folder, tmp_path / "none")

    def fail(path):
        raise OSError(5, "broken disk")

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync", fail)
        with pytest.raises(OSError, match="broken disk"):
            upkeep.restore(folder, tmp_path / "backup")
    assert (folder / books.VOICES).read_bytes() == before
    assert [path.name for path in folder.iterdir()] == [books.VOICES]


def test_backup_of_no_book_or_a_damaged_one_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="there is no book"):
        upkeep.backup(tmp_path / "none", tmp_path / "backup")
    path = folder / books.VOICES
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="not the file of a speaker book"):
        upkeep.backup(folder, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_encrypted_book_is_read_and_written(sealed, tmp_path):
    books.enrol(sealed, "Eve", recording("Eve"))
    books.forget(sealed, ["Bob"])
    assert people(sealed) == ["Ada", "Eve"]
    content = (sealed / books.VOICES).read_bytes()
    assert vault.sealed(content) and not any(mark in content for mark in (b"Ada", b"PAR1", b"of Eve"))
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_printed_book_shows_no_key_and_no_person(sealed):
    book = books.open_book(sealed)
    assert book.key is not None and repr(book.key) not in repr(book) and "Ada" not in repr(book)


def test_nothing_is_written_unencrypted(sealed, tmp_path, monkeypatch):
    """Whatever is on disk when a file is synced is encrypted; a new book, too, if there is a key."""
    seen = []

    def watch(path):
        files_there = [one for one in path.parent.rglob("*") if one.is_file()] if path.is_file() else []
        seen.extend(one.read_bytes() for one in files_there if "voices" in one.name)

    monkeypatch.setattr(files, "sync", watch)
    books.enrol(sealed, "Eve", recording("Eve"))
    books.enrol(tmp_path / "new", "Eve", recording("Eve"))
    assert len(seen) >= 2 and all(vault.sealed(content) for content in seen)


def test_wrong_missing_and_exposed_keys(sealed, tmp_path, monkeypatch):
    vault.make_key(tmp_path / "other")
    monkeypatch.setenv(vault.KEY_FILE, str(tmp_path / "other"))
    with pytest.raises(InputError, match=r"voices\.parquet: encrypted with another key"):
        books.open_book(sealed)
    monkeypatch.setenv(vault.KEY_FILE, str(tmp_path / "none"))
    with pytest.raises(InputError, match="none: no such key file"):
        books.open_book(sealed)
    monkeypatch.delenv(vault.KEY_FILE)
    with pytest.raises(InputError, match="encrypted: set the environment variable SPKVER_BOOK_KEY"):
        books.open_book(sealed)
    (tmp_path / "short").write_text("abc")
    (tmp_path / "short").chmod(0o600)
    with pytest.raises(InputError, match="short: not a key"):
        vault.read_key(tmp_path / "short")
    if os.name == "posix":
        (tmp_path / "key").chmod(0o644)
        with pytest.raises(InputError, match="key: other users can access"):
            vault.read_key(tmp_path / "key")


def test_altered_and_truncated_files_are_detected(sealed):
    path = sealed / books.VOICES
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for place in [*range(40), *random.integers(len(content), size=200).tolist()]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(random.integers(8))
        path.write_bytes(bytes(changed))
        with pytest.raises(InputError):
            books.open_book(sealed)
    for length in (0, 1, 14, 15, 30, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            books.open_book(sealed)
    path.write_bytes(content)
    assert people(sealed) == ["Ada", "Bob"]


def test_a_book_that_is_not_encrypted_is_refused_if_there_is_a_key(folder, sealed, tmp_path, monkeypatch):
    upkeep.backup(folder, tmp_path / "backup")
    upkeep.decrypt(folder)
    with pytest.raises(InputError, match=r"not encrypted, although SPKVER_BOOK_KEY is set"):
        books.open_book(folder)
    monkeypatch.delenv(vault.KEY_FILE)
    assert people(folder) == ["Ada", "Bob"]
    with pytest.raises(InputError, match="give the file of its key with --key"):
        upkeep.restore(folder, tmp_path / "backup")
    assert upkeep.restore(folder, tmp_path / "backup", key=tmp_path / "key").people == 2


def test_change_of_key(sealed, tmp_path, monkeypatch):
    upkeep.backup(sealed, tmp_path / "backup")
    upkeep.encrypt(sealed, tmp_path / "new")
    with pytest.raises(InputError, match="encrypted with another key"):
        books.open_book(sealed)
    monkeypatch.setenv(vault.KEY_FILE, str(tmp_path / "new"))
    assert people(sealed) == ["Ada", "Bob"]
    assert upkeep.restore(sealed, tmp_path / "backup", key=tmp_path / "key").people == 2
    assert people(sealed) == ["Ada", "Bob"]
    with pytest.raises(InputError, match="keep the key outside"):
        upkeep.encrypt(sealed, sealed / "key")


def test_a_key_set_before_the_first_encryption(folder, tmp_path, monkeypatch):
    pytest.importorskip("cryptography")
    monkeypatch.setenv(vault.KEY_FILE, str(tmp_path / "key"))
    upkeep.encrypt(folder, tmp_path / "key")
    assert people(folder) == ["Ada", "Bob"]


def test_without_the_package_the_extra_is_named(sealed, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for action in (lambda: books.open_book(sealed), lambda: vault.seal(b"x", bytes(32))):
        with pytest.raises(InputError, match=r"this needs cryptography: pip install 'spkver\[vault\]'"):
            action()


def test_without_the_package_no_key_is_made(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(InputError, match="this needs cryptography"):
        upkeep.encrypt(folder, tmp_path / "key")
    assert not (tmp_path / "key").exists()


def test_backup_of_format_1_brings_nobody_back_who_was_removed(tmp_path):
    golden = Path(__file__).parents[1] / "golden" / "format_1" / "book" / books.VOICES
    (tmp_path / "backup").write_bytes(golden.read_bytes())
    upkeep.restore(tmp_path / "book", tmp_path / "backup")
    assert people(tmp_path / "book") == ["Ada", "Ève"]
    books.forget(tmp_path / "book", ["Ada"])
    assert upkeep.restore(tmp_path / "book", tmp_path / "backup") == upkeep.Restored(1, 1)


def test_an_unnamed_voice_that_was_added_to_a_person_does_not_come_back_by_itself(folder, tmp_path):
    with books.edited(folder, None) as book:
        unnamed = bookfile.Person("key", known=False)
        books.write(book, book.contents.add("unknown 1", unnamed, recording("x"), [bookfile.Recording()]))
    upkeep.backup(folder, tmp_path / "backup")
    books.name_voice(folder, "unknown 1", "Ada")
    books.forget(folder, ["Ada"])
    assert upkeep.restore(folder, tmp_path / "backup") == upkeep.Restored(1, 2)
    assert books.open_book(folder).unknown() == {}


NAMES = st.sampled_from(["Ada", "Bob", "Eve"])
ACTIONS = st.one_of(
    st.tuples(st.just("enrol"), NAMES, st.integers(0, 5)),
    st.tuples(st.just("forget"), NAMES),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("backup")),
    st.tuples(st.just("restore")),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(ACTIONS, min_size=3, max_size=14))
def test_a_book_equals_a_simple_model_of_it(actions):
    """The model: recordings and a serial number of each person by name, and the numbers of those who were removed."""
    now: dict[str, tuple[int, set[str]]] = {}
    then: dict[str, tuple[int, set[str]]] = {}
    removed: set[int] = set()
    serial = itertools.count()
    with tempfile.TemporaryDirectory() as place:
        folder, copy = Path(place) / "book", Path(place) / "backup"
        for action, *words in actions:
            if action == "enrol":
                name, one = words[0], f"r{words[1]}"
                if any(one in ids for other, (_, ids) in now.items() if other != name):
                    continue
                vector = np.random.default_rng(words[1]).normal(size=(1, 4)).astype(np.float32)
                books.enrol(folder, name, Embeddings([one], vector, None, "m"))
                number, ids = now.get(name) or (next(serial), set())
                now[name] = number, ids | {one}
            elif action == "forget" and words[0] in now:
                books.forget(folder, words)
                removed.add(now.pop(words[0])[0])
            elif action == "rename" and words[0] in now and words[1] not in now:
                books.name_voice(folder, *words)
                now[words[1]] = now.pop(words[0])
            elif action == "backup" and folder.exists():
                upkeep.backup(folder, copy)
                then = dict(now)
            elif action == "restore" and copy.exists():
                upkeep.restore(folder, copy)
                now = {name: person for name, person in then.items() if person[0] not in removed}
            book = books.open_book(folder)
            assert book.recordings() == {name: len(ids) for name, (_, ids) in sorted(now.items())}
            held = {name: {row["id"] for row in book.about(name)["recordings"]} for name in now}
            assert held == {name: ids for name, (_, ids) in now.items()}
