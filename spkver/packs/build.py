"""Making a pack in many processes, shard by shard, so that a run that was killed goes on where it stopped.

The work happens in `OUT.partial/`, where every finished shard has a record beside it; when all are there the directory
is renamed to OUT. The same input and settings give the same bytes, however often the run was interrupted and in
however many processes. A partial directory of another input or other settings is discarded. Shards with rejected rows
are made again on restart, so that repairing those recordings and running again is enough.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from spkver.errors import InputError, RunError
from spkver.files import StrPath, atomic_file, read_json, replace_directory, sha256, write_json, write_text
from spkver.packs.layout import INDEX, REJECTED, Header, Shard, index, shard_name
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

    def write(self, shard: ShardWriter) -> list[Rejected]:
        """Add the utterances to the shard; return those that cannot serve."""


@dataclass(frozen=True)
class Record:
    """A finished shard: its entry in pack.json, its speakers, and what was rejected from it."""

    shard: Shard
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


def fingerprint(*parts: Any) -> str:
    """A hash of plain values (anything JSON can hold): equal for equal values, on every machine."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def build(
    out: StrPath,
    header: Header,
    tasks: Sequence[Task],
    mark: str,
    *,
    jobs: int = 1,
    max_rejected: float = 0.1,
    what: str = "packing",
) -> Summary:
    """Make the pack `out`, one shard per task, in `jobs` processes.

    mark: the fingerprint of the input and the settings. Where `out` is a pack of that fingerprint already, nothing is
    done. max_rejected: the largest share of the utterances that may be rejected.
    Raises InputError if something else stands at `out`; RunError past `max_rejected`, or if a process dies.
    """
    target = Path(out)
    if jobs < 1:
        raise InputError(f"{jobs} processes wanted: at least 1")
    if target.exists():
        return _already_packed(target, mark)
    part = target.with_name(target.name + ".partial")
    _prepare(part, mark)
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
    ordered = [records[number] for number in range(len(tasks))]
    return _finish(target, part, header, ordered, mark, kept)


def _already_packed(target: Path, mark: str) -> Summary:
    if not (target / INDEX).is_file():
        raise InputError(f"{target}: exists and is not a pack; choose another place")
    found = read_json(target / INDEX)
    if found.get("fingerprint") != mark:
        raise InputError(f"{target}: a pack of another input or other settings; delete it or choose another place")
    _sweep(target)
    names = ("rows", "speakers", "seconds", "rejected")
    return Summary(target, **{name: found[name] for name in names}, already_packed=True)


def _prepare(part: Path, mark: str) -> None:
    """A partial directory of this run: an older one if it has the same fingerprint, else a new one."""
    if part.exists():
        plan = part / _PLAN
        if plan.is_file() and read_json(plan) == {"fingerprint": mark}:
            for leftover in [*part.glob(".*.part"), *(part / _RECORDS).glob(".*.part")]:
                leftover.unlink(missing_ok=True)
            return
        if not plan.is_file() and any(part.iterdir()):
            raise InputError(f"{part}: not the leftover of an interrupted run; move it out of the way")
        shutil.rmtree(part)
    (part / _RECORDS).mkdir(parents=True)
    write_json(part / _PLAN, {"fingerprint": mark})


def _make_shard(part: Path, header: Header, number: int, task: Task) -> tuple[Record, bool]:
    """Make a shard and its record. Returns the record and whether it was there from an earlier run."""
    path = part / shard_name(number)
    record_path = part / _RECORDS / f"{path.stem}.json"
    if (record := _read_record(path, record_path)) is not None:
        return record, True
    with atomic_file(path) as temporary:
        writer = ShardWriter(temporary, header)
        try:
            rejected = task.write(writer)
        except BaseException:
            writer.abandon()
            raise
        shard = writer.close(path.name)
    record = Record(shard, tuple(sorted(writer.speakers)), tuple(rejected))
    write_json(record_path, asdict(record))
    return record, False


def _read_record(path: Path, record_path: Path) -> Record | None:
    """The record of a shard that an earlier run finished and that is as it left it."""
    if not (path.is_file() and record_path.is_file()):
        return None
    found = read_json(record_path)
    shard = Shard(**found["shard"])
    if found["rejected"] or path.stat().st_size != shard.bytes or sha256(path) != shard.sha256:
        return None
    return Record(shard, tuple(found["speakers"]), ())


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
    content = index(header, shards, speakers=speakers, rejected=len(rejected), fingerprint=mark)
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
    (target / _PLAN).unlink(missing_ok=True)


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
