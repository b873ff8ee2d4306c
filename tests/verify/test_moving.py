from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from spkver.datadir import from_columns, write_datadir
from spkver.embeddings import Embeddings
from spkver.errors import InputError
from spkver.source import open_source
from spkver.verify.advice import remarks
from spkver.verify.book import enrol, open_book
from spkver.verify.model import load_model
from spkver.verify.moving import Moved, learn_map, move, read_map, write_map
from spkver.verify.people import enrol_recordings

DIM = 12


def speech(seed=0, speakers=15, noise=0.3, model="old"):
    """Embeddings of four recordings of each speaker, and those of a model that turns, scales and shifts them."""
    random = np.random.default_rng(seed)
    voices = np.repeat(random.normal(size=(speakers, DIM)), 4, axis=0)
    vectors = voices + noise * random.normal(size=voices.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(DIM, DIM)))[0]
    ids, names = [str(row) for row in range(len(vectors))], [f"s{row // 4}" for row in range(len(vectors))]
    return (
        Embeddings(ids, vectors.astype(np.float32), names, model),
        Embeddings(ids[::-1], (3 * vectors @ turn)[::-1].astype(np.float32), names[::-1], "new", {"bins": 8}),
    )


@pytest.fixture(scope="module")
def learnt():
    return learn_map(*speech())


def test_map_finds_a_rotation(learnt):
    old, new = speech(seed=7)
    expected = new.vectors[::-1] / 3
    assert learnt(old.vectors) == pytest.approx(expected, abs=1e-4)
    loss = learnt.about.loss
    assert learnt.about.method == "procrustes" and loss.mapped == pytest.approx(loss.new) == pytest.approx(loss.old)
    assert (learnt.about.recordings, learnt.about.speakers) == (60, 15)


def test_loss_is_that_of_speakers_left_out():
    """A map between unrelated embeddings fits its own speakers, and nobody else."""
    old, new = speech(speakers=12)
    random = np.random.default_rng(3)
    other = np.repeat(random.normal(size=(12, DIM)), 4, axis=0)[::-1].astype(np.float32)
    loss = learn_map(old, replace(new, vectors=other)).about.loss
    assert loss.new == 0 and loss.mapped > 0.3


def test_map_survives_its_file(learnt, tmp_path):
    write_map(tmp_path / "map", learnt)
    again = read_map(tmp_path / "map")
    assert again.about == learnt.about and np.array_equal(again.matrix, learnt.matrix)
    with pytest.raises(InputError, match="no such file"):
        read_map(tmp_path / "none")


def test_any_other_file_is_no_map(learnt, tmp_path, damaged):
    path = tmp_path / "map"
    write_map(path, learnt)
    for _ in damaged(path):
        try:
            read_map(path)
        except InputError as error:
            assert "map: not a map of embeddings" in str(error)


def test_map_needs_two_models_and_speakers():
    old, new = speech()
    with pytest.raises(InputError, match="of the same model"):
        learn_map(old, replace(new, model="old"))
    assert learn_map(replace(old, speakers=None), new).about == learn_map(old, replace(new, speakers=None)).about
    partly = replace(old, speakers=["", *old.speakers[1:]])
    assert learn_map(partly, replace(new, speakers=None)).about.recordings == 59  # without an unknown speaker
    for few in (speech(speakers=9)[1], replace(new, ids=[f"x{one}" for one in new.ids])):
        with pytest.raises(InputError, match="of 10 speakers or more"):
            learn_map(old, few)


@pytest.fixture
def folder(tmp_path):
    old, _ = speech(seed=7, speakers=3)
    for number in range(3):
        rows = slice(4 * number, 4 * number + 2)
        enrol(tmp_path / "book", f"P{number}", Embeddings(old.ids[rows], old.vectors[rows], None, "old"))
    return tmp_path / "book"


