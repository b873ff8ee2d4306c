"""Atomic writing of files and directories, locks, hashes, and path checks."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from spkver.errors import InputError, NewerFormatError, SpkverError
from spkver.storage import StrPath, Url, located
from spkver.text import parsed_json, read_text

try:
    import fcntl
except ImportError:  # Windows: no locking
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_TRIES = 100  # to make a temporary directory
_RACES = 1000  # attempts at a folder that others create and remove; some file systems never let it be created
_POLL = 0.05  # seconds between attempts at a lock
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


# --- outputs ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_file(path: StrPath, mode: int | None = None, *, tidy: bool = True) -> Iterator[Path]:
    """Yield a temporary path; on success it replaces `path`. See `atomic_files`.

    A stream (/dev/stdout, a terminal) gets the content when it is complete.
    """
    place = file_place(path)
    stream = None if isinstance(place, Url) else _stream(path)
    if stream is None:
        with atomic_files(path, mode=mode, tidy=tidy) as (part,):
            yield part
        return
    with stream, full_disk_named(path), tempfile.TemporaryDirectory() as folder:
        part = Path(folder, Path(path).name)
        part.touch()
        yield part
        with part.open("rb") as content:
            shutil.copyfileobj(content, stream)


@contextlib.contextmanager
def atomic_files(*paths: StrPath, mode: int | None = None, tidy: bool = True) -> Iterator[tuple[Path, ...]]:
    """Yield a temporary path for each path; on success all of them are synced and replace the paths.

    Pass files that belong together in one call, first the one that readers open: if it exists, the others are of the
    same run. Links are followed. Temporary files that killed runs left for the same paths are removed. A URL gets its
    file, which until then is in the folder of the cache, when all are complete.

    mode: file permissions, e.g. 0o600 for owner only (never wider, even while writing); None: by the umask
    tidy: False for one of very many files in a folder (see `recover`): to find leftovers, the whole folder is listed
    Raises InputError, before anything is written, for a path that cannot be a file; OSError naming the path if the disk
    is full, whatever exception the writing library raises.
    """
    targets = [file_place(path, plain=True) for path in paths]
    with contextlib.ExitStack() as stack:
        stack.enter_context(full_disk_named(*paths[:1]))
        parts = [stack.enter_context(_part_of(target, tidy)) for target in targets]
        for part in parts:
            part.touch()
        yield tuple(parts)
        for part in parts:
            part.chmod(0o666 & ~_umask() if mode is None else mode)
            sync(part)
        _put(list(zip(parts, targets)))


@contextlib.contextmanager
def atomic_directory(path: StrPath, *, holds: str | None = None) -> Iterator[Path]:
    """Yield a new empty directory; on success it replaces `path`. See `atomic_directories`."""
    with atomic_directories(path, holds=holds) as (part,):
        yield part


@contextlib.contextmanager
def atomic_directories(*paths: StrPath, holds: str | None = None) -> Iterator[tuple[Path, ...]]:
    """As `atomic_files`, for directories: yield a new one for each path. Permissions are set by the umask.

    holds: the name of a file that every directory of this kind contains. An existing directory is replaced if it
        contains that file or is empty (None: always); otherwise, and for an existing file, InputError is raised before
        anything is written.
    """
    targets = [directory_place(path, holds) for path in paths]
    real = [target if isinstance(target, Url) else Path(os.path.realpath(target)) for target in targets]
    for number, place in enumerate(real):
        if {place, *place.parents} & {*real[:number], *real[number + 1 :]}:
            raise InputError(f"{paths[number]}: is, or is inside, another output directory; choose another path")
    with contextlib.ExitStack() as stack:
        stack.enter_context(full_disk_named(*paths[:1]))
        parts = [stack.enter_context(_part_of(target)) for target in targets]
        for part in parts:
            part.mkdir(0o777 & ~_umask())
        yield tuple(parts)
        for part in parts:
            for file in part.rglob("*"):
                if file.is_file() and not file.is_symlink():
                    file.chmod(
                        0o666 & ~_umask()
                    )  # safetensors files are readable by their owner only, but models are shared
                    sync(file)
        _put(list(zip(parts, targets)), holds)


def file_place(path: StrPath, *, plain: bool = False) -> Path:
    """The path that a file written to `path` will have: links are followed, including dangling ones.

    plain: require a regular file, because other files are written beside it or it is read again
    Raises InputError if `path` cannot be written: a directory, a named pipe, a disk, or in a folder without write
    permission; a URL that cannot be written.
    """
    target = _followed(path)
    if isinstance(target, Url):
        return _writable(target)
    number = _descriptor(path)
    try:
        if number is not None:
            os.write(number, b"")
            if plain:
                raise InputError(
                    f"{path}: must be a regular file, because it is read again or other files are written beside it"
                )
            return target
        kind = Path(path).stat().st_mode
    except FileNotFoundError:
        kind = stat.S_IFREG
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    if stat.S_ISREG(kind):
        _check_folder(path, target)
    elif plain or not stat.S_ISCHR(kind):
        known = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a named pipe", stat.S_IFBLK: "a disk"}
        raise InputError(f"{path}: is {known.get(stat.S_IFMT(kind), 'not a file')}; give a file name")
    return target


def directory_place(path: StrPath, holds: str | None = None) -> Path:
    """The path that a directory written to `path` will have: links are followed.

    Raises InputError if `path` is a file, or, with `holds`, a non-empty directory without a file of that name.
    """
    target = _no_file(path)
    if isinstance(target, Url):
        return _writable(target, holds)
    if holds is not None and target.exists() and not (target / holds).exists() and any(target.iterdir()):
        raise InputError(f"{path}: contains other files (no {holds}) and is not replaced; choose another path")
    _check_folder(path, target)
    return target


def folder_place(path: StrPath) -> Path:
    """The path of an existing or new directory to write files into. Raises InputError if it cannot be one."""
    target = _no_file(local(path))
    _check_folder(path, target / "any")
    return target


def local(path: StrPath) -> Path:
    """The path of a folder to which files are added. Raises InputError for a URL, where that is not possible."""
    place = located(path)
    if isinstance(place, Url):
        raise InputError(f"{path}: must be a folder of this computer, because files are added to it; copy it when done")
    return place


def _no_file(path: StrPath) -> Path:
    target = _followed(path)
    if isinstance(target, Url):
        return target
    if target.exists() and not target.is_dir():
        raise InputError(f"{path}: is a file; give a directory name")
    return target


def _writable(url: Url, holds: str | None = None) -> Url:
    from spkver.storage import upload

    upload.check(url, holds)
    return url


def _followed(path: StrPath) -> Path:
    """The path, or the target if it is a link."""
    place = located(path)
    return Path(os.path.realpath(place)) if place.is_symlink() else place


def leads_to_stdout(path: StrPath) -> bool:
    """Whether a path is the standard output of this process, e.g. /dev/stdout."""
    return not isinstance(located(path), Url) and _descriptor(path) == 1


def is_stream(path: StrPath) -> bool:
    """Whether an output is not a file that can be put in its place: /dev/stdout, a terminal."""
    return not isinstance(located(path), Url) and (_descriptor(path) is not None or Path(path).is_char_device())


def _check_folder(path: StrPath, target: Path) -> None:
    folder = next(parent for parent in target.parents if parent.exists())
    if not folder.is_dir():
        raise InputError(f"{path}: {folder} is a file, not a directory")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{path}: {folder} is not writable")


def _descriptor(path: StrPath) -> int | None:
    """The number of the file descriptor that a path names (/dev/stdout, /dev/fd/63); None for other paths.

    This includes output redirected to a regular file, which must not be replaced because it may have content.
    """
    numbered = {Path(os.path.realpath(name)) for name in ("/proc/self/fd", "/dev/fd")}
    place = Path(path)
    for _ in range(40):  # the limit of links that Linux follows
        folder = Path(os.path.realpath(place.parent))
        if folder in numbered and place.name.isdecimal():
            return int(place.name)
        if not place.is_symlink():
            return None
        place = folder / place.readlink()
    return None


def _stream(path: StrPath) -> IO[bytes] | None:
    """A path that must not be replaced by a file, opened for writing; None for regular files."""
    number = _descriptor(path)
    if number is not None:
        return os.fdopen(os.dup(number), "wb")
    target = Path(path)
    return target.open("wb") if target.is_char_device() else None


@contextlib.contextmanager
def full_disk_named(path: StrPath = "") -> Iterator[None]:
    """Turn any error about a full disk into an OSError that names `path`; libraries raise various exceptions."""
    try:
        yield
    except SpkverError:
        raise
    except Exception as error:
        for number in NO_ROOM:
            for one in (error, error.__context__):
                if getattr(one, "errno", None) == number or os.strerror(number) in str(one):
                    raise OSError(number, os.strerror(number), str(path)) from error
        if isinstance(error, OSError) and error.errno is None:  # NumPy's "5 requested and 3 written"
            raise OSError(errno.EIO, f"cannot be written ({error}); is the disk full?", str(path)) from error
        raise


@contextlib.contextmanager
def _part_of(target: Path, tidy: bool = True) -> Iterator[Path]:
    """A temporary path, where there is nothing yet, for what will be at `target`."""
    if isinstance(target, Url):
        from spkver.storage import cache

        beside = cache.outgoing() / target.name
    else:
        beside = target
    with _beside(beside, ".part", tidy) as folder:
        yield folder / target.name


@contextlib.contextmanager
def _beside(target: Path, suffix: str, tidy: bool = True) -> Iterator[Path]:
    """A new temporary directory beside `target`; leftovers of killed runs are removed, unless `tidy` is false.

    Its lock shows other runs that this run is alive.
    """
    for attempt in itertools.count():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            for leftover in _leftovers(target) if tidy else []:
                _tidy(leftover)
            folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=suffix, dir=target.parent))
            handle = None if fcntl is None else os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # another run removed it, or the empty directory that it was in
            if attempt >= _TRIES:  # or nothing can be made here, as in /proc
                raise
            continue
        except FileExistsError:
            if _is_no_folder(target.parent):
                raise
            continue
        if handle is None or _is_at(_locked(handle), folder):
            break
        os.close(handle)  # another run removed it as a leftover before it was locked
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _locked(handle: int) -> int:
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _put(places: Sequence[tuple[Path, Path]], holds: str | None = None) -> None:
    """Rename or upload every part to its target. The first target is removed first and replaced last."""
    remote = [(part, target) for part, target in places if isinstance(target, Url)]
    if remote:
        from spkver.storage import upload

        upload.put(remote, holds)
        places = [(part, target) for part, target in places if not isinstance(target, Url)]
    if len(places) < 2:
        for part, target in places:
            _replace(part, target)
        return
    first, *others = places
    old = [(part.parent / "old", target) for part, target in places if target.exists()]
    try:
        for kept, target in old:
            target.rename(kept)
        sync(first[1].parent)
        for part, target in (*others, first):
            _replace(part, target)
    except BaseException:
        for kept, target in old:
            if kept.exists() and not target.exists():
                kept.rename(target)
        raise


def _replace(part: Path, target: Path) -> None:
    if part.is_dir():
        replace_directory(part, target)
    else:
        part.replace(target)
        sync(target.parent)


def replace_directory(source: Path, target: Path) -> None:
    """Rename `source` to `target`, moving an older `target` out of the way first."""
    if target.exists():
        with _beside(target, ".old") as old:
            target.rename(old / target.name)
            try:
                source.rename(target)
            except BaseException:
                (old / target.name).rename(target)
                raise
    else:
        source.rename(target)
    sync(target.parent)


def recover(folder: Path, *, alone: bool = True) -> None:
    """Clean up after killed writers in a directory; alone: one process writes in it at a time.

    Unfinished parts are removed. A directory that was moved aside and not replaced is restored.
    """
    for leftover in [*folder.glob(".*.old"), *folder.glob(".*.part")]:
        _tidy(leftover, alone=alone)


def _leftovers(target: Path) -> list[Path]:
    """Temporary directories beside `target`, named by `_beside`, of running or killed writers."""
    prefix = f".{target.name}."
    random = re.compile(rf"{re.escape(prefix)}\w{{8}}\.(old|part)")
    with os.scandir(target.parent) as entries:  # there may be a million
        return [Path(one) for one in entries if one.name.startswith(prefix) and random.fullmatch(one.name)]


def _tidy(leftover: Path, *, alone: bool = False) -> None:
    """Remove a leftover unless its writer is alive; alone: there can be no other writer."""
    with _dead(leftover, alone) as dead:
        if not dead:
            return
        if not leftover.is_dir():
            leftover.unlink(missing_ok=True)
            return
        if leftover.suffix == ".old":
            for moved in leftover.iterdir():
                if not (leftover.parent / moved.name).exists():
                    moved.rename(leftover.parent / moved.name)
        shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def _dead(path: Path, alone: bool) -> Iterator[bool]:
    """Whether no process holds the lock of `path`; holds it meanwhile. Without lock support: `alone`."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # already removed, or owned by another user
        yield False
        return
    try:
        yield _try_lock(handle, alone)
    finally:
        os.close(handle)


