from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from spkver import files
from spkver.errors import InputError, load_optional, nearest
from spkver.files import (
    atomic_directories,
    atomic_directory,
    atomic_file,
    atomic_files,
    file_place,
    folder_place,
    inside,
    locked,
    read_json,
    readable_size,
    recover,
    refuse_stand_in,
    sha256,
    write_json,
    write_text,
)
from spkver.lists import first_duplicate, read_columns, read_lines


def names(folder):
    return sorted(path.name for path in folder.iterdir())


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 26000000\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LFS, "a Git LFS pointer, not the file itself; run `git lfs pull`"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html>\n<html>", "a saved web page"),
        (b"<HTML><head>", "a saved web page"),
        (b"<?xml version='1.0'?><Error>", "a saved web page"),
    ],
)
def test_refuse_stand_in_names_lfs_pointers_and_web_pages(tmp_path, content, said):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=f"x: {said}"):
        refuse_stand_in(tmp_path / "x")


def test_refuse_stand_in_accepts_other_files(tmp_path):
    for content in (b"", b"PK\x03\x04", b"hello", b"\x00"):
        (tmp_path / "x").write_bytes(content)
        refuse_stand_in(tmp_path / "x")
    refuse_stand_in(tmp_path / "missing")


@pytest.mark.parametrize(
    "name",
    ["e.parquet", "e.npz", "e.npy", "e.h5", "e.safetensors", "e.faiss", "m.onnx", "model", "chain", "plda", "a.wav"],
)
def test_every_binary_reader_names_a_git_lfs_pointer(tmp_path, name):
    from spkver import audio
    from spkver.encoder import Encoder
    from spkver.formats.convert import read
    from spkver.scoring.chain import read_chain
    from spkver.scoring.plda import read_plda

    path = tmp_path / name
    readers = {
        "model": Encoder.open,
        "chain": read_chain,
        "plda": read_plda,
        "m.onnx": Encoder.open,
        "a.wav": audio.read,
    }
    reader = readers.get(name, read)
    file = path if path.suffix else path / f"{name}.safetensors"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(LFS)
    (tmp_path / "e.ids").write_text("a\n")
    (tmp_path / "e.faiss.jsonl").write_text('{"id": "a"}\n')
    (path / "config.yaml" if name == "model" else tmp_path / "other").write_text("model: xvector\n")
    with pytest.raises(InputError, match=r": a Git LFS pointer") as caught:
        reader(path)
    assert str(caught.value).startswith(str(file))


def test_output_path_that_is_a_directory_is_rejected_before_work(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="out: is a directory; give a file name"), atomic_file(tmp_path / "out"):
        pytest.fail("nothing is to be written")
    assert names(tmp_path) == ["out"]


def test_atomic_file_is_complete_or_absent(tmp_path):
    target = tmp_path / "new" / "a.txt"
    write_text(target, "one")
    with pytest.raises(KeyError), atomic_file(target) as part:
        part.write_text("half")
        raise KeyError
    assert target.read_text() == "one" and names(target.parent) == ["a.txt"]
    write_text(target, "two")
    assert target.read_text() == "two"


def test_atomic_file_has_the_permissions_of_the_umask(tmp_path):
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "")
        with atomic_directory(tmp_path / "d"):
            pass
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o750


def test_atomic_directory_is_complete_or_absent(tmp_path):
    for text in ("one", "two"):
        with atomic_directory(tmp_path / "d") as part:
            (part / text).write_text(text)
    with pytest.raises(KeyError), atomic_directory(tmp_path / "d") as part:
        (part / "three").write_text("")
        raise KeyError
    assert names(tmp_path) == ["d"] and names(tmp_path / "d") == ["two"]


def test_recover_after_a_kill(tmp_path):
    """Killed between the two renames of a replacement, and during the first write."""
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
    recover(tmp_path)  # its replacement exists
    assert names(tmp_path / "model") == ["weights"] and names(tmp_path) == ["model", "other"]
    recover(tmp_path / "nowhere")


