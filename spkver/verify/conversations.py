"""Who speaks when in recordings, and which people of a speaker book they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from spkver.config import validate
from spkver.diarization import CLUSTERINGS
from spkver.diarization.clustering import Number
from spkver.diarization.diarize import Spoken, Stages, channel_notes, cluster, listen, recordings, segmentation_of
from spkver.diarization.settings import Settings, read_settings
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.files import StrPath
from spkver.rttm import Turn
from spkver.source import Read
from spkver.verify.advice import remarks
from spkver.verify.book import Match, open_book
from spkver.verify.naming import Named, named

if TYPE_CHECKING:
    from spkver.verify.model import Verifier

ANY = Number()
OVERLAP = "found by a segmentation network (in overlapping speech, the other speaker nearest in time is given too)"
NO_OVERLAP = "not detected (in overlapping speech, one speaker is given)"


@dataclass(frozen=True)
class Speaker:
    """A speaker of a recording. seconds: of speech; candidates: the nearest people of the book, nearest first."""

    recording: str
    name: str
    seconds: float
    candidates: list[Match] = field(default_factory=list)


@dataclass(frozen=True)
class Diarization:
    """Who speaks when.

    turns: sorted; rejected: (recording, reason); notes: remarks about recordings, one line each
    settings: how it was made; overlap: whether overlapping speech was looked for, in words
    """

    turns: list[Turn]
    speakers: list[Speaker]
    rejected: list[tuple[str, str]]
    notes: list[str]
    settings: Settings
    stages: Stages
    overlap: str

    def about(self) -> dict[str, Any]:
        """Plain values for JSON, without the turns."""
        return {
            "speakers": [
                asdict(speaker) | {"candidates": [match._asdict() for match in speaker.candidates]}
                for speaker in self.speakers
            ],
            "rejected": [{"recording": name, "reason": reason} for name, reason in self.rejected],
            "overlap": self.overlap,
            "settings": self.settings.model_dump(mode="json"),
        }


def settings_of(
    encoder: Encoder, threshold: float | None = None, plda: StrPath | None = None, **changes: Any
) -> Settings:
    """The settings of a model, with changes.

    threshold, plda: of the clustering; changes: other fields of `Settings`; None leaves a field unchanged. A clustering
    by name takes the keys from the stored one that it has too.
    Raises InputError if the model has no settings and no threshold is given, and for VBx without PLDA.
    """
    stored = None if encoder.place is None else read_settings(encoder.place[0], encoder.model_id)
    tree: dict[str, Any] = {} if stored is None else stored.model_dump(mode="json")
    given = {key: value for key, value in changes.items() if value is not None}
    clustering = given.pop("clustering", None)
    own = dict(tree.get("clustering", {"name": "agglomerative"}))
    if clustering is not None and clustering != own["name"]:
        shared = CLUSTERINGS.get(clustering).Config.model_fields
        own = {key: value for key, value in own.items() if key in shared} | {"name": clustering}
    own |= {key: value for key, value in (("threshold", threshold), ("plda", plda and str(plda))) if value is not None}
    fields = CLUSTERINGS.get(own["name"]).Config.model_fields
    if plda is not None and "plda" not in fields:
        raise InputError(f"--plda has no effect on the clustering '{own['name']}'; use --clustering vbx")
    if threshold is not None and "threshold" not in fields:
        raise InputError(f"--threshold has no effect on the clustering '{own['name']}'; use --clustering agglomerative")
    if "plda" in fields and "plda" not in own:
        raise InputError(f"the clustering '{own['name']}' needs --plda, the directory of a PLDA model (spkver plda)")
    if "threshold" in fields and "threshold" not in own:
        raise InputError(
            "the model has no threshold for diarization: give --threshold (a cosine), or store one with "
            "spkver tune-diarization"
        )
    return validate(Settings, {**tree, **given, "clustering": own})


def number_of(speakers: int | None, least: int | None, most: int | None) -> Number:
    """The bounds of the number of speakers. Raises InputError for bounds that contradict each other."""
    if speakers is not None and (least is not None or most is not None):
        raise InputError("give the number of speakers, or its bounds, not both")
    number = Number(speakers or least or 1, speakers or most)
    if number.least < 1 or (number.most is not None and number.most < number.least):
        raise InputError(f"{number.least} to {number.most} speakers: the bounds must rise, from 1")
    return number


Opened = tuple[str, Callable[[], tuple[int, Read]]]
"""The name of a recording, and a function that opens it as `Source.open` does"""


def diarize(
    encoder: Verifier,
    paths: Sequence[StrPath],
    settings: Settings,
    number: Number = ANY,
    *,
    book: StrPath | None = None,
    channel: int | None = None,
    allow_pipes: bool = False,
    check: Callable[[Sequence[str]], object] = lambda names: None,
) -> Diarization:
    """Find who speaks when in recordings: files, or a data directory or audio pack.

    number: bounds of the number of speakers of each recording
    book: a speaker book that names the speakers, see `naming.named`
    channel: 0-based, of files of several channels, which are mixed by default
    check: called with the names of the recordings before any is read, to refuse names that cannot be written
    Recordings that cannot be read are rejected with the reason; InputError if that is all of them.
    """
    source = recordings(paths, encoder, channel=channel, allow_pipes=allow_pipes)
    check(source.ids)
    notes = channel_notes(source, channel)
    if warning := source.warning():
        notes.append(warning)

    opened = ((name, partial(source.open, row)) for row, name in enumerate(source.ids))
    return diarize_opened(encoder, opened, settings, number, notes, book)


def diarize_opened(
    encoder: Verifier,
    opened: Iterator[Opened],
    settings: Settings,
    number: Number,
    notes: Sequence[str] = (),
    book: StrPath | None = None,
) -> Diarization:
    """As `diarize`, for recordings that are opened one by one."""
    stages, rejected, spoken = Stages(), [], []
    about_book = []
    network = segmentation_of(encoder, settings)
    CLUSTERINGS.build(settings.clustering)  # a wrong file is an error before any recording is read
    opened_book = None if book is None else open_book(book)
    if opened_book is not None:
        opened_book.require(encoder.model_id)
        about_book = remarks(opened_book)
        encoder.required_threshold()
    for name, open_it in opened:
        try:
            heard = listen(encoder, settings, network, name, *open_it(), stages)
        except InputError as error:
            rejected.append((name, str(error)))
        else:
            spoken.append(cluster(heard, settings, number, stages))
    if rejected and not spoken:
        raise InputError(rejected[0][1] if len(rejected) == 1 else f"no recording can be used: {rejected[0][1]}")
    silent = [f"{one.recording}: no speech" for one in spoken if not one.stretches]
    names = _counted(spoken) if opened_book is None else named(encoder, spoken, opened_book)
    turns = [
        Turn(one.recording, stretch.start, stretch.end, own[stretch.speaker].name)
        for one, own in zip(spoken, names)
        for stretch in one.stretches
    ]
    speakers = [
        Speaker(one.recording, name, round(float(seconds), 3), candidates)
        for one, own in zip(spoken, names)
        for (name, candidates), seconds in zip(own, one.seconds)
    ]
    overlap = OVERLAP if settings.segmentation else NO_OVERLAP
    return Diarization(sorted(turns), speakers, rejected, [*notes, *about_book, *silent], settings, stages, overlap)


def _counted(spoken: Sequence[Spoken]) -> list[list[Named]]:
    return [[Named(f"speaker {row + 1}", []) for row in range(len(one.seconds))] for one in spoken]
