"""Searches with Optuna. The study of a search is a journal file, from which it continues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from spkver.errors import InputError, load_optional
from spkver.files import StrPath
from spkver.report.curves import read_curves
from spkver.sweep.plan import Run, TestFiles, make_run, seeds
from spkver.sweep.schema import Sweep

SEARCHES = "searches"


class Search:
    """The search of a system: its runs are proposed one after the other, each from the results of those before."""

    def __init__(self, sweep: Sweep, out: StrPath, name: str, tests: Mapping[str, TestFiles]) -> None:
        optuna = load_optional("optuna", "search")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        config = sweep.systems[name].search
        assert config is not None
        self._optuna, self._config, self._sweep, self._out, self._name = optuna, config, sweep, Path(out), name
        self._tests, self._seed = tests, seeds(sweep, sweep.systems[name])[0]
        self._space = {key: _distribution(optuna, *limits) for key, limits in config.space.items()}
        self._study: Any = None
        first = self.run_at({key: low for key, (low, _) in config.space.items()}, 0)  # a wrong key is an error now
        self.steps = first.recipe.train.steps
        if first.recipe.data.dev is None:
            raise InputError(f"system {name}: a search needs an error rate; set data.dev of the recipe")

    @property
    def _file(self) -> Path:
        return self._out / SEARCHES / f"{self._name}.log"

    def open(self, *, new: bool = True) -> None:
        """Open the study; new: create it if there is none.

        Raises InputError for the study of other keys.
        """
        if not new and not self._file.is_file():
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        backend = self._optuna.storages.journal.JournalFileBackend(str(self._file))
        self._study = self._optuna.create_study(
            study_name=self._name,
            storage=self._optuna.storages.JournalStorage(backend),
            sampler=self._optuna.samplers.TPESampler(seed=self._seed % 2**32),
            load_if_exists=True,
        )
        own = _kinds(self._space)
        for trial in self._study.get_trials(deepcopy=False):
            other = _kinds(trial.distributions)
            # a sweep that is killed may leave a trial with some of the keys
            if not other.items() <= own.items() or (other != own and trial.state.name == "COMPLETE"):
                keys = ", ".join(f"{key} ({kind})" for key, kind in other.items())
                raise InputError(
                    f"{self._file}: a search of {keys}; give the system '{self._name}' another name, or the sweep "
                    "another directory"
                )

    @property
    def trials(self) -> int:
        """The number of runs of the search."""
        return max(self._config.trials, len(self._proposed()))

    def describe(self) -> str:
        """The search in a line."""
        space = ", ".join(f"{key} from {low} to {high}" for key, (low, high) in self._config.space.items())
        return f"{self._name}: {self.trials} runs, {space}"

    def known_runs(self) -> list[Run]:
        """The runs that were proposed earlier."""
        return [self.run_at(trial.params, trial.number) for trial in self._proposed()]

    def runs(self) -> Iterator[Run]:
        """New runs, each proposed when it is asked for."""
        while len(self._proposed()) < self.trials:
            trial = self._study.ask(self._space)
            yield self.run_at(trial.params, trial.number)

    def learn(self) -> None:
        """Tell the study the results of the runs that are complete, for its next proposals."""
        for trial in self._proposed():
            if not trial.state.is_finished() and (run := self.run_at(trial.params, trial.number)).complete:
                self._study.tell(trial.number, float(read_curves(run.folder)[self._sweep.metric][1][-1]))

    def run_at(self, point: Mapping[str, Any], number: int) -> Run:
        """The run at a point of the space."""
        keys = {key: str(point[key]) for key in self._config.space}
        return make_run(self._sweep, self._out, self._name, keys, self._seed, self._tests, f"-trial{number}")

    def _proposed(self) -> list[Any]:
        """The trials that were completely proposed. Whether their runs are complete or failed, the runs say."""
        trials = [] if self._study is None else self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.params.keys() == self._space.keys()]


def _kinds(space: Mapping[str, Any]) -> dict[str, str]:
    """The keys of a space, and whether their values are whole numbers."""
    names = {"IntDistribution": "whole numbers", "FloatDistribution": "numbers"}
    return {key: names[type(limits).__name__] for key, limits in space.items()}


def _distribution(optuna: Any, low: str, high: str) -> Any:
    whole = low.lstrip("-").isdecimal() and high.lstrip("-").isdecimal()
    if whole:
        return optuna.distributions.IntDistribution(int(low), int(high))
    return optuna.distributions.FloatDistribution(float(low), float(high))
