"""`spkver train`."""

from __future__ import annotations

import click

from spkver.cli import outputs


@click.command(name="train")
@click.argument("config", type=click.Path())
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", required=True, type=outputs.FOLDER, help="Experiment directory.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint, if there is one.")
@click.option("--show", is_flag=True, help="Print the complete config and stop.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Try one step of everything, say what memory, time and disk the run will need, and stop.",
)
def command(config: str, overrides: tuple[str, ...], out: str, resume: bool, show: bool, dry_run: bool) -> None:
    """Train a speaker-embedding network as the YAML file CONFIG says.

    Keys on the command line win over the file. The experiment directory gets config.yaml, metrics.jsonl, TensorBoard
    events, checkpoints, and `model`, which is all that it takes to embed; beside it `model-head.safetensors` has the
    class weights, for a run that starts from this one (`start.model`). starts.jsonl says what it was made with, and
    train.log what was said. On several GPUs or machines torchrun starts it, and train.batch_size is that of all
    together. On SIGTERM or SIGUSR1 it writes a checkpoint and leaves with exit code 143; --resume goes on.

    \b
    Example: spkver train conf/xvector.yaml --out exp/xvector train.steps=2000 loss=lmcl
             torchrun --nproc-per-node 4 -m spkver train conf/xvector.yaml --out exp/xvector
    """
    from spkver.config import dump, load
    from spkver.errors import StoppedError
    from spkver.recipe import Recipe, train
    from spkver.recipe import dry_run as try_out

    recipe = load(Recipe, config, overrides)
    if show:
        click.echo(dump(recipe), nl=False)
        return
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

    tqdm.write(text)  # keeps a progress bar in one piece
