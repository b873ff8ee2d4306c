"""`spkver serve`."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import inputs, options, voices
from spkver.errors import InputError


@click.command(name="serve")
@voices.model
@voices.book
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; beyond this machine only with --tokens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free port.")
@click.option("--tokens", type=inputs.FILE, help="File of bearer tokens. Each tenant has a book of their own.")
@click.option("--new-token", metavar="TENANT", help="Add a token to --tokens, print it, and end.")
@click.option("--jobs", type=click.IntRange(min=1), show_default="all cores", help="Number of processes.")
@click.option("--config", type=inputs.FILE, help="YAML file: device, limits, TLS (spkver/serve/README.md).")
def command(
    model: str | None,
    book: Path | None,
    host: str,
    port: int,
    tokens: Path | None,
    new_token: str | None,
    jobs: int | None,
    config: Path | None,
) -> None:
    """Serve embeddings, decisions and the speaker book over HTTP (extra `serve`).

    By default, only this machine can connect, without a token; --host and --tokens open the service to others. No
    recording is stored. /docs describes the routes. After SIGTERM or Ctrl-C, running requests are completed.

    \b
    Example:
      spkver serve --book voices
      spkver serve --tokens tokens --new-token shop
      spkver serve --book voices --host 0.0.0.0 --tokens tokens
    """
    from spkver.config import load
    from spkver.modeldir import default_model
    from spkver.processes import available_cpus
    from spkver.serve.config import ServeConfig
    from spkver.serve.run import Settings, serve
    from spkver.serve.tokens import new_token as make_token

    if new_token is not None:
        if tokens is None:
            raise InputError("--new-token needs --tokens, the file that gets the hash of the token")
        click.echo(make_token(tokens, new_token))
        return
    settings = Settings(
        model=default_model() if model is None else options.local(model),
        book=voices.place(book),
        host=host,
        port=port,
        tokens=tokens,
        jobs=jobs or available_cpus(),
        config=load(ServeConfig, config),
    )
    serve(settings, click.echo)
