"""CN-Celeb 1 and 2 in miniature: the split, genres, and enrolment with one recording or several."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep import cnceleb
from data_prep._tree import Tree
from spkver.datadir import read_datadir, validate
from spkver.errors import InputError
from spkver.trials import read_enrolment, read_trials

Record = Write = Callable[..., Path]
Prep = Callable[..., tuple[str, str]]

DATA = [
    "data/id00000/singing-01-001.{}",
    "data/id00000/live_broadcast-02-011.{}",
    "data/id00001/speech-01-001.{}",
    "data/id00800/interview-01-001.{}",
    "data/id00800/interview-01-002.{}",
    "data/id00800/vlog-01-003.{}",  # an evaluation speaker, but not used in the evaluation
    "eval/enroll/id00800-enroll.{}",
    "eval/test/id00800-singing-01-001.{}",
    "eval/test/id00801-vlog-02-003.{}",
]


@pytest.fixture
def corpus(tmp_path: Path, record: Record, write: Write) -> Callable[[str], Path]:
    def make(suffix: str) -> Path:
        root = tmp_path / "root"
        first = root / ("CN-Celeb_flac" if suffix == "flac" else "CN-Celeb")
        record(first, *(name.format(suffix) for name in DATA))
        record(root, f"CN-Celeb2_flac/data/id10000/drama-01-001.{suffix}")
        write(first / "dev" / "dev.lst", "id00000", "id00001")
        # the lists always have the suffix .wav
        write(first / "eval/lists/enroll.lst", "id00800-enroll enroll/id00800-enroll.wav")
        write(
            first / "eval/lists/enroll.map", "id00800-enroll id00800/interview-01-001.wav id00800/interview-01-002.wav"
        )
        write(
            first / "eval/lists/trials.lst",
            "id00800-enroll test/id00800-singing-01-001.wav 1",
            "id00800-enroll test/id00801-vlog-02-003.wav 0",
        )
        return root

    return make


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_cnceleb_gives_splits_genres_and_trials(
    tmp_path: Path, corpus: Callable[[str], Path], prep: Prep, suffix: str
) -> None:
    root, out = corpus(suffix), tmp_path / "data"
    prep("cnceleb", root, out)
    dev, second, evaluation = (read_datadir(out / part) for part in ("dev", "cn2", "eval"))
    assert dev.ids == sorted(name.format(suffix) for name in DATA[:3])
    assert dev.column("genre") == ["live_broadcast", "singing", "speech"]
    assert dev.sessions == ["live_broadcast-02", "singing-01", "speech-01"]
    assert second.ids == [f"data/id10000/drama-01-001.{suffix}"]
    assert dict(zip(evaluation.ids, evaluation.column("genre") or [])) == {
        "enroll/id00800-enroll.wav": None,
        "id00800/interview-01-001.wav": "interview",
        "id00800/interview-01-002.wav": "interview",
        "test/id00800-singing-01-001.wav": "singing",
        "test/id00801-vlog-02-003.wav": "vlog",
    }
    assert evaluation.speakers == ["id00800"] * 4 + ["id00801"]
    assert all(Path(path).is_file() for path in [*dev.paths, *second.paths, *evaluation.paths])
    for part in ("dev", "cn2", "eval"):
        assert not any(problem.fatal for problem in validate(out / part))


def test_enrolment_models_refer_to_existing_recordings(
    tmp_path: Path, corpus: Callable[[str], Path], prep: Prep
) -> None:
    prep("cnceleb", corpus("flac"), tmp_path / "data")
    lists = tmp_path / "data" / "trials"
    trials = read_trials(lists / "trials.lst")
    assert trials.target is not None and trials.target.tolist() == [True, False]
    known = set(read_datadir(tmp_path / "data" / "eval").ids)
    assert set(trials.test.to_pylist()) <= known
    for name, count in (("enroll.lst", 1), ("enroll.map", 2)):
        models = read_enrolment(lists / name)
        assert {model: len(recordings) for model, recordings in models.items()} == {"id00800-enroll": count}
        assert set(models["id00800-enroll"]) <= known
        assert set(trials.enrol.to_pylist()) <= models.keys()


def test_cnceleb_1_or_2_alone(tmp_path: Path, corpus: Callable[[str], Path], record: Record) -> None:
    root = corpus("flac")
    assert set(cnceleb.prepare(Tree.read(root / "CN-Celeb_flac"))) == {"dev", "eval"}
    alone = record(tmp_path / "alone", "CN-Celeb2_flac/data/id10000/drama-01-001.flac")
    assert set(cnceleb.prepare(Tree.read(alone))) == {"cn2"}


def test_unknown_model_and_missing_list_are_named(
    tmp_path: Path, corpus: Callable[[str], Path], prep: Prep, write: Write
) -> None:
    root = corpus("flac")
    write(root / "CN-Celeb_flac/eval/lists/enroll.lst", "id00900-enroll enroll/id00800-enroll.wav")
    _, err = prep("cnceleb", root, tmp_path / "data", code=2)
    assert "trials.lst: the model 'id00800-enroll' is not in" in err
    (root / "CN-Celeb_flac/dev/dev.lst").unlink()
    with pytest.raises(InputError, match=r"dev/dev\.lst not found"):
        cnceleb.prepare(Tree.read(root))
    with pytest.raises(InputError, match="no recordings found"):
        cnceleb.prepare(Tree.read(root / "CN-Celeb_flac" / "eval"))
