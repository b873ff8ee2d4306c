"""`spkver data`: check, split, join, reduce, relabel and describe data directories."""

from __future__ import annotations

import re
from pathlib import Path

import click

from spkver.cli import data_stats, data_verify, inputs, options, outputs

_DIR = inputs.FILE
_OUT = outputs.directory("wav.scp")
_SEED = options.seed("Seed of the random choice.", default=0)


@click.group()
def command() -> None:
    """Check, split, join, reduce and describe data directories (Kaldi's format).

    \b
    Example: spkver data validate data/train
    """


command.add_command(data_stats.command)
command.add_command(data_verify.command)


@command.command()
@click.argument("directory", metavar="DIR", type=_DIR)
@options.accept_pipes
@click.option("--quick", is_flag=True, help="Check the lists only, not the recordings.")
def validate(directory: Path, allow_pipes: bool, quick: bool) -> None:
    """Check DIR: print each kind of problem with its count and first occurrence. Exit code 2 if any is an error.

    \b
    Example: spkver data validate data/train
    """
    from spkver.datadir import validate as find_problems
    from spkver.errors import InputError

    problems = find_problems(directory, allow_pipes=allow_pipes, look_at_recordings=not quick)
    for problem in problems:
        click.echo(f"{'error' if problem.fatal else 'warning'}: {problem}")
    if fatal := sum(problem.fatal for problem in problems):
        raise InputError(f"{directory}: errors of {fatal} kind{'s' if fatal > 1 else ''}")
    click.echo(f"{directory}: no problems" if not problems else f"{directory}: usable")


@command.command()
@click.argument("directory", metavar="DIR", type=_DIR)
@click.argument("out_a", type=_OUT)
@click.argument("out_b", type=_OUT)
@click.option("--speakers", type=int, help="Number of speakers for OUT_B.")
@click.option("--share", type=options.FloatRange(0, 1), help="Share of the speakers for OUT_B.")
@click.option("--list", "speaker_list", type=_DIR, help="File with the speakers for OUT_B, one per line.")
@_SEED
@options.accept_pipes
def split(
    directory: Path,
    out_a: Path,
    out_b: Path,
    speakers: int | None,
    share: float | None,
    speaker_list: Path | None,
    seed: int,
    allow_pipes: bool,
) -> None:
    """Split DIR by speaker: the chosen speakers to OUT_B, the others to OUT_A.

    \b
    Example: spkver data split data/train data/core data/dev --speakers 20 --seed 1
    """
    from spkver.datadir import read_datadir, write_datadirs
    from spkver.datadir import split as split_speakers
    from spkver.lists import read_columns

    named = read_columns(speaker_list, ["speaker"])["speaker"].to_pylist() if speaker_list else None
    data = read_datadir(directory, allow_pipes=allow_pipes)
    rest, chosen = split_speakers(data, speakers=speakers, share=share, named=named, seed=seed)
    parts = [(out_a, rest), (out_b, chosen)]
    write_datadirs(parts)
    for out, part in parts:
        click.echo(f"{out}: {len(part)} utterances, {len(set(part.speakers))} speakers")


@command.command()
@click.argument("out", type=_OUT)
@click.argument("directories", metavar="[NAME=]DIR...", nargs=-1, required=True)
@options.accept_pipes
def join(out: Path, directories: tuple[str, ...], allow_pipes: bool) -> None:
    """Join several data directories to OUT. No utterance may be in two of them; equal speaker ids are one speaker.

    NAME=DIR puts NAME- before the speaker ids of DIR, which keeps speakers of different corpora apart. VoxCeleb2 and
    CN-Celeb, for example, use the same ids.

    \b
    Example: spkver data join data/train data/vox1/dev data/vox2/dev
             spkver data join data/train vox=data/vox2/dev cn=data/cnceleb/dev
    """
    from spkver.datadir import join as join_all
    from spkver.datadir import prefixed, read_datadir, write_datadir

    parts = []
    for directory in directories:
        name, _, path = directory.partition("=")
        name, path = (name, path) if re.fullmatch(r"[\w.-]+", name) else ("", directory)  # a path may contain =
        part = read_datadir(path, allow_pipes=allow_pipes)
        parts.append(prefixed(part, f"{name}-") if name else part)
    whole = join_all(parts)
    write_datadir(out, whole)
    speakers = [set(part.speakers) for part in parts]
    together = set().union(*speakers)
    shared = sum(map(len, speakers)) - len(together)
    note = f", {shared} of them in more than one directory" if shared else ""
    click.echo(f"{out}: {len(whole)} utterances, {len(together)} speakers{note}")


