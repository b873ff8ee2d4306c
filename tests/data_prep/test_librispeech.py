"""LibriSpeech in miniature: parts, chapters as sessions, trials across chapters."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep import librispeech
from data_prep._tree import Tree
from spkver.datadir import read_datadir, validate
from spkver.errors import InputError
from spkver.trials import read_trials

Record = Write = Callable[..., Path]
Prep = Callable[..., tuple[str, str]]

SPEAKERS = [
    ";ID  |SEX| SUBSET           |MINUTES| NAME",
    "84   | F | dev-clean        |  8.02 | Christie Nowak",
    "174  | M | dev-clean        |  8.04 | Peter Eastman",
    "251  | M | dev-clean        |  8.04 | Mark Nelson",
    "60   | M | train-clean-100  | 20.18 | |CBW|Simon",
]


@pytest.fixture
def root(tmp_path: Path, record: Record, write: Write) -> Path:
    root = tmp_path / "root"
    for speaker in (84, 174, 251):
        for chapter in (1, 2):
            for number in range(2):
                record(root, f"LibriSpeech/dev-clean/{speaker}/{chapter}/{speaker}-{chapter}-{number:04d}.flac")
    record(root, "LibriSpeech/train-clean-100/60/121082/60-121082-0000.flac")
    write(root / "LibriSpeech/dev-clean/84/1/84-1.trans.txt", "84-1-0000 GO ON")
    write(root / "LibriSpeech" / "SPEAKERS.TXT", *SPEAKERS)
    return root


@pytest.mark.parametrize("below", ["", "LibriSpeech"])
def test_librispeech_gives_parts_and_trials(tmp_path: Path, root: Path, prep: Prep, below: str) -> None:
    out = tmp_path / "data"
    said, _ = prep("librispeech", root / below, out)
    assert f"{out}/dev-clean: 12 utterances, 3 speakers\n" in said
    # 4 pairs of different chapters per speaker; 4 x 4 pairs between the two men
    assert f"{out}/dev-clean/trials.txt: 12 targets across sessions, 16 non-targets\n" in said
    data = read_datadir(out / "dev-clean")
    assert data.ids[0] == "dev-clean/174/1/174-1-0000.flac"
    assert dict(zip(data.speakers, data.column("gender") or [])) == {"84": "f", "174": "m", "251": "m"}
    assert set(data.sessions or []) == {"1", "2"}
    assert validate(out / "dev-clean") == validate(out / "train-clean-100") == []
    assert not (out / "train-clean-100" / "trials.txt").exists()
    trials = read_trials(out / "dev-clean" / "trials.txt")
    assert trials.target is not None
    of = {name: (speaker, session) for name, speaker, session in zip(data.ids, data.speakers, data.sessions or [])}
    for enrol, test, target in zip(trials.enrol.to_pylist(), trials.test.to_pylist(), trials.target):
        assert (of[enrol][0] == of[test][0]) == target
        assert not target or of[enrol][1] != of[test][1]


def test_number_of_non_targets_can_be_set(tmp_path: Path, root: Path, prep: Prep) -> None:
    prep("librispeech", root, tmp_path / "a", "--nontargets", 5)
    assert len(read_trials(tmp_path / "a" / "dev-clean" / "trials.txt")) == 17
    _, err = prep("librispeech", root, tmp_path / "a", "--nontargets", 17, code=2)
    assert "cannot make 17 non-target trials: give a number from 1 to 16" in err


def test_librispeech_without_genders_and_with_one_chapter(tmp_path: Path, record: Record, prep: Prep) -> None:
    names = [f"dev-clean-2/{speaker}/{speaker}0/{speaker}-{speaker}0-0000.flac" for speaker in (1, 2)]
    said, _ = prep("librispeech", record(tmp_path / "root", *names), tmp_path / "data")
    assert said == f"{tmp_path}/data/dev-clean-2: 2 utterances, 2 speakers\n"
    assert read_datadir(tmp_path / "data" / "dev-clean-2").column("gender") is None


def test_invalid_table_is_named(root: Path, write: Write) -> None:
    write(root / "LibriSpeech" / "SPEAKERS.TXT", *SPEAKERS, "17 | ?")
    with pytest.raises(InputError, match=r"SPEAKERS\.TXT:6: expected 'ID \| M or F"):
        librispeech.prepare(Tree.read(root))
