"""Split, join, reduce and cut data directories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spkver.datadir.seconds import durations
from spkver.datadir.table import DataDir, absent, flat, of_two_paths, repeated
from spkver.errors import InputError


def split(
    data: DataDir,
    *,
    speakers: int | None = None,
    share: float | None = None,
    named: Iterable[str] | None = None,
    seed: int = 0,
) -> tuple[DataDir, DataDir]:
    """Split into two parts without a common speaker: (the rest, the chosen speakers).

    Give exactly one of `speakers` (a number), `share` (of the speakers, between 0 and 1) and `named` (a list).
    The same seed chooses the same speakers. Raises InputError if either part would be empty.
    """
    if sum(choice is not None for choice in (speakers, share, named)) != 1:
        raise InputError("give exactly one of: a number of speakers, a share of the speakers, a list of speakers")
    everyone = _speakers(data)
    if named is not None:
        chosen = sorted(set(named))
        if unknown := sorted(set(chosen) - set(everyone)):
            raise InputError(f"speaker {unknown[0]!r} of the list is not in the data directory")
    else:
        count = speakers if speakers is not None else round(float(share or 0) * len(everyone))
        chosen = _draw(everyone, count, "speakers", seed)
    if not 0 < len(chosen) < len(everyone):
        raise InputError(f"{len(chosen)} of {len(everyone)} speakers chosen: both parts need at least one")
    among = pc.is_in(data.table["speaker"], value_set=pa.array(chosen, pa.string()))
    return data.filter(pc.invert(among)), data.filter(among)


def join(parts: Sequence[DataDir]) -> DataDir:
    """Join data directories. A column that only some of them have is null for the utterances of the others.

    Equal speaker ids are the same speaker. Raises InputError for an utterance id that occurs twice, and for a recording
    id with two paths.
    """
    table = pa.concat_tables([part.table for part in parts], promote_options="default").combine_chunks()
    if "start" in table.column_names:  # a whole recording becomes a segment
        start = table.schema.get_field_index("start")
        table = table.set_column(start, "start", pc.fill_null(table["start"], 0.0))
    for name, again in (("utterance", repeated(flat(table["id"]))), ("recording", of_two_paths(table))):
        if pc.any(again).as_py():
            first = table["id" if name == "utterance" else name].filter(again)[0].as_py()
            count = pc.sum(again).as_py()
            raise InputError(f"{name} {first!r} is in two of the directories ({count} such): ids must differ")
    return DataDir(table.sort_by("id"))


def prefixed(data: DataDir, prefix: str) -> DataDir:
    """Put `prefix` before every speaker id. Some corpora use the same ids (VoxCeleb2 and CN-Celeb, for example)."""
    names = pc.binary_join_element_wise(prefix, data.table["speaker"], "")
    return DataDir(data.table.set_column(data.table.schema.get_field_index("speaker"), "speaker", names))


def subset(
    data: DataDir,
    *,
    ids: Sequence[str] | None = None,
    speakers: int | None = None,
    per_speaker: int | None = None,
    least: int | None = None,
    utterances: int | None = None,
    seed: int = 0,
) -> DataDir:
    """Reduce to the given ids, then to `speakers`, `per_speaker` utterances of each, and `utterances` in total.

    least: a long tail: the number of utterances falls exponentially over the speakers, from `per_speaker` to this
    The choice is random; the same seed gives the same choice. Raises InputError for an unknown id, and if there are too
    few speakers or utterances.
    """
    if least is not None and not (per_speaker is not None and 0 < least <= per_speaker):
        raise InputError(f"a long tail falls from a number of utterances per speaker to at most that, got {least}")
    if ids is not None:
        wanted = pa.array(ids, pa.string())
        unknown = wanted.filter(absent(wanted, flat(data.table["id"])))
        if len(unknown):
            raise InputError(f"utterance {unknown[0].as_py()!r} is not in the data directory ({len(unknown)} such ids)")
        data = data.filter(pc.is_in(data.table["id"], value_set=wanted))
    if speakers is not None:
        chosen = _draw(_speakers(data), speakers, "speakers", seed)
        data = data.filter(pc.is_in(data.table["speaker"], value_set=pa.array(chosen, pa.string())))
    random = np.random.default_rng(seed)
    if per_speaker is not None:
        most = per_speaker if least is None else _long_tail(data.speakers, per_speaker, least, random)
        data = data.filter(_rank_in_group(data.speakers, random) < most)
    if utterances is not None:
        chosen_rows = _draw(range(len(data)), utterances, "utterances", seed)
        data = DataDir(data.table.take(pa.array(sorted(chosen_rows))))
    return data


def _long_tail(speakers: Sequence[str], most: int, least: int, random: np.random.Generator) -> np.ndarray:
    """The largest number of utterances of each utterance's speaker. Speakers with more utterances get more."""
    _, code, count = np.unique(np.asarray(speakers, dtype=str), return_inverse=True, return_counts=True)
    sizes = np.round(np.geomspace(most, least, len(count))).astype(np.int64)
    allowed = np.empty_like(sizes)
    allowed[np.lexsort((random.random(len(count)), -count))] = sizes
    return allowed[code]


