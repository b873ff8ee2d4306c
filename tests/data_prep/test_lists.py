"""Lists of other toolkits: Kaldi directories, lhotse manifests, WeSpeaker's raw and shard lists."""

import contextlib
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import kaldi, lhotse, wespeaker
from spkver.datadir import read_datadir, validate
from spkver.errors import InputError, RunError

Record = Write = Callable[..., Path]
Prep = Callable[..., tuple[str, str]]

# --- Kaldi ------------------------------------------------------------------------------------------------------------


def make_kaldi(write: Write, root: Path, wav: str = "r1 audio/a.wav", **more: str) -> Path:
    lists = {"wav.scp": wav, "utt2spk": "u1 s1", "segments": "u1 r1 0.01 0.05", "spk2gender": "s1 f", **more}
    for name, line in lists.items():
        write(root / name, line)
    return root


def test_kaldi_directory_is_read(tmp_path: Path, record: Record, write: Write, prep: Prep) -> None:
    record(tmp_path / "recipe", "audio/a.wav")
    root = make_kaldi(write, tmp_path / "recipe" / "data", trials="u1 u1 target", text="u1 HELLO", utt2lang="u1 cy")
    prep("kaldi", root, tmp_path / "data", "--base", tmp_path / "recipe")
    data = read_datadir(tmp_path / "data")
    assert data.paths == [f"{tmp_path}/recipe/audio/a.wav"]
    assert (data.column("start"), data.column("end"), data.column("language")) == ([0.01], [0.05], ["cy"])
    assert validate(tmp_path / "data") == []
    assert (tmp_path / "data" / "trials").read_text() == "u1 u1 target\n"


def test_kaldi_pipes_are_kept_and_archives_rejected(tmp_path: Path, write: Write, prep: Prep) -> None:
    root = make_kaldi(write, tmp_path / "kaldi", "r1 sph2pipe -f wav -p a.sph |")
    _, err = prep("kaldi", root, tmp_path / "data", code=2)
    assert "wav.scp:1: 'r1': is a shell command; it runs only with --allow-pipes" in err
    assert kaldi.prepare(root, allow_pipes=True).paths == ["sph2pipe -f wav -p a.sph |"]
    write(root / "wav.scp", "r1 /x/wav.ark:1234")
    with pytest.raises(InputError, match=r"'r1' is inside a Kaldi archive \(/x/wav\.ark:1234\)"):
        kaldi.prepare(root)


# --- lhotse -----------------------------------------------------------------------------------------------------------


def recording(name: str, path: str, **changed: Any) -> dict[str, Any]:
    source = {"type": "file", "channels": [0], "source": path}
    about = {"sampling_rate": 16000, "num_samples": 1600, "duration": 0.1, "channel_ids": [0]}
    return {"id": name, "sources": [source], **about, **changed}


def supervision(name: str, of: str, start: float = 0.0, duration: float = 0.1, **changed: Any) -> dict[str, Any]:
    about = {"channel": 0, "text": "x", "speaker": "ann", "gender": "Female", "language": "English"}
    return {"id": name, "recording_id": of, "start": start, "duration": duration, **about, **changed}


def dump(path: Path, *values: Any) -> Path:
    content = "".join(json.dumps(value) + "\n" for value in values).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_lhotse_recordings_are_read(tmp_path: Path, record: Record, prep: Prep, suffix: str) -> None:
    record(tmp_path, "a.wav", "b.wav")
    recordings = dump(tmp_path / f"r.{suffix}", recording("r1", "a.wav"), recording("r2", f"{tmp_path}/b.wav"))
    days = [{"custom": {"day": f"day {number}"}} for number in (1, 2)]
    supervisions = dump(
        tmp_path / f"s.{suffix}", supervision("u2", "r2", speaker="bob", **days[1]), supervision("u1", "r1", **days[0])
    )
    prep("lhotse", recordings, supervisions, tmp_path / "data", "--base", tmp_path, "--session", "day")
    data = read_datadir(tmp_path / "data")
    assert (data.ids, data.speakers, data.sessions) == (["u1", "u2"], ["ann", "bob"], ["day_1", "day_2"])
    assert data.paths == [f"{tmp_path}/{name}.wav" for name in "ab"]
    assert (data.column("gender"), data.column("language")) == (["f", "f"], ["English"] * 2)
    assert (data.column("seconds"), data.column("start")) == ([0.1, 0.1], None)
    assert validate(tmp_path / "data") == []


