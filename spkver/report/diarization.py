"""The page of a diarization: a timeline of every recording with playable turns, errors, and shares of speech."""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from spkver import audio
from spkver.datadir import Place, read_datadir
from spkver.errors import InputError
from spkver.files import StrPath, write_text
from spkver.metrics.diarization import KINDS, Comparison, Errors, Span, merged
from spkver.page import Html, contents, document, html, paragraph, section, table
from spkver.page.document import COLOURS
from spkver.report.recordings import mp3
from spkver.rttm import Turn
from spkver.scoring.diarization import Diarization

EMBEDDED_SECONDS = 3600.0  # at most, of all recordings of a page together
_WIDTH = 1000  # of the drawing of a whole recording, which is stretched to the page
_SHOWN = {"miss": "missed", "false_alarm": "false alarm", "confusion": "confused"}


class Sound(NamedTuple):
    """Where the page finds a recording: an address or embedded audio; and its duration in seconds."""

    source: str
    seconds: float


@dataclass(frozen=True)
class _Track:
    """A row of a timeline: a speaker of one side, or a kind of error."""

    name: str
    kind: str  # reference, found, error
    colour: int
    spans: Sequence[Span]

    def plain(self) -> list[Any]:
        """For the script of the page."""
        return [self.name, self.kind, self.colour, [[round(start, 2), round(end, 2)] for start, end in self.spans]]


# --- audio ------------------------------------------------------------------------------------------------------------


def sounds(source: StrPath, names: Sequence[str], page: Path, *, embed: bool = False) -> dict[str, Sound]:
    """The recordings of these names in a data directory, or a single recording; linked from the page, or embedded.

    Raises InputError if none is there, and if an hour or more would be embedded.
    """
    places = _places(source, names)
    lengths = {name: audio.seconds(place.path) for name, place in places.items()}
    if embed and sum(lengths.values()) > EMBEDDED_SECONDS:
        hours, most = sum(lengths.values()) / 3600, EMBEDDED_SECONDS / 3600
        raise InputError(f"--embed: {hours:.1f} hours of audio, at most {most:g} are embedded; leave --embed out")
    return {name: Sound(_source(place, page, embed), lengths[name]) for name, place in places.items()}


def _places(source: StrPath, names: Sequence[str]) -> dict[str, Place]:
    path = Path(source)
    if path.is_dir():
        data = read_datadir(path)
        found = {name: place for name, place in zip(data.ids, data.places()) if name in set(names)}
    else:
        known = path.stem if path.stem in names or len(names) > 1 else names[0]
        found = {known: Place(str(path), 0.0, None, None)} if known in names else {}
    if not found:
        raise InputError(f"{source}: has none of the {len(names)} recordings, first '{names[0]}'")
    return found


def _source(place: Place, page: Path, embed: bool) -> str:
    if embed:
        waveform, rate = audio.read(place.path, channel=place.channel)
        return f"data:audio/mpeg;base64,{base64.b64encode(mp3(waveform, rate)).decode()}"
    return quote(os.path.relpath(os.path.realpath(place.path), os.path.realpath(page.parent)))


# --- the page ---------------------------------------------------------------------------------------------------------


def write_page(
    path: Path,
    hypothesis: Sequence[Turn],
    scored: Diarization | None = None,
    reference: Sequence[Turn] = (),
    found: Mapping[str, Sound] | None = None,
    *,
    title: str = "",
) -> None:
    """Write the page of the turns of a hypothesis, and their errors if they were scored against a reference."""
    of_recording: dict[str, tuple[list[Turn], list[Turn]]] = {}
    for side, turns in enumerate((reference, hypothesis)):
        for turn in turns:
            of_recording.setdefault(turn.recording, ([], []))[side].append(turn)
    if scored is not None:
        of_recording = {name: of_recording.get(name, ([], [])) for name in scored.recordings}
    names = sorted(of_recording)
    if not names:
        raise InputError("no turns to show")
    blocks, data = [], []
    for number, name in enumerate(names):
        compared = scored.recordings[name] if scored else None
        sound = (found or {}).get(name)
        tracks = _tracks(*of_recording[name], compared)
        seconds = max([sound.seconds if sound else 0.0, *(end for track in tracks for _, end in track.spans)])
        told = _told(scored.errors[name]) if scored else f"{_clock(seconds)}, {len(tracks)} speakers"
        shares = table(_shares(*of_recording[name], compared), title="Share of speech", words=1)
        drawn = _timeline(number, tracks, seconds, sound, opened=number == 0)
        blocks.append(section(name, paragraph(told), drawn, shares))
        data.append({"seconds": round(seconds, 2), "tracks": [track.plain() for track in tracks]})
    write_text(path, document(title or "Who speaks when", *_summary(scored, names), *blocks, data={"timelines": data}))


def _summary(scored: Diarization | None, names: Sequence[str]) -> list[Html]:
    legend = (
        "Each row of a timeline is a speaker. Select a stretch of speech to hear it and to read its times. The window "
        "can be moved and zoomed; the drawing above it shows where it is in the recording."
    )
    places = [contents(names)] if len(names) > 1 else []
    if scored is None:
        return [paragraph(legend), *places]
    legend += (
        " Speakers of the reference are outlined; below each one, filled, is the speaker that was found for them. The "
        "last three rows are the errors: missed speech is filled, false alarms are striped, confused speakers dotted."
    )
    head, *rows, whole = scored.rows()
    return [
        *(paragraph(note, "warning") for note in scored.notes),
        table([head, whole, *rows], title="Errors in per cent of the speech in the reference", sortable=len(names) > 5),
        *map(paragraph, scored.summary()),
        paragraph(legend),
        *places,
    ]


