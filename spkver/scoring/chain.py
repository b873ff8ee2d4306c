"""Chains of transforms of embeddings, fitted on a training set and stored as a directory.

| step     | effect                                                                                                  |
|----------|---------------------------------------------------------------------------------------------------------|
| centre   | subtracts the mean                                                                                      |
| whiten   | subtracts the mean and makes the covariance the identity (PCA whitening)                                |
| pca:K    | subtracts the mean and keeps the K principal components, not scaled                                     |
| lda:K    | subtracts the mean and projects to K dimensions by Fisher's LDA; within-speaker covariance: identity    |
| wccn     | subtracts the mean and makes the within-speaker covariance the identity (Hatch et al. 2006)             |
| length   | scales to length 1                                                                                      |

Each step is fitted on the training set as transformed by the steps before it. Covariances are float64.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import safetensors
import safetensors.numpy
import yaml

from spkver.config import read_yaml
from spkver.embeddings import Embeddings, unit
from spkver.errors import InputError, nearest
from spkver.files import StrPath, atomic_directory, refuse_newer, refuse_stand_in
from spkver.storage import located

STEPS = ("centre", "whiten", "pca", "lda", "wccn", "length")
_SIZED = ("pca", "lda")  # steps with a number of dimensions
_BLOCK = 1 << 12  # embeddings at a time
_FLOOR = 1e-10  # smallest eigenvalue that can be inverted, relative to the largest


@dataclass(frozen=True)
class Step:
    """One transform: (x - mean) @ matrix; if both are None, scaling to length 1.

    mean: float64 (dim,); matrix: float64 (dim, new dim), or None for the identity
    """

    name: str
    mean: np.ndarray | None = None
    matrix: np.ndarray | None = None

    def __call__(self, vectors: np.ndarray, ids: Sequence[str]) -> np.ndarray:
        """Transformed vectors, float64 (rows, new dim)."""
        if self.mean is None:
            return unit(vectors.astype(np.float32), ids, "embedding").astype(np.float64)
        if vectors.shape[1] != len(self.mean):
            raise InputError(
                f"the step '{self.name}' takes {len(self.mean)} values, the embeddings have {vectors.shape[1]}"
            )
        centred: np.ndarray = vectors - self.mean
        return centred if self.matrix is None else centred @ self.matrix


@dataclass(frozen=True)
class Chain:
    """A chain of steps. model: hash of the model of the embeddings it was fitted on."""

    steps: tuple[Step, ...]
    model: str = ""

    def __call__(self, embeddings: Embeddings) -> Embeddings:
        """Transform embeddings. Their `model` becomes `result`, so they are not mixed with others.

        Raises InputError for embeddings of another model or size, and for an embedding of norm zero.
        """
        if embeddings.model != self.model:
            raise InputError(f"the chain is of the model '{self.model}', the embeddings are of '{embeddings.model}'")
        parts = []
        for start in range(0, len(embeddings), _BLOCK):
            vectors: np.ndarray = embeddings.vectors[start : start + _BLOCK]
            for step in self.steps:
                vectors = step(vectors, embeddings.ids[start : start + _BLOCK])
            parts.append(vectors.astype(np.float32))
        vectors = np.concatenate(parts) if parts else embeddings.vectors
        return Embeddings(embeddings.ids, vectors, embeddings.speakers, self.result, embeddings.front_end)

    def affine(self, dim: int) -> tuple[np.ndarray, np.ndarray]:
        """The chain as one affine map x @ matrix + offset: float64 (dim, new dim) and (new dim,).

        Raises InputError for a step that is not affine (length), or vectors of another size.
        """
        matrix, offset = np.eye(dim), np.zeros(dim)
        for step in self.steps:
            if step.mean is None:
                raise InputError(
                    f"the step '{step.name}' is not affine; fit a chain without it (as a last step, it does not change "
                    "cosine scores)"
                )
            matrix = matrix if step.matrix is None else matrix @ step.matrix
            offset = step(offset[None], ())[0]
        return matrix, offset

    @property
    def result(self) -> str:
        """The model of transformed embeddings: the model's hash, `+` and the hash of the chain."""
        digest = hashlib.sha256()
        for step in self.steps:
            for part in (step.name.encode(), step.mean, step.matrix):
                digest.update(b"" if part is None else bytes(part))
        return f"{self.model}+{digest.hexdigest()[:16]}"


def fit_chain(embeddings: Embeddings, steps: Sequence[str]) -> Chain:
    """Fit a chain on a training set; steps: names, for example ["centre", "lda:150", "length"].

    Raises InputError for an unknown step, for lda and wccn without speakers, and if the training set is too small.
    """
    vectors: np.ndarray = embeddings.vectors.astype(np.float64)
    found = []
    for word in steps:
        name, _, size = word.partition(":")
        if name not in STEPS or (name in _SIZED) != size.isdigit():
            known = ", ".join(f"{step}:K" if step in _SIZED else step for step in STEPS)
            raise InputError(
                f"unknown step '{word}'{nearest(name, STEPS) if name not in STEPS else ''}; steps: {known}"
            )
        step = _fit(name, int(size or 0), vectors, embeddings)
        vectors = step(vectors, embeddings.ids)
        found.append(step)
    return Chain(tuple(found), embeddings.model)


