"""`spkver import`: convert a model of another toolkit to a model directory."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import outputs
from spkver.errors import InputError
from spkver.modeldir import CONFIG


@click.command(name="import")
@click.argument("source", type=click.Path())
@click.argument("out", type=outputs.directory(CONFIG), required=False)
@click.option(
    "--from",
    "toolkit",
    help="wespeaker, 3dspeaker, speechbrain, redimnet, redimnet2, nemo, transformers, voxceleb_trainer, "
    "pyannote-segmentation.  [default: detected]",
)
@click.option("--front-end", help="Name of the front end. Needed only where SOURCE does not state it.")
@click.option("--offline", is_flag=True, help="Use downloaded files only.")
def command(source: str, out: Path | None, toolkit: str | None, front_end: str | None, offline: bool) -> None:
    """Convert a model of another toolkit to the model directory OUT.

    SOURCE is its folder or checkpoint, or the name of a published model: OWNER/NAME on the Hugging Face hub or on
    ModelScope (iic/...), wenet/NAME of WeSpeaker's archives, also with @REVISION, or the URL of a file. Without OUT, a
    published model is kept in the cache; `--model NAME` does the same when it is first used. `spkver models
    --pretrained` lists known ones.

    The network and the front end are converted, so the embeddings are the same. No code in SOURCE is run: checkpoints
    are read as tensors, YAML as text.

    \b
    wespeaker         folder with avg_model.pt and config.yaml
    3dspeaker         folder or file: embedding_model.ckpt, campplus_voxceleb.bin, sdpn.pth, ...
    speechbrain       folder with embedding_model.ckpt and hyperparams.yaml
    redimnet(2)       file of a release
    nemo              .nemo archive (TitaNet)
    transformers      folder with config.json and weights (ForXVector)
    voxceleb_trainer  file (ResNetSE34V2, ResNetSE34L)

    --from pyannote-segmentation: pytorch_model.bin of pyannote/segmentation-3.0, or its folder. OUT is then not a
    speaker model, but for `spkver diarize --segmentation OUT`.

    \b
    Example: spkver import voxceleb_resnet34_LM models/resnet34
             spkver verify a.wav b.wav --model models/resnet34
             spkver import speechbrain/spkrec-ecapa-voxceleb models/ecapa
    """
    from spkver.interop import hub, segmentation

    if hub.is_name(source):
        if out is None and (toolkit or front_end):
            raise InputError("--from and --front-end need OUT: the cache has one model for each name")
        if out is None:
            out = hub.local(source, offline=offline, say=click.echo)
        else:
            for line in hub.convert(source, out, toolkit, front_end, offline=offline):
                click.echo(line)
    elif out is None:
        raise InputError(f"{source}: give the model directory OUT to write")
    elif toolkit == segmentation.NAME:
        segmentation.import_segmentation(source, out)
    else:
        from spkver.interop.peers import import_model

        for line in import_model(source, out, toolkit, front_end):
            click.echo(line)
    click.echo(f"{out}: model directory")
