"""A sweep in its directory: the remaining work, the runs, the results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spkver.config import save
from spkver.errors import InputError, RunError
from spkver.files import StrPath, locked
from spkver.sweep import results
from spkver.sweep.plan import FAILED, Run, grid_runs, test_files
from spkver.sweep.queue import Progress, work_through
from spkver.sweep.schema import Sweep
from spkver.sweep.search import Search


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep: those that are known, and searches, which propose theirs later."""

    runs: Sequence[Run]
    searches: Sequence[Search]

    @classmethod
    def of(cls, sweep: Sweep, out: StrPath) -> Plan:
        """Raises InputError for wrong keys, missing trial lists, and runs that were started with other keys."""
        tests = test_files(sweep)
        searched = [name for name, config in sweep.systems.items() if config.search is not None]
        return cls(grid_runs(sweep, out, tests), [Search(sweep, out, name, tests) for name in searched])

    @property
    def total(self) -> int:
        """The number of all runs."""
        return len(self.runs) + sum(search.trials for search in self.searches)

    def known(self) -> list[Run]:
        """The runs that are known: all but those that searches will propose."""
        return [*self.runs, *(run for search in self.searches for run in search.known_runs())]


def sweep(
    config: Sweep, out: StrPath, *, jobs: int = 1, retry: bool = False, say: Callable[[str], None] = print
) -> results.Results:
    """Train and test all systems with all seeds in the directory `out`, and write results.txt, .csv and .html there.

    A sweep that was stopped continues where it was: complete runs are kept, others continue from their checkpoints.
    jobs: number of runs at a time; retry: do runs again that failed earlier
    Raises InputError for wrong keys, missing trial lists, and if `out` has runs with other keys; RunError at the end if
    runs failed; StoppedError if it was stopped by a signal.
    """
    folder = Path(out)
    plan = Plan.of(config, folder)
    with locked(folder):
        for search in plan.searches:
            search.open()
            search.learn()
        save(config, folder / "sweep.yaml")
        known = plan.known()
        done = [run for run in known if run.complete]
        broken = [run for run in known if run not in done and run.failed.is_file() and not retry]
        left = [run for run in known if run not in done and run not in broken]
        progress = Progress(plan.total, len(done), len(broken))
        say(_summary(progress, jobs))

        def ended(run: Run, reason: str | None) -> None:
            for search in plan.searches:
                search.learn()
            (done if reason is None else broken).append(run)

        work_through(_in_turn(left, plan.searches), ended, points=config.points, jobs=jobs, progress=progress, say=say)
        order = {run.name: number for number, run in enumerate(plan.runs)}
        done.sort(key=lambda run: order.get(run.name, len(order)))
        found = results.collect(config, done, broken)
        found.write(folder, config)
    if broken:
        reason = broken[0].failed.read_text(encoding="utf-8").strip()
        say(found.text())
        raise RunError(
            f"{len(broken)} of {plan.total} runs failed, see {folder / FAILED}; the first: {broken[0].name}: {reason}; "
            "do them again with --retry"
        )
    return found


def results_so_far(config: Sweep, out: StrPath) -> results.Results:
    """The results of the runs that are complete, also while the sweep is running; they are written as at its end.

    Raises InputError if there are none.
    """
    plan = Plan.of(config, out)
    for search in plan.searches:
        search.open(new=False)
    known = plan.known()
    done = [run for run in known if run.complete]
    if not done:
        raise InputError(f"{out}: no run of the sweep is complete")
    broken = [run for run in known if run not in done and run.failed.is_file()]
    found = results.collect(config, done, broken)
    found.write(Path(out), config)
    return found


def _in_turn(runs: Sequence[Run], searches: Sequence[Search]) -> Iterator[Run]:
    """All runs; searches last, one proposal of each in turn."""
    yield from runs
    for turn in itertools.zip_longest(*(search.runs() for search in searches)):
        yield from (run for run in turn if run is not None)


def _summary(progress: Progress, jobs: int) -> str:
    left = progress.total - progress.done - progress.failed
    failed = f", {progress.failed} failed earlier (--retry repeats them)" if progress.failed else ""
    return f"{progress.total} runs: {progress.done} complete{failed}, {left} left, {jobs} at a time"


def dry_run(config: Sweep, out: StrPath, *, say: Callable[[str], None] = print) -> None:
    """Print the plan of a sweep: its runs, which of them are complete, and the number of steps that are left."""
    plan = Plan.of(config, out)
    for search in plan.searches:
        search.open(new=False)
    steps = 0
    for run in plan.known():
        state = "complete" if run.complete else "failed" if run.failed.is_file() else "to do"
        steps += run.recipe.train.steps if state == "to do" else 0
        say(f"{state:<10}{run.name}: {' '.join(run.changes)}")
    for search in plan.searches:
        say(f"search    {search.describe()}")
        steps += (search.trials - len(search.known_runs())) * search.steps
    searched = f" ({plan.total - len(plan.runs)} of them proposed by searches)" if plan.searches else ""
    lists = f"{len(config.tests)} trial list{'' if len(config.tests) == 1 else 's'}"
    say(f"{plan.total} runs{searched}, about {steps:,} steps left; {lists} after each")
