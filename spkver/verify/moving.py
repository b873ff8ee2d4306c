"""Move a speaker book to another model: from recordings that were kept, or by a map between the two models' embeddings.

A map is linear: the rows of the new model are near (old - mean) · matrix + mean. It is fitted on recordings that both
models have embedded, as an orthogonal Procrustes map with a scale or by ridge regression, whichever has the lower EER
on speakers that it was not fitted on. Mapped embeddings are worse than the new model's own, and its threshold was not
set for them. So the EER is stored in the map and in the book, and the book marks the mapped recordings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open

from spkver import audio, metrics
from spkver.embeddings import Embeddings, unit
from spkver.errors import InputError
from spkver.files import StrPath, atomic_file, refuse_stand_in
from spkver.progress import bar
from spkver.storage import located
from spkver.verify.book import Say, edited, write

if TYPE_CHECKING:
    from spkver.source import Source
    from spkver.verify.model import Verifier

RIDGE = 0.01  # share of the mean variance that is added to each variance
LEAST_SPEAKERS = 10
FOLDS = 5
MOST = 1000  # recordings of a fold in the trials
SEED = 1

Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Loss:
    """EER of pairs of recordings of speakers on whom the map was not fitted: both sides by the old model, both by the
    new one, and one side mapped and the other by the new one."""

    old: float
    new: float
    mapped: float


@dataclass(frozen=True)
class About:
    """Facts about a map.

    old, new: hashes of the models; front_end: config of the new model's
    method: `procrustes` or `ridge`; recordings, speakers: how many it was fitted on
    """

    old: str
    new: str
    front_end: dict[str, Any]
    method: str
    recordings: int
    speakers: int
    loss: Loss

    def in_words(self) -> str:
        """The accuracy of the map, in words."""
        loss = self.loss
        return (
            f"{self.method}, fitted on {self.recordings:,} recordings of {self.speakers:,} speakers; on speakers left "
            f"out, EER {100 * loss.mapped:.2f} % mapped against native, {100 * loss.new:.2f} % native, "
            f"{100 * loss.old:.2f} % with the old model"
        )


@dataclass(frozen=True)
class Map:
    """A linear map from the embeddings of a model to those of another, both of length 1."""

    mean_old: np.ndarray
    matrix: np.ndarray
    mean_new: np.ndarray
    about: About

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Embeddings of the old model (rows, dim) as embeddings of the new one, length 1."""
        moved = (vectors - self.mean_old) @ self.matrix + self.mean_new
        return unit(moved, [f"row {row + 1}" for row in range(len(moved))], "mapped embedding")


_ABOUT = TypeAdapter(About)
_ARRAYS = ("mean_old", "matrix", "mean_new")


def learn_map(old: Embeddings, new: Embeddings) -> Map:
    """Fit a map on the recordings that are in both, and measure it on speakers left out.

    Raises InputError for embeddings of one model, and for too few common recordings or speakers.
    """
    if old.model == new.model:
        raise InputError("both embeddings are of the same model: give those of the old and of the new one")
    if old.times is not None or new.times is not None:
        raise InputError("embeddings of windows; average them first with spkver convert --per utterance")
    sides = [dict(zip(side.ids, range(len(side)))) for side in (old, new)]
    speaker = {one: name for side in (old, new) for one, name in zip(side.ids, side.speakers or []) if name}
    common = [one for one in old.ids if one in sides[1] and one in speaker]
    names = np.array([speaker[one] for one in common])
    speakers = np.unique(names)
    if len(speakers) < LEAST_SPEAKERS:
        raise InputError(
            f"{len(common)} recordings of {len(speakers)} speakers are in both embeddings: "
            f"a map needs the same recordings, of {LEAST_SPEAKERS} speakers or more"
        )
    one, other = (
        unit(side.vectors[[rows[name] for name in common]], common, "embedding")
        for side, rows in zip((old, new), sides)
    )
    fold = np.random.default_rng(SEED).permutation(len(speakers)) % FOLDS
    of_row = fold[np.searchsorted(speakers, names)]
    folds = [np.flatnonzero(of_row == number)[:MOST] for number in range(FOLDS)]
    apart = [~np.eye(len(rows), dtype=bool) for rows in folds]
    target = np.concatenate([(names[rows][:, None] == names[rows])[pairs] for rows, pairs in zip(folds, apart)])

    def error(first: np.ndarray, second: np.ndarray) -> float:
        scores = [(first[rows] @ second[rows].T)[pairs] for rows, pairs in zip(folds, apart)]
        return metrics.eer(np.concatenate(scores), target)

    about = About(old.model, new.model, new.front_end, "", len(common), len(speakers), Loss(0, 0, 0))
    measured = {}
    for method, fit in METHODS.items():
        mapped = np.empty_like(other)
        for number in range(FOLDS):
            held = of_row == number
            mapped[held] = _fitted(fit, one[~held], other[~held], about)(one[held])
        measured[method] = error(mapped, other)
    method = min(measured, key=lambda name: measured[name])
    loss = Loss(error(one, one), error(other, other), measured[method])
    return _fitted(METHODS[method], one, other, replace(about, method=method, loss=loss))


