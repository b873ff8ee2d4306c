"""Data directories: reading, writing and validation; splits and subsets are disjoint and repeatable."""

import collections
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spkver import audio
from spkver.datadir import (
    DataDir,
    cut,
    from_columns,
    join,
    read_datadir,
    relabel,
    split,
    subset,
    validate,
    write_datadir,
)
from spkver.datadir.seconds import durations
from spkver.errors import InputError

SOUND = {
    "wav.scp": "a/1 /x/a1.wav\na/2 /x/with blank.wav\nb/1 /x/b1.wav\n",
    "utt2spk": "a/1 a\na/2 a\nb/1 b\n",
    "spk2gender": "a f\nb m\n",
    "utt2dur": "a/1 1.5\na/2 2\nb/1 3e0\n",
    "utt2session": "a/1 s1\na/2 s2\nb/1 s1\n",
}


def make(root: Path, **changed: str) -> Path:
    root.mkdir(exist_ok=True)
    for name, text in (SOUND | {key.replace("wav_scp", "wav.scp"): text for key, text in changed.items()}).items():
        (root / name).write_text(text, encoding="utf-8")
    return root


def many(speakers: int = 12, each: int = 5) -> DataDir:
    ids = [f"s{speaker:02d}/u{number}" for speaker in range(speakers) for number in range(each)]
    return from_columns(ids, [f"/x/{name}.wav" for name in ids], [name[:3] for name in ids], seconds=[2.0] * len(ids))


def test_read_gives_sorted_utterances_with_speakers(tmp_path: Path) -> None:
    data = read_datadir(make(tmp_path / "d"))
    assert data.ids == ["a/1", "a/2", "b/1"]
    assert data.paths == ["/x/a1.wav", "/x/with blank.wav", "/x/b1.wav"]
    assert data.speakers == ["a", "a", "b"]
    assert data.sessions == ["s1", "s2", "s1"]
    assert data.column("gender") == ["f", "f", "m"]
    assert data.column("seconds") == [1.5, 2.0, 3.0]
    assert data.column("age") is None


def test_order_of_lines_does_not_matter(tmp_path: Path) -> None:
    turned = {name: "\n".join(reversed(text.splitlines())) + "\n" for name, text in SOUND.items()}
    turned["wav_scp"] = turned.pop("wav.scp")
    assert read_datadir(make(tmp_path / "e", **turned)).table.equals(read_datadir(make(tmp_path / "d")).table)


def test_read_segments_with_start_and_end(tmp_path: Path) -> None:
    root = make(
        tmp_path / "d",
        wav_scp="r1 /x/1.wav\nr2 /x/2.wav\n",
        segments="a/1 r1 0 1.5\na/2 r1 1.5 3.25\nb/1 r2 0.5 -1\n",
    )
    data = read_datadir(root)
    assert data.column("recording") == ["r1", "r1", "r2"]
    assert data.paths == ["/x/1.wav", "/x/1.wav", "/x/2.wav"]
    assert data.column("start") == [0.0, 1.5, 0.5]
    assert data.column("end") == [1.5, 3.25, None]
    write_datadir(tmp_path / "copy", data)
    assert read_datadir(tmp_path / "copy").table.equals(data.table)


words = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=8)


@settings(max_examples=20)
@given(st.lists(st.tuples(words, words, words, st.floats(0, 1e6)), min_size=1, unique_by=lambda row: row[0]))
def test_datadir_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, float]]) -> None:
    ids, speakers, sessions, seconds = zip(*rows)
    paths = [f"/no blank/{name}.wav" for name in ids]
    data = from_columns(ids, paths, speakers, sessions=sessions, seconds=seconds, genders=["f"] * len(ids))
    root = tmp_path_factory.mktemp("data") / "d"
    write_datadir(root, data)
    back = read_datadir(root)
    assert back.table.equals(data.table.select(back.table.column_names))
    assert back.ids == sorted(ids, key=str.encode)
    assert validate(root, look_at_recordings=False) == []


