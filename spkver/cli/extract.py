"""`spkver extract`."""

from __future__ import annotations

import click


@click.command(name="extract")
@click.argument("source", type=click.Path())
@click.argument("out", type=click.Path())
@click.option(
    "--model",
    required=True,
    type=click.Path(),
    help="Model directory, for example exp/xvector/model, or an .onnx file of it.",
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Embed only the middle, this long.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option("--max-rejected", default=0.1, show_default=True, help="Share that may be set aside.")
@click.option("--jobs", default=2, show_default=True, help="Threads that decode recordings.")
@click.option("--allow-pipes", is_flag=True, help="Run the commands in wav.scp.")
def command(
    source: str,
    out: str,
    model: str,
    seconds: float | None,
    device: str,
    max_rejected: float,
    jobs: int,
    allow_pipes: bool,
) -> None:
    """Embed every utterance of SOURCE (data directory, audio pack or feature pack) into the Parquet file OUT.

    \b
    Example: spkver extract data/test exp/test.parquet --model exp/xvector/model
    """
    from spkver.encoder import load_model
    from spkver.extraction import extract

    done = extract(
        load_model(model, device),
        source,
        out,
        seconds=seconds,
        max_rejected=max_rejected,
        allow_pipes=allow_pipes,
        jobs=jobs,
        say=lambda text: click.echo(text, err=True),
    )
    click.echo(f"{done.embeddings} embeddings in {out}")
    if done.rejected:
        name, reason = done.rejected[0]
        click.echo(f"{len(done.rejected)} set aside, see {out}.rejected.jsonl; the first: {name}: {reason}", err=True)
