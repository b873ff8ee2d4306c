"""Probabilistic linear discriminant analysis (PLDA).

An embedding is the sum of a speaker variable y ~ N(mean, between) and a residual ~ N(0, within). The model is fitted by
expectation maximisation in float64, either with a full between-speaker covariance (two-covariance model; Brümmer & de
Villiers, "The speaker partitioning problem", 2010) or with one of limited rank, F F' (simplified PLDA; Kenny, "Bayesian
speaker verification with heavy-tailed priors", 2010). The number of recordings of a speaker is taken into account in
training and in enrolment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import safetensors.numpy
import yaml

from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.files import StrPath, atomic_directory
from spkver.progress import bar
from spkver.scoring.chain import read_arrays, speaker_codes, speaker_covariances
from spkver.scoring.cosine import check_same_model, model_rows
from spkver.scoring.sides import Side, Sides


@dataclass(frozen=True)
class Plda:
    """A PLDA model.

    mean: float64 (dim,); between, within: covariances, float64 (dim, dim), the latter positive definite
    model: hash of the model of the embeddings
    """

    mean: np.ndarray
    between: np.ndarray
    within: np.ndarray
    model: str = ""

    def sides(
        self,
        embeddings: Embeddings,
        *,
        enrolment: Mapping[str, Sequence[str]] | None = None,
        test: Embeddings | None = None,
        device: str = "cpu",
    ) -> Sides:
        """Prepare embeddings for natural-log likelihood ratios.

        An enrolment model of several utterances is scored exactly: its posterior depends on their number.

        enrolment, test, device: as for `spkver.scoring.cosine.sides`
        Raises InputError for embeddings of another model or size.
        """
        other = embeddings if test is None else test
        check_same_model(embeddings, other)
        self.require(embeddings)
        axes, spread = self.axes()
        tests = (other.vectors - self.mean) @ axes
        own = tests if test is None else (embeddings.vectors - self.mean) @ axes
        utterances = Side(pa.array(embeddings.ids, pa.string()), own, what="enrolment utterances of the trials")
        counts = np.ones(len(own))
        ids, means = utterances.ids, own
        if enrolment is not None:
            rows, starts = model_rows(enrolment, utterances)
            counts = np.diff(np.append(starts, len(rows))).astype(np.float64)
            means = np.add.reduceat(own[rows], starts, axis=0) / counts[:, None]
            ids = pa.array(list(enrolment), pa.string())
        return _sides(ids, means, counts, other, tests, spread, device)

    def require(self, embeddings: Embeddings) -> None:
        """Raises InputError for embeddings of another model or size."""
        if (embeddings.model, embeddings.dim) != (self.model, len(self.mean)):
            raise InputError(
                f"the PLDA is of {len(self.mean)} values of the model '{self.model}', the embeddings are "
                f"{embeddings.dim} of '{embeddings.model}'"
            )

    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """The axes (dim, dim) that make `within` the identity and `between` diagonal, and the diagonal (dim,)."""
        root = np.linalg.inv(np.linalg.cholesky(self.within)).T
        spread, turn = np.linalg.eigh(root.T @ self.between @ root)
        return root @ turn, np.maximum(spread, 0)


def fit_plda(embeddings: Embeddings, *, rank: int | None = None, iterations: int = 20) -> Plda:
    """Fit a model on embeddings with speakers; iterations: of expectation maximisation.

    rank: rank of the between-speaker covariance; by default full rank (two-covariance model)
    Raises InputError for an embedding without a speaker, fewer than two speakers, no speaker with two embeddings, and
    an impossible rank.
    """
    if rank is not None and not 1 <= rank <= embeddings.dim:
        raise InputError(f"the rank must be between 1 and {embeddings.dim}, got {rank}")
    vectors = embeddings.vectors.astype(np.float64)
    codes, counts = speaker_codes(embeddings)
    within, between = speaker_covariances(embeddings, vectors)
    if not np.trace(between) > 1e-12 * np.trace(within):
        raise InputError("the speakers do not differ; PLDA needs embeddings of at least two speakers")
    sums = np.zeros((len(counts), embeddings.dim))
    np.add.at(sums, codes, vectors)
    model = Plda(vectors.mean(axis=0), between, within, embeddings.model)
    _refuse_singular(within, "within speakers")
    total = vectors.T @ vectors
    step = _two_covariance if rank is None else _simplified
    if rank is not None:
        values, axes = np.linalg.eigh(between)
        factors = axes[:, ::-1][:, :rank] * np.sqrt(np.maximum(values[::-1][:rank], 1e-6 * values[-1]))
        model = Plda(model.mean, factors @ factors.T, within, model.model)
    with bar(total=iterations, what="PLDA", unit="iteration") as progress:
        for _ in range(iterations):
            model = step(model, sums, counts, total, rank or 0)
            progress.update()
    return model


def _refuse_singular(covariance: np.ndarray, where: str) -> None:
    if np.linalg.matrix_rank(covariance, hermitian=True) < len(covariance):
        raise InputError(f"the covariance {where} is singular; reduce the dimension (lda), or give more embeddings")


def interpolated(one: Plda, other: Plda, weight: float) -> Plda:
    """The weighted mean of two models of the same embeddings: weight 1 - `weight` for `one`, `weight` for `other`.

    This is the supervised domain adaptation of Garcia-Romero & McCree (ICASSP 2014), with an out-of-domain model `one`
    and an in-domain model `other`. Raises InputError for models of different embeddings, and a weight outside [0, 1].
    """
    if (one.model, one.mean.shape) != (other.model, other.mean.shape):
        raise InputError("only PLDA models of the same embeddings can be interpolated")
    if not 0 <= weight <= 1:
        raise InputError(f"the weight must be between 0 and 1, got {weight}")
    mean, between, within = (
        (1 - weight) * a + weight * b
        for a, b in ((one.mean, other.mean), (one.between, other.between), (one.within, other.within))
    )
    return Plda(mean, between, within, one.model)


def coral(plda: Plda, domain: Embeddings) -> Plda:
    """Adapt a model to the domain of unlabelled embeddings by correlation alignment (CORAL; Sun et al., AAAI 2016).

    The mean becomes that of the domain. Both covariances are transformed like embeddings that are whitened with the
    total covariance of the model and recoloured with that of the domain (Alam et al., Odyssey 2018).
    Raises InputError for embeddings of another model or size, and if there are too few.
    """
    if (domain.model, domain.dim) != (plda.model, len(plda.mean)):
        raise InputError(f"the PLDA is of the model '{plda.model}', the embeddings are of '{domain.model}'")
    if len(domain) <= domain.dim:
        raise InputError(f"{len(domain)} embeddings are too few for a covariance of {domain.dim} values")
    mean = domain.vectors.mean(axis=0, dtype=np.float64)
    centred = domain.vectors - mean
    covariance = centred.T @ centred / len(domain)
    _refuse_singular(covariance, "of the domain")
    colour = _root(covariance, 0.5)
    move = colour @ _root(plda.between + plda.within, -0.5)
    return Plda(mean, move @ plda.between @ move.T, move @ plda.within @ move.T, plda.model)


def write_plda(path: StrPath, plda: Plda) -> None:
    """Write a model as a directory: plda.safetensors and plda.yaml."""
    with atomic_directory(path, holds="plda.yaml") as folder:
        arrays = {name: np.ascontiguousarray(getattr(plda, name)) for name in ("mean", "between", "within")}
        safetensors.numpy.save_file(arrays, folder / "plda.safetensors")
        (folder / "plda.yaml").write_text(yaml.safe_dump({"model": plda.model}), encoding="utf-8")


def read_plda(path: StrPath) -> Plda:
    """Read a model. Raises InputError if the directory is not a PLDA model."""
    arrays, about = read_arrays(path, "plda")
    try:
        mean, between, within = (arrays[name].astype(np.float64) for name in ("mean", "between", "within"))
        if not between.shape == within.shape == (len(mean), len(mean)):
            raise ValueError(f"the shapes are {mean.shape}, {between.shape}, {within.shape}")
        np.linalg.cholesky(within)
        return Plda(mean, between, within, str(about["model"]))
    except (KeyError, TypeError, ValueError, np.linalg.LinAlgError) as error:
        raise InputError(f"{path}: not a PLDA model ({error})") from error


# --- scoring ---------------------------------------------------------------------------------------------------------


def _sides(
    ids: pa.StringArray,
    means: np.ndarray,
    counts: np.ndarray,
    other: Embeddings,
    tests: np.ndarray,
    spread: np.ndarray,
    device: str,
) -> Sides:
    """The log-likelihood ratio as a dot product, on axes with `within` the identity and `between` diagonal (`spread`).

    Given the mean u of n recordings, the posterior of the speaker variable is N(n s u / (n s + 1), s / (n s + 1)). The
    ratio is that of the test under N(point, 1 + variance) to the test under N(0, 1 + s), a quadratic polynomial in the
    test.
    """
    known = counts[:, None] * spread
    point, variance = means * known / (known + 1), 1 + spread / (known + 1)
    square = 0.5 / (1 + spread) - 0.5 / variance
    constant = (0.5 * np.log((1 + spread) / variance) - 0.5 * point**2 / variance).sum(axis=1)
    linear = point / variance
    offsets = None
    if (counts == counts[:1]).all() and len(counts):  # the quadratic term depends on the test alone
        offsets = (tests**2 @ square[0]).astype(np.float32)
    else:
        linear, tests = np.concatenate([linear, square], axis=1), np.concatenate([tests, tests**2], axis=1)
    return Sides(
        Side(ids, linear.astype(np.float32), constant.astype(np.float32), "enrolments of the trials"),
        Side(pa.array(other.ids, pa.string()), tests.astype(np.float32), offsets, "test utterances of the trials"),
        device=device,
    )


# --- training --------------------------------------------------------------------------------------------------------


def _two_covariance(plda: Plda, sums: np.ndarray, counts: np.ndarray, total: np.ndarray, rank: int) -> Plda:
    """One EM iteration. sums: sum of the embeddings of each speaker (speakers, dim); total: sum of x x' (dim, dim)."""
    precision, noise = np.linalg.inv(plda.between + _jitter(plda.between)), np.linalg.inv(plda.within)
    points = np.empty_like(sums)
    covariances = np.zeros_like(plda.within)  # of the speaker variables, summed over speakers
    weighted = np.zeros_like(plda.within)  # the same, summed over embeddings
    for count in np.unique(counts):
        of = counts == count
        posterior = np.linalg.inv(precision + count * noise)
        points[of] = (precision @ plda.mean + sums[of] @ noise) @ posterior
        covariances += np.count_nonzero(of) * posterior
        weighted += count * np.count_nonzero(of) * posterior
    mean = points.mean(axis=0)
    centred = points - mean
    between = (centred.T @ centred + covariances) / len(counts)
    cross = sums.T @ points
    within = (total - cross - cross.T + (points.T * counts) @ points + weighted) / counts.sum()
    return Plda(mean, _symmetric(between), _symmetric(within), plda.model)


