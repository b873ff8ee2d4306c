"""Trial lists of the corpora: copy published lists, or generate lists."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from spkver.datadir import DataDir
from spkver.errors import InputError
from spkver.files import atomic_file
from spkver.trials import make_trials, read_enrolment, read_trials, write_trials


def publish(source: Path, target: Path, data: DataDir, *, enrolment: Path | None = None, what: str = "") -> None:
    """Copy a published trial list byte for byte if all its recordings are in `data`; print the result.

    enrolment: the map from enrolment models to recordings; it is copied to the folder of `target`
    what: a description of the list to print
    """
    trials = read_trials(source)
    models = read_enrolment(enrolment) if enrolment else {}
    enrol, test = (side.unique().cast(pa.string()) for side in (trials.enrol, trials.test))
    if models:
        unknown = enrol.filter(pc.invert(pc.is_in(enrol, value_set=pa.array(list(models), pa.string()))))
        if len(unknown):
            raise InputError(f"{source}: the model {unknown[0].as_py()!r} is not in {enrolment}")
        enrol = pa.array(sorted({name for model in enrol.to_pylist() for name in models[model]}), pa.string())
    wanted = pc.unique(pa.chunked_array([enrol, test]))
    missing = wanted.filter(pc.invert(pc.is_in(wanted, value_set=data.table["id"])))
    if len(missing):
        first = missing[0].as_py()
        click.echo(f"{source}: not copied, {len(missing)} of its {len(wanted)} recordings are missing, e.g. {first}")
        return
    copy(source, target)
    if enrolment:
        copy(enrolment, target.parent / enrolment.name)
    click.echo(f"{target}: {len(trials)} trials{what and f', {what}'}")


def copy(source: Path, target: Path) -> None:
    """Copy a list byte for byte, atomically."""
    with atomic_file(target) as part:
        shutil.copyfile(source, part)


def across_sessions(target: Path, data: DataDir, *, nontargets: int | None, seed: int) -> None:
    """Write a trial list of all target pairs across sessions and of random non-target pairs.

    Non-target pairs are of the same gender if all genders are known.
    nontargets: number of non-target trials; None: 100,000, or all if there are fewer
    """
    sessions = data.required("session", "a trial list across sessions")
    genders = data.column("gender")
    groups = None if genders is None or None in genders else genders
    available = _nontargets(data.speakers, groups)
    count = min(100_000, available) if nontargets is None else nontargets
    trials = make_trials(
        data.ids, data.speakers, sessions, nontargets=count, seed=seed, across_sessions=True, groups=groups
    )
    write_trials(target, trials)
    assert trials.target is not None
    targets = int(trials.target.sum())
    click.echo(f"{target}: {targets} targets across sessions, {len(trials) - targets} non-targets")


def _nontargets(speakers: list[str], groups: list[str] | None) -> int:
    """The number of pairs of utterances of different speakers within a group."""
    of_groups = Counter(groups) if groups else Counter({"": len(speakers)})
    pairs = [count * (count - 1) // 2 for counts in (of_groups, Counter(speakers)) for count in counts.values()]
    return sum(pairs[: len(of_groups)]) - sum(pairs[len(of_groups) :])


def has_targets(data: DataDir) -> bool:
    """Whether any speaker has at least two sessions."""
    pairs = data.table.group_by(["speaker", "session"], use_threads=False).aggregate([])
    return int(pairs.num_rows) > len(data.table["speaker"].unique())