# --- locks ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(
    folder: StrPath, *, shared: bool = False, patience: float = 0.0, say: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Lock `folder` for this process, creating it if missing. The lock ends with the process, however it ends.

    A folder that was created here and is empty at the end is removed.
    shared: other processes may hold a shared lock at the same time
    patience: seconds to wait for another process; say: receives a message about the wait
    Raises InputError naming the process that still holds the lock after that.
    """
    root = Path(folder)
    if _is_no_folder(root):
        raise InputError(f"{root}: is a file; choose another path")
    made = not root.exists()
    lock = root / LOCK
    handle = _acquire(lock, shared, patience, say)
    try:
        yield
    finally:
        # the folder may have been renamed and replaced; others may hold a shared lock
        if not shared and _is_at(handle, lock):
            lock.unlink()
        os.close(handle)
        if made:
            with contextlib.suppress(OSError):
                root.rmdir()


def _is_no_folder(path: Path) -> bool:
    """Whether there is something at a path that is not a directory. Asked once, as another run may remove it."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return path.is_symlink()


def _acquire(lock: Path, shared: bool, patience: float, say: Callable[[str], None] | None) -> int:
    last, attempts = time.monotonic() + patience, 0
    while True:
        attempts += 1
        try:
            Path(os.path.realpath(lock.parent)).mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError as error:  # the folder was removed by the run that created it
            if attempts < _RACES:
                continue
            raise InputError(f"{lock.parent}: cannot be created ({error.strerror}); choose another path") from error
        except FileExistsError:
            if _is_no_folder(lock.parent) or attempts >= _RACES:
                raise
            continue  # it was there for a moment
        attempts = 0
        if not _try_lock(handle, unknown=True, shared=shared):
            holder = os.read(handle, 200).decode(errors="replace") or "starting"
            os.close(handle)
            if time.monotonic() >= last:
                raise InputError(f"{lock.parent}: in use by another run ({holder}); wait for it or stop it")
            if say is not None:
                say(f"{lock.parent}: waiting for another run ({holder})")
                say = None
            time.sleep(_POLL)
        elif _is_at(handle, lock):
            os.ftruncate(handle, 0)
            with contextlib.suppress(OSError):  # on a full disk the lock works without its note
                os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())
            return handle
        else:
            os.close(handle)  # the previous run removed its lock when it ended


