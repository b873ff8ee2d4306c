"""`spkver pack`: write recordings to an audio pack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spkver.cli import inputs, options, outputs
from spkver.cli.packing import show_summary, speed_option
from spkver.errors import InputError
from spkver.work import Share, engine


@click.command()
@click.argument("data", type=inputs.FILE)
@click.argument("out", type=outputs.DIRECTORY)
@options.jobs
@options.on
@options.part
@click.option(
    "--sample-rate", type=click.IntRange(1), default=16000, show_default=True, help="In Hz; other rates are resampled."
)
@click.option(
    "--min-seconds", type=options.FloatRange(0), default=0.3, show_default=True, help="Shorter utterances are rejected."
)
@click.option(
    "--max-seconds", type=options.FloatRange(0), show_default="an hour", help="Longer utterances are rejected."
)
@click.option(
    "--max-rejected",
    type=options.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Stop if more than this share is rejected.",
)
@click.option(
    "--channel",
    type=click.IntRange(0),
    help="Channel of multi-channel files (0-based) unless the data directory gives it.",
)
@click.option(
    "--coding",
    type=click.Choice(["pcm", "flac"]),
    default="pcm",
    show_default=True,
    help="flac: two thirds of the size, slower crops.",
)
@speed_option
@click.option(
    "--combine",
    type=options.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Join shorter utterances of a speaker and session to rows of about this length.",
)
@click.option("--simulate", type=inputs.FILE, help="Augment every recording as this YAML file says (see above).")
@options.seed("Seed of --simulate; overrides the file's.", default=None)
@options.allow_pipes
def command(
    data: Path,
    out: Path,
    jobs: int | None,
    on: str,
    share: Share | None,
    simulate: Path | None,
    seed: int | None,
    allow_pipes: bool,
    speeds: tuple[float, ...],
    **options: Any,
) -> None:
    """Pack the recordings of the data directory DATA as 16-bit PCM in OUT.

    Unusable recordings are listed in OUT/rejected.jsonl with the reason. A run that was killed continues where it
    stopped; a finished one is not repeated.

    The two sides of a telephone call are two recordings with the same path in wav.scp. Kaldi's reco2file_and_channel
    gives the channel: A is the first, B the second.

    --simulate adds reverberation, noise and channel effects. The random draw for an utterance depends only on the seed
    and its id. To train on both packs: data.train: [packs/train, packs/sim]

    \b
      seed: 1
      waveform: [{name: reverb, probability: 0.5}, {name: noise, probability: 0.5}]   # as in training
      codec: {probability: 0.7, codecs: [mu_law, gsm, opus, {name: mp3, kbit_per_second: [16, 32]}]}
      # also: a_law, vorbis, {name: band, low_hz: [50, 300], high_hz: [3000, 7000]}

    \b
    Example: spkver pack data/train packs/train --jobs 4
             spkver pack data/train packs/sim --simulate sim.yaml
             spkver pack data/words packs/words --combine 6 --speed 0.9 --speed 1.1
    """
    from spkver.datadir import read_datadir
    from spkver.packs import pack_audio

    found = read_datadir(data, allow_pipes=allow_pipes)
    given = {name: value for name, value in options.items() if value is not None}
    if simulate is not None:
        from spkver.augment.simulate import SimulationConfig
        from spkver.config import load

        given["simulation"] = load(SimulationConfig, simulate, [] if seed is None else [f"seed={seed}"])
    elif seed is not None:
        raise InputError("--seed needs --simulate")
    given |= {"speeds": speeds, "allow_pipes": allow_pipes, "on": engine(on, jobs), "share": share}
    show_summary(out, pack_audio(found, out, say=click.echo, **given))
