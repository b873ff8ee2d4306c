"""`spkver features`: filterbank features of an audio pack."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import inputs, options, outputs
from spkver.cli.packing import show_summary, speed_option
from spkver.errors import InputError
from spkver.work import Share, engine


@click.command()
@click.argument("pack", type=inputs.FILE)
@click.argument("out", type=outputs.DIRECTORY)
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@options.jobs
@options.on
@options.part
@speed_option
def command(
    pack: Path,
    out: Path,
    settings: tuple[str, ...],
    jobs: int | None,
    on: str,
    share: Share | None,
    speeds: tuple[float, ...],
) -> None:
    """Compute filterbank features of the audio pack PACK and write them to OUT, after CMN, in float16.

    KEY=VALUE sets a key of the front end, for example bins=64 or name=wespeaker.

    \b
    Example: spkver features packs/train feats/train bins=80 --speed 0.9 --speed 1.1 --jobs 4
    """
    from spkver.config import load
    from spkver.features import FRONT_ENDS, FrontEndConfig
    from spkver.packs import make_features

    front_end = load(FRONT_ENDS, overrides=["name=fbank", *settings])
    if not isinstance(front_end, FrontEndConfig):
        raise InputError(f"feature packs hold features of fbank; {front_end.name} is computed in training, from audio")
    made = make_features(pack, out, front_end, on=engine(on, jobs), share=share, speeds=speeds, say=click.echo)
    show_summary(out, made)
