"""The highest scores of each enrolment: blocked, and out of memory.

The enrolments are divided into parts (see `spkver.work`). For each part, the test embeddings are read once, block by
block, so memory does not depend on their number. The scores of a tile are computed and compared with the lowest of the
highest scores so far; almost none pass, so almost all time goes into the products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from spkver import lists
from spkver.embeddings import Embeddings, read_ids, read_in_parts
from spkver.errors import InputError
from spkver.files import StrPath, file_state, fingerprint
from spkver.processes import ahead, one_thread, prefetched
from spkver.scoring.backend import BackEnd
from spkver.scoring.files import Parts, ranges, write_scores_of
from spkver.scoring.sides import Side, Sides
from spkver.storage import located
from spkver.trials import Scores, Trials, read_enrolment, score_writer
from spkver.work import Engine, Share, Written

_ROWS = 1 << 12  # enrolments of a part
_BLOCK = 1 << 16  # test embeddings read at a time
_TILE = (512, 4096)  # enrolments and tests whose scores are computed at a time by a thread


@dataclass(frozen=True)
class Search:
    """The two sides of the search.

    embeddings: file with the enrolments; test: file with the test side, or None for the same file: the score of an
        embedding with itself is then left out
    enrolment: lines `model utterance utterance ...` (spk2utt)
    """

    back_end: BackEnd
    embeddings: Path
    test: Path | None = None
    enrolment: Path | None = None

    @cached_property
    def enrolled(self) -> Embeddings:
        """The embeddings of the enrolment side."""
        return self.back_end.read(self.embeddings)

    @cached_property
    def models(self) -> dict[str, list[str]] | None:
        """The utterances of each enrolment model; None if every utterance is a model."""
        return read_enrolment(self.enrolment) if self.enrolment else None

    @cached_property
    def tests(self) -> pa.StringArray:
        """The ids of the test side."""
        return read_ids(self.test or self.embeddings)

    @property
    def rows(self) -> int:
        """The number of enrolments."""
        return len(self.models if self.models is not None else self.enrolled)

    @property
    def itself(self) -> bool:
        """Whether both sides are the same embeddings."""
        return self.test is None and self.models is None

    def sides(self, first: int, last: int) -> Iterator[tuple[int, Sides]]:
        """Some enrolments with blocks of the test side, and the first row of each block."""
        names = None if self.models is None else dict(list(self.models.items())[first:last])
        enrol = self.enrolled
        if names is None:
            enrol = _chosen(enrol, np.arange(first, last))
        else:
            used = {utterance for group in names.values() for utterance in group}
            enrol = _chosen(enrol, np.flatnonzero([name in used for name in enrol.ids]))
        row = 0
        for block in prefetched(read_in_parts(self.test or self.embeddings, _BLOCK)):
            yield row, self.back_end.sides(enrol, self.back_end.transformed(block), names)
            row += len(block)

    def mark(self) -> list[object]:
        """The states of all files."""
        paths = [self.embeddings, self.test, self.enrolment, *self.back_end.paths.values()]
        return [[str(path), _state(located(path))] if path else None for path in paths]


def score_top(
    search: Search, top: int, out: StrPath, *, on: Engine | None = None, share: Share | None = None
) -> int | None:
    """Write the `top` highest scores of every enrolment, highest first; returns the number of scores.

    Equal scores are in the order of the test side. out, on, share: as for `score_list`
    Raises InputError for an id that occurs twice, and for a device other than the CPU.
    """
    out = located(out)
    if out.suffix == ".npz":
        raise InputError(f"{out}: the highest scores are a list; use .txt, .csv or .parquet")
    if search.back_end.device != "cpu":
        raise InputError("the highest scores are computed on the CPU; leave out --device")
    if (twice := lists.first_duplicate(search.tests)) is not None:
        raise InputError(f"{search.test or search.embeddings}: the id '{twice}' has two embeddings")
    maker = _Top(search, top, out.suffix)
    mark = fingerprint("top", top, out.suffix, search.mark())
    return write_scores_of(out, maker, ranges(search.rows, _ROWS), mark, on, share)


@dataclass(frozen=True)
class _Top(Parts):
    """The highest scores of some enrolments; see `work.Maker`."""

    search: Search
    top: int
    suffix: str

    def write(self, part: tuple[int, int], path: Path, cores: int) -> Written:
        first, last = part
        stripes = [
            _Stripe(slice(row, min(row + _TILE[0], last - first)), self.top) for row in range(0, last - first, _TILE[0])
        ]
        own = first if self.search.itself else None
        enrolled: Side | None = None
        with one_thread():
            for column, sides in self.search.sides(first, last):
                enrolled = sides.enrol
                for _ in ahead(lambda stripe: stripe.add(sides, column, own), stripes, cores):  # noqa: B023
                    pass
        if enrolled is None:
            raise InputError(f"{self.search.test or self.search.embeddings}: no embeddings")
        found = [stripe.found() for stripe in stripes]
        rows, tests, values = (np.concatenate(column) for column in zip(*found))
        with score_writer(path) as write:
            column_of_tests = Side(self.search.tests, np.empty(0, np.float32)).column(tests.astype(np.int32))
            write(Scores(Trials(enrolled.column(rows.astype(np.int32)), column_of_tests), values))
        return Written(len(values))


class _Stripe:
    """The highest scores so far of some rows of enrolments."""

    def __init__(self, rows: slice, top: int) -> None:
        self.rows, self._top = rows, top
        self._least = np.full(rows.stop - rows.start, -np.inf, np.float32)  # scores must be higher
        self._held: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # rows, tests, scores
        self._count = 0

    def add(self, sides: Sides, column: int, own: int | None) -> None:
        """Add the scores with a block of tests.

        column: the first row of the block; own: the first row of the enrolments, if both sides are the same
        """
        enrol, test = sides.enrol, sides.test
        vectors = enrol.vectors[self.rows]
        for start in range(0, len(test), _TILE[1]):
            tests = slice(start, start + _TILE[1])
            tile = vectors @ test.vectors[tests].T
            if enrol.offsets is not None:
                tile += enrol.offsets[self.rows, None]
            if test.offsets is not None:
                tile += test.offsets[tests]
            if sides.bound is not None:
                np.clip(tile, -sides.bound, sides.bound, out=tile)
            if own is not None:
                at = own + self.rows.start - column - start + np.arange(len(tile))
                inside = (at >= 0) & (at < tile.shape[1])
                tile[np.flatnonzero(inside), at[inside]] = -np.inf
            self._take(tile, column + start)

    def _take(self, tile: np.ndarray, first: int) -> None:
        size = tile.shape[1]
        if self._least[0] == -np.inf and size > self._top:  # all would pass
            least = np.partition(tile, size - self._top, axis=1)[:, size - self._top]
            passed = (tile >= least[:, None]) & (tile > -np.inf)
        else:
            passed = tile > self._least[:, None]
        rows, tests = np.divmod(np.flatnonzero(passed), size)  # faster than np.nonzero
        if len(rows):
            self._held.append((rows, tests + first, tile[rows, tests]))
            self._count += len(rows)
            # as many new candidates as there are highest scores: the limit rises soon, and few more pass
            if self._count > 2 * self._top * len(self._least) or self._least[0] == -np.inf:
                self._sort()

    def _sort(self) -> None:
        """Keep only the highest scores of each row: highest first, equal ones in the order of the tests."""
        rows, tests, values = (np.concatenate(column) for column in zip(*self._held))
        order = np.lexsort((tests, -values, rows))
        rows = rows[order]
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)
        kept = order[place < self._top]
        rows, tests, values = rows[place < self._top], tests[kept], values[kept]
        last = np.flatnonzero(np.bincount(rows, minlength=len(self._least)) == self._top)
        ends = np.searchsorted(rows, last, side="right") - 1
        self._least[last] = values[ends]
        self._held, self._count = [(rows, tests, values)], len(rows)

    def found(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of the enrolments of the part, tests and scores."""
        if not self._held:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        self._sort()
        rows, tests, values = self._held[0]
        if not np.isfinite(values).all():
            raise InputError("a score is not finite: the embeddings are too large")
        return rows + self.rows.start, tests, values


def _chosen(embeddings: Embeddings, rows: np.ndarray) -> Embeddings:
    speakers = embeddings.speakers
    return Embeddings(
        [embeddings.ids[row] for row in rows.tolist()],
        embeddings.vectors[rows],
        None if speakers is None else [speakers[row] for row in rows.tolist()],
        embeddings.model,
        embeddings.front_end,
    )


def _state(path: Path) -> object:
    return [file_state(file) for file in sorted(path.iterdir())] if path.is_dir() else file_state(path)