def _try_lock(handle: int, unknown: bool, shared: bool = False) -> bool:
    """Try to lock an open file; returns whether it succeeded, or `unknown` without lock support."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return unknown


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def readable_size(count: float) -> str:
    """A readable number of bytes, e.g. `1.5 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.{0 if unit == 'bytes' else 1}f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def write_text(path: StrPath, text: str, *, tidy: bool = True) -> None:
    """Write a UTF-8 text file atomically; tidy: as for `atomic_files`."""
    with atomic_file(path, tidy=tidy) as part:
        part.write_text(text, encoding="utf-8")


def write_private(path: StrPath, content: bytes) -> None:
    """Write a file atomically that only its owner can read."""
    with atomic_file(path, 0o600) as part:
        part.write_bytes(content)


def require_private(path: Path) -> None:
    """Raise InputError if other users can access a file or directory."""
    if os.name != "posix":
        return
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise InputError(f"{path}: belongs to another user; choose another path")
    if status.st_mode & 0o077:
        mode = "700" if path.is_dir() else "600"
        raise InputError(f"{path}: other users can access this private data: run chmod {mode} {path}")


def append_text(path: StrPath, text: str) -> None:
    """Append to a UTF-8 text file."""
    with full_disk_named(path), Path(path).open("a", encoding="utf-8") as stream:
        stream.write(text)


def write_json(path: StrPath, value: Any, *, tidy: bool = True) -> None:
    """Write a JSON file atomically; tidy: as for `atomic_files`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", tidy=tidy)


def read_json(path: StrPath) -> Any:
    """Read a JSON file. Raises InputError naming the file (and line) if it is not valid."""
    return parsed_json(read_text(path), path)


def json_object(line: str, place: str) -> dict[str, Any]:
    """The object in a line of JSON. Raises InputError naming `place` (file and line) for anything else."""
    found = parsed_json(line, place)
    if not isinstance(found, dict):
        raise InputError(f"{place}: expected an object, got {line[:80].strip()!r}")
    return found


def file_state(path: StrPath) -> tuple[int, int] | None:
    """Size and modification time of a file, to detect changes; None if there is no file."""
    try:
        status = located(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def fingerprint(*parts: Any, rows: Iterable[Any] = ()) -> str:
    """A hash of JSON values: equal for equal values, on every machine. rows: more values, which may be many."""
    digest = hashlib.sha256()
    encode = json.JSONEncoder(sort_keys=True).encode
    for part in itertools.chain(parts, rows):
        digest.update(f"{encode(part)}\n".encode())
    return digest.hexdigest()


def sha256(path: StrPath) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(located(path), "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def refuse_stand_in(path: StrPath) -> None:
    """Raise InputError if a file is a Git LFS pointer or a saved web page. Call it for a file that does not open."""
    try:
        with open(located(path), "rb") as stream:
            head = stream.read(512)
    except OSError:
        return
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path}: a Git LFS pointer, not the file itself; run `git lfs pull`")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise InputError(f"{path}: a saved web page, not the file; download the file itself")


def refuse_newer(path: StrPath, about: Any, known: int = 1) -> None:
    """Raise NewerFormatError for a file in a format that a newer version of spkver introduced.

    about: the metadata of the file, a mapping whose key `format` is an integer (default 1)
    """
    found = str(about.get("format", 1)) if isinstance(about, Mapping) else ""
    if re.fullmatch(r"[1-9][0-9]{0,8}", found) and int(found) > known:
        raise NewerFormatError(
            f"{path}: written in format {found} by a newer spkver, this version reads format {known}; "
            "update spkver (pip install --upgrade spkver)"
        )


def inside(root: StrPath, name: str) -> Path:
    """`root / name`. Raises InputError for a path outside `root` (absolute, or through `..`)."""
    base = Path(root).resolve()
    path = (base / name).resolve()
    if not path.is_relative_to(base):
        raise InputError(f"{name!r} is outside {root}; use a path below it")
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Flush a file or directory to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some file systems cannot sync a directory
        pass
    finally:
        os.close(handle)
