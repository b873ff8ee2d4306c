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
        self._numbers: dict[str, int] = {}  # of the runs in progress
        first = self.run_at({key: low for key, (low, _) in config.space.items()}, 0)  # a wrong key is an error now
        self.steps = first.recipe.train.steps
        if first.recipe.data.dev is None:
            raise InputError(f"system {name}: a search needs an error rate; set data.dev of the recipe")

    def open(self) -> None:
        """Open or create the study. A trial that was never completely proposed is dropped."""
        folder = self._out / SEARCHES
        folder.mkdir(parents=True, exist_ok=True)
        backend = self._optuna.storages.journal.JournalFileBackend(str(folder / f"{self._name}.log"))
        self._study = self._optuna.create_study(
            study_name=self._name,
            storage=self._optuna.storages.JournalStorage(backend),
            sampler=self._optuna.samplers.TPESampler(seed=self._seed),
            load_if_exists=True,
        )
        for trial in self._in_state("RUNNING"):
            if trial.params.keys() != self._space.keys():
                self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)

    @property
    def trials(self) -> int:
        """The number of runs of the search."""
        return self._config.trials

    def describe(self) -> str:
        """The search in a line."""
        space = ", ".join(f"{key} from {low} to {high}" for key, (low, high) in self._config.space.items())
        return f"{self._name}: {self.trials} runs, {space}"

    def runs(self) -> Iterator[Run]:
        """First the runs that were begun earlier, then new ones, each proposed when it is asked for."""
        for trial in self._in_state("RUNNING"):
            yield self._begin(trial.number, trial.params)
        while len(self._study.get_trials(deepcopy=False)) < self.trials:
            trial = self._study.ask(self._space)
            yield self._begin(trial.number, trial.params)

    def ended_runs(self, *, failed: bool) -> list[Run]:
        """The complete runs, or those that failed."""
        return [self.run_at(one.params, one.number) for one in self._in_state("FAIL" if failed else "COMPLETE")]

    def ended(self, run: Run, reason: str | None) -> None:
        """Tell the study the result of a run."""
        value = None if reason else float(read_curves(run.folder)[self._sweep.metric][1][-1])
        state = self._optuna.trial.TrialState.FAIL if value is None else None
        self._study.tell(self._numbers.pop(run.name), value, state=state)

    def owns(self, run: Run) -> bool:
        """Whether a run is one of this search."""
        return run.name in self._numbers

    def run_at(self, point: Mapping[str, Any], number: int) -> Run:
        """The run at a point of the space."""
        keys = {key: str(point[key]) for key in self._config.space}
        return make_run(self._sweep, self._out, self._name, keys, self._seed, self._tests, f"-trial{number}")

    def _begin(self, number: int, point: Mapping[str, Any]) -> Run:
        run = self.run_at(point, number)
        self._numbers[run.name] = number
        return run

    def _in_state(self, name: str) -> list[Any]:
        return self._study.get_trials(deepcopy=False, states=(self._optuna.trial.TrialState[name],))


def _distribution(optuna: Any, low: str, high: str) -> Any:
    whole = low.lstrip("-").isdecimal() and high.lstrip("-").isdecimal()
    if whole:
        return optuna.distributions.IntDistribution(int(low), int(high))
    return optuna.distributions.FloatDistribution(float(low), float(high))