def relabel(data: DataDir, share: float, *, seed: int = 0) -> DataDir:
    """Give a random share of the utterances the label of another speaker, each speaker with equal probability.

    With the same seed, the wrong labels of a smaller share are among those of a larger one.
    Raises InputError for a share outside [0, 1], and for fewer than two speakers.
    """
    names = _speakers(data)
    if not 0 <= share <= 1:
        raise InputError(f"the share of wrong labels must be from 0 to 1, got {share:g}")
    if len(names) < 2:
        raise InputError("wrong labels need at least two speakers")
    random = np.random.default_rng(seed)
    own = np.searchsorted(np.array(names), np.asarray(data.speakers, dtype=str))
    other = random.integers(len(names) - 1, size=len(own))
    other += other >= own
    wrong = random.permutation(len(own))[: round(share * len(own))]
    label = own.copy()
    label[wrong] = other[wrong]
    first = np.unique(own, return_index=True)[1]  # an utterance of each speaker, for what is known of the speaker
    table = data.table
    for name in ("speaker", "gender"):
        if name in table.column_names:
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, table[name].take(pa.array(first[label])))
    return DataDir(table)


def cut(data: DataDir, seconds: float, *, hop: float | None = None, most: int | None = None) -> DataDir:
    """Cut every utterance into segments of `seconds`. Shorter utterances and remainders are left out.

    A segment starts every `hop` seconds (default: `seconds`); at most `most` segments of an utterance are kept. The id
    is the utterance's id with start and end in hundredths of a second, as in Kaldi's uniform subsegments.
    Raises InputError if no utterance is long enough.
    """
    hop = seconds if hop is None else hop
    if seconds < 0.01 or hop < 0.01:
        raise InputError(f"length and hop of a piece must be at least 0.01 s, got {seconds:g} and {hop:g}")
    counts = np.floor((durations(data) - seconds) / hop + 1e-9).astype(np.int64) + 1
    counts = np.clip(counts, 0, most)
    if not counts.any():
        raise InputError(f"no utterance is as long as {seconds:g} s")
    rows = np.repeat(np.arange(len(data)), counts)
    first = (np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)) * hop
    table = data.table.take(pa.array(rows))
    marks = [f"-{round(at * 100):07d}-{round((at + seconds) * 100):07d}" for at in first]
    ids = pc.binary_join_element_wise(flat(table["id"]), pa.array(marks), "")
    start = first + np.array(table["start"]) if "start" in table.column_names else first
    changed = {"id": ids, "start": start, "end": start + seconds, "seconds": np.full(len(rows), seconds)}
    return DataDir(pa.table({name: table[name] for name in table.column_names} | changed).sort_by("id"))


def _speakers(data: DataDir) -> list[str]:
    return sorted(data.table["speaker"].unique().to_pylist())


def _draw(among: Sequence, count: int, what: str, seed: int) -> list:
    if not 0 < count <= len(among):
        raise InputError(f"cannot choose {count} {what}: give a number from 1 to {len(among)}")
    order = np.random.default_rng(seed).permutation(len(among))
    return [among[place] for place in order[:count]]


def _rank_in_group(groups: Sequence[str], random: np.random.Generator) -> np.ndarray:
    """The position (from 0) of each element in a random order of its group."""
    codes = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)[1]
    order = np.lexsort((random.random(len(codes)), codes))
    starts = np.searchsorted(codes[order], codes[order])  # where each one's group begins in that order
    ranks = np.empty(len(codes), np.int64)
    ranks[order] = np.arange(len(codes)) - starts
    return ranks