def _told(errors: Errors) -> str:
    parts = ", ".join(f"{_SHOWN[kind]} {100 * errors.rate(kind):.1f} %" for kind in KINDS)
    return (
        f"DER {100 * errors.der:.1f} %: {parts}. JER {100 * errors.jer:.1f} %. "
        f"{errors.found} speakers found of {errors.speakers}, who speak for {_clock(errors.speech)}."
    )


def _tracks(reference: Sequence[Turn], hypothesis: Sequence[Turn], compared: Comparison | None) -> list[_Track]:
    own, other = _by_length(merged(reference)), _by_length(merged(hypothesis))
    mapped = {row: column for column, row in compared.mapping.items()} if compared else {}
    tracks = []
    for number, (name, spans) in enumerate(own.items()):
        tracks.append(_Track(name, "reference", number % COLOURS, spans))
        if name in mapped:
            tracks.append(_Track(mapped[name], "found", number % COLOURS, other[mapped[name]]))
    unmapped = [name for name in other if name not in mapped.values()]
    for number, name in enumerate(unmapped, len(own)):
        tracks.append(_Track(name, "found", number % COLOURS, other[name]))
    if compared:
        tracks += [_Track(_SHOWN[kind], "error", number, compared.spans(kind)) for number, kind in enumerate(KINDS)]
    return tracks


def _by_length(spoken: Mapping[str, list[Span]]) -> dict[str, list[Span]]:
    return dict(sorted(spoken.items(), key=lambda item: -_length(item[1])))


def _length(spans: Sequence[Span]) -> float:
    return sum(end - start for start, end in spans)


def _shares(reference: Sequence[Turn], hypothesis: Sequence[Turn], compared: Comparison | None) -> list[list[str]]:
    """Speech of every speaker that was found, and of the speaker of the reference who is mapped to it."""
    own, other = merged(reference), _by_length(merged(hypothesis))
    whole = sum(map(_length, other.values()))
    head = ["speaker", "", "share %", "speech", "turns", "longest"]
    rows = [
        [
            name,
            Html(
                f'<svg class="bar" viewBox="0 0 100 5" preserveAspectRatio="none" aria-hidden="true">'
                f'<rect class="s0" width="{100 * _length(spans) / whole:.1f}" height="5"/></svg>'
            ),
            f"{100 * _length(spans) / whole:.1f}",
            _clock(_length(spans)),
            str(len(spans)),
            _clock(max(end - start for start, end in spans)),
        ]
        for name, spans in other.items()
    ]
    if compared is None:
        return [head, *rows]
    for row in rows:
        person = compared.mapping.get(row[0])
        row += [person or "nobody", _clock(_length(own[person])) if person else ""]
    missing = [
        ["nobody", "", "", "", "", "", name, _clock(_length(spans))]
        for name, spans in _by_length(own).items()
        if name not in compared.mapping.values()
    ]
    return [[*head, "in the reference", "speech there"], *rows, *missing]


def _timeline(number: int, tracks: Sequence[_Track], seconds: float, sound: Sound | None, *, opened: bool) -> Html:
    """A drawing of the whole recording; the script of the page adds a window of it with playable turns."""
    lanes = "".join(
        f'<div class="lane {track.kind} c{track.colour}"><span>{html(track.name)}</span><div class="strip">'
        f'<svg viewBox="0 0 {_WIDTH} 10" preserveAspectRatio="none" aria-hidden="true">{_path(track, seconds)}</svg>'
        "</div></div>\n"
        for track in tracks
    )
    player = f'<audio controls preload="none" src="{html(sound.source)}"></audio>\n' if sound else ""
    return Html(
        f'<details class="timeline" data-number="{number}"{" open" if opened else ""}><summary>timeline</summary>\n'
        f'{player}<div class="lanes overview">\n{lanes}</div>\n'
        f'<p class="note ends"><span>0:00</span><span>{_clock(seconds)}</span></p></details>\n'
    )


def _path(track: _Track, seconds: float) -> str:
    """The spans as one path of many columns, whose heights grow with the share of their time that is covered."""
    times = np.array([(0.0, 0.0), *track.spans]).reshape(-1)
    covered = np.array([(0.0, end - start) for start, end in [(0.0, 0.0), *track.spans]]).reshape(-1).cumsum()
    columns = np.linspace(0, seconds or 1.0, _WIDTH + 1)
    shares = np.diff(np.interp(columns, times, covered)) / columns[1]
    heights = 10 * np.sqrt(shares.clip(0, 1))  # a root, so that short turns in a long recording can be seen
    edges = np.flatnonzero(np.diff(np.round(heights, 1), prepend=-1, append=-1))
    boxes = [
        f"M{left} 10V{10 - heights[left]:.1f}H{right}V10Z"
        for left, right in itertools.pairwise(edges.tolist())
        if heights[left] >= 0.05
    ]
    return f'<path d="{"".join(boxes)}"/>'


def _clock(seconds: float) -> str:
    """`0:07`, `1:02:03`."""
    whole = round(seconds)
    minutes = f"{whole % 3600 // 60:02}" if whole >= 3600 else f"{whole // 60}"
    return f"{whole // 3600}:{minutes}:{whole % 60:02}" if whole >= 3600 else f"{minutes}:{whole % 60:02}"
