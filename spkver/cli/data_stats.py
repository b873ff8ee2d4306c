"""`spkver data stats`: counts of a corpus, and on request problems of its audio and labels."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import inputs, options, outputs

_PATH = inputs.FILE


@click.command(name="stats")
@click.argument("source", metavar="DIR|PACK", type=_PATH)
@click.option("--audio", is_flag=True, help="Levels, SNR, clipping, duplicate audio. Decodes every recording.")
@click.option("--out", type=outputs.FILE, help="Also write an HTML page with histograms; implies --audio.")
@click.option("--other", "others", type=_PATH, multiple=True, help="Data that must not share a speaker (repeatable).")
@click.option("--pitch", is_flag=True, help="Find speakers whose pitch contradicts their gender (extra: pitch).")
@click.option("--model", type=options.MODEL, help="Find utterances that this model places closer to another speaker.")
@options.threads
@options.allow_pipes
def command(
    source: Path,
    audio: bool,
    out: Path | None,
    others: tuple[Path, ...],
    pitch: bool,
    model: str | None,
    jobs: int,
    allow_pipes: bool,
) -> None:
    """Count speakers, utterances, sessions and hours. Further options examine the audio and the labels.

    \b
    Example: spkver data stats data/train
             spkver data stats data/train --out train.html --other data/test --pitch --model exp/xvector/model
    """
    from spkver.source import open_source
    from spkver.stats.counts import count
    from spkver.stats.report import examine

    corpus, *beside = (open_source(path, allow_pipes=allow_pipes) for path in (source, *others))
    for name, value in count(corpus).rows():
        click.echo(f"{name:<32}{value}")
    if not (audio or out or others or pitch or model):
        return
    encoder = None
    if model is not None:
        from spkver.encoder import Encoder

        encoder = Encoder.open(options.local(model), "auto")
    for table in examine(corpus, others=beside, pitch=pitch, encoder=encoder, jobs=jobs, out=out):
        click.echo(f"\n{table.text()}")
    if out is not None:
        click.echo(f"\n{out}: written")