def test_lock_excludes_others_and_leaves_no_file(tmp_path):
    folder = tmp_path / "new" / "run"
    with locked(folder):
        with (
            pytest.raises(InputError, match=rf"run: in use by another run \(process {os.getpid()} on "),
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


def test_lock_ends_when_its_folder_is_renamed(tmp_path):
    with locked(tmp_path / "part"):
        (tmp_path / "part").rename(tmp_path / "whole")
        with locked(tmp_path / "part"):  # the next run's
            (tmp_path / "part" / "x").write_text("")
    assert names(tmp_path / "part") == ["x"]


def test_readable_size():
    sizes = [readable_size(count) for count in (0, 999, 1500, 2_340_000, 1.2e9, 5e15)]
    assert sizes == ["0 bytes", "999 bytes", "1.5 kB", "2.3 MB", "1.2 GB", "5000.0 TB"]


def test_write_json_and_read_json(tmp_path):
    write_json(tmp_path / "a", {"é": [1]})
    assert read_json(tmp_path / "a") == {"é": [1]} == json.loads((tmp_path / "a").read_text())
    (tmp_path / "b").write_text('{"a": 1,\n "b"}')
    with pytest.raises(InputError, match=r"b: not JSON .*line 2"):
        read_json(tmp_path / "b")
    with pytest.raises(InputError, match="c: cannot be read"):
        read_json(tmp_path / "c")


def test_sha256_equals_hashlib(tmp_path):
    content = bytes(range(256)) * 10000
    (tmp_path / "a").write_bytes(content)
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_inside_rejects_paths_outside_the_root(tmp_path, name):
    with pytest.raises(InputError, match="is outside"):
        inside(tmp_path, name)
    assert inside(tmp_path, "a/b.wav") == tmp_path.resolve() / "a" / "b.wav"


def test_read_lines_drops_trailing_empty_lines(tmp_path):
    (tmp_path / "a").write_bytes("é 1\r\nb 2\n\n\n".encode())
    assert read_lines(tmp_path / "a").to_pylist() == ["é 1", "b 2"]
    (tmp_path / "a").write_bytes(b"")
    assert read_lines(tmp_path / "a").to_pylist() == []
    (tmp_path / "a").write_bytes(b"a\nb\xff")
    with pytest.raises(InputError, match="a:2: not UTF-8 text"):
        read_lines(tmp_path / "a")
    with pytest.raises(InputError, match="cannot be read"):
        read_lines(tmp_path / "none")


def test_read_columns_names_the_first_bad_line(tmp_path):
    (tmp_path / "a").write_text("u1\t /a b/c.wav \n u2  x |\n")
    found = read_columns(tmp_path / "a", ["id", "path"], rest=True)
    assert found["id"].to_pylist() == ["u1", "u2"] and found["path"].to_pylist() == ["/a b/c.wav", "x |"]
    (tmp_path / "a").write_text("u1 s1\nu2 s2 s3\n")
    with pytest.raises(InputError, match="a:2: expected 'utt speaker', got 'u2 s2 s3'"):
        read_columns(tmp_path / "a", ["utt", "speaker"])
    (tmp_path / "a").write_text("u1 s1\n\nu2 s2\n")
    with pytest.raises(InputError, match="a:2: expected"):
        read_columns(tmp_path / "a", ["utt", "speaker"])


def test_first_duplicate():
    import pyarrow as pa

    assert first_duplicate(pa.array(["a", "b", "a"])) == "a"
    assert first_duplicate(pa.array(["a", "b"])) is None
    assert first_duplicate(pa.array([], pa.string())) is None


def test_nearest_suggests_a_similar_name():
    assert nearest("evaluat", ["evaluate", "data"]) == "; did you mean 'evaluate'?"
    assert nearest("zzz", ["b", "a"]) == "; known: a, b"
    assert nearest("zzz", []) == ""


def test_load_optional_names_the_extra():
    assert load_optional("json", "none") is json
    with pytest.raises(InputError, match=r"this needs no_such_package: pip install 'spkver\[hdf5\]'"):
        load_optional("no_such_package", "hdf5")


def test_files_of_an_atomic_directory_have_the_permissions_of_the_umask(tmp_path):
    """safetensors writes files of mode 0o600, but models are shared."""
    before = os.umask(0o027)
    try:
        with atomic_directory(tmp_path / "model") as part:
            (part / "weights").write_bytes(b"w")
            (part / "weights").chmod(0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "model/weights").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o750


# --- existing files at the path of an output ----------------------------------------------------------------------


def test_link_is_kept_and_its_target_replaced(tmp_path):
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "old").write_text("old")
    (tmp_path / "big" / "folder").mkdir()
    for name, leads_to in (("a", "big/old"), ("b", "big/new"), ("c", "a"), ("d", "big/folder"), ("e", "big/none")):
        (tmp_path / name).symlink_to(leads_to)
    for name in "abc":
        write_text(tmp_path / name, name)
    for name in "de":
        with atomic_directory(tmp_path / name) as part:
            (part / "x").write_text(name)
    assert all((tmp_path / name).is_symlink() for name in "abcde")
    assert names(tmp_path / "big") == ["folder", "new", "none", "old"]
    assert [(tmp_path / "big" / name).read_text() for name in ("old", "new", "folder/x", "none/x")] == list("cbde")


