"""Recordings embedded in a page: the first seconds of each as MP3, which every browser plays."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver import audio
from spkver.datadir import DataDir, Place
from spkver.errors import InputError
from spkver.page import Html, html
from spkver.progress import bar

SECONDS = 20.0  # of each recording
_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # sample rates of MP3, Hz
_COMPRESSION = 0.7  # from 0 to 1; about 4 kB per second at 16 kHz


@dataclass(frozen=True)
class Clip:
    """A recording in the page: its MP3, or the reason why there is none."""

    mp3: bytes
    why_not: str = ""


def clips(data: DataDir, ids: Sequence[str], *, allow_pipes: bool = False) -> dict[str, Clip]:
    """The clip of each id in the data directory. Raises InputError if none of the ids is there."""
    wanted = data.filter(pc.is_in(data.table["id"], value_set=pa.array(ids, pa.string())))
    if not len(wanted):
        raise InputError(f"none of the {len(ids)} recordings of the worst errors is in the data directory")
    places = dict(zip(wanted.ids, wanted.places()))
    known = [name for name in ids if name in places]
    progress = bar(total=len(known), what="recordings", unit="file", iterable=known)
    return {name: _clip(places[name], allow_pipes) for name in progress}


def players(found: Mapping[str, Clip]) -> dict[str, Html]:
    """A link to each clip, which the script of the page turns into a play button."""
    return {
        name: Html(f'<a class="play" href="#recording-{number}" data-recording="{html(name)}">▶</a>')
        for number, (name, clip) in enumerate(found.items())
        if clip.mp3
    }


def shelf(found: Mapping[str, Clip]) -> Html:
    """A list of all clips, each with player controls."""
    items = []
    for number, (name, clip) in enumerate(found.items()):
        if clip.mp3:
            source = f"data:audio/mpeg;base64,{base64.b64encode(clip.mp3).decode()}"
            held = f'<audio id="recording-{number}" controls preload="none" src="{source}"></audio>'
        else:
            held = f'<span class="note">{html(clip.why_not)}</span>'
        items.append(f"<li>{html(name)} {held}</li>\n")
    return Html(
        f'<details><summary>{len(found)} recordings</summary>\n<ul class="shelf">\n{"".join(items)}</ul></details>\n'
    )


def _clip(place: Place, allow_pipes: bool) -> Clip:
    try:
        waveform, rate = audio.read(**place._asdict(), allow_pipes=allow_pipes)
    except InputError as error:
        return Clip(b"", str(error))
    return Clip(mp3(waveform[: round(SECONDS * rate)], rate))


def mp3(waveform: np.ndarray, rate: int) -> bytes:
    """A waveform (time,) in [-1, 1] as MP3."""
    import soundfile

    if rate not in _RATES:
        waveform, rate = audio.resample(waveform, rate, 16000), 16000
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        waveform,
        rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=_COMPRESSION,
        bitrate_mode="VARIABLE",
    )
    return buffer.getvalue()
