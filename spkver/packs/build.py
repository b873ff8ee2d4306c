"""Make a pack shard by shard in several processes; an interrupted run resumes.

Shards are written to `OUT.partial/`, each with a record beside it; when all are complete, the directory is renamed to
OUT. The same input and settings give the same bytes, regardless of interruptions and of the number of processes. A
partial directory of other input or settings is discarded. On restart, shards with rejected rows are made again, so that
repaired recordings are picked up, and so are shards whose recordings have changed. A partial directory is locked by its
run.
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
from spkver.storage import Url

_PLAN = "plan.json"  # the fingerprint of the run that a partial directory belongs to
_RECORDS = "records"  # one JSON per finished shard


@dataclass(frozen=True)
class Rejected:
    """A rejected recording, and the reason."""

    id: str
    path: str
    reason: str


class Task(Protocol):
    """The input of one shard, which is sent to a worker process."""

    @property
    def rows(self) -> int:
        """The number of input utterances."""

    def stamp(self) -> str:
        """A fingerprint of the source files: a shard of an earlier run is kept if it is unchanged."""

    def write(self, shard: ShardWriter) -> list[Rejected]:
        """Add the utterances to the shard; return the rejected ones."""


@dataclass(frozen=True)
class Record:
    """A finished shard: its entry in pack.json, the stamp of the task, its speakers, and the rejected recordings."""

    shard: Shard
    stamp: str
    speakers: tuple[str, ...]
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True)
class Summary:
    """The result of a run. already_packed: the pack existed; kept: number of shards kept from an interrupted run."""

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

    mark: fingerprint of the input and settings; if `out` is already a pack with this fingerprint, nothing is done
    max_rejected: maximum share of utterances that may be rejected
    size: estimated size in bytes, None if unknown; say: receives it as a message before the work starts
    Raises InputError if `out` is anything else, is in use by another run, or does not fit on the disk; RunError if more
    than `max_rejected` are rejected, if a process dies, or if the disk is full.
    """
    target = directory_place(out)  # links are kept, including dangling ones
    if isinstance(target, Url):
        raise InputError(f"{out}: a pack is made in a folder of this computer, where it can resume; copy it when done")
    if jobs < 1:
        raise InputError(f"{jobs} processes: at least 1 needed")
    if target.exists():
        return _already_packed(target, mark)
    part = target.with_name(target.name + ".partial")
    with locked(part):
        if target.exists():  # finished by another run meanwhile
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
                f"{part}: disk full ({os.strerror(error.errno)}); free some space and run again to resume"
            ) from error


def _make_all(
    part: Path, header: Header, tasks: Sequence[Task], jobs: int, max_rejected: float, what: str
) -> tuple[list[Record], int]:
    """The records of all tasks in order, and the number kept from an earlier run."""
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
        raise InputError(f"{target}: exists and is not a pack; choose another path")
    found = read_json(target / INDEX)
    refuse_newer(target / INDEX, found, FORMAT)
    names = ("rows", "speakers", "seconds", "rejected")
    if not isinstance(found, dict) or any(name not in found for name in names):
        raise InputError(f"{target / INDEX}: incomplete index of a pack; delete the pack or choose another path")
    if found.get("fingerprint") != mark:
        raise InputError(f"{target}: a pack of other input or settings; delete it or choose another path")
    _sweep(target)
    return Summary(target, **{name: found[name] for name in names}, already_packed=True)


def _prepare(part: Path, mark: str) -> None:
    """Prepare the (locked) partial directory: shards of an earlier run are kept if the fingerprint is the same.

    The plan is written first and removed last, so the next run recognises the directory even after a kill.
    """
    plan = part / _PLAN
    if not plan.is_file() and any(not path.name.startswith(".") for path in part.iterdir()):
        raise InputError(f"{part}: not a partial directory of an interrupted run; move it away")
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
    about = "size unknown" if size is None else f"about {readable_size(size)}"
    about += f", {readable_size(there)} of it done" if there else ""
    if size is not None and size - there > free:
        raise InputError(
            f"{target}: {about}, but {readable_size(free)} free on its disk; free some space or choose another path"
        )
    if say is not None:
        say(f"{target}: {about}; {readable_size(free)} free")


def _make_shard(part: Path, header: Header, number: int, task: Task) -> tuple[Record, bool]:
    """Make a shard and its record. Returns the record and whether it was kept from an earlier run."""
    path = part / shard_name(number)
    record_path = part / _RECORDS / f"{path.stem}.json"
    stamp = task.stamp()  # before reading, so that later changes are detected
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
    """The record of a shard of an earlier run, if the shard and its sources are unchanged."""
    if not (path.is_file() and record_path.is_file()):
        return None
    try:
        found = read_json(record_path)
        record = Record(Shard(**found["shard"]), found["stamp"], tuple(found["speakers"]), tuple(found["rejected"]))
    except (InputError, KeyError, TypeError):  # another version, or damaged: make it again
        return None
    as_left = path.stat().st_size == record.shard.bytes and sha256(path) == record.shard.sha256
    return record if as_left and record.stamp == stamp and not record.rejected else None


def _stop_at_too_many(records: dict[int, Record], total: int, max_rejected: float, part: Path) -> None:
    rejected = [one for number in sorted(records) for one in records[number].rejected]
    if len(rejected) > max_rejected * total:
        _write_rejected(part / REJECTED, rejected)
        first = rejected[0]
        raise RunError(
            f"{len(rejected)} of {total} recordings rejected, more than the allowed share {max_rejected:g}; "
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
    """Remove the files of the run in progress."""
    shutil.rmtree(target / _RECORDS, ignore_errors=True)
    for name in (_PLAN, LOCK):
        with contextlib.suppress(OSError):
            (target / name).unlink(missing_ok=True)


# --- processes --------------------------------------------------------------------------------------------------------


def _map(
    work: Callable[[int, Task], tuple[Record, bool]], tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[int, tuple[Record, bool]]]:
    """(number, result) of every task in order of completion; one job runs in this process."""
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
        message = "a process was killed (out of memory?); run again to resume, possibly with fewer --jobs"
        raise RunError(message) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
