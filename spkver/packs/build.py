"""Making a pack in many processes, shard by shard, so that a run that was killed goes on where it stopped.

The work happens in `OUT.partial/`, where every finished shard has a record beside it; when all are there the directory
is renamed to OUT. The same input and settings give the same bytes, however often the run was interrupted and in
however many processes. A partial directory of another input or other settings is discarded. Shards with rejected rows
are made again on restart, so that repairing those recordings and running again is enough; and so are shards whose
recordings have changed since. One run works on a partial directory; a second one is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from spkver.errors import InputError, RunError
from spkver.files import (
    LOCK,
    NO_ROOM,
    StrPath,
    atomic_file,
    directory_place,
    locked,
    read_json,
    readable_size,
    recover,
    refuse_newer,
    replace_directory,
    sha256,
    write_json,
    write_text,
)
from spkver.packs.layout import FORMAT, INDEX, REJECTED, Header, Shard, index, shard_name
from spkver.packs.writer import ShardWriter
from spkver.processes import process_pool
from spkver.progress import bar

_PLAN = "plan.json"  # the fingerprint of the run that a partial directory belongs to
_RECORDS = "records"  # one JSON per finished shard


@dataclass(frozen=True)
class Rejected:
    """A recording that cannot serve, and why."""

    id: str
    path: str
    reason: str


class Task(Protocol):
    """What one shard is made from; it is sent to the process that makes it."""

    @property
    def rows(self) -> int:
        """How many utterances go in."""

    def stamp(self) -> str:
        """Stands for the state of the sources on disk: a shard of an earlier run serves while it is the same."""

    def write(self, shard: ShardWriter) -> list[Rejected]:
        """Add the utterances to the shard; return those that cannot serve."""


@dataclass(frozen=True)
class Record:
    """A finished shard: its entry in pack.json, the task's stamp, its speakers, and what was rejected from it."""

    shard: Shard
    stamp: str
    speakers: tuple[str, ...]
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True)
class Summary:
    """What a run made. already_packed: it was there, nothing was done; kept: shards of an interrupted run."""

    path: Path
    rows: int
    speakers: int
    seconds: float
    rejected: int
    already_packed: bool = False
    kept: int = 0


def build(
    out: StrPath,
    header: Header,
    tasks: Sequence[Task],
    mark: str,
    *,
    jobs: int = 1,
    max_rejected: float = 0.1,
    what: str = "packing",
    size: int | None = None,
    say: Callable[[str], None] | None = None,
) -> Summary:
    """Make the pack `out`, one shard per task, in `jobs` processes.

    mark: the fingerprint of the input and the settings. Where `out` is a pack of that fingerprint already, nothing is
    done. max_rejected: the largest share of the utterances that may be rejected. size: about how many bytes it will
    be, None if that is not known; it is told to `say` before the work starts.
    Raises InputError if something else stands at `out`, another run is making it, or it does not fit on the disk;
    RunError past `max_rejected`, if a process dies, or if the disk fills up.
    """
    target = directory_place(out)  # a link stays, also one that leads to nothing yet
    if jobs < 1:
        raise InputError(f"{jobs} processes wanted: at least 1")
    if target.exists():
        return _already_packed(target, mark)
    part = target.with_name(target.name + ".partial")
    with locked(part):
        if target.exists():  # another run has finished it just now
            return _already_packed(target, mark)
        try:
            _prepare(part, mark)
            _check_room(target, part, size, say)
            records, kept = _make_all(part, header, tasks, jobs, max_rejected, what)
            return _finish(target, part, header, records, mark, kept)
        except OSError as error:
            if error.errno is None or error.errno not in NO_ROOM:
                raise
            raise RunError(
                f"{part}: no room left ({os.strerror(error.errno)}); make room and run again to go on"
            ) from error


def _make_all(
    part: Path, header: Header, tasks: Sequence[Task], jobs: int, max_rejected: float, what: str
) -> tuple[list[Record], int]:
    """The records of all tasks in order, and how many were there from an earlier run."""
    work = partial(_make_shard, part, header)
    total = sum(task.rows for task in tasks)
    records: dict[int, Record] = {}
    kept = 0
    with bar(total=total, what=what, unit="utt") as progress:
        for number, (record, was_there) in _map(work, tasks, jobs):
            records[number] = record
            kept += was_there
            progress.update(tasks[number].rows)
            _stop_at_too_many(records, total, max_rejected, part)
    return [records[number] for number in range(len(tasks))], kept


def _already_packed(target: Path, mark: str) -> Summary:
    if not (target / INDEX).is_file():
        raise InputError(f"{target}: exists and is not a pack; choose another place")
    found = read_json(target / INDEX)
    refuse_newer(target / INDEX, found, FORMAT)
    names = ("rows", "speakers", "seconds", "rejected")
    if not isinstance(found, dict) or any(name not in found for name in names):
        raise InputError(f"{target / INDEX}: not a complete index of a pack; delete the pack, or choose another place")
    if found.get("fingerprint") != mark:
        raise InputError(f"{target}: a pack of another input or other settings; delete it or choose another place")
    _sweep(target)
    return Summary(target, **{name: found[name] for name in names}, already_packed=True)


