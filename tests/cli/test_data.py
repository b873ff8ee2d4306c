"""`spkver data` from the shell."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from spkver.datadir import durations, from_columns, read_datadir, write_datadir
from spkver.trials import read_trials

Spkver = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    ids = [f"s{speaker}/u{number}" for speaker in range(6) for number in range(4)]
    write_datadir(
        tmp_path / "data",
        from_columns(
            ids,
            [f"/x/{name}.wav" for name in ids],
            [name[:2] for name in ids],
            sessions=[f"day{int(name[-1]) % 2}" for name in ids],
            seconds=[1.0 + int(name[-1]) for name in ids],
            genders=["f" if name[1] in "012" else "m" for name in ids],
        ),
    )
    return tmp_path / "data"


def test_validate(spkver: Spkver, data: Path) -> None:
    assert spkver("data", "validate", data, "--quick").stdout == f"{data}: no problems\n"
    (data / "utt2spk").write_text("s0/u0 s0\ns9/u9 s9\n")
    done = spkver("data", "validate", data, "--quick", code=2)
    assert f"error: {data}/wav.scp:2: 's0/u1': has no speaker in utt2spk (23 times)" in done.stdout
    assert f"error: {data}/utt2spk:2: 's9/u9': is not in wav.scp" in done.stdout
    assert done.stderr == f"spkver: error: {data}: errors of 2 kinds\n"
    spkver("data", "stats", data, code=2)


def test_split_and_subset(spkver: Spkver, data: Path, tmp_path: Path) -> None:
    spkver("data", "split", data, tmp_path / "a", tmp_path / "b", "--speakers", 2)
    a, b = read_datadir(tmp_path / "a"), read_datadir(tmp_path / "b")
    assert (len(a), len(b)) == (16, 8)
    assert not set(a.speakers) & set(b.speakers)
    (tmp_path / "list").write_text("s1\ns4\n")
    spkver("data", "split", data, tmp_path / "a", tmp_path / "b", "--list", tmp_path / "list")
    assert set(read_datadir(tmp_path / "b").speakers) == {"s1", "s4"}
    (tmp_path / "ids").write_text("s1/u1\ns4/u0\n")
    spkver("data", "subset", data, tmp_path / "c", "--list", tmp_path / "ids")
    assert read_datadir(tmp_path / "c").ids == ["s1/u1", "s4/u0"]
    done = spkver("data", "subset", data, tmp_path / "d", "--speakers", 99, code=2)
    assert done.stderr == "spkver: error: cannot choose 99 speakers: give a number from 1 to 6\n"
    assert not (tmp_path / "d").exists()


def test_join(spkver: Spkver, data: Path, tmp_path: Path) -> None:
    spkver("data", "split", data, tmp_path / "a", tmp_path / "b", "--speakers", 2)
    done = spkver("data", "join", tmp_path / "c", tmp_path / "a", tmp_path / "b")
    assert done.stdout == f"{tmp_path / 'c'}: 24 utterances, 6 speakers\n"
    for file in data.iterdir():
        assert (tmp_path / "c" / file.name).read_bytes() == file.read_bytes()
    spkver("data", "join", tmp_path / "d", tmp_path / "a", f"far={tmp_path / 'b'}")
    names = {speaker: speaker for speaker in read_datadir(tmp_path / "a").speakers}
    names |= {speaker: f"far-{speaker}" for speaker in read_datadir(tmp_path / "b").speakers}
    assert read_datadir(tmp_path / "d").speakers == [names[speaker] for speaker in read_datadir(data).speakers]
    assert set(read_datadir(tmp_path / "d").column("gender")) == {"f", "m"}
    done = spkver("data", "join", tmp_path / "c", tmp_path / "a", data, code=2)
    assert "is in two of the directories (16 such): ids must differ" in done.stderr


def test_cut(spkver: Spkver, data: Path, tmp_path: Path) -> None:
    seconds = durations(read_datadir(data)).min() / 3
    done = spkver("data", "cut", data, tmp_path / "c", "--seconds", seconds, "--per-utterance", 2)
    assert done.stdout == f"{tmp_path / 'c'}: 48 pieces of 6 speakers\n"
    done = spkver("data", "cut", data, tmp_path / "d", "--seconds", 1000, code=2)
    assert done.stderr == "spkver: error: no utterance is as long as 1000 s\n"


def test_stats(spkver: Spkver, data: Path) -> None:
    done = spkver("data", "stats", data)
    table = {line[:32].strip(): line[32:] for line in done.stdout.splitlines()}
    assert table == {
        "speakers": "6 (3 f, 3 m)",
        "sessions": "12",
        "utterances": "24",
        "hours": "0.02",
        "seconds (min, mean, max)": "1.00  2.50  4.00",
        "per speaker (min, mean, max)": "4  4.0  4",
    }


def test_trials(spkver: Spkver, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "trials"
    done = spkver("data", "trials", data, out, "--nontargets", 50, "--same-gender", "--cross-session")
    assert done.stdout == f"{out}: 24 targets, 50 non-targets\n"
    trials = read_trials(out)
    gender = {f"s{speaker}": "f" if speaker < 3 else "m" for speaker in range(6)}
    assert trials.target is not None
    for enrol, test, target in zip(trials.enrol.to_pylist(), trials.test.to_pylist(), trials.target):
        assert (enrol[:2] == test[:2]) == target
        assert gender[enrol[:2]] == gender[test[:2]]
        assert not target or int(enrol[-1]) % 2 != int(test[-1]) % 2
    (data / "spk2gender").unlink()
    done = spkver("data", "trials", data, out, "--nontargets", 50, "--same-gender", code=2)
    assert "--same-gender needs the gender of every utterance: spk2gender is missing" in done.stderr


@pytest.mark.parametrize("command", ["validate", "split", "join", "cut", "subset", "stats", "trials"])
def test_help_ends_with_an_example(spkver: Spkver, command: str) -> None:
    done = spkver("data", command, "--help")
    assert f"Example: spkver data {command}" in done.stdout
