"""The runs of a sweep."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spkver.config import load
from spkver.errors import InputError
from spkver.files import StrPath, read_json, sha256
from spkver.packs.layout import INDEX
from spkver.recipe import Recipe, is_complete
from spkver.storage import located
from spkver.sweep.schema import Sweep, SystemConfig, TestConfig, overrides, path_name

RUNS, FAILED, LOGS, TESTS = "runs", "failed", "logs", "tests"


@dataclass(frozen=True)
class Run:
    """A training run, and the trial lists that are scored with its model."""

    out: Path
    """directory of the sweep"""
    family: str
    """name of the system in the sweep file"""
    system: str
    """the same, with the point of the grid or search"""
    seed: int
    changes: tuple[str, ...]
    """what differs from the recipe, `key=value`"""
    recipe: Recipe
    tests: Mapping[str, TestFiles] = field(repr=False)

    @property
    def name(self) -> str:
        """The name of its experiment directory."""
        return f"{self.system}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Its experiment directory."""
        return self.out / RUNS / self.name

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.out / LOGS / f"{self.name}.log"

    @property
    def failed(self) -> Path:
        """A file with the reason, if the run failed."""
        return self.out / FAILED / f"{self.name}.txt"

    def scores(self, test: str) -> Path:
        """The scores of a trial list."""
        return self.folder / TESTS / f"{test}.parquet"

    def result(self, test: str) -> Path:
        """The error rates of a trial list."""
        return self.folder / TESTS / f"{test}.json"

    def has(self, test: str) -> bool:
        """Whether the trial list was scored, as it is now."""
        path = self.result(test)
        return path.is_file() and self.scores(test).is_file() and read_json(path)["test"] == self.tests[test].identity

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do. Raises InputError if the directory has a run with another config."""
        return is_complete(self.recipe, self.folder) and all(map(self.has, self.tests))


@dataclass(frozen=True)
class TestFiles:
    """A trial list with its recordings.

    identity: changes with the config and with the files, for results to be made again
    """

    __test__ = False

    config: TestConfig
    identity: Mapping[str, Any]

    @classmethod
    def find(cls, config: TestConfig) -> TestFiles:
        """Raises InputError for missing files."""
        folder, trials = located(config.source), located(config.trials)
        index = folder / INDEX
        sources = [index] if index.is_file() else [folder / "wav.scp"]
        for path in (*sources, trials):
            if not path.is_file():
                raise InputError(f"{path}: no such file")
        if (segments := folder / "segments").is_file() and not index.is_file():
            sources.append(segments)
        hashes = {"source_sha256": "+".join(map(sha256, sources)), "trials_sha256": sha256(trials)}
        return cls(config, config.model_dump() | hashes)


def test_files(sweep: Sweep) -> dict[str, TestFiles]:
    """The trial lists of a sweep by name. Raises InputError for missing files."""
    return {name: TestFiles.find(config) for name, config in sweep.tests.items()}


def make_run(
    sweep: Sweep,
    out: StrPath,
    name: str,
    point: Mapping[str, Any],
    seed: int,
    tests: Mapping[str, TestFiles],
    label: str,
) -> Run:
    """The run of a system with a seed.

    point: keys of the grid or search with their values; label: what is added to the name for them
    Raises InputError for a wrong key.
    """
    config = sweep.systems[name]
    own = tuple(overrides({**config.set, **point}))
    try:
        recipe = load(Recipe, sweep.recipe, [*overrides(sweep.set), *own, f"seed={seed}"])
    except InputError as error:
        raise InputError(f"system {name}: {error}") from error
    return Run(Path(out), name, name + label, seed, own, recipe, tests)


def grid_runs(sweep: Sweep, out: StrPath, tests: Mapping[str, TestFiles]) -> list[Run]:
    """All runs but those of searches: the first seed of every system, then the second, and so on.

    Raises InputError for a wrong key, and for two runs with the same name.
    """
    turns = itertools.zip_longest(*(_runs(sweep, out, name, tests) for name in sweep.systems))
    by_seed = [list(filter(None, turn)) for turn in turns]
    runs = [run for turn in by_seed for part in turn for run in part]
    names: dict[str, Run] = {}
    for run in runs:
        if (other := names.setdefault(run.name, run)) is not run:
            raise InputError(
                f"two runs are named {run.name} ({' '.join(other.changes)} and {' '.join(run.changes)}); give one of "
                "their systems another name"
            )
    return runs


def _runs(sweep: Sweep, out: StrPath, name: str, tests: Mapping[str, TestFiles]) -> Iterator[list[Run]]:
    """The runs of a system: for each seed those of all points of the grid."""
    config = sweep.systems[name]
    if config.search is not None:
        if config.grid or sweep.grid:
            raise InputError(f"system {name}: give a grid or a search, not both")
        return
    grid = {**sweep.grid, **config.grid}
    for seed in seeds(sweep, config):
        yield [
            make_run(sweep, out, name, dict(zip(grid, values)), seed, tests, label(dict(zip(grid, values))))
            for values in itertools.product(*grid.values())
        ]


def seeds(sweep: Sweep, config: SystemConfig) -> tuple[int, ...]:
    """The seeds of a system."""
    return sweep.seeds if config.seeds is None else config.seeds


def label(point: Mapping[str, Any]) -> str:
    """A point of a grid as part of a name: `-s20-m0.2`."""
    return "".join(f"-{path_name(key.rpartition('.')[2] + str(value))}" for key, value in point.items())
