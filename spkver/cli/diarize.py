"""`spkver diarize`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from spkver import tables
from spkver.cli import inputs, options, outputs, voices
from spkver.cli.terminal import to_stderr
from spkver.errors import InputError
from spkver.files import StrPath, atomic_directory, directory_place, file_place

if TYPE_CHECKING:
    from spkver.verify.conversations import Diarization

RTTM, JSON, LABELS = "turns.rttm", "turns.json", "labels"
FILES = (".rttm", ".json", ".txt")  # suffixes of a single file
LONGEST = 255  # bytes of a file name


def _place(path: Path) -> None:
    if path.suffix in FILES:
        file_place(path)
    else:
        directory_place(path, holds=RTTM)


@click.command(name="diarize")
@click.argument("sources", nargs=-1, required=True, metavar="RECORDING...|DATA", type=inputs.FILE)
@click.option(
    "--out",
    required=True,
    type=outputs.Output(_place),
    help="TURNS.rttm, TURNS.json, TURNS.txt (labels for Audacity), or a directory for all of them.",
)
@voices.model
@click.option("--speakers", type=click.IntRange(min=1), help="Number of speakers of each recording, if known.")
@click.option("--min-speakers", type=click.IntRange(min=1), help="Minimum number of speakers.")
@click.option("--max-speakers", type=click.IntRange(min=1), help="Maximum number of speakers.")
@click.option("--vad", type=click.Choice(["energy", "silero"]), help="Voice activity detector.  [default: the model's]")
@click.option(
    "--clustering", type=click.Choice(["agglomerative", "spectral", "vbx"]), help="Clustering.  [default: the model's]"
)
@click.option(
    "--threshold",
    type=options.FloatRange(-1, 1),
    help="Cosine from which clusters are one speaker.  [default: the model's]",
)
@click.option("--plda", type=inputs.FILE, help="PLDA model of the embeddings, for --clustering vbx.")
@click.option("--segmentation", type=inputs.FILE, help="Network that finds overlapping speech (spkver import).")
@click.option("--book", type=inputs.FILE, help="Name speakers from this speaker book; the others are unknown 1, ...")
@click.option("--channel", type=click.IntRange(min=0), help="Channel of all files (0-based).  [default: all, mixed]")
@options.allow_pipes
def command(
    sources: tuple[Path, ...],
    out: Path,
    model: str | None,
    speakers: int | None,
    min_speakers: int | None,
    max_speakers: int | None,
    vad: str | None,
    clustering: str | None,
    threshold: float | None,
    plda: Path | None,
    segmentation: Path | None,
    book: Path | None,
    channel: int | None,
    allow_pipes: bool,
) -> None:
    """Find who speaks when in recordings, or in those of a data directory or audio pack.

    With --book, a speaker gets the name of the nearest person of the book if the score reaches the threshold of `spkver
    identify` and the second nearest person is clearly further away. An unknown voice has the same number in all
    recordings.

    A directory OUT gets the turns of all recordings as turns.rttm and turns.json, and labels/NAME.txt for Audacity.
    Recordings may have any length. Those that cannot be read are listed with the reason, also in turns.json.

    \b
    Example:
      spkver diarize meeting.wav --out meeting
      spkver diarize monday.wav friday.wav --out week --book voices
      spkver diarize data/meetings --out turns --model exp/my/model --max-speakers 8
    """
    from spkver.verify import conversations

    encoder = voices.load(model)
    network = segmentation and str(segmentation)
    found = conversations.diarize(
        encoder,
        sources,
        conversations.settings_of(encoder, threshold, plda, vad=vad, clustering=clustering, segmentation=network),
        conversations.number_of(speakers, min_speakers, max_speakers),
        book=book,
        channel=channel,
        allow_pipes=allow_pipes,
        check=partial(check_recordings, out),
    )
    voices.warn(found.notes)
    write(out, found)
    click.echo(tables.text(_rows(found)))
    click.echo(f"overlap: {found.overlap}")
    click.echo(_speed(found))
    for name, reason in found.rejected:
        to_stderr(f"rejected: {name}: {reason}")


def check_recordings(out: StrPath, names: Sequence[str]) -> None:
    """Raises InputError if recordings of these names cannot be written to `out`."""
    from spkver.rttm import check_names

    if Path(out).suffix in FILES:
        check_names(out, names)
        return
    check_names(Path(out) / RTTM, names)
    for name in names:
        if len(os.fsencode(_label_file(name))) > LONGEST:
            raise InputError(f"{out}: the name '{name}' is too long for a file; give --out TURNS.rttm or TURNS.json")


def write(out: StrPath, found: Diarization) -> None:
    """Write a file of turns, or the directory of all forms, atomically."""
    from spkver.rttm import write_turns

    if Path(out).suffix in FILES:
        write_turns(out, found.turns, **found.about() if Path(out).suffix == ".json" else {})
        return
    with atomic_directory(out, holds=RTTM) as folder:
        write_turns(folder / RTTM, found.turns)
        write_turns(folder / JSON, found.turns, **found.about())
        (folder / LABELS).mkdir()
        for name, own in groupby(found.turns, key=lambda turn: turn.recording):
            write_turns(folder / LABELS / _label_file(name), own)


def _label_file(name: str) -> str:
    """The file of a recording's labels, from which its name is read again. An id is never a path."""
    return re.sub(r'[%/\\:*?"<>|]', lambda one: quote(one[0], safe=""), name) + ".txt"


def _rows(found: Diarization) -> list[list[str]]:
    turns = Counter((turn.recording, turn.speaker) for turn in found.turns)
    rows = (
        [one.recording, one.name, f"{one.seconds:.1f}", str(turns[one.recording, one.name])] for one in found.speakers
    )
    return [["recording", "speaker", "speech s", "turns"], *rows]


def _speed(found: Diarization) -> str:
    stages = found.stages
    total = sum(stages.took.values())
    each = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.took.items() if seconds)
    speed = stages.audio / max(total, 1e-9)
    return f"{stages.audio:.0f} s of audio in {total:.1f} s ({speed:.0f} times real time): {each}"
