"""speechocean762 in miniature, in the published layout and as a tree."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep import speechocean762
from data_prep._tree import Tree
from spkver import audio
from spkver.datadir import DataDir, from_columns, read_datadir, validate
from spkver.errors import InputError

# speaker: (gender, age, part)
SPEAKERS = {"0001": ("m", 6, "train"), "0003": ("f", 7, "test"), "0005": ("f", 23, "train"), "0007": ("m", 30, "test")}


def record(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, np.random.default_rng(0).normal(scale=0.1, size=8000).astype(np.float32), 16000)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for speaker, (_, _, part) in SPEAKERS.items():
        for number in (1, 2):
            record(root / part / speaker / f"0{speaker}{number}.opus")
    rows = ["\t".join((speaker, *map(str, described))) for speaker, described in SPEAKERS.items()]
    (root / "speakers.tsv").write_text("\n".join(["speaker\tgender\tage\tsplit", *rows]) + "\n")
    return root


@pytest.fixture
def published(tmp_path: Path) -> Path:
    root = tmp_path / "published"
    for part in ("train", "test"):
        lists: dict[str, list[str]] = {name: [] for name in ("wav.scp", "utt2spk", "spk2gender", "spk2age", "text")}
        for speaker, (gender, age, belongs) in SPEAKERS.items():
            if belongs != part:
                continue
            for number in (1, 2):
                utterance = f"0{speaker}{number}"
                wav = f"WAVE/SPEAKER{speaker}/{utterance}.WAV"
                record(root / wav)
                lists["wav.scp"].append(f"{utterance}\t{wav}")
                lists["utt2spk"].append(f"{utterance}\t{speaker}")
                lists["text"].append(f"{utterance}\tWE CALL IT BEAR")
            lists["spk2gender"].append(f"{speaker}\t{gender}")
            lists["spk2age"].append(f"{speaker}\t{age}")
        (root / part).mkdir()
        for name, lines in lists.items():
            (root / part / name).write_text("\n".join(lines) + "\n")
    return root


def test_tree_layout_is_read(tree: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "data_prep.speechocean762", str(tree), str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    data = read_datadir(tmp_path / "data" / "test")
    assert data.ids == [f"test/{name[1:5]}/{name}.opus" for name in ("000031", "000032", "000071", "000072")]
    assert data.speakers == ["0003", "0003", "0007", "0007"]
    assert data.column("gender") == ["f", "f", "m", "m"]
    assert data.column("age") == ["7", "7", "30", "30"]
    assert data.column("seconds") == pytest.approx([0.5] * 4)
    assert (tmp_path / "data" / "test" / "spk2age").read_text() == "0003 7\n0007 30\n"
    assert validate(tmp_path / "data" / "test") == validate(tmp_path / "data" / "train") == []
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["test", "train"]


def test_published_layout_is_read(published: Path) -> None:
    parts = speechocean762.prepare(Tree.read(published))
    assert parts["train"].ids == [
        f"WAVE/SPEAKER{name[1:5]}/{name}.WAV" for name in ("000011", "000012", "000051", "000052")
    ]
    assert parts["train"].column("age") == ["6", "6", "23", "23"]
    assert parts["test"].paths[0] == str(published / "WAVE/SPEAKER0003/000031.WAV")
    assert all(Path(path).is_file() for path in parts["train"].paths)


def test_dev_speakers_are_held_out(tree: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "data_prep.speechocean762",
        str(tree),
        str(tmp_path / "data"),
        "--dev-speakers",
        "1",
    ]
    assert subprocess.run(command, check=False).returncode == 0
    core, dev = (read_datadir(tmp_path / "data" / name) for name in ("train_core", "dev"))
    assert {*core.speakers, *dev.speakers} == {"0001", "0005"}
    assert len(set(dev.speakers)) == 1
    assert not set(core.speakers) & set(dev.speakers)


def test_dev_speakers_are_spread_over_gender_and_age() -> None:
    random = np.random.default_rng(0)
    ages = random.integers(6, 40, size=100)
    genders = ["f" if number < 60 else "m" for number in range(100)]
    ids = [f"s{number:03d}" for number in range(100)]
    data: DataDir = from_columns(ids, ids, ids, genders=genders, ages=list(map(str, ages)))
    for seed in range(5):
        chosen = [int(name[1:]) for name in speechocean762.choose_dev(data, 20, seed)]
        assert len(set(chosen)) == 20
        assert sum(number < 60 for number in chosen) == 12
        assert abs(np.mean(ages[chosen]) - ages.mean()) < 1.5
        assert speechocean762.choose_dev(data, 20, seed) == [f"s{number:03d}" for number in chosen]


def test_other_folders_are_rejected(tmp_path: Path, tree: Path, published: Path) -> None:
    with pytest.raises(InputError, match=r"neither speakers\.tsv nor train/wav\.scp"):
        speechocean762.prepare(Tree.read(tmp_path))
    record(tree / "train" / "0099" / "000991.opus")
    with pytest.raises(InputError, match=r"speakers\.tsv: speaker '0099' has no gender or age \(1 such"):
        speechocean762.prepare(Tree.read(tree))
    (published / "train" / "utt2spk").write_text("000011\t0001\n")
    with pytest.raises(InputError, match="utt2spk: no speaker for '000012'"):
        speechocean762.prepare(Tree.read(published))
    with pytest.raises(InputError, match="5 development speakers requested, but there are 1"):
        speechocean762.choose_dev(from_columns(["a"], ["a"], ["a"], genders=["f"], ages=["6"]), 5, 0)


def test_downloaded_layout_is_read(tmp_path: Path, published: Path) -> None:
    (tmp_path / "root").mkdir()
    published.rename(tmp_path / "root" / "speechocean762")
    parts = speechocean762.prepare(Tree.read(tmp_path / "root"))
    assert parts["train"].ids[0] == "WAVE/SPEAKER0001/000011.WAV"
    assert Path(parts["train"].paths[0]).is_file()


def test_list_with_a_path_outside_the_corpus_is_rejected(published: Path) -> None:
    scp = published / "test" / "wav.scp"
    scp.write_text(scp.read_text().replace("WAVE/SPEAKER0007", "../../secret"))
    with pytest.raises(InputError, match=r"test/wav\.scp:3: '\.\./\.\./secret/.*' is not a path below"):
        speechocean762.prepare(Tree.read(published))