def speaker_covariances(embeddings: Embeddings, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The covariance within speakers and between speaker means, weighted by numbers of embeddings; (dim, dim) each.

    Raises InputError if the speaker of an embedding is unknown, or if no speaker has two embeddings.
    """
    codes, counts = speaker_codes(embeddings)
    if counts.max(initial=0) < 2:
        raise InputError("no speaker has two embeddings; they are needed for the covariance within speakers")
    sums = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(sums, codes, vectors)
    means = sums / counts[:, None]
    within, between = vectors - means[codes], means - vectors.mean(axis=0)
    return within.T @ within / len(vectors), (between.T * counts) @ between / len(vectors)


def speaker_codes(embeddings: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """The speaker of each embedding as a code (rows,), and the number of embeddings of each speaker (speakers,).

    Raises InputError if the speaker of an embedding is unknown.
    """
    if embeddings.speakers is None or "" in embeddings.speakers:
        raise InputError("an embedding has no speaker; lda, wccn and PLDA need the speaker of every embedding")
    names, codes = np.unique(np.array(embeddings.speakers, np.str_), return_inverse=True)
    return codes, np.bincount(codes, minlength=len(names))


def write_chain(path: StrPath, chain: Chain) -> None:
    """Write a chain as a directory: chain.safetensors and chain.yaml."""
    arrays = {
        f"{number}.{name}": np.ascontiguousarray(value)
        for number, step in enumerate(chain.steps)
        for name, value in (("mean", step.mean), ("matrix", step.matrix))
        if value is not None
    }
    about = {"model": chain.model, "steps": [step.name for step in chain.steps]}
    with atomic_directory(path, holds="chain.yaml") as folder:
        safetensors.numpy.save_file(arrays, folder / "chain.safetensors")
        (folder / "chain.yaml").write_text(yaml.safe_dump(about, sort_keys=False), encoding="utf-8")


def read_chain(path: StrPath) -> Chain:
    """Read a chain. Raises InputError if the directory is not a chain."""
    arrays, about = read_arrays(path, "chain")
    try:
        if not isinstance(about["steps"], list) or not set(about["steps"]) <= set(STEPS):
            raise TypeError(f"its steps are {str(about['steps'])[:80]}; known: {', '.join(STEPS)}")
        steps = [
            Step(str(name), arrays.get(f"{number}.mean"), arrays.get(f"{number}.matrix"))
            for number, name in enumerate(about["steps"])
        ]
        return Chain(tuple(steps), str(about["model"]))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a chain of transforms ({error})") from error


def read_arrays(path: StrPath, name: str) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays of NAME.safetensors, all finite, and the content of NAME.yaml in a directory. No code is run."""
    folder = located(path)
    try:
        arrays = safetensors.numpy.load_file(folder / f"{name}.safetensors")
        about = read_yaml(folder / f"{name}.yaml")
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        refuse_stand_in(folder / f"{name}.safetensors")
        raise InputError(f"{path}: no {name}.safetensors and {name}.yaml in this directory ({error})") from error
    refuse_newer(folder / f"{name}.yaml", about)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise InputError(f"{path}: {name}.safetensors has values that are not finite")
    return arrays, about


def _fit(name: str, size: int, vectors: np.ndarray, embeddings: Embeddings) -> Step:
    if name == "length":
        return Step(name)
    if not len(vectors):
        raise InputError(f"the step '{name}' cannot be fitted: there are no embeddings")
    mean = vectors.mean(axis=0)
    if name == "centre":
        return Step(name, mean)
    if name in ("whiten", "pca"):
        covariance = (vectors - mean).T @ (vectors - mean) / len(vectors)
        if name == "whiten":
            return Step(name, mean, _inverse_root(covariance, name))
        if not 1 <= size <= len(mean):
            raise InputError(f"pca:{size}: give a number from 1 to {len(mean)} for these embeddings")
        return Step(name, mean, _largest(covariance, size))
    within, between = speaker_covariances(embeddings, vectors)
    root = _inverse_root(within, name)
    if name == "wccn":
        return Step(name, mean, root)
    most = min(len(mean), len(set(embeddings.speakers or ())) - 1)
    if not most:
        raise InputError(f"lda:{size}: all embeddings are of one speaker; LDA needs at least two")
    if not 1 <= size <= most:
        raise InputError(f"lda:{size}: give a number from 1 to {most} for these speakers")
    return Step(name, mean, root @ _largest(root.T @ between @ root, size))


def _largest(covariance: np.ndarray, size: int) -> np.ndarray:
    """The eigenvectors (dim, size) of the largest eigenvalues, in descending order."""
    axes: np.ndarray = np.linalg.eigh(covariance)[1]  # in ascending order
    return axes[:, ::-1][:, :size]


def _inverse_root(covariance: np.ndarray, what: str) -> np.ndarray:
    """R with R.T @ covariance @ R = identity. Raises InputError for a singular covariance."""
    values, axes = np.linalg.eigh(covariance)
    if values[0] <= _FLOOR * values[-1]:
        none = int(np.count_nonzero(values <= _FLOOR * values[-1]))
        raise InputError(
            f"the step '{what}' needs a covariance of full rank; {none} of {len(values)} eigenvalues are 0; put pca:N "
            f"before it, with N at most {len(values) - none}, or give more recordings"
        )
    root: np.ndarray = axes / np.sqrt(values)
    return root
