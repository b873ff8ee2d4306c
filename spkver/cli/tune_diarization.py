"""`spkver tune-diarization`."""

from __future__ import annotations

from pathlib import Path

import click

from spkver.cli import inputs, options
from spkver.cli.terminal import to_stderr
from spkver.errors import InputError


@click.command(name="tune-diarization")
@click.argument("data", type=inputs.FILE)
@click.argument("reference", type=inputs.FILE)
@click.option("--model", required=True, type=options.MODEL, help="Model directory, which gets the settings.")
@click.option("--vad", type=click.Choice(["energy", "silero"]), help="Voice activity detector.")
@click.option("--window", type=click.FloatRange(min=0, min_open=True), help="Seconds of a window.")
@click.option("--shift", type=click.FloatRange(min=0, min_open=True), help="Seconds from window to window.")
def command(
    data: Path, reference: Path, model: str, vad: str | None, window: float | None, shift: float | None
) -> None:
    """Choose the threshold of `spkver diarize` on recordings with a REFERENCE of who speaks when.

    DATA is a data directory or audio pack of recordings like those of later use. The threshold of the least diarization
    error rate (DER, without a collar, number of speakers unknown) is stored in the model directory, and the least
    speech of a speaker. Speakers must not be those that the model was trained on.

    \b
    Example: spkver tune-diarization data/tune data/tune/ref.rttm --model exp/my/model
    """
    from spkver.diarization.agglomerative import AgglomerativeConfig
    from spkver.diarization.diarize import Stages, listen, recordings
    from spkver.diarization.settings import Settings, write_settings
    from spkver.diarization.tuning import tune
    from spkver.encoder import Encoder
    from spkver.rttm import read_turns

    place = options.local(model)
    encoder = Encoder.open(place)
    changes = {key: value for key, value in (("vad", vad), ("window", window), ("shift", shift)) if value is not None}
    settings = Settings(clustering=AgglomerativeConfig(threshold=0.4), **changes)
    turns: dict[str, list] = {}
    for turn in read_turns(reference):
        turns.setdefault(turn.recording, []).append(turn)
    source = recordings([data], encoder)
    heard = []
    for row, name in enumerate(source.ids):
        if name not in turns:
            raise InputError(f"{reference}: no turns of the recording '{name}' of {data}")
        heard.append(listen(encoder, settings, name, *source.open(row), Stages()))
    found = tune(heard, turns, settings, VALUES)
    for one in found[:-1]:
        keys = one.settings.clustering.model_dump(include=set(VALUES))
        to_stderr(f"{keys}: DER {100 * one.errors.der:.2f} %, number right in {one.right} of {len(heard)}")
    best = found[-1]
    said = (
        f"DER {100 * best.errors.der:.2f} % ({100 * best.errors.rate('confusion'):.2f} % confusion), number of "
        f"speakers right in {best.right} of {len(heard)} recordings of {data}"
    )
    path = write_settings(place, best.settings.model_copy(update={"measured": said}))
    click.echo(f"{best.settings.clustering.model_dump(mode='json')}: {said}\nstored in {path}")


VALUES = {"threshold": [round(0.05 * step, 2) for step in range(2, 16)], "least_seconds": [0.0, 1.0, 2.0, 4.0, 6.0]}
