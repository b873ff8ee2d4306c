"""`spkver tune-diarization`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spkver.cli import inputs, options
from spkver.cli.terminal import to_stderr
from spkver.errors import InputError
from spkver.files import file_place


@click.command(name="tune-diarization")
@click.argument("data", type=inputs.FILE)
@click.argument("reference", type=inputs.FILE)
@click.option("--model", required=True, type=options.MODEL, help="Model directory, which gets the settings.")
@click.option("--vad", type=click.Choice(["energy", "silero"]), help="Voice activity detector.")
@click.option("--window", type=options.FloatRange(min=0, min_open=True), help="Seconds of a window.")
@click.option("--shift", type=options.FloatRange(min=0, min_open=True), help="Seconds from window to window.")
@click.option("--plda", type=inputs.FILE, help="PLDA model of the embeddings, to try the clustering vbx too.")
@click.option("--segmentation", type=inputs.FILE, help="Network that finds overlapping speech (spkver import).")
def command(
    data: Path,
    reference: Path,
    model: str,
    vad: str | None,
    window: float | None,
    shift: float | None,
    plda: Path | None,
    segmentation: Path | None,
) -> None:
    """Choose the clustering of `spkver diarize` and its settings on recordings with a REFERENCE of who speaks when.

    DATA is a data directory or audio pack of recordings like those of later use. The clusterings agglomerative and
    spectral are tried, and vbx with --plda. The settings of the least diarization error rate (DER, without a collar,
    number of speakers unknown) are stored in the model directory; of those within 0.1 points of it, the ones that find
    the right number of speakers most often. Speakers must not be those that the model was trained on.

    \b
    Example: spkver tune-diarization data/tune data/tune/ref.rttm --model exp/my/model
    """
    from spkver import modeldir
    from spkver.config import validate
    from spkver.diarization import CLUSTERINGS
    from spkver.diarization.diarize import Stages, listen, recordings, segmentation_of
    from spkver.diarization.settings import SETTINGS, Settings, write_settings
    from spkver.diarization.tuning import Tried, best_of, tune
    from spkver.encoder import Encoder
    from spkver.rttm import read_turns

    place = options.local(model)
    encoder = Encoder.open(place)
    file_place(modeldir.check(place) / SETTINGS)
    # the model may be used from another directory
    files = {name: str(path.resolve()) for name, path in (("plda", plda), ("segmentation", segmentation)) if path}
    given = {"vad": vad, "window": window, "shift": shift, "segmentation": files.get("segmentation")}
    changes = {key: value for key, value in given.items() if value is not None}
    first = []
    for name in VALUES:
        if name != "vbx" or plda is not None:
            keys = FIRST[name] | ({"plda": files["plda"]} if name == "vbx" else {})
            first.append(validate(Settings, {"clustering": keys, **changes}))
            CLUSTERINGS.build(first[-1].clustering)  # a wrong file is an error now
    turns: dict[str, list] = {}
    for turn in read_turns(reference):
        turns.setdefault(turn.recording, []).append(turn)
    source = recordings([data], encoder)
    for name in source.ids:
        if name not in turns:
            raise InputError(f"{reference}: no turns of the recording '{name}' of {data}")
    network = segmentation_of(encoder, first[0])
    heard = [
        listen(encoder, first[0], network, name, *source.open(row), Stages()) for row, name in enumerate(source.ids)
    ]
    found: list[Tried] = []
    for settings in first:
        found += tune(heard, turns, settings, VALUES[settings.clustering.name])
    for one in found:
        keys = one.settings.clustering.model_dump(include={"name", *VALUES[one.settings.clustering.name]})
        to_stderr(f"{keys}: DER {100 * one.errors.der:.2f} %, right number in {one.right} of {len(heard)}")
    best = best_of(found)
    said = (
        f"DER {100 * best.errors.der:.2f} % ({100 * best.errors.rate('confusion'):.2f} % confusion), right "
        f"number of speakers in {best.right} of {len(heard)} recordings of {data}"
    )
    path = write_settings(place, best.settings.model_copy(update={"measured": said}))
    click.echo(f"{best.settings.clustering.model_dump(mode='json')}: {said}\nstored in {path}")


FIRST: dict[str, dict[str, Any]] = {
    "agglomerative": {"name": "agglomerative", "threshold": 0.4},
    "spectral": {"name": "spectral"},
    "vbx": {"name": "vbx", "threshold": 0.4},
}
_LEAST = [0.0, 1.0, 2.0, 4.0, 6.0]
VALUES: dict[str, dict[str, list[float]]] = {
    "agglomerative": {"threshold": [round(0.05 * step, 2) for step in range(2, 16)], "least_seconds": _LEAST},
    "spectral": {"neighbours": [0.01, 0.02, 0.03, 0.06, 0.1, 0.15, 0.2], "least_seconds": _LEAST},
    "vbx": {
        "threshold": [round(0.1 * step, 1) for step in range(2, 8)],
        "fa": [0.1, 0.2, 0.3, 0.4],
        "fb": [1.0, 2.0, 5.0, 10.0, 17.0],
        "least_seconds": _LEAST,
    },
}
