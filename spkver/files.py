"""Files and directories that appear whole or not at all, locks, hashes, and paths that stay inside their root."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spkver.errors import InputError
from spkver.text import parsed_json, read_text

try:
    import fcntl
except ImportError:  # Windows: nothing there keeps two runs apart
    fcntl = None  # type: ignore[assignment]

StrPath = str | os.PathLike[str]

LOCK = ".lock"


@contextlib.contextmanager
def atomic_file(path: StrPath, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it over `path`.

    mode: who may read it, 0o600 for its owner alone (at no time more than that); by default as the umask says
    Raises InputError, before anything is made, where `path` is a directory.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target}: is a directory; give the name of a file")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask() if mode is None else mode)
        sync(part)
        part.replace(target)
        sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: StrPath) -> Iterator[Path]:
    """Yield a new empty directory beside `path`; on success it takes its place, readable as the umask says."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    part.chmod(0o777 & ~_umask())
    try:
        yield part
        for file in part.rglob("*"):
            if file.is_file() and not file.is_symlink():
                file.chmod(0o666 & ~_umask())  # safetensors writes for its owner alone, but models are shared
                sync(file)
        replace_directory(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def replace_directory(source: Path, target: Path) -> None:
    """Rename `source` to `target`, moving an older `target` out of the way first."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
        target.rename(old / target.name)
        source.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        source.rename(target)
    sync(target.parent)


def recover(folder: Path) -> None:
    """Tidy up after writers that were killed in a directory that one process writes at a time.

    Unfinished parts go; a directory that was moved out of the way, and whose successor never came, comes back.
    """
    for old in folder.glob(".*.old"):
        for moved in old.iterdir():
            if not (folder / moved.name).exists():
                moved.rename(folder / moved.name)
        shutil.rmtree(old)
    for part in folder.glob(".*.part"):
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink()


@contextlib.contextmanager
def locked(folder: StrPath) -> Iterator[None]:
    """Hold `folder`, made where it is missing, for this process alone; the lock ends with the process, however it ends.

    A folder that was made here and is empty in the end goes again. Raises InputError naming the process that holds it.
    """
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: is a file; choose another place")
    made = not root.exists()
    lock = root / LOCK
    handle = _acquire(lock)
    try:
        yield
    finally:
        if _is_at(handle, lock):  # the folder may have been renamed, and another made in its place
            lock.unlink()
        os.close(handle)
        if made:
            with contextlib.suppress(OSError):
                root.rmdir()


def _acquire(lock: Path) -> int:
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the folder went with the run that made it
            continue
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(handle, 200).decode(errors="replace")
            os.close(handle)
            raise InputError(
                f"{lock.parent}: another run is at work here ({holder or 'starting'}); wait for it or stop it"
            ) from error
        except OSError:  # a file system without locks
            pass
        if _is_at(handle, lock):
            os.ftruncate(handle, 0)
            with contextlib.suppress(OSError):  # a full disk: the lock holds without its note
                os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())
            return handle
        os.close(handle)  # the run before us removed its lock as it ended


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def readable_size(count: float) -> str:
    """A number of bytes in words: `1.5 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.{0 if unit == 'bytes' else 1}f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def write_text(path: StrPath, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: StrPath, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: StrPath) -> Any:
    """Read a JSON file. Raises InputError naming the file (and line) that cannot be read."""
    return parsed_json(read_text(path), path)


def json_object(line: str, place: str) -> dict[str, Any]:
    """The object in a line of JSON. Raises InputError naming its place (file and line) for anything else."""
    found = parsed_json(line, place)
    if not isinstance(found, dict):
        raise InputError(f"{place}: expected an object, got {line[:80].strip()!r}")
    return found


def sha256(path: StrPath) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def inside(root: StrPath, name: str) -> Path:
    """`root / name`, refusing a name that would leave `root` (absolute, or through `..`)."""
    base = Path(root).resolve()
    path = (base / name).resolve()
    if not path.is_relative_to(base):
        raise InputError(f"{name!r} would leave {root}: use a path below it")
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Wait until a file, or what a directory lists, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some file systems cannot sync a directory
        pass
    finally:
        os.close(handle)
