"""Scores of trial lists of any size, as dot products.

A back end (cosine, PLDA) computes vectors and offsets from the embeddings of both sides, so that a score is one dot
product plus offsets. For sparse lists, the vectors of each pair are gathered. For dense lists, blocks of the matrix of
all enrolments with all tests are computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver.errors import InputError, load_optional
from spkver.processes import available_cpus
from spkver.trials import Scores, Trials, codes

WINDOW = 1 << 22  # trials scored at a time, about 30 bytes each
_GATHERED = 1 << 17  # values of each side gathered at a time: they stay in the CPU's cache
_PRODUCT = 1 << 24  # cells of the matrix computed at a time
_TILE = (512, 4096)  # rows and columns of the matrix that a thread computes at a time
# cells of the matrix product that take as long as one gathered pair (measured on 2 CPU cores, 256 dimensions)
_PAIR_IN_CELLS = 32


@dataclass(frozen=True)
class Side:
    """The enrolment side or the test side of trials.

    ids: distinct; vectors: float32 (rows, dim); offsets: float32 (rows,), added to the scores, or None
    what: plural noun for the ids, for messages
    """

    ids: pa.StringArray
    vectors: np.ndarray
    offsets: np.ndarray | None = None
    what: str = "utterances"

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, column: pa.DictionaryArray) -> np.ndarray:
        """The row of each id, int32 (ids,). Raises InputError for ids without an embedding."""
        found = pc.index_in(column.dictionary, value_set=self.ids)
        rows: np.ndarray = found.fill_null(-1).to_numpy()[codes(column)]
        if found.null_count and (missing := np.unique(codes(column)[rows < 0])).size:
            first = column[int(np.argmin(rows))]
            raise InputError(f"no embedding of '{first}': {len(missing)} {self.what} are not in the embeddings file")
        return rows

    def column(self, rows: np.ndarray) -> pa.DictionaryArray:
        """The ids of the rows."""
        return pa.DictionaryArray.from_arrays(pa.array(rows, pa.int32()), self.ids)


@dataclass(frozen=True)
class Sides:
    """Both sides of trials. The score of two rows is the dot product of their vectors plus their offsets.

    bound: scores are clipped to [-bound, bound], because rounding can make a cosine exceed 1
    device: device for the products: "cpu" (NumPy), or a device of torch
    """

    enrol: Side
    test: Side
    bound: float | None = None
    device: str = "cpu"

    def fingerprint(self) -> str:
        """A hash of the ids, vectors and offsets of both sides."""
        digest = hashlib.sha256(repr((self.bound, self.device)).encode())
        for side in (self.enrol, self.test):
            digest.update("\0".join(side.ids.to_pylist()).encode())
            digest.update(np.ascontiguousarray(side.vectors).data)
            digest.update(b"" if side.offsets is None else side.offsets.tobytes())
        return digest.hexdigest()

    def score(self, trials: Trials) -> np.ndarray:
        """The scores of the trials, float32 (trials,). Raises InputError for ids without an embedding."""
        enrol, test = self.enrol.rows(trials.enrol), self.test.rows(trials.test)
        scores = np.empty(len(trials), np.float32)
        products = _products(self)
        for start in range(0, len(scores), WINDOW):
            window = slice(start, start + WINDOW)
            scores[window] = self._window(products, enrol[window], test[window])
        return scores

    def stream(self, parts: Iterator[Trials], cores: int | None = None) -> Iterator[Scores]:
        """The scores of a trial list that is read in parts, in parts of about `WINDOW` trials.

        cores: by default all
        """
        products = _products(self, cores)
        for enrol, test, target in _windows(
            (self.enrol.rows(p.enrol), self.test.rows(p.test), p.target) for p in parts
        ):
            values = self._window(products, enrol, test)
            yield Scores(Trials(self.enrol.column(enrol), self.test.column(test), target), values)

    @property
    def rows_of_block(self) -> int:
        """The number of enrolments in a block of `blocks`."""
        return max(1, _PRODUCT // max(len(self.test), 1))

    def blocks(
        self, first: int = 0, last: int | None = None, cores: int | None = None
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """The scores of all enrolments with all tests: slices of enrolments with float32 (enrolments, tests).

        first, last: only these enrolments; cores: by default all
        """
        products = _products(self, cores)
        every = np.arange(len(self.test))
        step, last = self.rows_of_block, len(self.enrol) if last is None else last
        for start in range(first, last, step):
            rows = np.arange(start, min(start + step, last))
            block = products.matrix(rows, every)
            if self.enrol.offsets is not None:
                block += self.enrol.offsets[rows, None]
            if self.test.offsets is not None:
                block += self.test.offsets
            yield slice(start, start + len(rows)), self._bounded(block)

    def _window(self, products: _Products, enrol: np.ndarray, test: np.ndarray) -> np.ndarray:
        scores = _pair_products(products, enrol, test)
        if self.enrol.offsets is not None:
            scores += self.enrol.offsets[enrol]
        if self.test.offsets is not None:
            scores += self.test.offsets[test]
        return self._bounded(scores)

    def _bounded(self, scores: np.ndarray) -> np.ndarray:
        if self.bound is not None:
            np.clip(scores, -self.bound, self.bound, out=scores)
        if not np.isfinite(scores).all():
            raise InputError("a score is not finite: the embeddings are too large")
        return scores


# --- products --------------------------------------------------------------------------------------------------------


class _Products:
    """Dot products of rows of two matrices, in NumPy."""

    def __init__(self, left: np.ndarray, right: np.ndarray, cores: int) -> None:
        self.left, self.right, self._cores = left, right, cores

    def pairs(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Dot products of pairs of rows, float32 (pairs,)."""
        dots = np.empty(len(left), np.float32)
        ends = np.linspace(0, len(dots), self._cores + 1).astype(int)
        shares = [slice(*ends[worker : worker + 2]) for worker in range(self._cores)]
        with ThreadPoolExecutor(self._cores) as pool:
            list(pool.map(lambda share: self._pairs(left[share], right[share], dots[share]), shares))
        return dots

    def _pairs(self, left: np.ndarray, right: np.ndarray, dots: np.ndarray) -> None:
        step = max(1, _GATHERED // self.left.shape[1])
        one, other = (np.empty((step, self.left.shape[1]), np.float32) for _ in range(2))
        for start in range(0, len(dots), step):
            pairs = slice(start, min(start + step, len(dots)))
            size = pairs.stop - start
            # with mode "raise", np.take would use a buffer instead of writing to `out`
            np.take(self.left, left[pairs], axis=0, out=one[:size], mode="clip")
            np.take(self.right, right[pairs], axis=0, out=other[:size], mode="clip")
            np.einsum("ij,ij->i", one[:size], other[:size], out=dots[pairs])

    def matrix(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Dot products of all `left` rows with all `right` rows, float32 (left, right).

        The tiles have the same size for any number of cores: the last bits depend on it.
        """
        one, other = self.left[left], _rows(self.right, right)
        product = np.empty((len(one), len(other)), np.float32)
        tiles = [
            (slice(row, row + _TILE[0]), slice(column, column + _TILE[1]))
            for row in range(0, len(one), _TILE[0])
            for column in range(0, len(other), _TILE[1])
        ]
        with ThreadPoolExecutor(self._cores) as pool:
            list(pool.map(lambda tile: np.matmul(one[tile[0]], other[tile[1]].T, out=product[tile]), tiles))
        return product


class _TorchProducts:
    """The same on a device of torch, which holds both matrices."""

    def __init__(self, left: np.ndarray, right: np.ndarray, device: str) -> None:
        self._torch: Any = load_optional("torch", "")
        try:
            self.left = self._torch.from_numpy(left).to(device)
            self.right = self.left if right is left else self._torch.from_numpy(right).to(device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"the device '{device}' cannot be used ({str(error).splitlines()[0]})") from error

    def pairs(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        step = max(1, (_GATHERED << 9) // self.left.shape[1])
        one, other = self._on_device(left), self._on_device(right)
        dots = [
            (self.left[one[i : i + step]] * self.right[other[i : i + step]]).sum(dim=1)
            for i in range(0, len(one), step)
        ]
        values: np.ndarray = self._torch.cat(dots).cpu().numpy()
        return values

    def matrix(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        product = self.left[self._on_device(left)] @ self.right[self._on_device(right)].T
        values: np.ndarray = product.cpu().numpy()
        return values

    def _on_device(self, rows: np.ndarray) -> Any:
        return self._torch.from_numpy(rows.astype(np.int64)).to(self.left.device)


def _products(sides: Sides, cores: int | None = None) -> Any:
    if sides.enrol.vectors.shape[1] != sides.test.vectors.shape[1]:
        raise InputError("the vectors of the two sides have different sizes")
    if sides.device == "cpu":
        return _Products(sides.enrol.vectors, sides.test.vectors, cores or available_cpus())
    return _TorchProducts(sides.enrol.vectors, sides.test.vectors, sides.device)


def _pair_products(products: _Products, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Dot products of pairs of rows: gathered, or taken from the matrix of all rows that occur, whichever is faster."""
    rows, row = _used(left, len(products.left))
    columns, column = _used(right, len(products.right))
    if len(rows) * len(columns) > _PAIR_IN_CELLS * len(left):
        return products.pairs(left, right)
    dots = np.empty(len(left), np.float32)
    step = max(1, _PRODUCT // len(columns))
    block = row // step
    # most lists are in order already
    order = None if (block[1:] >= block[:-1]).all() else np.argsort(block.astype(np.uint16), kind="stable")
    ends = np.cumsum(np.bincount(block, minlength=-(-len(rows) // step)))
    start = 0
    for number, end in enumerate(ends):
        product = products.matrix(rows[number * step : (number + 1) * step], columns)
        chosen = slice(start, end) if order is None else order[start:end]
        dots[chosen] = product.ravel()[(row[chosen] - number * step) * len(columns) + column[chosen]]
        start = end
    return dots


def _used(rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows, ascending, and the position of each row among them."""
    there = np.zeros(size, bool)
    there[rows] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[rows]


def _rows(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return matrix if len(rows) == len(matrix) else matrix[rows]


def _windows(
    parts: Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """The parts, joined to parts of at least `WINDOW` trials."""
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]] = []
    for part in parts:
        kept.append(part)
        if sum(len(rows) for rows, _, _ in kept) >= WINDOW:
            yield _joined(kept)
            kept = []
    if kept:
        yield _joined(kept)


def _joined(
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    enrol, test, target = zip(*parts)
    return np.concatenate(enrol), np.concatenate(test), None if target[0] is None else np.concatenate(target)
