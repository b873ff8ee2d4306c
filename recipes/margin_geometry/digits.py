"""Softmax against L-softmax on handwritten digits, in two dimensions (Liu et al., ICML 2016, figures 2 and 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recipes.margin_geometry import data, pictures
from recipes.margin_geometry.page import Experiment, Picture, Table, mean_and_deviation
from recipes.margin_geometry.style import style
from recipes.margin_geometry.training import Plan, Seen, Task, Trained, train_all

ANNEALING = {"name": "exponential", "initial": 1000, "final": 0, "end": 0.6}
"""λ: from almost softmax to the margin in full after 60 % of the steps."""

LOSSES: dict[str, dict[str, Any]] = {
    "softmax": {"name": "softmax", "head": {"bias": False}},  # L-softmax with m = 1
    **{f"L-softmax m = {m}": {"name": "l_softmax", "m": m, "schedules": {"annealing": ANNEALING}} for m in (2, 3, 4)},
}

Runs = Mapping[str, Sequence[Trained]]
"""the runs of each loss, one per seed"""


def digits(seeds: Sequence[int], *, jobs: int = 1, plan: Plan | None = None) -> Experiment:
    """Train every loss with every seed. Plots of points show the first seed, numbers cover all."""
    plan = plan or Plan()
    points = data.digits()
    tasks = {(label, seed): Task(points, loss, plan, seed) for label, loss in LOSSES.items() for seed in seeds}
    with style():  # before the training, so that a missing matplotlib fails early
        trained = train_all(tasks, jobs=jobs, what="digits")
        runs = {label: [trained[label, seed] for seed in seeds] for label in LOSSES}
        drawn = _pictures(runs, seeds[0])
    return Experiment(
        title="Digits: softmax and L-softmax",
        text=f"The digits of scikit-learn: the first {len(points.train.y)} for training, the other "
        f"{len(points.test.y)}, most of them by other writers, for test. A perceptron with {plan.hidden}, "
        f"{plan.hidden} and {plan.dim} units; {plan.steps} steps with batches of {plan.batch}, λ annealed to 0; "
        f"{len(seeds)} seeds.",
        tables=[Table(f"Digits: mean and standard deviation over {len(seeds)} seeds", _rows(runs))],
        pictures=drawn,
        numbers={"seeds": list(seeds), "losses": LOSSES, "runs": _numbers(runs, seeds)},
    )


def _pictures(runs: Runs, seed: int) -> list[Picture]:
    counts = {label: np.sum([run.test.confusion for run in own], axis=0) for label, own in runs.items()}
    return [
        Picture(
            "digits",
            f"Two-dimensional embeddings of handwritten digits (seed {seed}), labelled outside of each class.",
            pictures.embeddings({label: own[0] for label, own in runs.items()}),
        ),
        Picture(
            "digits_learning",
            "Cross-entropy without the margin, so that losses can be compared; mean over the seeds. Right: a dot per "
            "seed, and a line at their mean.",
            pictures.learning(runs),
        ),
        Picture(
            "digits_confusion",
            "Confusion matrices of the test digits in percent of the true digit, over all seeds.",
            pictures.confusions(counts),
        ),
    ]


def _rows(runs: Runs) -> list[list[str]]:
    head = ["loss", "training loss", "test loss", "without margin: training", "test"]
    rows = [[*head, "accuracy %: training", "test", "own centre °: training", "test"]]
    for label, own in runs.items():
        sides = [run.train for run in own], [run.test for run in own]
        rows.append(
            [
                label,
                *(mean_and_deviation([seen.loss for seen in side], 3) for side in sides),
                *(mean_and_deviation([seen.cross_entropy for seen in side], 3) for side in sides),
                *(mean_and_deviation([100 * seen.accuracy for seen in side], 1) for side in sides),
                *(mean_and_deviation([seen.spread.within_mean for seen in side], 1) for side in sides),
            ]
        )
    return rows


def _numbers(runs: Runs, seeds: Sequence[int]) -> dict[str, Any]:
    def plain(seen: Seen) -> dict[str, Any]:
        return {**seen.numbers(), "confusion": seen.confusion.tolist()}

    return {
        label: {seed: {"train": plain(run.train), "test": plain(run.test)} for seed, run in zip(seeds, own)}
        for label, own in runs.items()
    }
