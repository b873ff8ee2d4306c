"""Eight synthetic speakers under NSL, LMCL and BD-LMCL, in two and three dimensions.

After the experiment on eight identities in Wang et al., CVPR 2018, figure 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from recipes.margin_geometry import data, pictures
from recipes.margin_geometry.page import Experiment, Picture, Table, mean_and_deviation
from recipes.margin_geometry.style import style
from recipes.margin_geometry.training import Plan, Task, Trained, train_all
from spkver.losses.bounds import largest_margin

WARM_UP = 0.1, 0.4
"""shares of the run between which the margins grow from 0"""

_SCHEDULES = {"m": {"name": "warmup", "start": WARM_UP[0], "end": WARM_UP[1]}}

LOSSES: dict[str, dict[str, Any]] = {
    "softmax": {"name": "softmax"},
    "NSL": {"name": "nsl"},  # LMCL with m = 0, to the bit
    **{
        f"{title} m = {m}": {"name": name, "m": m, "schedules": _SCHEDULES}
        for title, name in (("LMCL", "lmcl"), ("BD-LMCL", "bd_lmcl"))
        for m in (0.1, 0.2)
    },
}

DIMENSIONS = 2, 3

Runs = Mapping[str, Sequence[Trained]]
"""the runs of each loss, one per seed"""


def speakers(seeds: Sequence[int], *, jobs: int = 1, plan: Plan | None = None) -> Experiment:
    """Train every loss in two and three dimensions with every seed. The seed also determines the speakers.

    Plots of points show the first seed, numbers cover all.
    """
    plan = plan or Plan()
    points = {seed: data.speakers(seed) for seed in seeds}
    tasks = {
        (dim, label, seed): Task(points[seed], loss, replace(plan, dim=dim), seed)
        for dim in DIMENSIONS
        for label, loss in LOSSES.items()
        for seed in seeds
    }
    with style():  # before the training, so that a missing matplotlib fails early
        trained = train_all(tasks, jobs=jobs, what="speakers")
        flat, deep = ({label: [trained[dim, label, seed] for seed in seeds] for label in LOSSES} for dim in DIMENSIONS)
        drawn = _pictures(flat, deep, seeds[0])
    one = points[seeds[0]]
    spoken = f"mean and standard deviation over {len(seeds)} seeds"
    return Experiment(
        title="Eight speakers: NSL, LMCL and BD-LMCL",
        text=f"Synthetic speakers: {len(one.train.y)} utterances for training, {len(one.test.y)} from other sessions "
        f"for test. A perceptron with {plan.hidden} and {plan.hidden} units and the embedding; {plan.steps} steps with "
        f"batches of {plan.batch}; {len(seeds)} seeds, each with other speakers. With eight speakers in two "
        f"dimensions, m of LMCL can be at most {largest_margin(8, 2):.3f}.",
        tables=[
            Table(f"Two dimensions: {spoken}", _rows(flat)),
            Table(f"Three dimensions: {spoken}", _rows(deep)),
        ],
        pictures=drawn,
        numbers={
            "seeds": list(seeds),
            "losses": LOSSES,
            "two dimensions": _numbers(flat, seeds),
            "three dimensions": _numbers(deep, seeds),
        },
    )


def _pictures(flat: Runs, deep: Runs, seed: int) -> list[Picture]:
    spreads = {
        title: {label: [run.test.spread for run in own] for label, own in runs.items()}
        for title, runs in (("two dimensions", flat), ("three dimensions", deep))
    }
    return [
        Picture(
            "speakers",
            f"Two-dimensional embeddings of eight synthetic speakers (seed {seed}). Outside the circles: a histogram "
            "of each speaker's directions (square root of the share). Lines: the speakers' centres.",
            pictures.circles({label: own[0] for label, own in flat.items()}),
        ),
        Picture(
            "speakers_sphere",
            f"Directions of three-dimensional embeddings of the test utterances (seed {seed}), in an equal-area "
            "projection of the sphere.",
            pictures.spheres({label: own[0] for label, own in deep.items()}),
        ),
        Picture(
            "speakers_spread",
            "Angles on the test utterances: a dot per seed, and a line at their mean.",
            pictures.spreads(spreads),
        ),
        Picture(
            "speakers_boundary",
            "Boundary samples of the training set at the current margin, two dimensions, mean over the seeds. BD-LMCL "
            "gives the margin only to them; LMCL, shown for comparison, gives it to all samples.",
            pictures.boundary_shares({label: own for label, own in flat.items() if "LMCL" in label}, WARM_UP),
        ),
        Picture(
            "speakers_length",
            "Norm of the two-dimensional embeddings of the training set: mean and quartiles, averaged over the "
            "seeds. Softmax can lower its loss with longer embeddings, NSL cannot.",
            pictures.lengths({label: flat[label] for label in ("softmax", "NSL")}),
        ),
    ]


def _rows(runs: Runs) -> list[list[str]]:
    head = ["loss", "accuracy %: training", "test", "own centre °: training mean", "max", "test mean", "max"]
    rows = [[*head, "closest centres °: training", "test", "test EER %", "boundary share %", "‖x‖"]]
    for label, own in runs.items():
        train, test = [run.train.spread for run in own], [run.test.spread for run in own]
        shown = [
            [100 * run.train.accuracy for run in own],
            [100 * run.test.accuracy for run in own],
            [found.within_mean for found in train],
            [found.within_max for found in train],
            [found.within_mean for found in test],
            [found.within_max for found in test],
            [found.between_min for found in train],
            [found.between_min for found in test],
            [100 * run.test.eer for run in own],
            [100 * run.train.boundary_share for run in own],
            [run.history[-1].length for run in own],
        ]
        rows.append([label, *(mean_and_deviation(values, 1) for values in shown)])
    return rows


def _numbers(runs: Runs, seeds: Sequence[int]) -> dict[str, Any]:
    return {
        label: {
            seed: {
                "train": run.train.numbers(),
                "test": {**run.test.numbers(), "eer": run.test.eer},
                "history": [moment._asdict() for moment in run.history],
            }
            for seed, run in zip(seeds, own)
        }
        for label, own in runs.items()
    }
