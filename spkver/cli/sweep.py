"""`spkver sweep`."""

from __future__ import annotations

import click

from spkver.cli import outputs
from spkver.cli.terminal import to_stderr


@click.command(name="sweep")
@click.argument("config", type=click.Path())
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=outputs.FOLDER, required=True, help="Directory of the runs and results.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Number of runs at a time.")
@click.option("--retry", is_flag=True, help="Repeat runs that failed.")
@click.option("--dry-run", is_flag=True, help="Print the runs and the number of training steps, and stop.")
@click.option("--results", is_flag=True, help="Write the results of the runs that are complete, and stop.")
def command(
    config: str, overrides: tuple[str, ...], out: str, jobs: int, retry: bool, dry_run: bool, results: bool
) -> None:
    """Train several systems with several seeds, as the YAML file CONFIG says, score trial lists, and compare them.

    \b
    CONFIG has a recipe, the systems and their differences from it, seeds and trial lists:
      recipe: conf/xvector.yaml
      systems:
        LMCL: {set: {loss.name: lmcl}, grid: {loss.m: [0.1, 0.2]}}
        BD-LMCL: {set: {loss.name: bd_lmcl, loss.m: 0.2}}
      seeds: [1, 2, 3]
      tests:
        whole: {source: exp/feats/test, trials: trials/test.txt}

    KEY=VALUE overrides the file, for example set.train.steps=100. OUT gets runs/NAME-seedN, an experiment directory
    for each run, and results.txt, .csv and .html. The same command continues a sweep that was stopped (SIGTERM,
    Ctrl-C) or killed. A run that fails is set aside in OUT/failed with its reason, and the exit code is 1.

    --jobs divides the cores over the runs; set train.threads, if results must not depend on it.

    \b
    Example: spkver sweep conf/losses.yaml --out exp/losses --jobs 2
             spkver sweep conf/losses.yaml --out exp/losses --dry-run
    """
    from spkver.config import load
    from spkver.errors import StoppedError
    from spkver.sweep import Sweep, results_so_far, sweep
    from spkver.sweep import dry_run as show_plan

    settings = load(Sweep, config, overrides)
    if dry_run:
        show_plan(settings, out, say=click.echo)
        return
    if results:
        click.echo(results_so_far(settings, out).text())
        return
    try:
        found = sweep(settings, out, jobs=jobs, retry=retry, say=to_stderr)
    except StoppedError as stopped:
        to_stderr(str(stopped))
        click.get_current_context().exit(stopped.exit_code)
    click.echo(found.text())
