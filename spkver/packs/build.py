"""Make a pack shard by shard; an interrupted run resumes (see `spkver.work`).

The partial directory becomes the pack. Shards whose recordings have changed are made again, and so are shards with a
rejected recording that can be used now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from spkver.errors import InputError
from spkver.files import StrPath, directory_place, read_json, refuse_newer, replace_directory, write_json
from spkver.packs.layout import FORMAT, INDEX, REJECTED, Header, Shard, index, shard_name
from spkver.packs.writer import ShardWriter
from spkver.storage import Url, located, upload
from spkver.work import Engine, Local, Share, Work, Written, run
from spkver.work.parts import records, sweep, write_rejected


@dataclass(frozen=True)
class Rejected:
    """A rejected recording, and the reason."""

    id: str
    path: str
    reason: str


class Task(Protocol):
    """The input of one shard, which is sent to a worker."""

    @property
    def rows(self) -> int:
        """The number of input utterances."""

    def stamp(self) -> str:
        """A fingerprint of the source files: a shard of an earlier run is kept if it is unchanged."""

    def write(self, shard: ShardWriter) -> list[Rejected]:
        """Add the utterances to the shard; return the rejected ones."""

    def repaired(self, rejected: Sequence[str]) -> bool:
        """Whether one of these rejected utterances can be used now."""


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


@dataclass(frozen=True)
class _Shards:
    """Makes shards; see `work.Maker`."""

    header: Header

    def name(self, number: int) -> str:
        return shard_name(number)

    def stamp(self, task: Task) -> str:
        return task.stamp()

    def write(self, task: Task, path: Path, cores: int) -> Written:
        writer = ShardWriter(path, self.header)
        try:
            rejected = task.write(writer)
            shard = writer.close(path.name)
        except BaseException:
            writer.abandon()
            raise
        facts = {"rows": shard.rows, "length": shard.length, "speakers": sorted(writer.speakers)}
        return Written(task.rows, facts, [asdict(one) for one in rejected], shard.sha256)

    def repaired(self, task: Task, rejected: Sequence[Mapping[str, str]]) -> bool:
        return task.repaired([one["id"] for one in rejected])


def build(
    out: StrPath,
    header: Header,
    tasks: Sequence[Task],
    mark: str,
    *,
    rows: int,
    jobs: int = 1,
    on: Engine | None = None,
    share: Share | None = None,
    max_rejected: float = 0.1,
    what: str = "packing",
    size: int | None = None,
    say: Callable[[str], None] | None = None,
) -> Summary | None:
    """Make the pack `out`, one shard per task, on an engine: by default in `jobs` processes.

    mark: fingerprint of the input and settings; if `out` is already a pack with this fingerprint, nothing is done
    rows: the number of utterances of all tasks
    share: make only this share of the shards, to be gathered later; the result is then None
    max_rejected: maximum share of utterances that may be rejected
    size: estimated size in bytes, None if unknown; say: receives it as a message before the work starts
    Raises InputError if `out` is anything else, is in use by another run, or does not fit on the disk; RunError if more
    than `max_rejected` are rejected, if a process dies, or if the disk is full.
    """
    on = on or Local(jobs)
    remote = isinstance(located(out), Url)
    target = directory_place(out, INDEX if remote else None)  # links are kept, including dangling ones
    if (target / INDEX if remote else target).exists():  # without its index, a folder by URL is an unfinished pack
        return _already_packed(target, mark)
    work = Work(
        out=target,
        kind="pack",
        mark=mark,
        parts=tasks,
        rows=rows,
        maker=_Shards(header),
        about=asdict(header),
        max_rejected=max_rejected,
        keep=not remote,
        what=what,
        unit="recordings",
        size=size,
        say=say,
    )
    made = run(work, on, share)
    if made is None:
        return _already_packed(target, mark)
    if share is not None:
        return None
    found = read_json(target / INDEX)
    return Summary(target, **{name: found[name] for name in _SUMMED}, kept=made.kept)


_SUMMED = ("rows", "speakers", "seconds", "rejected")


def _already_packed(target: Path, mark: str) -> Summary:
    if not (target / INDEX).is_file():
        raise InputError(f"{target}: exists and is not a pack; choose another path")
    found = read_json(target / INDEX)
    refuse_newer(target / INDEX, found, FORMAT)
    if not isinstance(found, dict) or any(name not in found for name in _SUMMED):
        raise InputError(f"{target / INDEX}: incomplete index of a pack; delete the pack or choose another path")
    if found.get("fingerprint") != mark:
        raise InputError(f"{target}: a pack of other input or settings; delete it or choose another path")
    if not isinstance(target, Url):
        sweep(target)
    return Summary(target, **{name: found[name] for name in _SUMMED}, already_packed=True)


def finish(target: Path, part: Path, mark: str, about: dict[str, Any]) -> None:
    """Make the partial directory, which has all shards, the pack (a gatherer of `spkver.work`)."""
    shards: list[Shard] = []
    speakers: set[str] = set()
    for record in records(part):
        speakers.update(record.facts["speakers"])
        length, rows = record.facts["length"], record.facts["rows"]
        shards.append(Shard(record.file, rows, record.bytes, record.sha256, length))
    rejected = write_rejected(part / REJECTED, records(part))
    content = index(Header(**about), shards, speakers=len(speakers), rejected=rejected, mark=mark)
    write_json(part / INDEX, content)
    if isinstance(target, Url):
        upload.put_folder(part, target, INDEX, [INDEX, REJECTED, *(shard.file for shard in shards)])
        return
    replace_directory(part, target)
    sweep(target)
