from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spkver import audio
from spkver.datadir import from_columns, write_datadir
from spkver.embeddings import Embeddings, write_embeddings
from spkver.errors import InputError
from spkver.packs import pack_audio
from spkver.scoring.metadata import read_speakers, read_table, speakers_of
from spkver.trials import Trials


def test_tables_that_are_not_text(tmp_path):
    path = tmp_path / "t.csv"
    for content in (b"id,note\na,\xe9\n", b"id,\xe9\na,b\n", b"id\n\xe9\n", "id\na\n".encode("utf-16")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"t\.csv: "):
            read_table(path)
    path.write_bytes("\ufeffid,note\na,b\n".encode())
    assert read_table(path)["id"].to_pylist() == ["a"]
    bad = pa.array([b"\xe9"]).view(pa.string())
    for columns in ({"id": bad}, {"id": ["a"], "note": bad}):
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        with pytest.raises(InputError, match=r"t\.parquet: not a Parquet file of ids"):
            read_table(tmp_path / "t.parquet")
    pq.write_table(pa.table([["a"], ["b"]], names=["id", "id"]), tmp_path / "t.parquet")
    path.write_text("id,id\na,b\n")
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(InputError, match="the column 'id' occurs 2 times"):
            read_table(tmp_path / name)


@pytest.fixture
def forms(tmp_path):
    """The speakers of two utterances in every form."""
    audio.write(tmp_path / "u.wav", np.array([0.1, -0.1] * 8000, np.float32), 16000)
    data = from_columns(["b", "a"], [str(tmp_path / "u.wav")] * 2, ["t", "s"], seconds=[2.0, 1.0], genders=["m", "f"])
    write_datadir(tmp_path / "data", data)
    pack_audio(data, tmp_path / "pack")
    (tmp_path / "utt2spk").write_text("a s\nb t\n")
    (tmp_path / "t.csv").write_text("id,speaker,age\na,s,007\nb,t,31\n")
    pq.write_table(pa.table({"id": ["a", "b"], "speaker": ["s", "t"]}), tmp_path / "t.parquet")
    vectors = np.array([[3, 4], [1, 0]], np.float32)
    write_embeddings(tmp_path / "e.parquet", Embeddings(["a", "b"], vectors, ["s", "t"]))
    return tmp_path


FORMS = ("data", "pack", "utt2spk", "t.csv", "t.parquet", "e.parquet")


@pytest.mark.parametrize("form", FORMS)
def test_speakers_in_every_form(forms, form):
    assert read_speakers([forms / form]) == {"a": "s", "b": "t"}


def test_further_columns(forms):
    assert read_table(forms / "data")["seconds"].to_pylist() == [1.0, 2.0]
    assert read_table(forms / "data")["gender"].to_pylist() == ["f", "m"]
    assert read_table(forms / "pack")["seconds"].to_pylist() == [1.0, 1.0]
    assert read_table(forms / "t.csv")["age"].to_pylist() == [7, 31]
    assert read_table(forms / "e.parquet")["norm"].to_pylist() == [5.0, 1.0]


def test_speakers_of_several_files(tmp_path):
    (tmp_path / "a").write_text("u1 s1\nu2 s2\n")
    (tmp_path / "b").write_text("u2 s2\nu3 s3\n")
    assert read_speakers([tmp_path / "a", tmp_path / "b"]) == {"u1": "s1", "u2": "s2", "u3": "s3"}
    (tmp_path / "b").write_text("u2 s1\n")
    with pytest.raises(InputError, match="'u2' has two speakers: 's2' and 's1'"):
        read_speakers([tmp_path / "a", tmp_path / "b"])


def test_speakers_of_trials_are_codes():
    trials = Trials(pa.array(["a", "b", "c"]), pa.array(["c", "a", "a"]))
    speakers = {"c": "x", "a": "y", "b": "x", "unused": "z"}
    enrol, test, names = speakers_of(trials, speakers)
    assert names == ["x", "y", "z"]
    assert (enrol.tolist(), test.tolist()) == ([1, 0, 0], [0, 1, 1])
    table = pa.table({"id": ["a", "b", "c"], "speaker": ["y", None, "x"]})
    with pytest.raises(InputError, match="the speaker of 'b' is not known"):
        speakers_of(trials, table)
    with pytest.raises(InputError, match="no column 'speaker'; the columns are id"):
        speakers_of(trials, table.select(["id"]))


def test_ids_of_tables_are_text_and_unique(tmp_path):
    (tmp_path / "t.csv").write_text("id,age\n007,20\nx,31\n")
    assert read_table(tmp_path / "t.csv").to_pydict() == {"id": ["007", "x"], "age": [20, 31]}
    (tmp_path / "t.csv").write_text("id,age\na,1\na,2\n")
    with pytest.raises(InputError, match="the id 'a' is in two rows"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("name,age\na,1\n")
    with pytest.raises(InputError, match="no column 'id'"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(InputError, match="no column 'speaker'"):
        (tmp_path / "t.csv").write_text("id,age\na,1\n")
        read_speakers([tmp_path / "t.csv"])
    with pytest.raises(InputError, match="none"):
        read_table(tmp_path / "none")
