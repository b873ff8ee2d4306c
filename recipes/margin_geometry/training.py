"""Train a small network with one loss, and measure it during the training.

The losses are the toolkit's own; the network is a perceptron whose last layer has two or three units.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recipes.margin_geometry.data import Dataset, Points
from recipes.margin_geometry.measures import Spread, confusion, pair_eer, spread
from spkver.config import validate
from spkver.losses import LOSSES
from spkver.losses.margin_loss import MarginLoss
from spkver.processes import process_pool
from spkver.progress import bar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Plan:
    """How the networks of an experiment are trained."""

    dim: int = 2
    """dimension of the embeddings"""
    steps: int = 1000
    batch: int = 64
    rate: float = 3e-3
    """initial learning rate of Adam; it falls to 0 with a cosine schedule"""
    hidden: int = 128
    looks: int = 40
    """number of measurements during the training"""


class Task(NamedTuple):
    """One run."""

    data: Dataset
    loss: Mapping[str, Any]
    """config of the loss, with its name"""
    plan: Plan
    seed: int
    """seed of the initial weights and the batches, the same for every loss"""


@dataclass(frozen=True)
class Seen:
    """Embeddings of points, and the values of the loss for them."""

    embeddings: np.ndarray
    """float32 (N, dim)"""
    labels: np.ndarray
    predicted: np.ndarray
    """the class of the largest logit, without a margin"""
    loss: float
    """the training loss, with the margin"""
    cross_entropy: float
    """-log p of the own class without the margin, in nats"""
    boundary_share: float
    """share of points with another class above ψ, the target logit with the margin"""
    selected_share: float
    """share of points that get the margin"""

    @property
    def accuracy(self) -> float:
        """Share of points whose largest logit is that of their class."""
        return float(np.mean(self.predicted == self.labels))

    @property
    def spread(self) -> Spread:
        """Angles within and between the classes."""
        return spread(self.embeddings, self.labels)

    @property
    def confusion(self) -> np.ndarray:
        """Counts (C, C); rows: true class, columns: predicted class."""
        return confusion(self.labels, self.predicted)

    @property
    def eer(self) -> float:
        """The equal error rate over all pairs of points, scored by cosine."""
        return pair_eer(self.embeddings, self.labels)

    def numbers(self) -> dict[str, Any]:
        """All measured values, for a JSON file."""
        return {
            "loss": self.loss,
            "cross_entropy": self.cross_entropy,
            "accuracy": self.accuracy,
            "angles": self.spread._asdict(),
            "boundary_share": self.boundary_share,
            "selected_share": self.selected_share,
        }


class Moment(NamedTuple):
    """Measurements on the training points, and one on the test points, during the training."""

    step: int
    cross_entropy: float
    test_cross_entropy: float
    boundary_share: float
    selected_share: float
    length: float
    """mean ‖x‖"""
    length_low: float
    """the quartiles of ‖x‖"""
    length_high: float


@dataclass(frozen=True)
class Trained:
    """The result of a run."""

    train: Seen
    test: Seen
    history: tuple[Moment, ...]


def train_all(tasks: Mapping[Key, Task], *, jobs: int = 1, what: str = "training") -> dict[Key, Trained]:
    """Train every task, in `jobs` processes of one thread each. The numbers do not depend on `jobs`."""
    with contextlib.ExitStack() as stack:
        trained: Iterator[Trained] = map(train, tasks.values())
        if jobs > 1:
            pool = stack.enter_context(process_pool(min(jobs, len(tasks))))
            trained = pool.map(train, tasks.values())
        progress = stack.enter_context(bar(total=len(tasks), what=what, unit="run"))
        results = {}
        for key, result in zip(tasks, trained):
            results[key] = result
            progress.update()
        return results


def train(task: Task) -> Trained:
    """Train one network with one loss."""
    data, plan = task.data, task.plan
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        network = perceptron(data.train.x.shape[1], plan.hidden, plan.dim)
        loss = MarginLoss(validate(LOSSES, task.loss), plan.dim, data.classes)
        loss.head.weight.data.copy_(spread_evenly(data.classes, plan.dim))
        history = tuple(_steps(network, loss, task))
        return Trained(look(network, loss, data.train), look(network, loss, data.test), history)


def _steps(network: nn.Module, loss: MarginLoss, task: Task) -> Iterator[Moment]:
    """Run all steps of a training; yields the measurements."""
    plan = task.plan
    optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], lr=plan.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.steps)
    x, y = map(torch.from_numpy, task.data.train)
    for step, rows in enumerate(_batches(len(y), plan)):
        if step % max(1, plan.steps // plan.looks) == 0:
            yield _moment(network, loss, task, step)
        optimizer.zero_grad()
        loss(network(x[rows]), y[rows], step / plan.steps).loss.backward()
        optimizer.step()
        schedule.step()
    yield _moment(network, loss, task, plan.steps)


def perceptron(inputs: int, hidden: int, dim: int) -> nn.Sequential:
    """Two hidden layers; the embedding is the affine output."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.PReLU(), nn.Linear(hidden, hidden), nn.PReLU(), nn.Linear(hidden, dim)
    )


def spread_evenly(number: int, dim: int) -> Tensor:
    """Unit vectors (number, dim) far from each other: random vectors after mutual repulsion.

    Prototypes start there because classes cannot pass each other on a circle: of prototypes drawn at random, some
    classes stay stuck behind others for the whole run.
    """
    points = torch.randn(number, dim).requires_grad_()
    optimizer = torch.optim.Adam([points], lr=0.1)
    for _ in range(100):
        units = functional.normalize(points, dim=1)
        closeness = torch.logsumexp((20 * units @ units.T).fill_diagonal_(-torch.inf).flatten(), dim=0)
        optimizer.zero_grad()
        closeness.backward()
        optimizer.step()
    return functional.normalize(points.detach(), dim=1)


@torch.no_grad()
def look(network: nn.Module, loss: MarginLoss, points: Points, progress: float = 1.0) -> Seen:
    """Apply network and loss to all points, at a progress of the run in [0, 1]."""
    y = torch.from_numpy(points.y)
    x = network(torch.from_numpy(points.x))
    output = loss(x, y, progress)
    logits = loss.head.logits(x)
    return Seen(
        embeddings=x.numpy(),
        labels=points.y,
        predicted=logits.argmax(dim=1).numpy(),
        loss=float(output.loss),
        cross_entropy=float(functional.cross_entropy(logits, y)),
        boundary_share=1 - float(output.margin_accuracy),
        selected_share=float(output.selected_share),
    )


def _moment(network: nn.Module, loss: MarginLoss, task: Task, step: int) -> Moment:
    progress = step / task.plan.steps
    train = look(network, loss, task.data.train, progress)
    test = look(network, loss, task.data.test, progress)
    lengths = np.linalg.norm(train.embeddings, axis=1)
    return Moment(
        step=step,
        cross_entropy=train.cross_entropy,
        test_cross_entropy=test.cross_entropy,
        boundary_share=train.boundary_share,
        selected_share=train.selected_share,
        length=float(lengths.mean()),
        length_low=float(np.quantile(lengths, 0.25)),
        length_high=float(np.quantile(lengths, 0.75)),
    )


def _batches(number: int, plan: Plan) -> Iterator[Tensor]:
    """The rows of each step: every point once per epoch; an incomplete last batch is dropped."""
    rows = torch.empty(0, dtype=torch.int64)
    for _ in range(plan.steps):
        if len(rows) < plan.batch:
            rows = torch.randperm(number)
        yield rows[: plan.batch]
        rows = rows[plan.batch :]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: faster for small networks, and sums do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
