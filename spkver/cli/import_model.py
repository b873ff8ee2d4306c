"""`spkver import`: convert a model of another toolkit to a model directory."""

from __future__ import annotations

import click

from spkver.cli import outputs
from spkver.modeldir import CONFIG


@click.command(name="import")
@click.argument("source", type=click.Path())
@click.argument("out", type=outputs.directory(CONFIG))
@click.option(
    "--from", "toolkit", help="wespeaker, 3dspeaker, speechbrain, redimnet, voxceleb_trainer.  [default: detected]"
)
@click.option("--front-end", help="Name of the front end. Needed only where SOURCE does not state it.")
def command(source: str, out: str, toolkit: str | None, front_end: str | None) -> None:
    """Convert a model of another toolkit to the model directory OUT. SOURCE is its folder or checkpoint.

    The network and the front end are converted, so the embeddings are the same. No code in SOURCE is run: checkpoints
    are read as tensors, YAML as text.

    \b
    wespeaker         folder with avg_model.pt and config.yaml
    3dspeaker         folder or file: embedding_model.ckpt, campplus_voxceleb.bin, sdpn.pth, ...
    speechbrain       folder with embedding_model.ckpt and hyperparams.yaml
    redimnet          file of a release
    voxceleb_trainer  file (ResNetSE34V2)

    \b
    Example: spkver import voxceleb_resnet34_LM models/resnet34
             spkver verify a.wav b.wav --model models/resnet34
    """
    from spkver.interop.peers import import_model

    for line in import_model(source, out, toolkit, front_end):
        click.echo(line)
    click.echo(f"{out}: model directory")
