"""File names of any kind: every file is found once; names that lists cannot contain are changed or rejected."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import _tree, folder, librispeech, musan, voxceleb1
from data_prep._tree import Tree
from spkver.datadir import from_columns, read_datadir, seconds, validate, write_datadir
from spkver.errors import InputError

Record = Write = Callable[..., Path]


def test_walk_finds_every_file_once(tmp_path: Path, record: Record) -> None:
    root = record(tmp_path / "root", "b/é.wav", "b/c/d.flac", "a.wav", ".hidden/x.wav", "b/.x.wav")
    record(tmp_path / "outside", "linked.wav")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "b" / "circle").symlink_to(root)
    (root / "b" / "itself").symlink_to("itself")
    (root / "gone.wav").symlink_to(tmp_path / "nowhere")
    names = Tree.read(root).names.to_pylist()
    assert names == ["a.wav", "b/c/d.flac", "b/itself", "b/é.wav", "gone.wav", "link/linked.wav"]
    assert sorted(_tree.walk(root)) == names
    assert Tree.read(root).below("b").names.to_pylist() == ["c/d.flac", "itself", "é.wav"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder_is_an_error(tmp_path: Path, record: Record) -> None:
    root = record(tmp_path, "a/a.wav")
    (root / "a").chmod(0)
    with pytest.raises(PermissionError):
        Tree.read(root)


def test_name_that_is_not_utf_8_is_rejected(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.wav")).touch()
    with pytest.raises(InputError, match=r"caf\\xe9\.wav'?: the name is not UTF-8; rename it"):
        Tree.read(tmp_path)


def test_match_finds_names_with_line_ends() -> None:
    tree = Tree(Path("/x"), pa.array(["a\nb/c.wav", "a/d.txt"]))
    assert tree.match(r"^(?P<speaker>.*)/[^/]+\.wav$").to_pylist() == [{"name": "a\nb/c.wav", "speaker": "a\nb"}]


# --- any names at all -------------------------------------------------------------------------------------------------

name = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=10).filter(
    lambda text: not text.startswith(".") and len(text.encode()) < 200
)
awkward = st.sampled_from(
    ["a b", "a\tb", "a\nb", "'a'", '"', "\\", "$(x)", "|", "é", "\u3000", "\x85", "\u2028", "-", "~"]
)


@settings(max_examples=20)
@given(st.sets(st.tuples(name | awkward, name | awkward), min_size=1, max_size=4))
def test_any_file_names_give_data_or_one_line_errors(
    tmp_path_factory: pytest.TempPathFactory, names: set[tuple[str, str]]
) -> None:
    """The result is a valid data directory with all recordings, or a one-line error."""
    base = tmp_path_factory.mktemp("names")
    root = base / "root"
    for speaker, file in names:
        (root / speaker).mkdir(parents=True, exist_ok=True)
        (root / speaker / f"{file}.wav").touch()
    try:
        data = folder.prepare(Tree.read(root, durations=False))
        write_datadir(base / "data", data)
    except InputError as error:
        reasons = ("line ends or control characters", "occurs more than once", "would both become speaker")
        assert any(reason in str(error) for reason in reasons)
        assert not (base / "data").exists()
        return
    assert validate(base / "data", look_at_recordings=False) == []
    back = read_datadir(base / "data")
    assert {os.path.relpath(path, root) for path in back.paths} == {f"{speaker}/{file}.wav" for speaker, file in names}
    for word in (*back.ids, *back.speakers):
        assert word.split() == [word]


@settings(max_examples=60)
@given(
    st.lists(name | st.sampled_from(["..", ".", "/etc", "a/../b", "a/..", "../x", "a/./b", ""]), min_size=1, max_size=4)
)
def test_listing_with_paths_outside_the_folder_is_rejected(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    root = tmp_path_factory.mktemp("listing")
    (root / "list").write_bytes("\n".join(lines).encode())
    try:
        names = Tree.read(root, root / "list").names.to_pylist()
    except InputError as error:
        assert f"{root / 'list'}:" in str(error)
        return
    for found in names:
        assert Path(os.path.normpath(root / found)).is_relative_to(root)


def test_names_with_blanks_become_words() -> None:
    odd, plain = "a b\n\u3000c\x00\x85d", "é-'\"|"
    data = _tree.as_words(from_columns([odd, plain], ["/x y", "/z"], [odd, plain], sessions=[None, odd]))
    assert data.ids == data.speakers == data.column("recording") == ["a_b__c__d", plain]
    assert (data.sessions, data.paths) == ([None, "a_b__c__d"], ["/x y", "/z"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"speakers": ["s 1", "s_1"]}, "'s 1' and 's_1' would both become speaker 's_1'; rename one"),
        ({"ids": ["u\t", "u_"]}, r"'u\\t' and 'u_' would both become utterance 'u_'"),
        ({"recordings": ["r 1", "r_1"]}, "would both become recording 'r_1'"),
        ({"speakers": ["s", "s"], "sessions": ["d 1", "d_1"]}, "'s/d 1' and 's/d_1' would both become session 's/d_1'"),
    ],
)
def test_names_that_become_equal_are_rejected(changed: dict[str, list[str]], message: str) -> None:
    columns: dict[str, Any] = {"ids": ["a", "b"], "paths": ["/a", "/b"], "speakers": ["s", "t"]}
    with pytest.raises(InputError, match=message):
        _tree.as_words(from_columns(**columns | changed))


def test_sessions_of_two_speakers_may_become_equal() -> None:
    data = _tree.as_words(from_columns(["a", "b"], ["/a", "/b"], ["s", "t"], sessions=["d 1", "d_1"]))
    assert data.sessions == ["d_1", "d_1"]


@pytest.mark.parametrize("prepare", [voxceleb1.prepare, librispeech.prepare, musan.prepare, folder.prepare])
@settings(max_examples=20)
@given(st.lists(st.text(max_size=30), max_size=5))
def test_unusual_trees_are_prepared_or_rejected(prepare: Callable, names: list[str]) -> None:
    tree = Tree(Path("/x"), pa.array(sorted(set(names)), pa.string()), durations=False)
    try:
        prepare(tree)
    except InputError:
        return


def test_two_files_of_one_name_are_rejected(tmp_path: Path, record: Record) -> None:
    root = record(tmp_path / "root", "ann/a b.wav", "ann/a_b.wav")
    with pytest.raises(InputError, match=r"would both become utterance 'ann/a_b\.wav'"):
        folder.prepare(Tree.read(root))


def test_recording_with_a_newline_in_its_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "root" / "ann").mkdir(parents=True)
    (tmp_path / "root" / "ann" / "a\nb.wav").touch()
    data = folder.prepare(Tree.read(tmp_path / "root", durations=False))
    with pytest.raises(InputError, match=r"path '.*/ann/a\\nb\.wav' is .*line ends.*\(utterance 'ann/a_b\.wav'\)"):
        write_datadir(tmp_path / "data", data)


def test_durations_do_not_depend_on_the_number_of_processes(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seconds, "_CHUNK", 4)
    root = record(tmp_path, *(f"{number}.wav" for number in range(3)))
    (root / "2.wav").write_bytes(b"RIFF")
    paths = [str(root / f"{number % 4}.wav") for number in range(300)]
    found = np.array(seconds.read_seconds(paths), dtype=float)
    assert np.allclose(found[0::4], 0.1) and np.allclose(found[1::4], 0.1)
    assert np.isnan(found[2::4]).all() and np.isnan(found[3::4]).all()
