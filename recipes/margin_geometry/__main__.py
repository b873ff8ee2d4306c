"""python -m recipes.margin_geometry {digits,speakers,margins,page}."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from recipes.margin_geometry.page import Experiment, write_experiment, write_page
from spkver.cli import run

Command = TypeVar("Command", bound=Callable[..., None])


def _out(command: Command) -> Command:
    return click.option("--out", type=click.Path(path_type=Path), required=True, help="Output directory.")(command)


def _trained(command: Command) -> Command:
    options = (
        click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="First seed."),
        click.option(
            "--seeds", type=click.IntRange(1), default=5, show_default=True, help="Number of consecutive seeds."
        ),
        click.option("--steps", type=click.IntRange(1), default=1000, show_default=True, help="Training steps."),
        click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes."),
    )
    for option in (_out, *reversed(options)):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def root() -> None:
    """Small experiments of the papers on margin losses: pictures and measured angles.

    \b
    Example:
      python -m recipes.margin_geometry margins --out exp/margins
      python -m recipes.margin_geometry page exp/margins --out exp/index.html
    """


@root.command()
@_trained
def digits(out: Path, seed: int, seeds: int, steps: int, jobs: int) -> None:
    """Softmax against L-softmax on handwritten digits in two dimensions."""
    from recipes.margin_geometry.digits import digits
    from recipes.margin_geometry.training import Plan

    _write(digits(range(seed, seed + seeds), jobs=jobs, plan=Plan(steps=steps)), out)


@root.command()
@_trained
def speakers(out: Path, seed: int, seeds: int, steps: int, jobs: int) -> None:
    """NSL, LMCL and BD-LMCL on eight synthetic speakers in two and three dimensions."""
    from recipes.margin_geometry.speakers import speakers
    from recipes.margin_geometry.training import Plan

    _write(speakers(range(seed, seed + seeds), jobs=jobs, plan=Plan(steps=steps)), out)


@root.command()
@_out
def margins(out: Path) -> None:
    """ψ over the angle, and the boundaries between two classes; nothing is trained."""
    from recipes.margin_geometry.margins import margins

    _write(margins(), out)


@root.command()
@click.argument("experiments", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="HTML file to write.")
@click.option("--title", default="How margins change angles", show_default=True)
def page(experiments: tuple[Path, ...], out: Path, title: str) -> None:
    """Make one HTML page of the output directories of the experiments."""
    write_page(experiments, out, title=title)
    click.echo(str(out))


def _write(experiment: Experiment, out: Path) -> None:
    click.echo(write_experiment(experiment, out))
    click.echo(f"\n{out}: results.md, results.json, {', '.join(f'{p.name}.png' for p in experiment.pictures)}")


if __name__ == "__main__":
    run(root, "python -m recipes.margin_geometry")