def test_lhotse_segments_and_commands_are_read(tmp_path: Path) -> None:
    command = recording("r1", "")
    command["sources"][0] |= {"type": "command", "source": "sph2pipe a.sph"}
    recordings = dump(tmp_path / "r.jsonl", command)
    supervisions = dump(
        tmp_path / "s.jsonl", supervision("u1", "r1", 0.0, 0.04, gender=None), supervision("u2", "r1", 0.04, 0.06)
    )
    data = lhotse.prepare(recordings, supervisions)
    assert data.paths == ["sph2pipe a.sph |"] * 2
    assert data.column("recording") == ["r1", "r1"]
    assert (data.column("start"), data.column("end")) == ([0.0, 0.04], [0.04, 0.1])
    assert data.column("gender") == [None, "f"]


@pytest.mark.parametrize(
    ("recordings", "supervisions", "message"),
    [
        ([{"id": "r1"}], [], r"r\.jsonl:1: expected one source, got 0"),
        ([recording("r1", "a", sources=[{}, {}])], [], r"r\.jsonl:1: expected one source, got 2"),
        (
            [recording("r1", "a"), recording("r2", "b", channel_ids=5)],
            [],
            r"r\.jsonl:2: channels are 5; expected a list",
        ),
        (
            [recording("r1", "a", channel_ids=[0, 1])],
            [supervision("u", "r1", channel=2)],
            r"s\.jsonl:1: channel 2; expected one of",
        ),
        (
            [recording("r1", "a", channel_ids=[0, 1])],
            [supervision("u", "r1", channel=[0, 1])],
            r"s\.jsonl:1: channel",
        ),
        ([recording("r1", "a", transforms=[{"name": "Speed"}])], [], r"r\.jsonl:1: the recording has transforms"),
        ([recording("r1", "a", duration="long")], [], r"r\.jsonl:1: 'duration' should be a number, got 'long'"),
        ([recording("r1", "a", sources=[{"type": "url", "source": "x"}])], [], r"r\.jsonl:1: source of type 'url'"),
        ([recording("r1", "a"), recording("r1", "b")], [], r"r\.jsonl:2: duplicate recording 'r1'"),
        ([[1]], [], r"r\.jsonl:1: expected an object, got '\[1\]'"),
        ([recording("r1", "a")], [], r"s\.jsonl: no supervisions"),
        ([recording("r1", "a")], [supervision("u1", "r2")], r"s\.jsonl:1: recording 'r2' is not in the"),
        ([recording("r1", "a")], [supervision("u1", "r1", speaker=None)], r"s\.jsonl:1: 'speaker' should be text"),
        ([recording("r1", "a")], [supervision("u1", "r1", start=float("nan"))], r"s\.jsonl:1: 'start' should be a num"),
    ],
)
def test_unsupported_lhotse_content_is_named(
    tmp_path: Path, recordings: list, supervisions: list, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        lhotse.prepare(dump(tmp_path / "r.jsonl", *recordings), dump(tmp_path / "s.jsonl", *supervisions))


def test_lhotse_calls_with_two_channels_are_read(tmp_path: Path, prep: Prep) -> None:
    stereo = np.stack([np.sin(np.arange(1600)), np.cos(np.arange(1600))], axis=1) / 2
    soundfile.write(tmp_path / "call.wav", stereo, 16000)
    recordings = dump(tmp_path / "r.jsonl", recording("call", f"{tmp_path}/call.wav", channel_ids=[0, 1]))
    sides = [supervision(f"u{channel}", "call", speaker=f"s{channel}", channel=channel) for channel in (0, 1)]
    prep("lhotse", recordings, dump(tmp_path / "s.jsonl", *sides), tmp_path / "data")
    data = read_datadir(tmp_path / "data")
    assert (data.speakers, data.column("channel")) == (["s0", "s1"], [0, 1])
    assert not any(problem.fatal for problem in validate(tmp_path / "data"))


def cut(start: float, duration: float, *supervisions: dict[str, Any], **changed: Any) -> dict[str, Any]:
    held = {"channel": 0, "supervisions": supervisions, "recording": recording("r1", "/x/a.wav", duration=10.0)}
    return {"id": f"cut{start}", "start": start, "duration": duration, "type": "MonoCut", **held, **changed}


def test_lhotse_cuts_are_read(tmp_path: Path, prep: Prep) -> None:
    cuts = dump(
        tmp_path / "cuts.jsonl.gz",
        cut(2.0, 4.0, supervision("u1", "r1", -0.5, 2.0), supervision("u2", "r1", 3.0, 5.0)),
        cut(6.0, 1.0, supervision("u3", "r1", 0.0, 1.0), supervision("unheard", "r1", 1.5, 1.0)),
    )
    prep("lhotse", cuts, tmp_path / "data")
    data = read_datadir(tmp_path / "data")
    assert data.ids == ["u1", "u2", "u3"]
    assert (data.column("start"), data.column("end")) == ([2.0, 5.0, 6.0], [3.5, 6.0, 7.0])
    assert data.column("seconds") == [1.5, 1.0, 1.0]
    whole = lhotse.prepare_cuts(dump(tmp_path / "whole.jsonl", cut(0.0, 10.0, supervision("u1", "r1", 0.0, 10.0))))
    assert (whole.column("start"), whole.column("recording"), whole.paths) == (None, ["u1"], ["/x/a.wav"])
    for spoilt, message in (
        (cut(0.0, 1.0, type="MixedCut"), r"cuts\.jsonl:1: cut of type 'MixedCut'; only MonoCut"),
        (cut(0.0, 1.0, recording=None), r"cuts\.jsonl:1: cut of type 'MonoCut'; only MonoCut with a recording"),
        (cut(0.0, 1.0), r"cuts\.jsonl: no supervisions"),
        (cut(0.0, 1.0, supervisions=[1]), r"cuts\.jsonl:1: 'supervisions' must be a list of objects"),
    ):
        with pytest.raises(InputError, match=message):
            lhotse.prepare_cuts(dump(tmp_path / "cuts.jsonl", spoilt))
    _, err = prep("lhotse", cuts, cuts, cuts, tmp_path / "data", code=2)
    assert "3 manifests; expected recordings and supervisions, or cuts" in err


def test_invalid_or_truncated_manifest_is_rejected(tmp_path: Path) -> None:
    whole = dump(tmp_path / "r.jsonl.gz", *(recording(f"r{number}", "a" * (number + 1)) for number in range(500)))
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"r\.jsonl\.gz: cannot be read"):
        lhotse.prepare(whole, whole)
    (tmp_path / "r.jsonl").write_text("{}\n{'id': 1}\n")
    with pytest.raises(InputError, match=r"r\.jsonl:1: 'id' should be text, got None"):
        lhotse.prepare(tmp_path / "r.jsonl", whole)
    (tmp_path / "r.jsonl").write_text("\n{'id': 1}\n")
    with pytest.raises(InputError, match=r"r\.jsonl:2: not JSON"):
        lhotse.prepare(tmp_path / "r.jsonl", whole)