def _prepare(part: Path, mark: str) -> None:
    """Make the (locked) partial directory one of this run: an older run's shards stay if it has the same fingerprint.

    Whatever the moment at which this is killed, the next run knows the directory for its own: the plan comes first and
    goes last.
    """
    plan = part / _PLAN
    if not plan.is_file() and any(not path.name.startswith(".") for path in part.iterdir()):
        raise InputError(f"{part}: not the leftover of an interrupted run; move it out of the way")
    if not (plan.is_file() and read_json(plan) == {"fingerprint": mark}):
        for path in part.iterdir():
            if path.name not in (LOCK, _PLAN):
                _remove(path)
        plan.unlink(missing_ok=True)
        write_json(plan, {"fingerprint": mark})
    (part / _RECORDS).mkdir(exist_ok=True)
    for folder in (part, part / _RECORDS):
        recover(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check_room(target: Path, part: Path, size: int | None, say: Callable[[str], None] | None) -> None:
    there = sum(shard.stat().st_size for shard in part.glob("shard-*.arrow"))
    free = shutil.disk_usage(part).free
    about = "size not known" if size is None else f"about {readable_size(size)}"
    about += f", {readable_size(there)} of it there" if there else ""
    if size is not None and size - there > free:
        raise InputError(
            f"{target}: {about}, but {readable_size(free)} free on its disk; make room or choose another place"
        )
    if say is not None:
        say(f"{target}: {about}; {readable_size(free)} free")


def _make_shard(part: Path, header: Header, number: int, task: Task) -> tuple[Record, bool]:
    """Make a shard and its record. Returns the record and whether it was there from an earlier run."""
    path = part / shard_name(number)
    record_path = part / _RECORDS / f"{path.stem}.json"
    stamp = task.stamp()  # taken before the sources are read: what changes later differs from it
    if (record := _read_record(path, record_path, stamp)) is not None:
        return record, True
    with atomic_file(path) as temporary:
        writer = ShardWriter(temporary, header)
        try:
            rejected = task.write(writer)
            shard = writer.close(path.name)
        except BaseException:
            writer.abandon()
            raise
    record = Record(shard, stamp, tuple(sorted(writer.speakers)), tuple(rejected))
    write_json(record_path, asdict(record))
    return record, False


def _read_record(path: Path, record_path: Path, stamp: str) -> Record | None:
    """The record of a shard that an earlier run finished and that is as it left it, as are its sources."""
    if not (path.is_file() and record_path.is_file()):
        return None
    try:
        found = read_json(record_path)
        record = Record(Shard(**found["shard"]), found["stamp"], tuple(found["speakers"]), tuple(found["rejected"]))
    except (InputError, KeyError, TypeError):  # of another version, or damaged: make it again
        return None
    as_left = path.stat().st_size == record.shard.bytes and sha256(path) == record.shard.sha256
    return record if as_left and record.stamp == stamp and not record.rejected else None


def _stop_at_too_many(records: dict[int, Record], total: int, max_rejected: float, part: Path) -> None:
    rejected = [one for number in sorted(records) for one in records[number].rejected]
    if len(rejected) > max_rejected * total:
        _write_rejected(part / REJECTED, rejected)
        first = rejected[0]
        raise RunError(
            f"{len(rejected)} of {total} recordings cannot serve, more than the share of {max_rejected:g} allowed; "
            f"first: {first.id}: {first.reason}; all: {part / REJECTED}"
        )


def _finish(target: Path, part: Path, header: Header, records: list[Record], mark: str, kept: int) -> Summary:
    rejected = [one for record in records for one in record.rejected]
    speakers = len(set().union(*(record.speakers for record in records)))
    shards = [record.shard for record in records]
    content = index(header, shards, speakers=speakers, rejected=len(rejected), mark=mark)
    _write_rejected(part / REJECTED, rejected)
    write_json(part / INDEX, content)
    replace_directory(part, target)
    _sweep(target)
    return Summary(target, content["rows"], speakers, content["seconds"], len(rejected), kept=kept)


def _write_rejected(path: Path, rejected: Sequence[Rejected]) -> None:
    write_text(path, "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in rejected))


def _sweep(target: Path) -> None:
    """Remove what only a run in progress needs."""
    shutil.rmtree(target / _RECORDS, ignore_errors=True)
    for name in (_PLAN, LOCK):
        with contextlib.suppress(OSError):
            (target / name).unlink(missing_ok=True)


# --- processes --------------------------------------------------------------------------------------------------------


def _map(
    work: Callable[[int, Task], tuple[Record, bool]], tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[int, tuple[Record, bool]]]:
    """(number, result) of every task as it is done; one job needs no other process."""
    if jobs == 1:
        for number, task in enumerate(tasks):
            yield number, work(number, task)
        return
    pool = process_pool(min(jobs, len(tasks)) or 1)
    try:
        futures = {pool.submit(work, number, task): number for number, task in enumerate(tasks)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        message = "a process was killed (out of memory?); run again to go on where it stopped, or with fewer --jobs"
        raise RunError(message) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
