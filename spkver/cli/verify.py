"""`spkver verify`."""

from __future__ import annotations

import click


@click.command(name="verify")
@click.argument("first", type=click.Path())
@click.argument("second", type=click.Path())
@click.option("--model", required=True, type=click.Path(), help="Model directory, for example exp/xvector/model.")
@click.option("--threshold", type=float, help="Decide: the same speaker at this score or more.")
def command(first: str, second: str, model: str, threshold: float | None) -> None:
    """Compare the speakers of two recordings: the cosine of their embeddings, from -1 to 1.

    A threshold for your data comes from `spkver evaluate` on trials of it.

    \b
    Example: spkver verify a.wav b.wav --model exp/xvector/model --threshold 0.4
    """
    from spkver import audio
    from spkver.encoder import load_model
    from spkver.verify.compare import verify

    encoder = load_model(model)
    verdict = verify(encoder, first, second, threshold)
    if odd := audio.rate_warning(audio.sample_rates([first, second]), encoder.sample_rate):
        click.echo(f"warning: {odd}", err=True)
    decision = {True: "\tsame speaker", False: "\tdifferent speakers", None: ""}[verdict.same]
    click.echo(f"{verdict.score:.4f}{decision}")
