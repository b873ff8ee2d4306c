"""Commands and functions with URLs in the place of paths."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from spkver import audio, cli
from spkver.datadir import DataDir, from_columns, read_datadir, validate, write_datadir
from spkver.embeddings import Embeddings, read_embeddings, write_embeddings
from spkver.encoder import Encoder
from spkver.errors import InputError, RunError
from spkver.files import atomic_directories, atomic_directory, atomic_file, atomic_files, write_text
from spkver.formats import convert
from spkver.packs import Pack, pack_audio
from spkver.scoring.chain import Chain, Step, read_chain, write_chain
from spkver.scoring.metadata import read_speakers
from spkver.storage import Url, access, cache, located, upload
from spkver.trials import read_scores, read_trials

from .conftest import Server, clear

ROOT = "memory://bucket"


def store() -> dict[str, Any]:
    import fsspec

    return fsspec.filesystem("memory").store


def run(*words: str) -> Result:
    """A command; its error is the exception."""
    return CliRunner().invoke(cli.root, words, catch_exceptions=True)


def recordings(folder: Path, count: int = 4) -> list[Path]:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", random.integers(-9000, 9000, 9000).astype(np.int16), 16000)
    return sorted(folder.iterdir())


def write_local(folder: Path, data: DataDir) -> list[Path]:
    write_datadir(folder, data)
    return list(folder.iterdir())


def test_a_data_directory_and_its_recordings_by_url(web: Server, tmp_path: Path) -> None:
    paths = recordings(tmp_path / "wav")
    web.files = {f"/wav/{path.name}": path.read_bytes() for path in paths}
    names = [path.name for path in paths]
    data = from_columns(names, [f"{web.address}/wav/{name}" for name in names], ["a", "a", "b", "b"])
    write_datadir(f"{ROOT}/data", data)
    assert sorted(store()) == ["/bucket/data/utt2spk", "/bucket/data/wav.scp"]
    found = read_datadir(f"{ROOT}/data")
    assert found.ids == names and found.paths == data.paths
    assert not [problem for problem in validate(f"{ROOT}/data") if problem.fatal]
    pack_audio(found, tmp_path / "pack")
    pack = Pack.open(tmp_path / "pack")
    np.testing.assert_array_equal(pack[2], soundfile.read(paths[2], dtype="int16")[0])
    assert read_speakers([f"{ROOT}/data"]) == dict(zip(names, "aabb"))
    web.files |= {f"/{path.name}": path.read_bytes() for path in write_local(tmp_path / "data", data)}
    assert read_datadir(web.address).ids == names  # without the files that a data directory need not have
    with pytest.raises(InputError, match=rf"^{web.address}/none: not a data directory \(no wav\.scp\)"):
        read_datadir(f"{web.address}/none")
    del web.files["/wav/1.wav"]
    web.files["/wav/3.wav"] = web.files["/wav/3.wav"][:5000]
    clear()
    summary = pack_audio(read_datadir(f"{ROOT}/data"), tmp_path / "other", max_rejected=0.6)
    assert summary.rejected == 2
    with pytest.raises(InputError, match=rf"^{web.address}/wav/1\.wav: no such file"):
        audio.read(f"{web.address}/wav/1.wav")
    web.faults = [503] * 30
    with pytest.raises(RunError, match="the server is overloaded"):  # not a bad recording
        clear()
        pack_audio(from_columns(["x"], [f"{web.address}/wav/2.wav"], ["a"]), tmp_path / "third")


def test_a_pack_is_made_at_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = recordings(tmp_path / "wav")
    names = [path.name for path in paths]
    data = from_columns(names, [str(path) for path in paths], ["a", "a", "b", "b"])
    real, sent = access.upload, 0

    def failing(source: Path, url: Url) -> None:
        nonlocal sent
        sent += 1
        if sent == 4:
            raise RunError("stopped")
        real(source, url)

    monkeypatch.setattr(access, "upload", failing)
    with pytest.raises(RunError, match="stopped"):
        pack_audio(data, f"{ROOT}/made", rows_per_shard=2)
    assert "/bucket/made/pack.json" not in store()
    made = pack_audio(data, f"{ROOT}/made", rows_per_shard=2)
    assert made is not None and (made.rows, made.kept, str(made.path)) == (4, 2, f"{ROOT}/made")
    pack_audio(data, tmp_path / "local", rows_per_shard=2)
    found = {path.removeprefix("/bucket/made/"): content.getvalue() for path, content in store().items()}
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "local").iterdir()}
    again = pack_audio(data, f"{ROOT}/made", rows_per_shard=2)
    assert again is not None and again.already_packed
    with pytest.raises(InputError, match="a pack of other input or settings"):
        pack_audio(data, f"{ROOT}/made", rows_per_shard=3)
    assert not list((cache.folder() / "outgoing").iterdir())


def test_scoring_by_url(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    ids = [f"u{number}" for number in range(6)]
    embeddings = Embeddings(ids, random.normal(size=(6, 4)).astype(np.float32), ["a", "b"] * 3, "m")
    trials = "".join(f"u{row} u{row + 1} {'non' * (row % 2)}target\n" for row in range(5))
    for place in (f"{ROOT}", str(tmp_path)):
        write_embeddings(f"{place}/e.parquet", embeddings)
        write_text(f"{place}/trials.txt", trials)
        write_chain(f"{place}/chain", Chain((Step("centre", np.ones(4)),), "m"))
        words = ["score", f"{place}/trials.txt", f"{place}/e.parquet", f"{place}/s.txt", "--chain", f"{place}/chain"]
        done = run(*words)
        assert done.exit_code == 0, done.output
        assert f"{place}/s.txt" in done.output
        done = run("evaluate", f"{place}/s.txt", "--trials", f"{place}/trials.txt", "--out", f"{place}/n.json")
        assert done.exit_code == 0, done.output
    assert store()["/bucket/s.txt"].getvalue() == (tmp_path / "s.txt").read_bytes()
    assert store()["/bucket/n.json"].getvalue() == (tmp_path / "n.json").read_bytes()
    assert len(read_scores(f"{ROOT}/s.txt")) == len(read_trials(f"{ROOT}/trials.txt")) == 5
    assert read_chain(f"{ROOT}/chain").model == "m"
    assert store().keys() >= {"/bucket/chain/chain.yaml", "/bucket/chain/chain.safetensors"}


@pytest.mark.parametrize(
    "suffix", [".parquet", ".npz", ".h5", ".jsonl", ".safetensors", ".faiss", ".npy", ".ark", ".scp"]
)
def test_embeddings_of_every_format_by_url(suffix: str) -> None:
    embeddings = Embeddings(["a", "b"], np.float32([[1, 2], [3, 4]]))
    convert.write(f"{ROOT}/x{suffix}", embeddings)
    clear()
    found = convert.read(f"{ROOT}/x{suffix}")
    assert found.ids == ["a", "b"]
    np.testing.assert_allclose(found.vectors, embeddings.vectors, rtol=1e-6)
    with pytest.raises(InputError, match=f"^{ROOT}/none{suffix}"):
        convert.read(f"{ROOT}/none{suffix}")


def test_a_model_by_url(tmp_path: Path) -> None:
    from spkver.modeldir import default_model

    shutil.copytree(default_model(), tmp_path / "model")
    upload.put([(tmp_path / "model", Url(f"{ROOT}/model"))], "config.yaml")
    encoder = Encoder.open(f"{ROOT}/model")
    assert encoder.model_id == Encoder.open(default_model()).model_id
    paths = recordings(tmp_path / "wav", 2)
    done = run("verify", str(paths[0]), str(paths[1]), "--model", f"{ROOT}/model")
    assert (done.exit_code in (0, 1) and done.exception is None) or isinstance(done.exception, SystemExit), done.output
    data = from_columns(["a", "b"], [str(path) for path in paths], ["a", "b"])
    pack_audio(data, tmp_path / "pack")
    upload.put([(tmp_path / "pack", Url(f"{ROOT}/pack"))], "pack.json")
    write_datadir(f"{ROOT}/data", data)
    for source in ("pack", "data"):
        done = run("extract", f"{ROOT}/{source}", f"{ROOT}/{source}.parquet", "--model", f"{ROOT}/model")
        assert done.exit_code == 0, done.output
    one, other = (read_embeddings(f"{ROOT}/{source}.parquet") for source in ("pack", "data"))
    assert one.ids == other.ids == ["a", "b"] and one.model == encoder.model_id
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)  # batches of two, and of one
    encoder.save(f"{ROOT}/copy")
    assert Encoder.open(f"{ROOT}/copy").model_id == encoder.model_id
    with pytest.raises(InputError, match=rf"^{ROOT}/none: not a model directory \(no config\.yaml\)"):
        Encoder.open(f"{ROOT}/none")


# --- outputs ---


def test_an_output_appears_whole_or_not_at_all(s3: Server) -> None:
    url = located("s3://bucket/out/list.txt")
    with pytest.raises(ValueError), atomic_file(url) as part:
        part.write_text("half")
        raise ValueError
    assert not url.exists()
    s3.faults = [None, 503, "cut"]
    with atomic_file(url) as part:
        part.write_bytes(b"whole")
    assert url.read_bytes() == b"whole"
    with pytest.raises(RunError, match=r"^s3://bucket/out/list\.txt: cannot be written: the server is overloaded"):
        s3.faults = [None] + [503] * 30
        with atomic_file(url) as part:
            part.write_bytes(b"other")
    s3.faults = []
    clear()
    assert url.read_bytes() == b"whole"


def test_a_place_that_cannot_be_written_is_refused_before_the_work(s3: Server, web: Server) -> None:
    for place, words in (
        (f"{web.address}/x", "a web server cannot be written to"),
        ("s3://no-such-bucket/x", "there is no bucket s3://no-such-bucket"),
    ):
        with pytest.raises(InputError, match=words), atomic_file(place):
            raise AssertionError("the work began")
        assert words in str(run("evaluate", "none.txt", "--trials", "none.txt", "--out", place).exception)
    for command in (("train", "x.yaml", "--out", "s3://bucket/x"), ("pack", "none", f"{web.address}/x")):
        assert isinstance(run(*command).exception, InputError)
    assert "must be a folder of this computer" in str(run("speakers", "--book", "s3://bucket/book").exception)
    with pytest.raises(InputError, match="s3://bucket/a: this needs a file or folder of this computer; copy it"):
        Url("s3://bucket/a").mkdir()
    assert not hasattr(Url("s3://bucket/a"), "read")


def test_files_that_belong_together_are_complete_when_the_first_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_files(f"{ROOT}/a.npy", f"{ROOT}/a.ids") as parts:
        for part in parts:
            part.write_text("1")
    sent: list[str] = []
    real = access.upload

    def failing(source: Path, url: Url) -> None:
        sent.append(url.name)
        if len(sent) == 2:
            raise RunError("stopped")
        real(source, url)

    monkeypatch.setattr(access, "upload", failing)
    with pytest.raises(RunError), atomic_files(f"{ROOT}/a.npy", f"{ROOT}/a.ids") as parts:
        for part in parts:
            part.write_text("2")
    assert sent == ["a.ids", "a.npy"]
    assert "/bucket/a.npy" not in store() and store()["/bucket/a.ids"].getvalue() == b"2"


@pytest.mark.parametrize("stops_at", [1, 2, 3, 4])
def test_a_folder_is_complete_or_cannot_be_read(monkeypatch: pytest.MonkeyPatch, stops_at: int) -> None:
    def write(text: str, *names: str) -> None:
        with atomic_directory(f"{ROOT}/model", holds="config.yaml") as part:
            for name in names:
                (part / name).write_text(text)

    write("old", "config.yaml", "old.txt", "weights")
    done = 0
    real = access._filesystem("memory").put_file

    def failing(source: str, address: str, **_: Any) -> None:
        nonlocal done
        done += 1
        if done == stops_at:
            raise KeyboardInterrupt
        real(source, address)

    monkeypatch.setattr(access._filesystem("memory"), "put_file", failing)
    with pytest.raises(KeyboardInterrupt):
        write("new", "config.yaml", "weights", "zz.txt")
    left = {path.removeprefix("/bucket/model/"): content.getvalue() for path, content in store().items()}
    if "config.yaml" in left:  # nothing has been changed yet
        assert left == {"config.yaml": b"old", "old.txt": b"old", "weights": b"old"}
    monkeypatch.undo()
    write("new", "config.yaml", "weights", "zz.txt")  # what is left is replaced
    assert sorted(store()) == [f"/bucket/model/{name}" for name in ("config.yaml", "weights", "zz.txt")]
    assert {content.getvalue() for content in store().values()} == {b"new"}


def test_a_folder_of_other_files_is_not_replaced() -> None:
    write_text(f"{ROOT}/mine/notes.txt", "x")
    words = r"contains other files \(no config\.yaml\) and is not replaced"
    with pytest.raises(InputError, match=words), atomic_directory(f"{ROOT}/mine", holds="config.yaml"):
        raise AssertionError("the work began")
    words = "is, or is inside, another output directory"
    with pytest.raises(InputError, match=words), atomic_directories(f"{ROOT}/a", f"{ROOT}/a/b"):
        raise AssertionError("the work began")


def test_messages_and_files_do_not_name_the_signature(web: Server, tmp_path: Path) -> None:
    web.files["/t.txt"] = b"a b target\nc\n"
    done = run("check-trials", f"{web.address}/t.txt?X-Amz-Signature=hidden")
    assert f"{web.address}/t.txt?***:2: expected" in str(done.exception) and "hidden" not in str(done.exception)
    write_embeddings(tmp_path / "e.parquet", Embeddings(["a"], np.float32([[1, 2]])))
    web.files["/e.parquet"] = (tmp_path / "e.parquet").read_bytes()
    done = run("convert", f"{web.address}/e.parquet?sig=hidden", str(tmp_path / "e.npz"))
    assert done.exit_code == 0 and "hidden" not in done.output
    assert b"hidden" not in (tmp_path / "e.npz").read_bytes()
    assert read_embeddings(f"{web.address}/e.parquet?sig=hidden").ids == ["a"]


def test_commands_start_without_fsspec() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from spkver import cli; from spkver.storage import located; located('s3://bucket/x');"
        "import spkver.cli.score, spkver.cli.data, spkver.cli.evaluate, spkver.datadir, spkver.trials;"
        "sys.exit([name for name in ('fsspec', 'torch', 'aiohttp', 's3fs') if name in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_folder_that_vanishes_while_the_cache_is_counted(monkeypatch, tmp_path):
    """Another process renames the folder of its download between the listing and the look into it."""
    from spkver.storage import cache

    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    entry = tmp_path / ("a" * 64)
    (entry / "part").mkdir(parents=True)
    (entry / "content").write_bytes(bytes(10))
    scandir = os.scandir

    def vanishing(path="."):
        if str(path).endswith("part"):
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert cache._Room()._remove_oldest(100, 5) == 15