def _simplified(plda: Plda, sums: np.ndarray, counts: np.ndarray, total: np.ndarray, rank: int) -> Plda:
    """One EM iteration with between = F F' of limited rank, followed by minimum divergence. The mean is not changed."""
    values, axes = np.linalg.eigh(plda.between)
    factors = axes[:, ::-1][:, :rank] * np.sqrt(np.maximum(values[::-1][:rank], 0))
    noise = np.linalg.inv(plda.within)
    centred = sums - counts[:, None] * plda.mean
    projected = factors.T @ noise
    hidden = np.empty((len(counts), rank))
    second = np.zeros((rank, rank))  # second moments of the hidden variables, summed over embeddings
    prior = np.zeros((rank, rank))  # the same, summed over speakers
    for count in np.unique(counts):
        of = counts == count
        posterior = np.linalg.inv(np.eye(rank) + count * projected @ factors)
        hidden[of] = centred[of] @ projected.T @ posterior
        moment = np.count_nonzero(of) * posterior + hidden[of].T @ hidden[of]
        second += count * moment
        prior += moment
    cross = centred.T @ hidden
    factors = np.linalg.solve(second, cross.T).T
    scatter = total - np.outer(sums.sum(axis=0), plda.mean) - np.outer(plda.mean, sums.sum(axis=0))
    scatter += counts.sum() * np.outer(plda.mean, plda.mean)
    within = (scatter - factors @ cross.T) / counts.sum()
    factors = factors @ np.linalg.cholesky(prior / len(counts))
    return Plda(plda.mean, factors @ factors.T, _symmetric(within), plda.model)


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    half: np.ndarray = (matrix + matrix.T) / 2
    return half


def _jitter(matrix: np.ndarray) -> np.ndarray:
    """A small multiple of the identity, so that the covariance of fewer speakers than dimensions can be inverted."""
    small: np.ndarray = 1e-9 * np.trace(matrix) / len(matrix) * np.eye(len(matrix))
    return small


def _root(covariance: np.ndarray, power: float) -> np.ndarray:
    values, axes = np.linalg.eigh(covariance)
    root: np.ndarray = (axes * np.maximum(values, 1e-12 * values[-1]) ** power) @ axes.T
    return root