def write_map(path: StrPath, found: Map) -> None:
    """Write a map as a safetensors file."""
    about = _ABOUT.dump_json(found.about).decode()
    with atomic_file(path) as part:
        safetensors.numpy.save_file({name: getattr(found, name) for name in _ARRAYS}, part, {"spkver": about})


def read_map(path: StrPath) -> Map:
    """Read a map. Raises InputError if the file is not one."""
    try:
        with safe_open(located(path), "np") as file:
            about = _ABOUT.validate_json((file.metadata() or {})["spkver"])
            mean_old, matrix, mean_new = (file.get_tensor(name) for name in _ARRAYS)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        refuse_stand_in(path)
        raise InputError(f"{path}: not a map of embeddings ({' '.join(str(error).split())[:200]})") from error
    if matrix.shape != (*mean_old.shape, *mean_new.shape) or not all(
        np.isfinite(one).all() for one in (mean_old, matrix, mean_new)
    ):
        raise InputError(f"{path}: not a map of embeddings (its matrix has the shape {matrix.shape}, or is not finite)")
    return Map(mean_old, matrix, mean_new, about)


@dataclass(frozen=True)
class Moved:
    """How many recordings of a book were embedded again, and how many mapped."""

    embedded: int
    mapped: int


def move(
    folder: StrPath,
    *,
    verifier: Verifier | None = None,
    source: Source | None = None,
    by: Map | None = None,
    say: Say | None = None,
) -> Moved:
    """Move a book to another model: the recordings that are in `source` are embedded by `verifier`, the others mapped.

    source: audio, in which a recording is found by the hash of its samples, at the sample rate of the book's model
    by: the map; say: as for `book.enrol`
    A book that is of the new model already, but mapped, stays as it is where its recordings are not found.
    Raises InputError, and leaves the book unchanged, if recordings are not found and there is no map for them.
    """
    if verifier is not None and source is not None:
        new, front_end = verifier.model_id, verifier.config.front_end.model_dump(mode="json")
    elif by is not None:
        new, front_end = by.about.new, by.about.front_end
    else:
        raise InputError("give the enrolled recordings (--recordings), or a map (--map)")
    with edited(folder, say) as book:
        voices, recordings, mapped = book.voices, book.contents.recordings, book.contents.mapped
        found = {} if verifier is None or source is None else _embedded(verifier, source, voices)
        missing = len(voices) - len(found)
        if voices.model == new:
            vectors = voices.vectors.copy()
        elif not missing:
            vectors, mapped = np.empty((len(voices), len(next(iter(found.values()), ("", []))[1])), np.float32), ""
        elif by is None:
            raise InputError(
                f"{folder}: {missing} of {len(voices)} recordings were not found: give them, too, or a map for them "
                "(spkver book map)"
            )
        elif (by.about.old, by.about.new) != (voices.model, new):
            raise InputError(
                f"{folder}: to be moved from the model {voices.model} to {new}; the map is of other models"
            )
        else:
            vectors, mapped = by(voices.vectors), by.about.in_words()
            recordings = [replace(row, mapped=True) for row in recordings]
        ids, rows = list(voices.ids), list(recordings)
        for row, one in enumerate(voices.ids):
            if one in found:
                ids[row], vectors[row] = found[one]
                rows[row] = replace(rows[row], mapped=False)
        count = sum(row.mapped for row in rows)
        moved = replace(voices, ids=ids, vectors=vectors, model=new, front_end=front_end)
        write(book, replace(book.contents, voices=moved, recordings=rows, mapped=mapped if count else ""))
        return Moved(len(found), count)


def _embedded(verifier: Verifier, source: Source, voices: Embeddings) -> dict[str, tuple[str, np.ndarray]]:
    """The new id and embedding of the recordings of a book that are in `source`, by id."""
    from spkver.verify.model import digest  # takes a while to load

    rate, wanted = voices.front_end.get("sample_rate"), set(voices.ids)
    if rate is None:
        raise InputError("the book does not say the sample rate of its model, so no recording can be found; use a map")
    found = {}
    for row in bar(total=len(source), what="move", unit="utt", iterable=range(len(source))):
        samples, own = source.read(row)
        one = digest(audio.resample(samples, own, rate))
        if one in wanted:
            heard = verifier.listen(samples, own)
            found[one] = heard.digest, heard.vector
    return found


def _fitted(fit: Fit, old: np.ndarray, new: np.ndarray, about: About) -> Map:
    """A map fitted on rows of the two models."""
    mean_old, mean_new = old.mean(axis=0), new.mean(axis=0)
    return Map(mean_old, fit(old - mean_old, new - mean_new), mean_new, about)


def _procrustes(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The orthogonal matrix, times a scale, of least squared error."""
    left, values, right = np.linalg.svd(old.T @ new, full_matrices=False)
    return (left @ right * (values.sum() / np.square(old).sum())).astype(np.float32)


def _ridge(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The matrix of least squared error and ridge."""
    products = (old.T @ old).astype(np.float64)
    products += RIDGE * np.trace(products) / len(products) * np.eye(len(products))
    return np.linalg.solve(products, (old.T @ new).astype(np.float64)).astype(np.float32)


METHODS: dict[str, Fit] = {"procrustes": _procrustes, "ridge": _ridge}