# characters of ids, and characters that some tool splits lines at
blank = st.sampled_from([" ", "\t", "\n", "\r", "\x0b", "\x1c", "\x85", "\xa0", "\u2028", "\u3000", "\0", "\x7f"])
odd_words = st.sampled_from(
    ["..", "../x", "/etc/passwd", "a/../b", "'", '"', "|", "$(x)", "-1", "%s", "é", "\ufeff", "#"]
)


@settings(max_examples=30)
@given(st.sets(words | odd_words | st.builds("{}{}{}".format, words, blank, words), min_size=1, max_size=4))
def test_any_id_round_trips_or_is_rejected(tmp_path_factory: pytest.TempPathFactory, ids: set[str]) -> None:
    """Ids are never used as paths, so .. and / are allowed. Ids with blanks are rejected."""
    root = tmp_path_factory.mktemp("data") / "d"
    spoilt = {name for name in ids if name.split() != [name] or not name.isprintable()}
    data = from_columns(list(ids), ["/x"] * len(ids), list(ids))
    if any(len(name.split()) != 1 or {*name} & {"\0", "\x7f", "\ufeff"} for name in ids):
        with pytest.raises(
            InputError, match=r"^id .* is empty, or has blanks, line ends or control characters"
        ) as error:
            write_datadir(root, data)
        assert any(repr(name) in str(error.value) for name in spoilt)
        assert list(root.parent.iterdir()) == []
    else:
        write_datadir(root, data)
        assert read_datadir(root).ids == sorted(ids, key=str.encode)
        assert {path.name for path in root.parent.rglob("*")} == {"d", "wav.scp", "utt2spk"}


@pytest.mark.parametrize("space", ["\xa0", "\u3000", "\x85", "\x1f"])
def test_unicode_space_in_an_id_is_rejected_with_its_line(tmp_path: Path, space: str) -> None:
    odd = f"a{space}2"
    root = make(
        tmp_path / "d", wav_scp=SOUND["wav.scp"].replace("a/2", odd), utt2spk=SOUND["utt2spk"].replace("a/2", odd)
    )
    with pytest.raises(InputError, match=r"wav\.scp:2: 'a.*2': has blanks or control characters; other tools split it"):
        read_datadir(root)
    root = make(tmp_path / "e", utt2spk=f"a/1 a\na/2 x{space}a\nb/1 b\n")
    with pytest.raises(InputError, match=r"utt2spk:2: 'a/2': has blanks"):
        read_datadir(root)


