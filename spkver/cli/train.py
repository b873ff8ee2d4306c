"""`spkver train`."""

from __future__ import annotations

import click

from spkver.cli import outputs


@click.command(name="train")
@click.argument("config", type=click.Path())
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=outputs.FOLDER, help="Experiment directory; not needed with --show and --explain.")
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint, if there is one.")
@click.option("--show", is_flag=True, help="Print the complete config, with the meaning of each key, and stop.")
@click.option("--explain", metavar="KEY", help="Print what a key means and can be, for example loss.head, and stop.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Run one step, estimate memory, time and disk of the whole run, and stop.",
)
def command(
    config: str,
    overrides: tuple[str, ...],
    out: str | None,
    resume: bool,
    show: bool,
    explain: str | None,
    dry_run: bool,
) -> None:
    """Train a speaker-embedding network with the config in the YAML file CONFIG.

    KEY=VALUE on the command line overrides the file. The experiment directory gets config.yaml, metrics.jsonl,
    TensorBoard events, train.log, starts.jsonl (versions and hashes of each start), checkpoints, and `model`, the
    model directory. `model-head.safetensors` has the class weights, for fine-tuning (`start.model`).

    For several GPUs or machines, start it with torchrun; train.batch_size is the total over all processes. On SIGTERM
    or SIGUSR1 it writes a checkpoint and exits with code 143; continue with --resume.

    \b
    Example: spkver train conf/xvector.yaml --out exp/xvector train.steps=2000 loss=lmcl
             spkver train conf/xvector.yaml --explain loss.schedules
             torchrun --nproc-per-node 4 -m spkver train conf/xvector.yaml --out exp/xvector
    """
    from spkver.config import load
    from spkver.errors import StoppedError
    from spkver.explain import commented
    from spkver.explain import explain as meaning
    from spkver.recipe import Recipe, train
    from spkver.recipe import dry_run as try_out

    recipe = load(Recipe, config, overrides)
    if show or explain is not None:
        click.echo(commented(recipe) if explain is None else meaning(recipe, explain), nl=False)
        return
    if out is None:
        raise click.UsageError("Missing option '--out'.", click.get_current_context())
    if dry_run:
        try_out(recipe, out, say=_say)
        return
    try:
        train(recipe, out, resume=resume, say=_say)
    except StoppedError as stopped:
        click.echo(str(stopped), err=True)
        click.get_current_context().exit(stopped.exit_code)


def _say(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(text)  # does not break a progress bar