@settings(max_examples=60)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:0e-\n\\ua1', max_size=200).map(str.encode))
def test_manifest_of_any_bytes_raises_only_input_errors(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "x.jsonl"
    file.write_bytes(content)
    for prepare in (
        lambda: lhotse.prepare(file, file),
        lambda: lhotse.prepare_cuts(file),
        lambda: wespeaker.prepare_raw(file, durations=False),
    ):
        try:
            prepare()
        except InputError as error:
            assert str(error).startswith(str(file))


# --- wespeaker --------------------------------------------------------------------------------------------------------


def test_wespeaker_raw_list_is_read(tmp_path: Path, record: Record, prep: Prep) -> None:
    record(tmp_path, "a.wav", "b.wav")
    listing = dump(
        tmp_path / "raw.list",
        {"key": "s2/b.wav", "wav": f"{tmp_path}/b.wav", "spk": "s2", "vad": [["0.1", "0.2"]]},
        {"key": "s1/a.wav", "wav": "a.wav", "spk": "s1"},
    )
    said, _ = prep("wespeaker", listing, tmp_path / "data", "--base", tmp_path)
    assert f"{listing}: vad of 1 utterances not used\n" in said
    data = read_datadir(tmp_path / "data")
    assert (data.ids, data.speakers) == (["s1/a.wav", "s2/b.wav"], ["s1", "s2"])
    assert validate(tmp_path / "data") == []
    dump(listing, {"key": "a", "wav": "x"})
    _, err = prep("wespeaker", listing, tmp_path / "data", code=2)
    assert f"{listing}:1: 'spk' should be text, got None" in err


def test_negative_start_from_rounding_becomes_zero(tmp_path: Path, record: Record, prep: Prep) -> None:
    record(tmp_path, "a.wav", "b.wav")
    recordings = dump(tmp_path / "r.jsonl", recording("r1", "a.wav"), recording("r2", "b.wav"))
    spoken = supervision("u1", "r1", -0.0001, 0.09), supervision("u2", "r2", 0.01, 0.05)
    supervisions = dump(tmp_path / "s.jsonl", *spoken)
    prep("lhotse", recordings, supervisions, tmp_path / "data", "--base", tmp_path)
    data = read_datadir(tmp_path / "data")
    assert (data.column("start"), data.column("end")) == ([0.0, 0.01], pytest.approx([0.0899, 0.06]))
    assert [problem.what for problem in validate(tmp_path / "data")] == []
    for start, duration in ((-1.0, 0.5), (0.0, 0.0), (0.05, -0.01), (-0.0001, 0.0001)):
        dump(supervisions, spoken[1], supervision("u1", "r1", start, duration))
        with pytest.raises(InputError, match=r"s\.jsonl:2: .* expected start >= 0 and duration > 0"):
            lhotse.prepare(recordings, supervisions)
    cut = {"id": "c", "type": "MonoCut", "start": -0.0001, "duration": 0.1, "recording": recording("r1", "a.wav")}
    cuts = dump(tmp_path / "c.jsonl", cut | {"supervisions": [supervision("u", "r1", -5.0, 9.0)]})
    assert lhotse.prepare_cuts(cuts).column("start") in (None, [0.0])


def test_speakers_whose_names_would_become_equal_are_rejected(tmp_path: Path) -> None:
    recordings = dump(tmp_path / "r.jsonl", recording("r1", "a.wav"), recording("r2", "b.wav"))
    supervisions = dump(
        tmp_path / "s.jsonl", supervision("u1", "r1", speaker="s 1"), supervision("u2", "r2", speaker="s_1")
    )
    raw = dump(tmp_path / "raw", *({"key": key, "wav": "/x", "spk": spk} for key, spk in (("a", "s 1"), ("b", "s_1"))))
    for prepare in (lambda: lhotse.prepare(recordings, supervisions), lambda: wespeaker.prepare_raw(raw)):
        with pytest.raises(InputError, match="'s 1' and 's_1' would both become speaker 's_1'"):
            prepare()
    tar(tmp_path / "0.tar", {"a.spk": b"s 1", "a.wav": b"", "b.spk": b"s_1", "b.wav": b""})
    (tmp_path / "shards").write_text(f"{tmp_path}/0.tar\n")
    with pytest.raises(InputError, match="'s 1' and 's_1' would both become speaker 's_1'"):
        wespeaker.prepare_shards(tmp_path / "shards", tmp_path / "audio")


def test_byte_order_mark_of_a_manifest_is_ignored(tmp_path: Path) -> None:
    mark = "\ufeff".encode()
    raw = dump(tmp_path / "raw", {"key": "a", "wav": "/x", "spk": "s"})
    raw.write_bytes(mark + raw.read_bytes())
    assert wespeaker.prepare_raw(raw, durations=False).ids == ["a"]
    tar(tmp_path / "0.tar", {"a.spk": mark + b"s", "a.wav": b""})
    (tmp_path / "shards").write_bytes(mark + f"{tmp_path}/0.tar\n".encode())
    assert wespeaker.prepare_shards(tmp_path / "shards", tmp_path / "audio").speakers == ["s"]
    for content, message in ((b'{"key": "\\ud800"}', "raw:1: not JSON"), (b'\n{"\xe9": 1}', "raw:2: not UTF-8 text")):
        raw.write_bytes(content)
        with pytest.raises(InputError, match=message):
            wespeaker.prepare_raw(raw)


def tar(path: Path, members: dict[str, bytes], **links: str) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


@pytest.fixture
def sound(tmp_path: Path, record: Record) -> bytes:
    return (record(tmp_path, "sound.flac") / "sound.flac").read_bytes()


def test_wespeaker_shards_are_unpacked(tmp_path: Path, sound: bytes, write: Write, prep: Prep) -> None:
    keys = ["id10001/v/00001.wav", "id10001/v/00002.wav", "id10002/w/00001.wav"]
    for number, part in enumerate((keys[:2], keys[2:])):
        pairs = [(f"{key}.spk", f"{key[:7]}\n".encode()) for key in part] + [(f"{key}.flac", sound) for key in part]
        tar(tmp_path / f"shards_{number:09d}.tar", dict(pairs), link="/etc/passwd")
    listing = write(tmp_path / "shard.list", *(f"shards_{number:09d}.tar" for number in range(2)))
    arguments = (listing, tmp_path / "data", "--base", tmp_path)
    _, err = prep("wespeaker", *arguments, code=2)
    assert "a shard list needs --audio FOLDER" in err
    for _ in range(2):  # existing files are kept
        prep("wespeaker", *arguments, "--audio", tmp_path / "audio")
        data = read_datadir(tmp_path / "data")
        assert (data.ids, data.speakers) == (keys, ["id10001", "id10001", "id10002"])
        assert data.paths == [f"{tmp_path}/audio/{key}.flac" for key in keys]
        assert validate(tmp_path / "data") == []
    assert sorted(path.name for path in (tmp_path / "audio").iterdir()) == ["id10001", "id10002"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.spk": b"s"}, "no recording for the key 'a'"),
        ({"a.wav": b"s"}, "no .spk for the key 'a'"),
        ({"a.spk": b"s", "b/../a.spk": b"t", "a.wav": b""}, "no recording for the key 'b/../a'"),
        ({"a.wav/b.wav": b"", "a.wav": b"xy"}, "a.wav: a file and a folder have the same path"),
        ({"a.wav": b"", "a.wav/b.wav": b"xy"}, "b.wav: a file and a folder have the same path"),
        ({"a.spk": b"s", "../a.wav": b"x"}, r"the member '\.\./a\.wav' points outside .*; stopped, do not trust"),
        ({"a.spk": b"s", "/tmp/a.wav": b"x"}, "the member '/tmp/a.wav' points outside"),
        ({"a.spk": b"s", "b/../../a.wav": b"x"}, r"the member 'b/\.\./\.\./a\.wav' points outside"),
    ],
)
def test_invalid_wespeaker_shard_is_rejected(
    tmp_path: Path, write: Write, members: dict[str, bytes], message: str
) -> None:
    tar(tmp_path / "0.tar", members)
    with pytest.raises(InputError, match=message):
        wespeaker.prepare_shards(write(tmp_path / "shard.list", f"{tmp_path}/0.tar"), tmp_path / "deep" / "audio")
    assert not (tmp_path / "a.wav").exists() and not (tmp_path / "deep" / "a.wav").exists()