def test_named_pipe_is_rejected_and_kept(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (("pipe", "is a named pipe"), ("link", "is a named pipe"), ("loop", "symbolic links")):
        with pytest.raises(InputError, match=message), atomic_file(tmp_path / name):
            pytest.fail("nothing is to be written")
    assert stat.S_ISFIFO((tmp_path / "pipe").lstat().st_mode) and names(tmp_path) == ["link", "loop", "pipe"]


def test_device_is_written_to_and_kept(tmp_path):
    try:
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (tmp_path / "null").write_text("")
    except OSError:
        pytest.skip("devices are made by root alone, where the file system has them")
    write_text(tmp_path / "null", "ab")
    with pytest.raises(InputError, match="give a file name"), atomic_files(tmp_path / "null", tmp_path / "b"):
        pytest.fail("a file beside it would have to be there, too")
    assert (tmp_path / "null").is_char_device() and names(tmp_path) == ["null"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux")
def test_redirected_stdout_is_appended_to(tmp_path):
    """As with `command /dev/stdout >> log`; pipes too."""
    (tmp_path / "log").write_text("before\n")
    with (tmp_path / "log").open("a") as stream:
        (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{stream.fileno()}")
        for text in ("one\n", "two\n"):
            write_text(tmp_path / "stdout", text)
        with pytest.raises(KeyError), atomic_file(tmp_path / "stdout") as part:
            part.write_text("half")
            raise KeyError
        with pytest.raises(InputError, match="must be a regular file"):
            file_place(tmp_path / "stdout", plain=True)
    assert (tmp_path / "stdout").is_symlink() and (tmp_path / "log").read_text() == "before\none\ntwo\n"
    with pytest.raises(InputError, match="cannot be written"), atomic_file(tmp_path / "stdout"):
        pytest.fail("it is closed")
    reader, writer = os.pipe()
    write_text(f"/proc/self/fd/{writer}", "through")
    assert os.read(reader, 10) == b"through"
    with pytest.raises(InputError, match="cannot be written"):
        file_place(f"/dev/fd/{reader}")


def test_atomic_directory_replaces_only_directories_of_its_kind(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("mine")
    for name, message in (("file", "is a file"), ("thesis", r"contains other files \(no model.yaml\)")):
        with pytest.raises(InputError, match=message), atomic_directory(tmp_path / name, holds="model.yaml"):
            pytest.fail("nothing is to be written")
    with pytest.raises(InputError, match="file: is a file"):
        folder_place(tmp_path / "file")
    with pytest.raises(InputError, match="Not a directory"):
        file_place(tmp_path / "file" / "x")
    assert (tmp_path / "file").read_text() == (tmp_path / "thesis" / "chapter").read_text() == "mine"
    for _ in range(2):
        with atomic_directory(tmp_path / "new", holds="model.yaml") as part:
            (part / "model.yaml").write_text("")
    assert names(tmp_path) == ["file", "new", "thesis"]


# --- outputs that belong together ------------------------------------------------------------------------------------


def write_pair(make, paths, text):
    with make(*paths) as parts:
        for part in parts:
            (part / "x" if part.is_dir() else part).write_text(text)


def read_pair(paths):
    return [(path / "x" if path.is_dir() else path).read_text() if path.exists() else None for path in paths]


@pytest.mark.parametrize("make", [atomic_files, atomic_directories])
@pytest.mark.parametrize("step", range(9))
def test_several_outputs_are_never_mixed_when_killed(tmp_path, make, step, monkeypatch):
    """The process is stopped at each rename in turn."""
    paths = [tmp_path / "a", tmp_path / "elsewhere" / "b"]
    write_pair(make, paths, "old")
    renames = {"left": step}
    stopped = {}

    def stopping(name):
        inner = getattr(Path, name)

        def rename(self, target):
            if not renames["left"]:  # the state after a kill, before any cleanup
                stopped.setdefault("pair", read_pair(paths))
            renames["left"] -= 1
            return inner(self, target)

        return rename

    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, stopping(name))
    write_pair(make, paths, "new")
    first, other = stopped.get("pair", ["new", "new"])
    assert first is None or first == other
    assert read_pair(paths) == ["new", "new"] and names(tmp_path) == ["a", "elsewhere"]
    assert names(tmp_path / "elsewhere") == ["b"]


@pytest.mark.parametrize("make", [atomic_files, atomic_directories])
def test_old_outputs_are_restored_when_a_rename_fails(tmp_path, make, monkeypatch):
    paths = [tmp_path / "a", tmp_path / "b"]
    write_pair(make, paths, "old")

    def fails(part, target):
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(files, "_replace", fails)
    with pytest.raises(OSError, match="the disk fails"):
        write_pair(make, paths, "new")
    assert read_pair(paths) == ["old", "old"] and names(tmp_path) == ["a", "b"]


def test_nested_output_directories_are_rejected(tmp_path):
    (tmp_path / "link").symlink_to("a")
    for other in ("a", "a/b", "link", "link/b"):
        with (
            pytest.raises(InputError, match="is, or is inside, another output directory"),
            atomic_directories(tmp_path / "a", tmp_path / other),
        ):
            pytest.fail("nothing is to be written")


# --- leftovers -------------------------------------------------------------------------------------------------------


_WRITER = """
import sys, time
from spkver.files import atomic_directory, atomic_file
with (atomic_directory if sys.argv[2] == "directory" else atomic_file)(sys.argv[1]) as part:
    print(part, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_leftovers_of_killed_runs_are_removed_and_others_kept(tmp_path, kind):
    run = [sys.executable, "-c", _WRITER, str(tmp_path / "out"), kind]
    make = atomic_directories if kind == "directory" else atomic_files
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as alive:
        part = Path(alive.stdout.readline().strip())
        (tmp_path / ".other.12345678.part").mkdir()  # belongs to another output
        write_text(tmp_path / "out", "mine") if kind == "file" else write_pair(
            atomic_directories, [tmp_path / "out"], ""
        )
        assert part.exists()
        alive.send_signal(signal.SIGKILL)
        alive.wait()
        assert part.exists()
    write_pair(make, [tmp_path / "out"], "mine")
    assert names(tmp_path) == [".other.12345678.part", "out"]


def test_moved_directory_is_restored_when_it_was_not_replaced(tmp_path):
    moved = tmp_path / ".model.abcdefgh.old" / "model"
    moved.mkdir(parents=True)
    (moved / "weights").write_text("old")
    with pytest.raises(KeyError), atomic_directory(tmp_path / "model"):
        raise KeyError
    assert names(tmp_path) == ["model"] and (tmp_path / "model" / "weights").read_text() == "old"


def test_without_locks_no_part_of_another_run_is_removed(tmp_path, monkeypatch):
    def no_locks(handle, operation):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / ".out.abcdefgh.part").mkdir()
    write_text(tmp_path / "out", "mine")
    assert names(tmp_path) == [".out.abcdefgh.part", "out"]
    recover(tmp_path)  # for directories that one process writes at a time
    assert names(tmp_path) == ["out"]


def test_lock_waits_for_another_process(tmp_path):
    said = []
    with contextlib.ExitStack() as first:
        first.enter_context(locked(tmp_path))
        threading.Timer(0.3, first.pop_all().close).start()
        begun = time.monotonic()
        with locked(tmp_path, patience=30, say=said.append):
            assert time.monotonic() - begun >= 0.25
    assert said == [f"{tmp_path}: waiting for another run (process {os.getpid()} on {os.uname().nodename})"]
    with locked(tmp_path), pytest.raises(InputError, match="in use by another run"), locked(tmp_path, patience=0.1):
        pytest.fail("it is held")


# --- a full disk -----------------------------------------------------------------------------------------------------


class LibraryError(Exception):
    """An exception like that of safetensors."""


def failed_callback():
    """An exception like that of torch.save on a full disk: the cause is only in its context."""
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        failed_callback(),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Error writing bytes to file. Detail: [errno 122] Disk quota exceeded"),
        LibraryError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("write error in x.faiss: 5 != 10 (File too large)"),
    ],
)
@pytest.mark.parametrize("make", [atomic_file, atomic_directory])
def test_full_disk_error_names_the_output(tmp_path, make, error):
    with pytest.raises(OSError, match=r"No space left|quota|too large") as found, make(tmp_path / "out"):
        raise error
    assert found.value.filename == str(tmp_path / "out")
    assert found.value.errno in files.NO_ROOM and found.value.strerror == os.strerror(found.value.errno)
    assert names(tmp_path) == []
    with pytest.raises(OSError, match=r"3 written\); is the disk full\?: '.*out'"), make(tmp_path / "out"):
        raise OSError("5 requested and 3 written")  # NumPy


def test_a_directory_that_another_run_tidies_does_not_stop_a_writer(tmp_path, monkeypatch):
    """Another run may remove the temporary directory before it is locked, and the empty directory above it."""
    real, removed = os.open, []

    def removing(path, *more):
        if str(path).endswith(".part") and len(removed) < 2:
            removed.append(path)
            Path(path).rmdir()
            Path(path).parent.rmdir()
        return real(path, *more)

    monkeypatch.setattr(os, "open", removing)
    write_text(tmp_path / "a" / "b.txt", "whole")
    assert (tmp_path / "a" / "b.txt").read_text() == "whole" and len(removed) == 2


def test_a_lock_in_a_folder_that_can_never_be_created(tmp_path, monkeypatch):
    """As below the mount point of an automounter, where `mkdir` says that there is no such folder."""

    def mkdir(self, *_, **__):
        raise FileNotFoundError(2, "No such file or directory", str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(InputError, match=r"new: cannot be created \(No such file"), locked(tmp_path / "new"):
        pass


def test_a_lock_in_a_folder_that_another_run_removes(tmp_path, monkeypatch):
    """pathlib says that the folder exists if another run removes it in the moment between its two calls."""
    real, failed = Path.mkdir, []

    def mkdir(self, *args, **kwargs):
        if self.name == "folder" and len(failed) < 2:
            failed.append(self)
            raise FileExistsError(17, "File exists", str(self))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with locked(tmp_path / "folder"):
        assert (tmp_path / "folder").is_dir() and len(failed) == 2
    (tmp_path / "link").symlink_to("none/at/all")
    with pytest.raises(OSError):
        write_text(tmp_path / "link" / "a", "x")


def test_a_place_where_nothing_can_be_made_is_an_error(tmp_path, monkeypatch):
    """As in /proc, where a new directory is `not found`."""

    def refuse(**_):
        raise FileNotFoundError(2, "No such file or directory", "x")

    monkeypatch.setattr("spkver.files.tempfile.mkdtemp", refuse)
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "x"):
        pass
