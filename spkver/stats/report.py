"""The report on a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spkver.files import StrPath, write_text
from spkver.source import Source
from spkver.stats import page
from spkver.stats.measure import Measures, measure
from spkver.stats.page import Table
from spkver.stats.suspects import duplicates, odd_voices, shared, strangers

if TYPE_CHECKING:
    from spkver.encoder import Encoder


def examine(
    source: Source,
    *,
    others: Sequence[Source] = (),
    pitch: bool = False,
    encoder: Encoder | None = None,
    jobs: int = 1,
    out: StrPath | None = None,
) -> list[Table]:
    """Measure a corpus and find likely problems. Returns tables, and writes them to the HTML page `out` if given.

    others: sets that must not share speakers or utterances with it
    pitch: find speakers whose pitch contradicts their gender
    encoder: find utterances that are closer to another speaker
    Raises InputError for a feature pack, and for `pitch` without genders.
    """
    measures = measure(source.audio(), jobs=jobs)
    tables = [page.summary(source, measures), *page.counts(source, measures)]
    tables += _wrong(source, measures)
    tables += [_shared(name, speakers, ids) for name, (speakers, ids) in shared(source, others).items()]
    if pitch:
        voices = odd_voices(source)
        rows = [[one.speaker, one.gender, f"{one.pitch:.0f}"] for one in voices]
        tables.append(Table("speakers whose pitch contradicts their gender", ["speaker", "gender", "pitch (Hz)"], rows))
    if encoder is not None:
        odd = strangers(source, encoder)
        head = ["utterance", "speaker", "cosine", "closer to", "cosine"]
        rows = [
            [source.ids[one.row], source.speakers[one.row], f"{one.own:.3f}", one.nearest, f"{one.other:.3f}"]
            for one in odd
        ]
        tables.append(Table("utterances closer to another speaker", head, rows))
    if out is not None:
        write_text(out, page.page(source, measures, tables))
    return tables


def _wrong(source: Source, measures: Measures) -> list[Table]:
    twice = duplicates(source, measures)
    groups = {
        "the same audio under two speakers": [one for one in twice if one.across_speakers],
        "the same audio under two ids of one speaker": [one for one in twice if not one.across_speakers],
    }
    tables = [
        Table(title, ["utterances", "speakers"], [_names(source, one.rows) for one in found])
        for title, found in groups.items()
    ]
    unread = [[source.ids[row], reason] for row, reason in sorted(measures.failed.items())]
    return [*tables, Table("recordings that cannot be read", ["utterance", "reason"], unread)]


def _names(source: Source, rows: Sequence[int]) -> list[str]:
    return [" ".join(source.ids[row] for row in rows), " ".join(sorted({source.speakers[row] for row in rows}))]


def _shared(name: str, speakers: list[str], ids: list[str]) -> Table:
    rows = [[speaker, "speaker"] for speaker in speakers] + [[one, "utterance"] for one in ids]
    return Table(f"shared with {name}", ["name", "what"], rows)