def test_shard_members_do_not_follow_links(tmp_path: Path, sound: bytes, write: Write) -> None:
    """A link in the folder points outside. A member whose path uses the link is rejected."""
    (tmp_path / "audio").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "audio" / "s").symlink_to(tmp_path / "elsewhere")
    tar(tmp_path / "0.tar", {"s/a.spk": b"s", "s/a.flac": sound})
    with pytest.raises(InputError, match=r"the member 's/a\.flac' points outside"):
        wespeaker.prepare_shards(write(tmp_path / "shard.list", f"{tmp_path}/0.tar"), tmp_path / "audio")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_missing_or_damaged_wespeaker_shard_is_named(tmp_path: Path, sound: bytes, write: Write) -> None:
    listing = write(tmp_path / "shard.list", "http://x/0.tar")
    with pytest.raises(InputError, match=r"shard\.list:1: shard 'http://x/0\.tar' not found; download the shards"):
        wespeaker.prepare_shards(listing, tmp_path / "audio")
    whole = tar(tmp_path / "0.tar", {"a.spk": b"s", "a.flac": sound}).read_bytes()
    write(listing, f"{tmp_path}/0.tar")
    end = whole.rindex(b"fLaC") + len(sound)
    between = -(-end // 512) * 512  # after the last member, before the end mark
    for content in (whole[:2500], whole[:between], whole[: between + 100], b"no archive", b""):
        (tmp_path / "0.tar").write_bytes(content)
        with pytest.raises(RunError, match=r"0\.tar: damaged or truncated"):
            wespeaker.prepare_shards(listing, tmp_path / "audio")


names = st.text(st.sampled_from("ab./\\ \n\t\0é~-:"), min_size=1, max_size=12)


@settings(max_examples=60)
@given(st.lists(names, max_size=4, unique=True))
def test_shard_member_outside_the_folder_is_rejected(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    root = tmp_path_factory.mktemp("shards")
    folder = root / "one" / "two" / "audio"
    members = {f"{key}.{suffix}": b"speaker" for key in keys for suffix in ("spk", "wav")}
    tar(root / "0.tar", members)
    (root / "list").write_text(f"{root}/0.tar\n")
    with contextlib.suppress(InputError):
        wespeaker.prepare_shards(root / "list", folder, durations=False)
    made = {path for path in root.rglob("*") if path.is_file()} - {root / "0.tar", root / "list"}
    assert all(path.is_relative_to(folder) for path in made)
