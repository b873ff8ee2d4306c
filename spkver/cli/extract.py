"""`spkver extract`."""

from __future__ import annotations

from typing import Any

import click

from spkver.cli import options, outputs
from spkver.cli.terminal import to_stderr
from spkver.work import Share, engine


@click.command(name="extract")
@click.argument("source", type=click.Path())
@click.argument("out", type=outputs.FILE)
@click.option(
    "--model",
    required=True,
    type=options.MODEL,
    help="Model directory, for example exp/xvector/model, .onnx file, or name of a published model.",
)
@click.option("--seconds", type=options.FloatRange(min=0, min_open=True), help="Embed only the middle part, this long.")
@click.option("--window", type=options.FloatRange(min=0, min_open=True), help="Embed windows of this many seconds.")
@click.option(
    "--hop",
    type=options.FloatRange(min=0, min_open=True),
    help="Seconds between window starts.  [default: half a window]",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Precision of the network. fp16: for GPUs (very slow on CPUs). bf16: for GPUs and CPUs that support it.",
)
@click.option("--max-rejected", default=0.1, show_default=True, help="Stop if more than this share is rejected.")
@options.jobs
@options.on
@options.part
@options.allow_pipes
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
    jobs: int | None,
    on: str,
    share: Share | None,
    allow_pipes: bool,
) -> None:
    """Embed every utterance of SOURCE (data directory, audio pack or feature pack) into the Parquet file OUT.

    With --window, OUT has one embedding for each window, with its start and end. Recordings may have any length.

    \b
    Example:
      spkver extract data/test exp/test.parquet --model exp/xvector/model
      spkver extract data/meetings windows.parquet --model exp/xvector/model --window 1.5 --hop 0.75
    """
    if window and seconds:
        raise click.UsageError("give --window or --seconds, not both")
    if hop and not window:
        raise click.UsageError("--hop needs --window")
    from spkver.encoder import Encoder
    from spkver.extraction import extract
    from spkver.windows import extract_windows

    encoder = Encoder.open(options.local(model), device).computing_in(precision)
    common: dict[str, Any] = {"max_rejected": max_rejected, "allow_pipes": allow_pipes, "share": share}
    common["on"] = engine(on, jobs, threads=True)
    done: Any
    if window:
        done = extract_windows(encoder, source, out, window=window, hop=hop or window / 2, **common)
    else:
        done = extract(encoder, source, out, seconds=seconds, say=to_stderr, **common)
    if done is None:
        click.echo(f"{out}: the parts are made; when all are, run: spkver gather {out}")
        return
    if window:
        skipped = f"{done.unusable} windows skipped (silent or not finite)"
        click.echo(f"embeddings of {done.windows} windows in {out}; {skipped}")
    else:
        click.echo(f"{done.embeddings} embeddings in {out}")
    if done.rejected:
        name, reason = done.rejected[0]
        click.echo(f"{len(done.rejected)} rejected, see {out}.rejected.jsonl; the first: {name}: {reason}", err=True)
