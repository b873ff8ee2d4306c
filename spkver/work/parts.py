"""The parts of an output: made on an engine, kept beside it until all are there, and gathered.

Parts are written to `OUT.partial/`, each with a record in `records/`. A part is put in its place when it is complete,
so a driver, worker or machine may be killed at any time, and the next run of the same work makes only what is missing.
Parts depend on the input and settings only, never on the number of workers, so the output is always the same. A partial
directory of other input or settings is discarded. It is locked by its run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from spkver.errors import InputError, RunError
from spkver.files import (
    LOCK,
    NO_ROOM,
    StrPath,
    atomic_file,
    is_stream,
    locked,
    read_json,
    readable_size,
    recover,
    sha256,
    write_json,
)
from spkver.progress import bar
from spkver.storage import Url, cache, located
from spkver.work.engine import Engine

Part = TypeVar("Part")
PartIn = TypeVar("PartIn", contravariant=True)

_PLAN = "plan.json"  # what the partial directory is for
_RECORDS = "records"  # one JSON per finished part
REJECTED = "rejected.jsonl"

# kind of output: function that gathers its parts
GATHERERS = {
    "pack": "spkver.packs.build:finish",
    "embeddings": "spkver.extraction:gather",
    "scores": "spkver.scoring.files:gather",
    "statistics": "spkver.scoring.normalisation:gather",
}


@dataclass(frozen=True)
class Written:
    """What a maker says about a part.

    facts: as JSON, for the gatherer; rejected: the rejected utterances, each with `id` and `reason`
    sha256: hash of the file, if it is known already
    """

    rows: int
    facts: dict[str, Any] = field(default_factory=dict)
    rejected: list[dict[str, str]] = field(default_factory=list)
    sha256: str = ""


@dataclass(frozen=True)
class Record:
    """A finished part. file: its name; stamp: of its sources; rows: input rows; others as in Written."""

    file: str
    stamp: str
    bytes: int
    sha256: str
    rows: int
    facts: dict[str, Any]
    rejected: list[dict[str, str]]


class Maker(Protocol[PartIn]):
    """Makes parts. Workers get it once, by pickling, so it may keep what takes long to open."""

    def name(self, number: int) -> str:
        """The file name of a part."""

    def stamp(self, part: PartIn) -> str:
        """A fingerprint of the source files: a part of an earlier run is kept if it is unchanged."""

    def write(self, part: PartIn, path: Path, cores: int) -> Written:
        """Write the file of a part."""

    def repaired(self, part: PartIn, rejected: Sequence[Mapping[str, str]]) -> bool:
        """Whether a rejected utterance can be used now, although the stamp is unchanged."""


@dataclass(frozen=True)
class Work(Generic[Part]):
    """How an output is made.

    kind: one of GATHERERS; mark: fingerprint of input and settings
    parts: may be made as they are needed; rows: the number of input rows of all
    about: for the gatherer, as JSON
    max_rejected: maximum share of rejected rows; rejects: where they are listed if there are more, beside the output
    keep: an output that exists, because another run made it meanwhile, is kept
    what: the word for progress bars; unit: the word for rows
    size: estimated size in bytes, None if unknown; say: receives it as a message before the work starts
    """

    out: Path
    kind: str
    mark: str
    parts: Sequence[Part]
    rows: int
    maker: Maker[Part]
    about: Mapping[str, Any] = field(default_factory=dict)
    max_rejected: float = 1.0
    rejects: Path | None = None
    keep: bool = False
    what: str = "parts"
    unit: str = "rows"
    size: int | None = None
    say: Callable[[str], None] | None = None
    gpu: bool = False


class Share(NamedTuple):
    """The share of one of several runs that make one output together, e.g. the tasks of a Slurm array: 3 of 64."""

    number: int
    of: int


class Made(NamedTuple):
    """The result of `run`: how many parts were kept from an earlier run, and what the gatherer returned."""

    kept: int
    result: Any


def run(work: Work[Part], on: Engine, share: Share | None = None) -> Made | None:
    """Make the parts that are missing, and gather them; with a share, only make the parts of this share.

    Returns None if the output exists and is kept.
    Raises InputError if another run makes the same output, or if it does not fit on the disk; RunError if too many rows
    are rejected, if workers die, or if the disk is full.
    """
    with contextlib.ExitStack() as stack:
        alone = isinstance(work.out, Url) or is_stream(work.out)
        if alone and (on.shared or share is not None):
            raise InputError(f"{work.out}: parts need a folder of the machines; give a file name, and copy it")
        if alone and not isinstance(work.out, Url):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = partial_of(work.out)
        stack.enter_context(locked(folder, shared=share is not None))
        stack.enter_context(_full_disk(folder))
        if work.keep and work.out.exists():
            return None
        _prepare(folder, work, alone=share is None)
        if work.say is not None or work.size is not None:
            _check_room(work, folder)
        try:
            kept = _make(folder, work, on, share)
            result = _gather(work.out, folder) if share is None else None
        except BaseException:
            if share is None and not any((folder / _RECORDS).iterdir()) and not (folder / REJECTED).exists():
                _clear(folder)  # nothing that a next run could use
            raise
    _remove_empty(folder)
    return Made(kept, result)


def gather(out: StrPath) -> Path:
    """Gather the parts of an output that several runs made (see Share). Returns the path of the output.

    Raises InputError if there are none, or if some are missing; RunError if too many rows are rejected.
    """
    target = located(out)
    if isinstance(target, Url):
        raise InputError(f"{target}: parts are in a folder of this computer; give its path")
    folder = partial_of(target)
    if not (folder / _PLAN).is_file():
        raise InputError(f"{target}: no parts to gather (no {folder / _PLAN}); make them with --part 1/N to N/N")
    with locked(folder), _full_disk(folder):
        _refuse(target, folder)
        _gather(target, folder)
    _remove_empty(folder)
    return target


def rows_per_part(rows: int) -> int:
    """1000, or fewer for a small corpus so that all workers have work; independent of their number."""
    return min(1000, max(100, math.ceil(rows / 16)))


def partial_of(out: Path) -> Path:
    """The directory of the parts of an output. For a URL, it is in the folder of the cache."""
    if isinstance(out, Url):
        return cache.outgoing() / f"{hashlib.sha256(out.address.encode()).hexdigest()}.partial"
    return out.with_name(out.name + ".partial").absolute()


def records(folder: Path) -> Iterator[Record]:
    """The records of all parts that exist, in order, read one by one."""
    for name in sorted(_recorded(folder), key=lambda name: (len(name), name)):
        yield Record(**read_json(folder / _RECORDS / name))


def _recorded(folder: Path) -> list[str]:
    """The names of the records: of each part, a few bytes stay in memory."""
    return [path.name for path in (folder / _RECORDS).iterdir() if path.suffix == ".json"]


def write_rejected(path: Path, found: Iterable[Record]) -> int:
    """List the rejected rows of parts in a JSONL file; returns their number."""
    count = 0
    with atomic_file(path) as part, part.open("w", encoding="utf-8") as stream:
        for record in found:
            stream.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in record.rejected)
            count += len(record.rejected)
    return count


# --- the partial directory --------------------------------------------------------------------------------------------


def _prepare(folder: Path, work: Work[Any], alone: bool) -> None:
    """Prepare the (locked) partial directory: parts of an earlier run are kept if the mark is the same.

    The plan is written first and removed last, so the next run recognises the directory even after a kill.
    alone: no other run makes parts of the same output
    """
    plan = folder / _PLAN
    if not plan.is_file() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise InputError(f"{folder}: not a partial directory of an interrupted run; move it away")
    told = {"fingerprint": work.mark, "kind": work.kind, "parts": len(work.parts), "about": dict(work.about)}
    rejects = None if work.rejects is None else work.rejects.name
    told["limit"] = asdict(_Limit(work.rows, work.max_rejected, work.unit, rejects))
    found = read_json(plan) if plan.is_file() else None
    if isinstance(found, dict) and found.get("fingerprint") != work.mark:
        if not alone:
            raise InputError(f"{folder}: parts of other input or settings; delete it or choose another output")
        _clear(folder)
    if found != told:
        write_json(plan, told)
    (folder / _RECORDS).mkdir(exist_ok=True)
    for place in (folder, folder / _RECORDS):
        recover(place, alone=alone)


def _clear(folder: Path) -> None:
    """Remove all content, the plan last."""
    for path in folder.iterdir():
        if path.name in (LOCK, _PLAN):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (folder / _PLAN).unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def sweep(folder: Path) -> None:
    """Remove what belongs to the run from a directory that has become the output."""
    shutil.rmtree(folder / _RECORDS, ignore_errors=True)
    for name in (_PLAN, LOCK):
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def _check_room(work: Work[Any], folder: Path) -> None:
    own = (_PLAN, LOCK, REJECTED)
    there = sum(path.stat().st_size for path in folder.iterdir() if path.is_file() and path.name not in own)
    free = shutil.disk_usage(folder).free
    about = "size unknown" if work.size is None else f"about {readable_size(work.size)}"
    about += f", {readable_size(there)} of it done" if there else ""
    if work.size is not None and work.size - there > free:
        raise InputError(
            f"{work.out}: {about}, but {readable_size(free)} free on its disk; free some space or choose another path"
        )
    if work.say is not None:
        work.say(f"{work.out}: {about}; {readable_size(free)} free")


@contextlib.contextmanager
def _full_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno not in NO_ROOM:
            raise
        raise RunError(
            f"{folder}: disk full ({os.strerror(error.errno)}); free some space and run again to resume"
        ) from error


# --- making parts -----------------------------------------------------------------------------------------------------


def _make(folder: Path, work: Work[Part], on: Engine, share: Share | None) -> int:
    """Make the parts of the share. Returns the number of parts that existed."""
    numbers = range(len(work.parts)) if share is None else range(share.number - 1, len(work.parts), share.of)
    kept = rejected = 0
    made = on.map(_MakePart(folder, work.maker), _Numbered(work.parts, numbers), gpu=work.gpu)
    total = work.rows if share is None else None
    with contextlib.closing(made), bar(total=total, what=work.what, unit=f" {work.unit}") as progress:
        for _, one in made:
            kept += one.kept
            rejected += one.rejected
            progress.update(one.rows)
            if rejected > work.max_rejected * work.rows:
                _refuse(work.out, folder)
    return kept


@dataclass(frozen=True)
class _Numbered(Generic[Part]):
    """Parts with their numbers, taken when they are needed."""

    parts: Sequence[Part]
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[tuple[int, Part]]:
        return ((number, self.parts[number]) for number in self.numbers)


@dataclass(frozen=True)
class _Limit:
    """How many of how many rows may be rejected, as in Work. rejects: the name of their list, beside the output."""

    rows: int
    max_rejected: float
    unit: str
    rejects: str | None


def _refuse(out: Path, folder: Path) -> None:
    """Raises RunError if the parts that exist have too many rejected rows. Each of several runs sees its own only."""
    plan = read_json(folder / _PLAN)
    if "limit" not in plan:  # of an earlier version
        return
    limit = _Limit(**plan["limit"])
    first, count = None, 0
    for record in records(folder):
        first, count = first or next(iter(record.rejected), None), count + len(record.rejected)
    if first is None or count <= limit.max_rejected * limit.rows:
        return
    rejects = folder / REJECTED if limit.rejects is None else out.with_name(limit.rejects)
    write_rejected(rejects, records(folder))
    raise RunError(
        f"{out}: {count} of {limit.rows} {limit.unit} rejected, more than the allowed share "
        f"{limit.max_rejected:g}; first: {first['id']}: {first['reason']}; see {rejects}"
    )


class _Result(NamedTuple):
    rows: int
    rejected: int
    kept: bool


@dataclass(frozen=True)
class _MakePart(Generic[Part]):
    """Makes a part and its record in the partial directory, unless they exist."""

    folder: Path
    maker: Maker[Part]

    def __call__(self, numbered: tuple[int, Part], cores: int) -> _Result:
        number, part = numbered
        if not (self.folder / _PLAN).is_file():
            raise RunError(f"{self.folder}: not found on {platform.node()}; all machines need the same file system")
        path = self.folder / self.maker.name(number)
        place = self.folder / _RECORDS / f"{path.stem}.json"
        stamp = self.maker.stamp(part)  # before reading, so that later changes are detected
        record = self._standing(path, place, stamp, part)
        if record is not None:
            return _Result(record.rows, len(record.rejected), True)
        with atomic_file(path, tidy=False) as temporary:
            written = self.maker.write(part, temporary, cores)
            size = temporary.stat().st_size
            digest = written.sha256 or sha256(temporary)
        record = Record(path.name, stamp, size, digest, written.rows, written.facts, written.rejected)
        write_json(place, asdict(record), tidy=False)
        return _Result(record.rows, len(record.rejected), False)

    def _standing(self, path: Path, place: Path, stamp: str, part: Part) -> Record | None:
        """The record of a part of an earlier run, if the part and its sources are unchanged."""
        if not (path.is_file() and place.is_file()):
            return None
        try:
            record = Record(**read_json(place))
        except (InputError, TypeError):  # another version, or damaged: make it again
            return None
        if record.stamp != stamp or path.stat().st_size != record.bytes or sha256(path) != record.sha256:
            return None
        return None if record.rejected and self.maker.repaired(part, record.rejected) else record


def _gather(out: Path, folder: Path) -> Any:
    plan = read_json(folder / _PLAN)
    there = len(_recorded(folder))
    if there < plan["parts"]:
        raise InputError(f"{out}: {plan['parts'] - there} of {plan['parts']} parts are missing; make them first")
    recover(folder)  # what workers left that were killed
    module, _, name = GATHERERS[plan["kind"]].partition(":")
    result = getattr(importlib.import_module(module), name)(out, folder, plan["fingerprint"], plan["about"])
    if folder.exists():  # not renamed to the output
        _clear(folder)
    return result
