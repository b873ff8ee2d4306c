"""python -m data_prep.synthetic OUT."""

from __future__ import annotations

import time
from pathlib import Path

import click

from data_prep import _corpus
from data_prep.synthetic.corpus import Plan, generate
from spkver.cli import outputs


@click.command()
@click.argument("out", type=outputs.DIRECTORY)
@click.option("--train-speakers", type=int, default=Plan.train_speakers, show_default=True)
@click.option("--dev-speakers", type=int, default=Plan.dev_speakers, show_default=True)
@click.option("--eval-speakers", type=int, default=Plan.eval_speakers, show_default=True)
@click.option("--sessions", type=int, default=Plan.sessions, show_default=True, help="Per speaker, at least 2.")
@click.option("--utterances", type=int, default=Plan.utterances, show_default=True, help="Per session.")
@click.option("--seed", type=int, default=Plan.seed, show_default=True, help="Random seed of the corpus.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Number of processes.")
def command(
    out: Path,
    train_speakers: int,
    dev_speakers: int,
    eval_speakers: int,
    sessions: int,
    utterances: int,
    seed: int,
    jobs: int,
) -> None:
    """Make a corpus of synthetic voices in OUT: audio, data directories and trial lists.

    OUT/{train,dev,eval} are data directories, OUT/{dev,eval}/trials.txt their trial lists: target pairs across
    sessions, non-target pairs of the same pitch class. Needs the extra `synthetic` (libespeak-ng, GPL-3).

    \b
    Example: python -m data_prep.synthetic data/synthetic --seed 1 --jobs 2
    """
    started = time.monotonic()
    plan = Plan(train_speakers, dev_speakers, eval_speakers, sessions, utterances, seed)
    summary = generate(out, plan, jobs=jobs)
    if summary is None:
        click.echo(f"{out}: already holds this corpus")
        return
    for split, speakers in summary.speakers.items():
        trials = f", {summary.trials[split]} trials" if split in summary.trials else ""
        click.echo(f"{out / split}: {speakers} speakers, {summary.utterances[split]} utterances{trials}")
    seconds = time.monotonic() - started
    click.echo(
        f"{summary.hours:.2f} hours of speech in {seconds:.1f} s, {summary.hours * 3600 / seconds:.0f} x real time"
    )


if __name__ == "__main__":
    _corpus.main("synthetic", command)
