"""`spkver data stats`: counts of a corpus, and on request problems of its audio and labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spkver.cli import outputs

if TYPE_CHECKING:
    from spkver.datadir import Stats

_PATH = click.Path(path_type=Path)


@click.command(name="stats")
@click.argument("source", metavar="DIR|PACK", type=_PATH)
@click.option("--audio", is_flag=True, help="Levels, SNR, clipping, duplicate audio. Decodes every recording.")
@click.option("--page", type=outputs.FILE, help="Write an HTML page with histograms; implies --audio.")
@click.option("--other", "others", type=_PATH, multiple=True, help="Set that must share no speaker (repeatable).")
@click.option("--pitch", is_flag=True, help="Find speakers whose pitch contradicts their gender label.")
@click.option("--model", type=_PATH, help="Find utterances closer to another speaker by this model.")
@click.option("--jobs", default=2, show_default=True, help="Threads that decode recordings.")
@click.option("--allow-pipes", is_flag=True, help="Run the shell commands in wav.scp.")
def command(
    source: Path,
    audio: bool,
    page: Path | None,
    others: tuple[Path, ...],
    pitch: bool,
    model: Path | None,
    jobs: int,
    allow_pipes: bool,
) -> None:
    """Count speakers, utterances, sessions and hours. Further options examine the audio and the labels.

    \b
    Example: spkver data stats data/train
    Example: spkver data stats data/train --page train.html --other data/test --pitch --model exp/xvector/model
    """
    for name, value in _counts(source, allow_pipes).items():
        click.echo(f"{name:<32}{value}")
    if not (audio or page or others or pitch or model):
        return
    from spkver.stats.report import examine
    from spkver.stats.source import open_source

    encoder = None
    if model is not None:
        from spkver.encoder import Encoder

        encoder = Encoder.open(model, "auto")
    corpus = open_source(source, allow_pipes=allow_pipes)
    beside = [open_source(other, allow_pipes=allow_pipes) for other in others]
    for table in examine(corpus, others=beside, pitch=pitch, encoder=encoder, jobs=jobs, out=page):
        click.echo(f"\n{table.text()}")
    if page is not None:
        click.echo(f"\n{page}: written")


def _counts(source: Path, allow_pipes: bool) -> dict[str, str]:
    if not (source / "pack.json").is_file():
        from spkver.datadir import read_datadir, stats

        return _of_datadir(stats(read_datadir(source, allow_pipes=allow_pipes)))
    from spkver.packs import Pack

    pack = Pack.open(source)
    return {
        "speakers": f"{len(set(pack.speakers))}",
        "utterances": f"{len(pack)}",
        "hours": f"{pack.seconds.sum() / 3600:.2f}",
    }


def _of_datadir(found: Stats) -> dict[str, str]:
    genders = ", ".join(f"{number} {name}" for name, number in found.genders.items())
    return {
        "speakers": f"{found.speakers}" + (f" ({genders})" if genders else ""),
        "sessions": "unknown" if found.sessions is None else f"{found.sessions}",
        "utterances": f"{found.utterances}",
        "hours": f"{found.hours:.2f}",
        "seconds (min, mean, max)": "{:.2f}  {:.2f}  {:.2f}".format(*found.seconds),
        "per speaker (min, mean, max)": "{}  {:.1f}  {}".format(*found.per_speaker),
    }