@command.command()
@click.argument("directory", metavar="DIR", type=_DIR)
@click.argument("out", type=_OUT)
@click.option("--seconds", type=options.FloatRange(min=0, min_open=True), required=True, help="Length of a piece.")
@click.option(
    "--hop",
    type=options.FloatRange(min=0, min_open=True),
    help="Seconds between the starts of two pieces.  [default: --seconds]",
)
@click.option("--per-utterance", type=click.IntRange(min=1), help="Largest number of pieces of an utterance.")
@options.accept_pipes
def cut(
    directory: Path, out: Path, seconds: float, hop: float | None, per_utterance: int | None, allow_pipes: bool
) -> None:
    """Cut all utterances into segments of equal length. Shorter utterances are left out.

    \b
    Example: spkver data cut data/test data/test_3s --seconds 3 --per-utterance 5
    """
    from spkver.datadir import cut as cut_all
    from spkver.datadir import read_datadir, write_datadir

    whole = read_datadir(directory, allow_pipes=allow_pipes)
    pieces = cut_all(whole, seconds, hop=hop, most=per_utterance)
    write_datadir(out, pieces)
    click.echo(f"{out}: {len(pieces)} pieces of {len(set(pieces.speakers))} speakers")


@command.command()
@click.argument("directory", metavar="DIR", type=_DIR)
@click.argument("out", type=_OUT)
@click.option("--list", "id_list", type=_DIR, help="File with the utterance ids to keep, one per line.")
@click.option("--speakers", type=int, help="Number of speakers.")
@click.option("--per-speaker", type=int, help="Largest number of utterances of a speaker.")
@click.option("--least", type=int, help="A long tail: --per-speaker of one speaker, falling to this of another.")
@click.option("--utterances", type=int, help="Total number of utterances.")
@_SEED
@options.accept_pipes
def subset(
    directory: Path,
    out: Path,
    id_list: Path | None,
    speakers: int | None,
    per_speaker: int | None,
    least: int | None,
    utterances: int | None,
    seed: int,
    allow_pipes: bool,
) -> None:
    """Reduce DIR to the smaller data directory OUT, at random or by a list of ids.

    \b
    Example: spkver data subset data/train data/small --speakers 100 --per-speaker 10
             spkver data subset data/train data/long_tailed --per-speaker 40 --least 1
    """
    from spkver.datadir import read_datadir, write_datadir
    from spkver.datadir import subset as cut_down
    from spkver.lists import read_columns

    ids = read_columns(id_list, ["id"])["id"].to_pylist() if id_list else None
    data = read_datadir(directory, allow_pipes=allow_pipes)
    part = cut_down(
        data, ids=ids, speakers=speakers, per_speaker=per_speaker, least=least, utterances=utterances, seed=seed
    )
    write_datadir(out, part)
    click.echo(f"{out}: {len(part)} utterances, {len(set(part.speakers))} speakers")


@command.command()
@click.argument("directory", metavar="DIR", type=_DIR)
@click.argument("out", type=_OUT)
@click.option("--share", type=options.FloatRange(0, 1), required=True, help="Share of the utterances.")
@_SEED
@options.accept_pipes
def relabel(directory: Path, out: Path, share: float, seed: int, allow_pipes: bool) -> None:
    """Give a random share of the utterances a wrong speaker, to find out how training copes with wrong labels.

    With the same seed, the wrong labels of a smaller share are among those of a larger one.

    \b
    Example: spkver data relabel data/train data/train_noisy --share 0.05
    """
    from spkver.datadir import read_datadir, write_datadir
    from spkver.datadir import relabel as give_others

    data = read_datadir(directory, allow_pipes=allow_pipes)
    changed = give_others(data, share, seed=seed)
    write_datadir(out, changed)
    wrong = sum(one != other for one, other in zip(data.speakers, changed.speakers))
    click.echo(f"{out}: {wrong} of {len(data)} utterances have a wrong speaker")


@command.command()
@click.argument("directory", metavar="DIR", type=_DIR)
@click.argument("out", type=outputs.FILE)
@click.option("--nontargets", type=int, required=True, help="Number of non-target trials, drawn at random.")
@click.option("--targets", type=click.IntRange(1), help="Largest number of target trials, drawn at random.")
@click.option("--same-gender", is_flag=True, help="Only non-target trials within one gender.")
@click.option("--cross-session", is_flag=True, help="Only target trials across sessions.")
@_SEED
@options.accept_pipes
def trials(
    directory: Path,
    out: Path,
    nontargets: int,
    targets: int | None,
    same_gender: bool,
    cross_session: bool,
    seed: int,
    allow_pipes: bool,
) -> None:
    """Write a trial list: the target pairs of DIR, by default all, and random non-target pairs.

    \b
    Example: spkver data trials data/dev trials/dev.txt --nontargets 10000 --same-gender
    """
    from spkver.datadir import read_datadir
    from spkver.trials import make_trials, write_trials

    data = read_datadir(directory, allow_pipes=allow_pipes)
    made = make_trials(
        data.ids,
        data.speakers,
        data.required("session", "--cross-session") if cross_session else None,
        nontargets=nontargets,
        targets=targets,
        seed=seed,
        across_sessions=cross_session,
        groups=data.required("gender", "--same-gender") if same_gender else None,
    )
    write_trials(out, made)
    targets = int(made.target.sum()) if made.target is not None else 0
    click.echo(f"{out}: {targets} targets, {len(made.enrol) - targets} non-targets")
