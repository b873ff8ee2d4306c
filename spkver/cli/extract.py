"""`spkver extract`."""

from __future__ import annotations

import click

from spkver.cli import outputs


@click.command(name="extract")
@click.argument("source", type=click.Path())
@click.argument("out", type=outputs.FILE)
@click.option(
    "--model",
    required=True,
    type=click.Path(),
    help="Model directory, for example exp/xvector/model, or an .onnx file of it.",
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Embed only the middle, this long.")
@click.option("--window", type=click.FloatRange(min=0, min_open=True), help="Embed windows of so many seconds.")
@click.option("--hop", type=click.FloatRange(min=0, min_open=True), help="Seconds between them.  [default: half]")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of the network's products: fp16 for GPUs (very slow on a CPU), bf16 for those and CPUs that have it.",
)
@click.option("--max-rejected", default=0.1, show_default=True, help="Share that may be set aside.")
@click.option("--jobs", default=2, show_default=True, help="Threads that decode recordings.")
@click.option("--allow-pipes", is_flag=True, help="Run the commands in wav.scp.")
def command(
    source: str,
    out: str,
    model: str,
    seconds: float | None,
    window: float | None,
    hop: float | None,
    device: str,
    precision: str,
    max_rejected: float,
    jobs: int,
    allow_pipes: bool,
) -> None:
    """Embed every utterance of SOURCE (data directory, audio pack or feature pack) into the Parquet file OUT.

    With --window, an embedding of every window, with its start and end, of recordings of any length.

    \b
    Example:
      spkver extract data/test exp/test.parquet --model exp/xvector/model
      spkver extract data/meetings windows.parquet --model exp/xvector/model --window 1.5 --hop 0.75
    """
    if window and seconds:
        raise click.UsageError("--window or --seconds, not both")
    if hop and not window:
        raise click.UsageError("--hop is that of --window")
    from spkver.encoder import load_model
    from spkver.extraction import extract
    from spkver.windows import extract_windows

    encoder = load_model(model, device).computing_in(precision)
    if window:
        found = extract_windows(
            encoder,
            source,
            out,
            window=window,
            hop=hop or window / 2,
            max_rejected=max_rejected,
            allow_pipes=allow_pipes,
        )
        rejected = found.rejected
        click.echo(f"embeddings of {found.windows} windows in {out}; {found.unusable} were not usable (silent, say)")
    else:
        done = extract(
            encoder,
            source,
            out,
            seconds=seconds,
            max_rejected=max_rejected,
            allow_pipes=allow_pipes,
            jobs=jobs,
            say=lambda text: click.echo(text, err=True),
        )
        rejected = done.rejected
        click.echo(f"{done.embeddings} embeddings in {out}")
    if rejected:
        name, reason = rejected[0]
        click.echo(f"{len(rejected)} set aside, see {out}.rejected.jsonl; the first: {name}: {reason}", err=True)