def test_name_that_is_not_utf_8_is_rejected() -> None:
    with pytest.raises(InputError, match=r"not UTF-8; rename it"):
        from_columns(["a\udce9"], ["/x"], ["s"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"utt2spk": "a/1 a\nb/1 b\n"}, r"wav\.scp:2: 'a/2': has no speaker in utt2spk"),
        ({"utt2spk": SOUND["utt2spk"] + "c/1 c\n"}, r"utt2spk:4: 'c/1': is not in wav\.scp"),
        ({"utt2spk": "a/1 a\na/2 a\na/2 b\nb/1 b\n"}, r"utt2spk:3: 'a/2': occurs more than once"),
        ({"wav_scp": "a/1 x\na/1 y\n" + SOUND["wav.scp"]}, r"wav\.scp:2: 'a/1': occurs more than once \(2 times\)"),
        ({"utt2spk": "a/1\na/2 a\nb/1 b\n"}, r"utt2spk:1: expected 'id speaker', got 'a/1'"),
        ({"utt2dur": "a/1 1\na/2 long\nb/1 2\n"}, r"utt2dur:2: expected seconds, got 'long'"),
        ({"utt2dur": "a/1 1\na/2 nan\nb/1 2\n"}, r"utt2dur:2: expected seconds, got 'nan'"),
        ({"utt2dur": "a/1 1\na/2 1\nb/1 1e999\n"}, r"utt2dur:3: expected seconds, got '1e999'"),
        ({"utt2dur": "a/1 -1\na/2 1\nb/1 1\n"}, r"utt2dur:1: expected seconds, got '-1'"),
        ({"segments": "a/1 a/1 0 1\na/2 a/2 0 1e999\nb/1 b/1 0 1\n"}, r"segments:2: expected seconds, got '1e999'"),
        ({"segments": "a/1 a/1 -0.1 1\na/2 a/2 0 1\nb/1 b/1 0 1\n"}, r"segments:1: expected seconds, got '-0.1'"),
        ({"wav_scp": "a/1 sox x |\n" + SOUND["wav.scp"][14:]}, r"wav\.scp:1: 'a/1': is a shell command"),
        ({"wav_scp": "", "utt2spk": ""}, r"wav\.scp: has no utterances"),
        ({"segments": "a/1 a/1 0 1\na/2 q 0 1\nb/1 b/1 0 1\n"}, r"segments:2: 'a/2': is part of a recording that"),
        ({"segments": "a/1 a/1 2 1\na/2 a/2 0 1\nb/1 b/1 0 1\n"}, r"segments:1: 'a/1': does not end after it starts"),
    ],
)
def test_mismatched_files_are_rejected_and_reported(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    root = make(tmp_path / "d", **changed)
    with pytest.raises(InputError, match=message):
        read_datadir(root)
    problems = validate(root, look_at_recordings=False)
    assert any(problem.fatal for problem in problems)
    assert re.search(message, "\n".join(map(str, problems)))


def test_harmless_defects_are_warnings(tmp_path: Path) -> None:
    root = make(tmp_path / "d", spk2gender="a f\n", utt2session="b/1 s1\na/1 s1\n")
    assert read_datadir(root).column("gender") == ["f", "f", None]
    problems = validate(root, look_at_recordings=False)
    assert not any(problem.fatal for problem in problems)
    assert [problem.what for problem in problems] == [
        "is not in byte order (LC_ALL=C sort)",
        "is not in utt2session",
        "has a speaker that is not in spk2gender",
    ]


def test_pipes_are_read_when_allowed(tmp_path: Path) -> None:
    root = make(tmp_path / "d", wav_scp="a/1 sox a |\na/2 /x\nb/1 /y\n")
    assert read_datadir(root, allow_pipes=True).paths[0] == "sox a |"


def test_validate_opens_recordings(tmp_path: Path) -> None:
    for name in ("1", "2"):
        audio.write(tmp_path / f"{name}.wav", np.sin(np.arange(16000, dtype=np.float32)), 16000)
    (tmp_path / "2.wav").write_bytes(b"RIFF")
    root = make(
        tmp_path / "d",
        wav_scp=f"r1 {tmp_path}/1.wav\nr2 {tmp_path}/2.wav\nr3 {tmp_path}/3.wav\n",
        segments="a/1 r1 0 1.2\na/2 r1 0.5 1.6\nb/1 r2 0.5 -1\n",
    )
    found = {problem.what: problem.count for problem in validate(root)}
    assert found == {
        "names a recording that is missing or cannot be opened": 2,
        "lies outside its recording": 1,
        "has a duration that differs from its recording by more than 0.1 s + 1 %": 2,
    }


@pytest.mark.parametrize(("segments", "seconds"), [(None, 1.0), ("a a 0.25 -1\nb b 0.25 1.4\n", 0.75)])
def test_validate_compares_durations_with_recordings(tmp_path: Path, segments: str | None, seconds: float) -> None:
    audio.write(tmp_path / "1.wav", np.sin(np.arange(16000, dtype=np.float32)), 16000)
    for stated, wrong in ((seconds, 0), (seconds + 0.1, 0), (seconds - 0.1, 0), (seconds + 0.12, 2), (99, 2), (0, 2)):
        root = tmp_path / "d"
        root.mkdir(exist_ok=True)
        (root / "wav.scp").write_text(f"a {tmp_path}/1.wav\nb {tmp_path}/1.wav\n")
        (root / "utt2spk").write_text("a s\nb s\n")
        (root / "utt2dur").write_text(f"b {stated}\na {stated}\n")
        if segments:
            (root / "segments").write_text(segments)
        found = {str(problem) for problem in validate(root) if "byte order" not in problem.what}
        words = f"{root}/utt2dur:1: 'b': has a duration that differs from its recording"
        assert len(found) == bool(wrong) and all(line.startswith(words) for line in found)
        assert not any(problem.fatal for problem in validate(root))


def test_numbers_in_other_notations_are_read(tmp_path: Path) -> None:
    segments = "a/1 a/1 0. 1.\na/2 a/2 +0.5 +1e0\nb/1 b/1 .5 -1\n"
    data = read_datadir(make(tmp_path / "d", segments=segments, utt2dur="a/1 1.\na/2 +.5\nb/1 5E-1\n"))
    assert (data.column("start"), data.column("end")) == ([0.0, 0.5, 0.5], [1.0, 1.0, None])
    assert data.column("seconds") == [1.0, 0.5, 0.5]


def test_byte_order_mark_is_not_part_of_an_id(tmp_path: Path) -> None:
    marked = {name: "\ufeff" + text for name, text in SOUND.items() if name != "wav.scp"}
    data = read_datadir(make(tmp_path / "d", wav_scp="\ufeff" + SOUND["wav.scp"], **marked))
    assert data.table.equals(read_datadir(make(tmp_path / "e")).table)


@pytest.mark.parametrize(
    "times",
    [
        {"seconds": [float("nan")]},
        {"seconds": [float("inf")]},
        {"seconds": [-1.0]},
        {"starts": [-0.0001], "ends": [1.0]},
        {"starts": [1.0], "ends": [1.0]},
        {"starts": [0.0], "ends": [float("inf")]},
        {"starts": [None], "ends": [1.0]},
    ],
)
def test_write_rejects_invalid_times(tmp_path: Path, times: dict[str, list]) -> None:
    with pytest.raises(InputError, match=r"utterance 'a': .*: expected seconds >= 0 and the end after the start"):
        write_datadir(tmp_path / "d", from_columns(["a"], ["/x"], ["s"], **times))
    assert not (tmp_path / "d").exists()


def test_read_rejects_a_path_that_is_no_data_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such data directory"):
        read_datadir(tmp_path / "none")
    with pytest.raises(InputError, match=r"not a data directory \(no wav.scp\); make one with"):
        read_datadir(tmp_path)


@pytest.mark.parametrize(
    ("ids", "speaker", "message"),
    [
        (["a b"], "s", "id 'a b' is empty, or has blanks"),
        (["a"], "s t", "speaker 's t' is empty, or has blanks"),
        (["a", "a"], "s", "utterance id 'a' occurs more than once"),
        ([], "s", "no utterances left"),
    ],
)
def test_write_rejects_values_that_the_format_cannot_hold(
    tmp_path: Path, ids: list[str], speaker: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_datadir(tmp_path / "d", from_columns(ids, ["/x"] * len(ids), [speaker] * len(ids)))
    assert list(tmp_path.iterdir()) == []


def test_write_does_not_replace_other_directories(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis: contains other files \(no wav\.scp\)"):
        write_datadir(tmp_path / "thesis", many())
    assert (tmp_path / "thesis" / "chapter").exists()


@given(speakers=st.integers(1, 11), seed=st.integers(0, 99))
def test_split_is_disjoint_complete_and_repeatable(speakers: int, seed: int) -> None:
    data = many()
    rest, chosen = split(data, speakers=speakers, seed=seed)
    assert len(set(chosen.speakers)) == speakers
    assert not set(chosen.speakers) & set(rest.speakers)
    assert sorted(rest.ids + chosen.ids) == data.ids
    assert split(data, speakers=speakers, seed=seed)[1].ids == chosen.ids


def test_split_by_share_and_by_names() -> None:
    for share, number in ((0.25, 3), (0.4, 5), (0.36, 4)):  # of 12 speakers, rounded
        assert len(set(split(many(), share=share)[1].speakers)) == number
    assert set(split(many(), named=["s03", "s07"])[1].speakers) == {"s03", "s07"}
    with pytest.raises(InputError, match="speaker 'x' of the list"):
        split(many(), named=["x", "s03"])
    for speakers in (0, 12, 13):
        with pytest.raises(InputError, match=f"{speakers}"):
            split(many(), speakers=speakers)
    with pytest.raises(InputError, match="give exactly one of"):
        split(many(), speakers=1, share=0.5)


@given(speakers=st.integers(1, 11), seed=st.integers(0, 9))
def test_join_is_the_inverse_of_split(speakers: int, seed: int) -> None:
    data = many()
    assert join(split(data, speakers=speakers, seed=seed)).table.equals(data.table)
    assert join([data]).table.equals(data.table)


def test_join_of_directories_with_different_columns(tmp_path: Path) -> None:
    parts = [
        from_columns(["a"], ["/a.wav"], ["s"], sessions=["day"], genders=["f"]),
        from_columns(["b1", "b2"], ["/b.wav"] * 2, ["t"] * 2, recordings=["b"] * 2, starts=[0.5, 2], ends=[1.5, None]),
    ]
    write_datadir(tmp_path / "d", join(parts))
    data = read_datadir(tmp_path / "d")
    assert data.column("recording") == ["a", "b", "b"]
    assert (data.column("start"), data.column("end")) == ([0.0, 0.5, 2.0], [None, 1.5, None])
    assert (data.sessions, data.column("gender")) == (["day", None, None], ["f", None, None])


def test_join_rejects_repeated_ids() -> None:
    with pytest.raises(InputError, match=r"utterance 's00/u0' is in two of the directories \(60 such\)"):
        join([many(), many()])
    one, other = (
        from_columns([name], [f"/{name}.wav"], ["s"], recordings=["r"], starts=[0], ends=[1]) for name in ("a", "b")
    )
    with pytest.raises(InputError, match="recording 'r' is in two of the directories"):
        join([one, other])


def test_write_rejects_a_recording_with_two_paths(tmp_path: Path) -> None:
    data = from_columns(["a", "b"], ["/a", "/b"], ["s", "s"], recordings=["r", "r"], starts=[0, 0], ends=[1, 1])
    with pytest.raises(InputError, match="recording 'r' has two paths"):
        write_datadir(tmp_path / "d", data)


def test_write_omits_files_without_values(tmp_path: Path) -> None:
    write_datadir(tmp_path / "d", from_columns(["a"], ["/x"], ["s"], sessions=[None], genders=[None], seconds=[None]))
    assert {path.name for path in (tmp_path / "d").iterdir()} == {"wav.scp", "utt2spk"}


@given(speakers=st.none() | st.integers(1, 12), per_speaker=st.none() | st.integers(1, 7), seed=st.integers(0, 9))
def test_subset_has_the_requested_numbers(speakers: int | None, per_speaker: int | None, seed: int) -> None:
    part = subset(many(), speakers=speakers, per_speaker=per_speaker, seed=seed)
    counts = collections.Counter(part.speakers)
    assert len(counts) == (speakers or 12)
    assert set(counts.values()) == {min(per_speaker or 5, 5)}
    assert part.ids == sorted(part.ids)
    assert subset(many(), speakers=speakers, per_speaker=per_speaker, seed=seed).ids == part.ids


def test_subset_by_count_and_ids() -> None:
    assert len(set(subset(many(), utterances=17).ids)) == 17
    assert subset(many(), utterances=17, seed=1).ids != subset(many(), utterances=17, seed=2).ids
    assert subset(many(), ids=["s03/u1", "s01/u0"]).ids == ["s01/u0", "s03/u1"]
    with pytest.raises(InputError, match=r"'s99/u1' is not in the data directory \(1 such ids\)"):
        subset(many(), ids=["s03/u1", "s99/u1"])
    with pytest.raises(InputError, match="cannot choose 99 speakers: give a number from 1 to 12"):
        subset(many(), speakers=99)


def test_long_tail_falls_from_the_first_speaker_to_the_last() -> None:
    data = many(speakers=40, each=20)
    counts = sorted(collections.Counter(subset(data, per_speaker=20, least=1).speakers).values(), reverse=True)
    assert counts[0] == 20 and counts[-1] == 1 and len(counts) == 40
    assert counts[20] == pytest.approx(20**0.5, abs=1), "in the middle the geometric mean"
    few = from_columns(["a/u"], ["/x/u.wav"], ["a"])  # the first by name
    counted = collections.Counter(subset(join([data, few]), per_speaker=20, least=2).speakers)
    assert counted["a"] == 1 and sorted(counted.values())[-1] == 20, "speakers with more utterances get more"
    assert subset(data, per_speaker=20, least=1, seed=1).ids != subset(data, per_speaker=20, least=1, seed=2).ids
    for per_speaker, least in ((None, 1), (2, 3), (2, 0)):
        with pytest.raises(InputError, match="a long tail falls"):
            subset(data, per_speaker=per_speaker, least=least)


@given(share=st.floats(0, 1), seed=st.integers(0, 3))
def test_relabel_gives_a_share_another_speaker(share: float, seed: int) -> None:
    data = many(speakers=6, each=30)
    genders = [{"s00": "f", "s01": "f"}.get(one, "m") for one in data.speakers]
    data = from_columns(data.ids, data.paths, data.speakers, genders=genders)
    changed = relabel(data, share, seed=seed)
    wrong = {name for name, one, other in zip(data.ids, data.speakers, changed.speakers) if one != other}
    assert len(wrong) == round(share * 180)
    assert changed.ids == data.ids and set(changed.speakers) <= set(data.speakers)
    assert changed.column("gender") == [{"s00": "f", "s01": "f"}.get(one, "m") for one in changed.speakers]
    smaller = relabel(data, share / 2, seed=seed)
    assert {name for name, one, other in zip(data.ids, data.speakers, smaller.speakers) if one != other} <= wrong


def test_wrong_labels_are_spread_over_the_other_speakers() -> None:
    data = many(speakers=4, each=3000)
    pairs = collections.Counter(zip(data.speakers, relabel(data, 1.0).speakers))
    assert len(pairs) == 12 and all(count == pytest.approx(1000, abs=120) for count in pairs.values())
    with pytest.raises(InputError, match="at least two speakers"):
        relabel(many(speakers=1), 0.5)
    with pytest.raises(InputError, match="from 0 to 1, got"):
        relabel(data, 1.5)


def test_durations_are_read_from_headers_when_unknown(tmp_path: Path) -> None:
    audio.write(tmp_path / "1.wav", np.sin(np.arange(24000, dtype=np.float32)), 16000)
    data = from_columns(["u"], [str(tmp_path / "1.wav")], ["s"])
    assert durations(data).tolist() == [1.5]
    with pytest.raises(InputError, match=r"2\.wav: cannot be opened"):
        durations(from_columns(["u"], [str(tmp_path / "2.wav")], ["s"]))
    # a segment without end lasts to the end of the recording
    one = {"recordings": ["r", "r"], "starts": [0.25, 0.5], "ends": [1.0, None]}
    assert durations(from_columns(["a", "b"], [str(tmp_path / "1.wav")] * 2, ["s", "s"], **one)).tolist() == [0.75, 1.0]


@pytest.mark.parametrize("end", [0.5, 0.4])
def test_read_rejects_a_segment_without_length(tmp_path: Path, end: float) -> None:
    root = make(tmp_path / "d", segments=f"a/1 a/1 0.5 {end}\na/2 a/2 0 1\nb/1 b/1 0 1\n")
    with pytest.raises(InputError, match=r"segments:1: 'a/1': does not end after it starts"):
        read_datadir(root)


def test_cut_keeps_a_last_piece_that_fits_exactly() -> None:
    """0.3 s contain three pieces of 0.1 s, although 0.3 - 0.1 is slightly less than 2 * 0.1 in binary."""
    for length, seconds, number in ((0.3, 0.1, 3), (0.7, 0.1, 7), (0.29, 0.1, 2), (6.0, 2.0, 3)):
        assert len(cut(from_columns(["u"], ["/u.wav"], ["s"], seconds=[length]), seconds)) == number


def test_hundred_thousand_utterances_are_read_quickly(tmp_path: Path) -> None:
    ids = [f"id{number % 1000:05d}/{number:07d}.wav" for number in range(100_000)]
    data = from_columns(ids, [f"/x/{name}" for name in ids], [name[:7] for name in ids], sessions=ids)
    write_datadir(tmp_path / "d", data)
    assert len(read_datadir(tmp_path / "d")) == 100_000


def test_channels_round_trip(tmp_path):
    data = from_columns(["a", "b", "c"], ["x y.sph", "x y.sph", "z.wav"], ["s", "t", "u"], channels=[1, 0, None])
    write_datadir(tmp_path / "d", data)
    file = tmp_path / "d" / "reco2file_and_channel"
    assert file.read_text() == "a x_y B\nb x_y A\n"
    assert read_datadir(tmp_path / "d").column("channel") == [1, 0, None]
    file.write_text("a x 2\nb x 1\n")
    assert read_datadir(tmp_path / "d").column("channel") == [1, 0, None]
    file.write_text("a x left\n")
    with pytest.raises(InputError, match=r"reco2file_and_channel:1: expected a channel such as A or B, got 'left'"):
        read_datadir(tmp_path / "d")


@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=8), st.floats(0.05, 5), st.floats(0.05, 5))
def test_cut_pieces_are_inside_and_omit_less_than_a_hop(lengths: list[float], seconds: float, hop: float) -> None:
    ids = [f"u{number}" for number in range(len(lengths))]
    data = from_columns(ids, [f"/{name}.wav" for name in ids], ids, seconds=lengths)
    if max(lengths) < seconds - 1e-6:
        with pytest.raises(InputError, match="no utterance is as long as"):
            cut(data, seconds, hop=hop)
    elif max(lengths) > seconds:
        pieces = cut(data, seconds, hop=hop)
        last = dict(zip(pieces.speakers, pieces.column("end") or ()))  # sorted by start within an utterance
        for name, length in zip(ids, lengths):
            assert name not in last or length - hop - 1e-6 < last[name] < length + 1e-6
        starts = np.array(pieces.column("start"))
        assert np.array(pieces.column("end")) == pytest.approx(starts + seconds)
        firsts = np.array([name.split("-")[0] for name in pieces.ids[:-1]]) == [x.split("-")[0] for x in pieces.ids[1:]]
        assert np.diff(starts)[firsts] == pytest.approx(hop)


def test_cut_of_segments_gives_segments_of_recordings(tmp_path: Path) -> None:
    one = {"recordings": ["r", "r"], "starts": [1, 10], "ends": [8.5, 11], "genders": ["f", "m"]}
    pieces = cut(from_columns(["a", "b"], ["/r.wav"] * 2, ["s", "t"], **one), 3, most=2)
    write_datadir(tmp_path / "d", pieces)
    data = read_datadir(tmp_path / "d")
    assert data.ids == ["a-0000000-0000300", "a-0000300-0000600"]
    assert (data.column("start"), data.column("end")) == ([1.0, 4.0], [4.0, 7.0])
    assert (data.column("seconds"), data.column("gender")) == ([3.0, 3.0], ["f", "f"])