def test_mapped_book_is_of_the_new_model_and_says_so(folder, learnt):
    before = open_book(folder).voices
    assert move(folder, by=learnt) == Moved(0, 6)
    book = open_book(folder)
    assert (book.voices.model, book.voices.front_end) == ("new", {"bins": 8})
    np.testing.assert_allclose(book.voices.vectors, learnt(before.vectors), atol=1e-6)
    assert all(row.mapped for row in book.contents.recordings) and "EER" in remarks(book)[0]
    with pytest.raises(InputError, match="made with the model new"):
        book.require("old")
    _, new = speech(seed=9, speakers=1)
    book = enrol(folder, "Native", replace(new, ids=[f"n{one}" for one in new.ids], speakers=None))
    assert remarks(book)[0].startswith("6 of 10 recordings of the book were mapped")


def test_a_map_of_other_models_is_refused(folder, learnt):
    before = open_book(folder)
    other = replace(learnt, about=replace(learnt.about, old="third"))
    with pytest.raises(InputError, match="the map is of other models"):
        move(folder, by=other)
    with pytest.raises(InputError, match="give the enrolled recordings"):
        move(folder)
    assert open_book(folder).hash == before.hash


@pytest.fixture
def recorded(tiny_model, voice, tmp_path):
    """A book of two people, their recordings as a data directory, and a model with another hash."""
    paths = []
    for pitch in (100, 140, 180):
        paths.append(str(tmp_path / f"{pitch}.wav"))
        soundfile.write(paths[-1], voice(pitch), 16000)
    old = load_model(tiny_model)
    enrol_recordings(old, tmp_path / "book", "Ada", paths[:2])
    enrol_recordings(old, tmp_path / "book", "Bob", paths[2:])
    for name, chosen in (("all", paths), ("some", paths[:2])):
        ids = [str(row) for row in range(len(chosen))]
        write_datadir(tmp_path / name, from_columns(ids, chosen, ["s"] * len(ids)))
    shutil.copytree(tiny_model, tmp_path / "new")
    with (tmp_path / "new" / "config.yaml").open("a") as stream:
        stream.write("\n")
    return tmp_path, old, load_model(tmp_path / "new")


def test_recordings_are_embedded_by_the_new_model(recorded):
    folder, _, new = recorded
    before = open_book(folder / "book")
    with pytest.raises(InputError, match="1 of 3 recordings were not found"):
        move(folder / "book", verifier=new, source=open_source(folder / "some").audio())
    assert open_book(folder / "book").hash == before.hash
    assert move(folder / "book", verifier=new, source=open_source(folder / "all").audio()) == Moved(3, 0)
    after = open_book(folder / "book")
    after.require(new.model_id)
    assert (
        remarks(after) == []
        and after.voices.ids == before.voices.ids
        and after.contents.people == before.contents.people
    )
    expected = [new.listen(folder / f"{pitch}.wav").vector for pitch in (100, 140, 180)]
    np.testing.assert_allclose(after.voices.vectors, expected, atol=1e-5)


def test_the_others_are_mapped_until_their_recordings_are_found(recorded, learnt):
    folder, old, new = recorded
    dim = open_book(folder / "book").voices.dim
    about = replace(learnt.about, old=old.model_id, new=new.model_id)
    by = replace(learnt, mean_old=np.zeros(dim), matrix=np.eye(dim)[::-1], mean_new=np.zeros(dim), about=about)
    by = replace(by, mean_old=by.mean_old.astype(np.float32), matrix=by.matrix.astype(np.float32))
    some, everything = (open_source(folder / name).audio() for name in ("some", "all"))
    assert move(folder / "book", verifier=new, source=some, by=by) == Moved(2, 1)
    assert [row.mapped for row in open_book(folder / "book").contents.recordings] == [False, False, True]
    assert move(folder / "book", verifier=new, source=some) == Moved(2, 1)
    assert move(folder / "book", verifier=new, source=everything) == Moved(3, 0)
    assert remarks(open_book(folder / "book")) == []
