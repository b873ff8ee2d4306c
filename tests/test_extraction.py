from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from spkver import audio
from spkver.config import validate
from spkver.datadir import from_columns, write_datadir
from spkver.embeddings import read_embeddings
from spkver.encoder import Encoder, EncoderConfig, similar_lengths
from spkver.errors import InputError, RunError
from spkver.extraction import embed, extract
from spkver.features import FrontEndConfig
from spkver.packs import Pack, PackWriter, make_features, pack_audio
from spkver.source import PackSource

SECONDS = (1.0, 0.5, 1.0, 0.7, 1.0, 0.5)


@pytest.fixture(scope="module", params=["xvector", "resnet"])
def encoder(request):
    torch.manual_seed(0)
    network = {"xvector": {"channels": 16, "pooled_channels": 24}, "resnet": {"depth": 18, "channels": 4}}
    model = {"name": request.param, "dim": 16, **network[request.param]}
    encoder = Encoder(validate(EncoderConfig, {"model": model})).eval()
    encoder.model_id = "m" * 32
    return encoder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six utterances of three lengths, as data directory `data`, audio pack `audio`, and feature pack `features`."""
    folder = tmp_path_factory.mktemp("corpus")
    random = np.random.default_rng(0)
    paths = []
    for number, seconds in enumerate(SECONDS):
        time = np.arange(int(16000 * seconds)) / 16000
        loud = 1 + np.sin(2 * np.pi * (3 + number) * time)
        paths.append(str(folder / f"{number}.wav"))
        soundfile.write(paths[-1], 0.05 * loud * random.normal(size=len(time)), 16000)
    ids = [f"u{number}" for number in range(6)]
    data = from_columns(ids, paths, [f"s{number % 2}" for number in range(6)])
    write_datadir(folder / "data", data)
    pack_audio(data, folder / "audio", jobs=1, min_seconds=0.1)
    make_features(folder / "audio", folder / "features", FrontEndConfig(), jobs=1)
    return folder


def cosines(first, second):
    length = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first.astype(float) * second).sum(1) / length


@pytest.mark.parametrize("kind", ["audio", "features"])
@pytest.mark.parametrize("jobs", [1, 3])
def test_padded_batches_give_the_same_embeddings(encoder, corpus, kind, jobs, monkeypatch):
    """Rows of unequal length share batches, with at most the given share of padding."""
    source, rows = PackSource(Pack.open(corpus / kind)), []
    monkeypatch.setattr("spkver.extraction.PADDING", 0.4)
    whole = Encoder.embed_padded
    monkeypatch.setattr(Encoder, "embed_padded", lambda self, given: rows.append(len(given)) or whole(self, given))
    expected, _ = embed(encoder, source)
    assert not rows  # on a CPU, the default is equal lengths
    got, _ = embed(encoder, source, jobs=jobs, padded=True)
    assert rows and max(rows) > 3
    assert got.keys() == expected.keys()
    for row, vector in expected.items():
        np.testing.assert_allclose(got[row], vector, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(encoder.network, "masked", False)
    calls = len(rows)
    embed(encoder, source, padded=True)
    assert len(rows) == calls


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=30), st.floats(0, 0.9), st.floats(1, 200))
def test_batches_of_similar_length(lengths, share, limit):
    lengths = np.array(lengths)
    batches = list(similar_lengths(lengths, limit, share))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        whole = lengths[batch].max() * len(batch)
        assert len(batch) == 1 or (whole <= limit and lengths[batch].sum() >= (1 - share) * whole * (1 - 1e-9))


@pytest.mark.parametrize("seconds", [None, 0.6])
def test_three_sources_give_the_same_embeddings(encoder, corpus, tmp_path, seconds):
    found = {}
    for source in ("data", "audio", "features"):
        done = extract(encoder, corpus / source, tmp_path / source, seconds=seconds)
        assert (done.embeddings, done.rejected) == (6, [])
        found[source] = read_embeddings(tmp_path / source)
        assert found[source].ids == [f"u{number}" for number in range(6)]
        assert found[source].speakers == [f"s{number % 2}" for number in range(6)]
        assert found[source].model == encoder.model_id
        assert found[source].front_end == encoder.config.front_end.model_dump(mode="json")
    np.testing.assert_allclose(found["audio"].vectors, found["data"].vectors, rtol=1e-3, atol=1e-5)
    if seconds is None:
        assert cosines(found["features"].vectors, found["audio"].vectors).min() > 0.9999


def test_batch_gives_the_same_embeddings_as_single_calls(encoder, corpus):
    pack = Pack.open(corpus / "audio")
    together, rejected = embed(encoder, PackSource(pack))
    assert sorted(together) == list(range(6)) and not rejected
    for row, vector in together.items():
        alone = encoder.embed(audio.from_int16(pack[row]))
        np.testing.assert_allclose(vector, alone, rtol=1e-4, atol=1e-5)


def test_seconds_embeds_the_middle_of_recordings(encoder, corpus, tmp_path):
    pack = Pack.open(corpus / "audio")
    vectors, _ = embed(encoder, PackSource(pack), seconds=0.6)
    middle = audio.from_int16(pack[0][3200:12800])
    np.testing.assert_allclose(vectors[0], encoder.embed(middle), rtol=1e-4, atol=1e-5)
    # shorter ones whole
    np.testing.assert_allclose(vectors[1], embed(encoder, PackSource(pack))[0][1], rtol=1e-4, atol=1e-5)
    # features: the middle frames, with their own mean removed
    features, _ = embed(encoder, PackSource(Pack.open(corpus / "features")), seconds=0.6)
    assert cosines(features[0][None], vectors[0][None]) > 0.99


@pytest.fixture
def damaged(corpus, tmp_path):
    """The same recordings, and a silent, a short and a missing one."""
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(tmp_path / "short.wav", np.ones(800) * np.linspace(-0.1, 0.1, 800), 16000)
    paths = [str(corpus / f"{number}.wav") for number in range(6)]
    paths += [str(tmp_path / name) for name in ("silent.wav", "short.wav", "missing.wav")]
    write_datadir(tmp_path / "data", from_columns([f"u{number}" for number in range(9)], paths, ["s"] * 9))
    return tmp_path / "data"


def test_unusable_recordings_are_listed_as_rejected(encoder, damaged, tmp_path):
    out = tmp_path / "out.parquet"
    done = extract(encoder, damaged, out, max_rejected=0.5)
    assert done.embeddings == 6 and [name for name, _ in done.rejected] == ["u6", "u7", "u8"]
    lines = [json.loads(line) for line in (tmp_path / "out.parquet.rejected.jsonl").read_text().splitlines()]
    reasons = {line["id"]: line["reason"] for line in lines}
    assert reasons["u6"] == "silent" and "too short" in reasons["u7"] and "missing.wav" in reasons["u8"]
    assert read_embeddings(out).ids == [f"u{number}" for number in range(6)]


def test_too_many_rejected_recordings_stop_the_extraction(encoder, damaged, tmp_path):
    out = tmp_path / "out.parquet"
    with pytest.raises(RunError, match=r"3 of 9 utterances rejected.*see .*out\.parquet\.rejected\.jsonl"):
        extract(encoder, damaged, out)
    assert not out.exists() and (tmp_path / "out.parquet.rejected.jsonl").is_file()


def test_run_without_rejections_removes_an_old_list(encoder, corpus, tmp_path):
    (tmp_path / "out.rejected.jsonl").write_text("old\n")
    extract(encoder, corpus / "audio", tmp_path / "out")
    assert not (tmp_path / "out.rejected.jsonl").exists()


def test_unusable_rows_of_packs_are_rejected(encoder, corpus, tmp_path):
    """Too short after cutting, silent in the middle, and features that are not finite."""
    with PackWriter(tmp_path / "p", kind="audio", sample_rate=16000) as pack:
        good = Pack.open(corpus / "audio")[0]
        hole = good.copy()
        hole[2000:14000] = 0
        for name, samples in (("good", good), ("hole", hole), ("short", good[:1000])):
            pack.add(name, "s", "", samples)
    done = extract(encoder, tmp_path / "p", tmp_path / "out", seconds=0.5, max_rejected=0.9)
    assert [name for name, _ in done.rejected] == ["hole", "short"]
    front_end = encoder.config.front_end.model_dump(mode="json")
    with PackWriter(tmp_path / "f", kind="features", sample_rate=16000, front_end=front_end) as pack:
        features = Pack.open(corpus / "features")[0]
        broken = features.copy()
        broken[3, 3] = np.inf
        for name, values in (("good", features), ("broken", broken), ("short", features[:5])):
            pack.add(name, "s", "", values)
    done = extract(encoder, tmp_path / "f", tmp_path / "out2", max_rejected=0.9)
    assert dict(done.rejected).keys() == {"broken", "short"}


def test_non_finite_embeddings_and_damaged_flac_are_rejected(encoder, corpus, tmp_path, monkeypatch):
    with PackWriter(tmp_path / "p", kind="audio", sample_rate=16000, coding="flac") as pack:
        good = Pack.open(corpus / "audio")[5]
        for name in ("good", "huge", "damaged"):
            pack.add(name, "s", "", good if name != "huge" else good[:-1])
    (path,) = (tmp_path / "p").glob("*.arrow")
    with pa.ipc.open_file(path) as file:
        payload = file.read_all()["payload"][2].as_py()
    content = bytearray(path.read_bytes())
    first = content.rindex(payload)
    content[first + 100 : first + len(payload)] = bytes(len(payload) - 100)
    path.write_bytes(content)
    embed = encoder.embed_batch
    overflows = lambda batch: embed(batch) * (np.inf if batch.shape[1] == len(good) - 1 else 1)  # noqa: E731
    monkeypatch.setattr(encoder, "embed_batch", overflows)
    done = extract(encoder, tmp_path / "p", tmp_path / "out", max_rejected=0.9)
    assert [name for name, _ in done.rejected] == ["huge", "damaged"] and done.embeddings == 1
    assert done.rejected[0][1] == "its embedding is not finite" and "damaged FLAC" in done.rejected[1][1]


def test_pack_of_another_front_end_is_rejected(corpus, tmp_path):
    model = {"name": "xvector", "channels": 8, "dim": 4}
    other = Encoder(validate(EncoderConfig, {"model": model, "front_end": {"window": "hamming"}})).eval()
    with pytest.raises(InputError, match="features made with window povey, the front end has window hamming"):
        extract(other, corpus / "features", tmp_path / "out")
    telephone = Encoder(validate(EncoderConfig, {"model": model, "front_end": "telephone"})).eval()
    with pytest.raises(InputError, match="audio at 16000 Hz, the front end takes 8000 Hz"):
        extract(telephone, corpus / "audio", tmp_path / "out")
    dithered = Encoder(validate(EncoderConfig, {"model": model, "front_end": {"dither": 1.0}})).eval()
    assert extract(dithered, corpus / "features", tmp_path / "out").embeddings == 6
