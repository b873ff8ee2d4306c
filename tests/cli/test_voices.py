"""`spkver verify`, `enrol`, `identify`, `speakers`, `forget`: one process where the process matters, else click's."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys

import click
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from spkver.cli.verify import _line
from spkver.embeddings import Embeddings, write_embeddings
from spkver.encoder import Encoder
from spkver.errors import InputError, RunError
from spkver.verify.book import enrol, open_book
from spkver.verify.decision import Calibration, Decision, Rate, write_decision
from spkver.verify.verdict import Verdict


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    """`model`, whose threshold separates the recordings a0 and a1 (same speaker), b and c; `short`, `stereo`."""
    folder = tmp_path_factory.mktemp("voices")
    time = np.arange(4 * 16000) / 16000
    random = np.random.default_rng(0)
    waves = {}
    for name, pitch in (("a0", 100), ("a1", 101), ("b", 160), ("c", 290)):
        wave = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 8000 // pitch))
        waves[name] = 0.1 * wave * (time % 1 < 0.7) + 0.0003 * random.normal(size=len(time))
        soundfile.write(folder / f"{name}.wav", waves[name], 16000)
    soundfile.write(folder / "short.wav", waves["a0"][:12000], 16000)
    soundfile.write(folder / "stereo.wav", np.stack([waves["b"], waves["a0"]], axis=1), 16000)
    soundfile.write(folder / "twin.wav", 0.9 * waves["a0"], 16000)
    encoder = Encoder.open(tiny_model)
    encoder.save(folder / "plain")
    encoder.save(folder / "model")
    from spkver.verify.model import Verifier

    files = [folder / f"{name}.wav" for name in waves]
    scores = Verifier.open(tiny_model).score(files, files)
    assert scores[0, 1] > max(scores[0, 2], scores[0, 3], scores[2, 3])
    other = max(scores[0, 2], scores[0, 3])
    threshold, scale = float((scores[0, 1] + other) / 2), float(6 / (scores[0, 1] - other))
    rate = Rate(rate=0.3, low=0, high=0.4, errors=3, trials=10)
    calibration = Calibration(scale=scale, offset=-scale * threshold, least=-9, most=9, prior=0.5)
    decision = Decision(
        threshold=threshold, low=0, high=1, wish="", far=rate, frr=rate, calibration=calibration, speakers=2
    )
    write_decision(folder / "model", decision)
    return folder


@pytest.fixture
def invoke(folder):
    """Run a command with `--model`; file names are those of the folder."""

    def run(command, *words, model="model", code=0):
        arguments = [str(folder / word) if str(word).endswith(".wav") else str(word) for word in words]
        if model:
            arguments += ["--model", str(folder / model)]
        module = importlib.import_module(f"spkver.cli.{command}")
        done = CliRunner().invoke(module.command, arguments, catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done

    return run


def test_verify(invoke):
    done = invoke("verify", "a0.wav", "a1.wav")
    score, decision, probability = done.stdout.rstrip("\n").split("\t")
    cosine, threshold = re.fullmatch(r"cosine (\S+) \(threshold (\S+)\)", score).groups()
    assert -1 <= float(threshold) <= float(cosine) <= 1 and decision == "same speaker"
    assert probability.startswith("probability 0.") and probability.endswith(" at a prior of 0.5")
    assert done.stderr == ""
    assert "different speakers" in invoke("verify", "a0.wav", "b.wav").stdout
    assert "below the threshold" in invoke("verify", "a0.wav", "a1.wav", "--threshold", "1").stdout
    assert re.fullmatch(r"cosine -?\d\.\d{4}\n", invoke("verify", "a0.wav", "b.wav", model="plain").stdout)


@pytest.mark.parametrize("probability", [0.99951, 0.9999999, 1.0])
def test_no_probability_is_printed_as_1(probability):
    line = _line(Verdict(score=6.0, threshold=2.3, same=True, probability=probability, cosine=0.9))
    first, _, found, last = line.split("\t")
    assert (first, last) == ("score 6.0000 (threshold 2.3000)", "cosine 0.9000")
    assert found == "probability above 0.999 at a prior of 0.5"


def test_enrolment_of_several_recordings(invoke):
    assert "same speaker" in invoke("verify", "a0.wav", "a1.wav", "--test", "a0.wav").stdout
    assert "different speakers" in invoke("verify", "a0.wav", "a1.wav", "--test", "c.wav").stdout
    for words in (["a0.wav"], ["a0.wav", "a1.wav", "b.wav"]):
        with pytest.raises(InputError, match="give two recordings, or an enrolment and --test"):
            invoke("verify", *words)


def test_json_and_doubts(invoke, folder):
    done = invoke("verify", "short.wav", "a0.wav", "--json")
    found = json.loads(done.stdout)
    assert (found["enrolment"], found["test"]) == ([str(folder / "short.wav")], str(folder / "a0.wav"))
    assert found["same"] in (True, False) and found["doubts"][0].startswith(f"{folder / 'short.wav'}: short")
    assert done.stderr == "".join(f"warning: {line}\n" for line in found["doubts"])


def test_exit_codes(folder, invoke):
    assert invoke("verify", "a0.wav", "a1.wav", "--exit-code").exit_code == 0
    invoke("verify", "a0.wav", "b.wav", "--exit-code", code=3)
    with pytest.raises(InputError, match="the model has no stored threshold"):
        invoke("verify", "a0.wav", "b.wav", "--exit-code", model="plain")
    words = ["verify", folder / "a0.wav", folder / "b.wav", "--model", folder / "model", "--exit-code"]
    done = subprocess.run([sys.executable, "-m", "spkver", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 3 and "different speakers" in done.stdout


def test_channels(invoke):
    with pytest.raises(InputError, match="2 channels; choose one"):
        invoke("verify", "stereo.wav", "stereo.wav")
    assert "same speaker" in invoke("verify", "stereo.wav", "stereo.wav", "--channel", "1").stdout


def test_enrol_identify_speakers_forget(invoke, folder, tmp_path):
    book = ["--book", tmp_path / "book"]
    with pytest.raises(InputError, match="the book is empty"):
        invoke("identify", "a0.wav", *book)
    assert invoke("enrol", "Ada", "a0.wav", *book).stdout == "Ada: 1 recording, 1 of them new\n"
    assert invoke("enrol", "Bob", "b.wav", *book).stdout == "Bob: 1 recording, 1 of them new\n"
    done = invoke("identify", "a1.wav", "c.wav", *book)
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == ["Ada", "nobody known"]
    assert "51 % of strangers are accepted as one of 2 people" in done.stderr
    again = invoke("enrol", "Ada", "a0.wav", "a1.wav", *book)
    assert again.stdout == "Ada: 2 recordings, 1 of them new\n"
    found = json.loads(invoke("identify", "c.wav", "--top", "5", "--json", *book).stdout)
    assert found[0]["name"] is None and {one["name"] for one in found[0]["candidates"]} == {"Ada", "Bob"}
    lines = invoke("identify", "a1.wav", "--top", "2", *book).stdout.splitlines()
    assert lines[0].split("\t")[1] == "Ada" and lines[1].endswith("\tbelow the threshold")
    assert invoke("speakers", *book, model=None).stdout == "Ada\t2\nBob\t1\n"
    assert json.loads(invoke("speakers", "--json", *book, model=None).stdout) == {"Ada": 2, "Bob": 1}
    done = invoke("enrol", "Bob", "c.wav", *book)
    assert "the two recordings of 'Bob' sound unlike each other" in done.stderr
    assert invoke("forget", "Ada", *book, model=None).stdout == "forgotten: Ada; 1 left in the book\n"
    assert invoke("speakers", *book, model=None).stdout == "Bob\t2\n"


def test_identify_needs_threshold_and_model_of_book(invoke, folder, tmp_path):
    book = ["--book", tmp_path / "book"]
    invoke("enrol", "Ada", "a0.wav", *book, model="plain")
    with pytest.raises(InputError, match="the model has no stored threshold"):
        invoke("identify", "a0.wav", *book, model="plain")
    assert "\tAda\t" in invoke("identify", "a0.wav", "--threshold", "0.9", *book, model="plain").stdout
    other = (folder / "plain" / "config.yaml").read_text() + "\n"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text(other)
    (tmp_path / "other" / "model.safetensors").write_bytes((folder / "plain" / "model.safetensors").read_bytes())
    for words in (["identify", "a0.wav"], ["enrol", "Eve", "b.wav"]):
        with pytest.raises(InputError, match="this book was made with the model"):
            invoke(*words, *book, model=tmp_path / "other")


@pytest.mark.parametrize("words", [["speakers"], ["forget", "Ada"], ["book", "expire"], ["book", "backup", "x"]])
def test_speakers_and_forget_need_no_torch(words, tmp_path):
    code = "import sys; from spkver.cli import root\ntry: root(sys.argv[1:], standalone_mode=False)\n"
    code += "except Exception: pass\nprint('torch' in sys.modules)"
    words = [*words, "--book", str(tmp_path / "book")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_identify_says_ambiguous(invoke, tmp_path):
    book = ["--book", tmp_path / "book"]
    invoke("enrol", "Ada", "a0.wav", *book)
    invoke("enrol", "Twin", "twin.wav", *book)  # of the same voice
    lines = [line.split("\t")[1:] for line in invoke("identify", "a1.wav", *book).stdout.splitlines()]
    assert [line[0] for line in lines[:1]] == ["ambiguous"] and {line[0] for line in lines[1:]} == {"Ada", "Twin"}
    (found,) = json.loads(invoke("identify", "a1.wav", "--json", *book).stdout)
    assert found["name"] is None and found["ambiguous"] and 0 <= found["margin"] < np.log(9)
    assert len(found["candidates"]) == 2


def test_consent_export_receipt_and_backup(invoke, tmp_path):
    book = ["--book", tmp_path / "book"]
    facts = ["--purpose", "the door", "--until", "9999-12-31", "--session", "phone"]
    invoke("enrol", "Ada", "a0.wav", *facts, *book)

    def upkeep(*words):
        return invoke("book", *words, *book, model=None).stdout

    assert upkeep("export", "Ada", tmp_path / "ada.json") == f"{tmp_path / 'ada.json'}: Ada, 1 recording\n"
    held = json.loads((tmp_path / "ada.json").read_text())
    assert (held["purpose"], held["until"], held["recordings"][0]["session"]) == ("the door", "9999-12-31", "phone")
    assert 1 < held["recordings"][0]["seconds"] < 4
    assert upkeep("backup", tmp_path / "backup") == f"{tmp_path / 'backup'}: people: 1\n"
    assert upkeep("name", "Ada", "Ada Lovelace") == "Ada is now Ada Lovelace\n"
    assert upkeep("expire") == "nobody has expired\n"
    invoke("forget", "Ada Lovelace", "--receipt", tmp_path / "receipt.json", *book, model=None)
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert receipt["removed"][0]["name"] == "Ada Lovelace" and receipt["left"] == 0
    done = upkeep("restore", tmp_path / "backup")
    assert done == "people in the book: 0; left out, because they were removed or have expired: 1\n"


def test_encryption(invoke, tmp_path, monkeypatch):
    pytest.importorskip("cryptography")
    book, key = ["--book", tmp_path / "book"], tmp_path / "key"
    invoke("enrol", "Ada", "a0.wav", *book)
    done = invoke("book", "encrypt", "--key", key, *book, model=None)
    assert done.stdout == f"encrypted; set SPKVER_BOOK_KEY={key.resolve()} from now on, and keep a copy of that file\n"
    with pytest.raises(InputError, match="encrypted: set the environment variable"):
        invoke("identify", "a1.wav", *book)
    monkeypatch.setenv("SPKVER_BOOK_KEY", str(key))
    assert "\tAda\t" in invoke("identify", "a1.wav", *book).stdout
    invoke("book", "decrypt", *book, model=None)
    monkeypatch.delenv("SPKVER_BOOK_KEY")
    assert invoke("speakers", *book, model=None).stdout == "Ada\t1\n"


@pytest.mark.parametrize("day", ["tomorrow", "2030-13-01", "2030-5-1"])
def test_until_is_a_day(invoke, tmp_path, day):
    with pytest.raises(click.UsageError, match="expected a day, for example 2030-12-31"):
        CliRunner().invoke(
            importlib.import_module("spkver.cli.enrol").command,
            ["Ada", "a.wav", "--until", day],
            standalone_mode=False,
            catch_exceptions=False,
        )


def test_book_moves_by_a_map(invoke, tmp_path):
    random = np.random.default_rng(0)
    vectors = np.repeat(random.normal(size=(10, 8)), 3, axis=0).astype(np.float32)
    vectors += 0.1 * random.normal(size=vectors.shape).astype(np.float32)
    ids, speakers = [str(row) for row in range(30)], [f"s{row // 3}" for row in range(30)]
    write_embeddings(tmp_path / "old.parquet", Embeddings(ids, vectors, speakers, "old"))
    write_embeddings(tmp_path / "new.parquet", Embeddings(ids, vectors[:, ::-1].copy(), speakers, "new"))
    enrol(tmp_path / "book", "Ada", Embeddings(["a"], vectors[:1], None, "old"))
    sides = [tmp_path / "old.parquet", tmp_path / "new.parquet"]
    done = invoke("book", "map", *sides, tmp_path / "map", model=None)
    assert done.stdout.startswith(
        f"{tmp_path / 'map'}: procrustes, fitted on 30 recordings of 10 speakers; on speakers"
    )
    done = invoke("book", "move", "--map", tmp_path / "map", "--book", tmp_path / "book", model=None)
    assert done.stdout == "0 recordings embedded again, 1 mapped\n"
    assert open_book(tmp_path / "book").voices.model == "new"
    with pytest.raises(InputError, match="--model needs --recordings"):
        invoke("book", "move", "--map", tmp_path / "map", "--book", tmp_path / "book")


def test_a_day_that_has_passed_is_refused_before_the_recordings_are_read(invoke, tmp_path):
    with pytest.raises(InputError, match="2020-01-01: this last day has passed"):
        invoke("enrol", "Ada", "none.wav", "--until", "2020-01-01", "--book", tmp_path / "book")


def test_unknown_voices_are_kept_and_named(invoke, tmp_path):
    book = ["--book", tmp_path / "book"]

    def names(*words):
        return [line.split("\t")[1] for line in invoke("identify", *words, *book).stdout.splitlines()]

    assert names("a0.wav", "c.wav", "--keep-unknown", "30") == ["unknown 1", "unknown 2"]  # the book was empty
    assert names("a1.wav", "--keep-unknown", "30") == ["unknown 1"]
    listed = invoke("speakers", *book, model=None).stdout.splitlines()
    assert [line.split("\t")[:2] for line in listed] == [["unknown 1", "2"], ["unknown 2", "1"]]
    assert "not named, kept until" in listed[0]
    with pytest.raises(InputError, match="the book is empty"):
        names("a1.wav")
    invoke("book", "name", "unknown 1", "Ada", *book, model=None)
    (found,) = json.loads(invoke("identify", "a1.wav", "--json", *book).stdout)
    assert (found["name"], found["unknown"]) == ("Ada", "")
    assert names("c.wav") == ["nobody known"]
    assert invoke("speakers", "--json", *book, model=None).stdout == '{\n  "Ada": 2\n}\n'


def test_identify_advises_to_enrol_again(invoke, tmp_path):
    book = ["--book", tmp_path / "book"]
    invoke("enrol", "Ada", "a0.wav", *book)
    advice = "warning: 'Ada': one recording only"
    assert (
        advice in invoke("identify", "a1.wav", *book).stderr and advice in invoke("speakers", *book, model=None).stderr
    )
    assert advice not in invoke("identify", "c.wav", *book).stderr


def test_a_receipt_that_cannot_be_written_is_printed(invoke, tmp_path):
    book = ["--book", tmp_path / "book"]
    invoke("enrol", "Ada", "a0.wav", *book)
    blocked = tmp_path / "full.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spkver.cli.forget.write_json", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(RunError, match=r"receipt cannot be written \(No space left\); it is printed instead"):
            invoke("forget", "Ada", "--receipt", blocked, *book, model=None)
    assert invoke("speakers", *book, model=None).stdout == ""


def test_speakers_tells_consent_and_empty_books(invoke, tmp_path):
    book = ["--book", tmp_path / "book"]
    assert "nobody is enrolled in" in invoke("speakers", *book, model=None).stderr
    assert not (tmp_path / "book").exists()
    invoke("enrol", "Ada", "a0.wav", "--purpose", "minutes", "--until", "2999-01-01", *book)
    invoke("enrol", "Bob", "b.wav", *book)
    assert invoke("speakers", *book, model=None).stdout == "Ada\t1\tminutes\tkept until 2999-01-01\nBob\t1\n"


@pytest.mark.parametrize("words", [["forget", "Ada"], ["book", "expire"], ["book", "name", "Ada", "Bob"]])
def test_a_missing_book_is_not_made(invoke, tmp_path, words):
    with pytest.raises(InputError, match=r"none: there is no book"):
        invoke(*words, "--book", tmp_path / "none", model=None)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("words", [["speakers"], ["forget", "Ada"]])
def test_a_file_is_no_book(invoke, tmp_path, words):
    (tmp_path / "b.txt").write_text("x")
    with pytest.raises(InputError, match=r"b\.txt: a file; a speaker book is a directory"):
        invoke(*words, "--book", tmp_path / "b.txt", model=None)


def test_identify_refuses_values_without_sense(invoke, tmp_path):
    book = ["--book", tmp_path / "book"]
    invoke("enrol", "Ada", "a0.wav", *book)
    with pytest.raises(InputError, match="the threshold must be a number, got nan"):
        invoke("identify", "a1.wav", "--threshold", "nan", *book)
    assert "36500" in invoke("identify", "a1.wav", "--keep-unknown", "99999999", *book, code=2).output
    line = invoke("identify", "c.wav", "--keep-unknown", "30", *book).stdout
    assert line.rstrip("\n").endswith("c.wav\tunknown 1")  # without the score of another person
