from __future__ import annotations

import hashlib
import json
import os
import stat

import pytest

from spkver.errors import InputError, load_optional, nearest
from spkver.files import (
    atomic_directory,
    atomic_file,
    inside,
    locked,
    read_json,
    readable_size,
    recover,
    sha256,
    write_json,
    write_text,
)
from spkver.lists import first_duplicate, read_columns, read_lines


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_directory_in_place_of_a_file_is_refused_before_work_goes_into_it(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="out: is a directory; give the name of a file"), atomic_file(tmp_path / "out"):
        pytest.fail("nothing is to be written")
    assert names(tmp_path) == ["out"]


def test_a_file_is_whole_or_absent(tmp_path):
    target = tmp_path / "new" / "a.txt"
    write_text(target, "one")
    with pytest.raises(KeyError), atomic_file(target) as part:
        part.write_text("half")
        raise KeyError
    assert target.read_text() == "one" and names(target.parent) == ["a.txt"]
    write_text(target, "two")
    assert target.read_text() == "two"


def test_permissions_are_the_users(tmp_path):
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "")
        with atomic_directory(tmp_path / "d"):
            pass
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o750


def test_a_directory_is_whole_or_absent(tmp_path):
    for text in ("one", "two"):
        with atomic_directory(tmp_path / "d") as part:
            (part / text).write_text(text)
    with pytest.raises(KeyError), atomic_directory(tmp_path / "d") as part:
        (part / "three").write_text("")
        raise KeyError
    assert names(tmp_path) == ["d"] and names(tmp_path / "d") == ["two"]


def test_recovery_after_a_kill(tmp_path):
    """Between the two renames of a replacement; and halfway through a first writing."""
    moved = tmp_path / ".model.abc.old" / "model"
    moved.mkdir(parents=True)
    (moved / "weights").write_text("old")
    (tmp_path / ".model.abc.part").mkdir()
    (tmp_path / ".config.xyz.part").write_text("half")
    (tmp_path / "other").write_text("stays")
    recover(tmp_path)
    assert names(tmp_path) == ["model", "other"] and (tmp_path / "model" / "weights").read_text() == "old"
    again = tmp_path / ".model.def.old" / "model"
    again.mkdir(parents=True)
    recover(tmp_path)  # its successor is there
    assert names(tmp_path / "model") == ["weights"] and names(tmp_path) == ["model", "other"]
    recover(tmp_path / "nowhere")


def test_a_lock_keeps_others_out_and_leaves_nothing(tmp_path):
    folder = tmp_path / "new" / "run"
    with locked(folder):
        with (
            pytest.raises(InputError, match=rf"run: another run is at work here \(process {os.getpid()} on "),
            locked(folder),
        ):
            raise AssertionError
        assert names(folder) == [".lock"]
    assert not folder.exists()
    with locked(folder):
        (folder / "result").write_text("")
    assert names(folder) == ["result"]
    (folder / ".lock").write_text("process 1 on a machine that lost its power")
    with locked(folder):
        pass
    assert names(folder) == ["result"]
    with pytest.raises(InputError, match="result: is a file"), locked(folder / "result"):
        raise AssertionError


def test_a_lock_ends_with_its_folder_renamed(tmp_path):
    with locked(tmp_path / "part"):
        (tmp_path / "part").rename(tmp_path / "whole")
        with locked(tmp_path / "part"):  # the next run's
            (tmp_path / "part" / "x").write_text("")
    assert names(tmp_path / "part") == ["x"]


def test_sizes_in_words():
    sizes = [readable_size(count) for count in (0, 999, 1500, 2_340_000, 1.2e9, 5e15)]
    assert sizes == ["0 bytes", "999 bytes", "1.5 kB", "2.3 MB", "1.2 GB", "5000.0 TB"]


def test_json(tmp_path):
    write_json(tmp_path / "a", {"é": [1]})
    assert read_json(tmp_path / "a") == {"é": [1]} == json.loads((tmp_path / "a").read_text())
    (tmp_path / "b").write_text('{"a": 1,\n "b"}')
    with pytest.raises(InputError, match=r"b: not JSON .*line 2"):
        read_json(tmp_path / "b")
    with pytest.raises(InputError, match="c: cannot be read"):
        read_json(tmp_path / "c")


def test_hash(tmp_path):
    content = bytes(range(256)) * 10000
    (tmp_path / "a").write_bytes(content)
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_names_that_leave_their_root(tmp_path, name):
    with pytest.raises(InputError, match="would leave"):
        inside(tmp_path, name)
    assert inside(tmp_path, "a/b.wav") == tmp_path.resolve() / "a" / "b.wav"


def test_lines(tmp_path):
    (tmp_path / "a").write_bytes("é 1\r\nb 2\n\n\n".encode())
    assert read_lines(tmp_path / "a").to_pylist() == ["é 1", "b 2"]
    (tmp_path / "a").write_bytes(b"")
    assert read_lines(tmp_path / "a").to_pylist() == []
    (tmp_path / "a").write_bytes(b"a\nb\xff")
    with pytest.raises(InputError, match="a:2: not UTF-8 text"):
        read_lines(tmp_path / "a")
    with pytest.raises(InputError, match="cannot be read"):
        read_lines(tmp_path / "none")


def test_columns(tmp_path):
    (tmp_path / "a").write_text("u1\t /a b/c.wav \n u2  x |\n")
    found = read_columns(tmp_path / "a", ["id", "path"], rest=True)
    assert found["id"].to_pylist() == ["u1", "u2"] and found["path"].to_pylist() == ["/a b/c.wav", "x |"]
    (tmp_path / "a").write_text("u1 s1\nu2 s2 s3\n")
    with pytest.raises(InputError, match="a:2: expected 'utt speaker', got 'u2 s2 s3'"):
        read_columns(tmp_path / "a", ["utt", "speaker"])
    (tmp_path / "a").write_text("u1 s1\n\nu2 s2\n")
    with pytest.raises(InputError, match="a:2: expected"):
        read_columns(tmp_path / "a", ["utt", "speaker"])


def test_duplicates():
    import pyarrow as pa

    assert first_duplicate(pa.array(["a", "b", "a"])) == "a"
    assert first_duplicate(pa.array(["a", "b"])) is None
    assert first_duplicate(pa.array([], pa.string())) is None


def test_hints():
    assert nearest("evaluat", ["evaluate", "data"]) == "; did you mean 'evaluate'?"
    assert nearest("zzz", ["b", "a"]) == "; known: a, b"
    assert nearest("zzz", []) == ""


def test_optional_packages():
    assert load_optional("json", "none") is json
    with pytest.raises(InputError, match=r"this needs no_such_package: pip install 'spkver\[plot\]'"):
        load_optional("no_such_package", "plot")


def test_files_of_a_directory_are_readable_as_the_umask_says(tmp_path):
    """safetensors makes files of 0o600, and a model is for others too."""
    before = os.umask(0o027)
    try:
        with atomic_directory(tmp_path / "model") as part:
            (part / "weights").write_bytes(b"w")
            (part / "weights").chmod(0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "model/weights").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o750
