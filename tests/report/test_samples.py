"""What checkpoints make of the training samples: the tables, and their page."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spkver.config import load
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.extraction import embed
from spkver.packs.reader import Pack
from spkver.recipe import Recipe, describe_samples, train
from spkver.report.samples import read_known, read_samples, write_page
from spkver.source import PackSource
from spkver.training.state.head import SavedHead


@pytest.fixture
def run(write_recipe, tmp_path):
    """A run with a checkpoint at steps 3, 6 and 8."""

    def make(**keys):
        loss = {"name": "bd_lmcl", "others": "ignored", "m": 0.02, "schedules": {"m": "constant"}, "head": {"s": 10}}
        path = write_recipe(loss=loss | keys, train={"keep_checkpoints": 3})
        train(load(Recipe, path), tmp_path / "run", say=str)
        return tmp_path / "run"

    return make


def test_tables_have_angles_selection_and_gradient(run, packs, tmp_path):
    folder = run()
    paths = describe_samples(folder, tmp_path / "samples", say=str)
    assert [path.name for path in paths] == [f"step-0000000{step}.parquet" for step in (3, 6, 8)]
    found = pq.read_table(paths[-1])
    pack, head = Pack.open(packs / "train"), SavedHead.read(folder / "model")
    vectors, _ = embed(Encoder.open(folder / "model", "cpu"), PackSource(pack), seconds=0.4)
    x = np.stack([vectors[row] for row in range(len(pack))]).astype(np.float64)
    w = head.state["head.weight"].double().numpy()
    names = [one.speaker for one in head.classes]
    cosines = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
    label = np.array([names.index(speaker) for speaker in pack.speakers])
    rows = np.arange(len(pack))
    own = cosines[rows, label]
    cosines[rows, label] = -2
    nearest = cosines.max(axis=1)

    assert found["id"].to_pylist() == pack.ids and found["speaker"].to_pylist() == pack.speakers
    np.testing.assert_allclose(found["own_angle"], np.degrees(np.arccos(own)), atol=0.02)
    np.testing.assert_allclose(found["nearest_angle"], np.degrees(np.arccos(nearest)), atol=0.02)
    assert found["nearest"].to_pylist() == [names[at] for at in cosines.argmax(axis=1)]
    np.testing.assert_allclose(found["norm"], np.linalg.norm(x, axis=1), rtol=1e-5)
    selected = found["selected"].to_numpy()
    assert (selected == (nearest > own - 0.02)).all() and 0 < selected.mean() < 1
    gradient = found["gradient"].to_numpy()
    assert (gradient[selected == 0] == 0).all() and (gradient[selected == 1] > 0).all()

    before = [path.stat().st_mtime_ns for path in paths]
    said = []
    describe_samples(folder, tmp_path / "samples", say=said.append)
    assert len(said) == 3 and all("already complete" in line for line in said)
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_tables_of_another_run_are_made_again(run, tmp_path):
    before = [pq.read_table(path) for path in describe_samples(run(), tmp_path / "samples", say=str)]
    shutil.rmtree(tmp_path / "run")
    said, again = [], run(head={"s": 20})
    paths = describe_samples(again, tmp_path / "samples", say=said.append)
    assert len(said) == 3 and not any("already complete" in line for line in said)
    paths[0].write_bytes(b"PAR1")
    describe_samples(again, tmp_path / "samples", say=said.append)
    assert ["already complete" in line for line in said[3:]] == [False, True, True]
    assert not any(pq.read_table(path).equals(table) for path, table in zip(paths, before))


def test_losses_without_selector_and_pair_losses(run, write_recipe, tmp_path):
    (*_, last) = describe_samples(
        run(name="softmax", others="unmargined", m=0, schedules={}, head={}), tmp_path, say=str
    )
    assert (pq.read_table(last)["selected"].to_numpy() == 1).all()
    path = write_recipe(loss="triplet", data={"utterances_per_speaker": 2})
    train(load(Recipe, path), tmp_path / "pairs", say=str)
    with pytest.raises(InputError, match="loss 'triplet' has no class weights"):
        describe_samples(tmp_path / "pairs", tmp_path / "none", say=str)
    with pytest.raises(InputError, match="not an experiment directory"):
        describe_samples(tmp_path / "none", tmp_path / "none")


def table(step: int) -> pa.Table:
    random = np.random.default_rng(step)
    ids = [f"s{i % 10}/{i}" for i in range(100)]
    numbers = {name: random.uniform(1, 90, 100) for name in ("own_angle", "nearest_angle", "norm", "loss", "gradient")}
    words = {"id": ids, "speaker": [name[:2] for name in ids], "nearest": ["s1"] * 100}
    return pa.table({**words, "selected": (random.random(100) < 0.4).astype(float), **numbers})


def test_page_groups_samples_by_what_is_known(tmp_path):
    for step in (200, 100):
        pq.write_table(table(step), tmp_path / f"step-{step:08d}.parquet")
    samples = read_samples(list(tmp_path.glob("*.parquet")))
    assert list(samples) == [100, 200]
    truth = [f"s{(i + (i < 15)) % 10}" for i in range(100)]  # 15 wrong labels
    known = pa.table({"id": samples[100]["id"], "speaker": truth, "seconds": np.arange(100.0)})
    write_page(samples, tmp_path / "page.html", known=known)
    page = (tmp_path / "page.html").read_text()
    assert '<th scope="row">wrong label</th><td class="number">15</td>' in page
    assert '<th scope="row">seconds 0 to 19.8</th><td class="number">20</td>' in page
    wrong = samples[200]["selected"].to_numpy()[:15].mean()
    assert f'wrong label</th><td class="number">15</td><td class="number">{100 * wrong:.1f}<' in page
    crowded = known.set_column(2, "seconds", pa.array([min(1.0, 0.5 + i / 60) for i in range(100)]))
    write_page(samples, tmp_path / "crowded.html", known=crowded)
    assert 'seconds 1</th><td class="number">70<' in (tmp_path / "crowded.html").read_text(), "most have the maximum"
    assert "Angles of wrong labels" in page and page.count("<svg class") > 8
    with pytest.raises(InputError, match="there is no row for the utterance 's9/99'"):
        write_page(samples, tmp_path / "page.html", known=known.slice(0, 99))


def test_snr_is_known_of_recordings(packs):
    known = read_known(packs / "train")
    assert known.column_names[-1] == "snr_db" and all(0 < value < 100 for value in known["snr_db"].to_pylist())
    assert "snr_db" not in read_known(packs / "features").column_names
