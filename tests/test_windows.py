from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from spkver import audio, windows
from spkver.config import validate
from spkver.datadir import from_columns, write_datadir
from spkver.embeddings import read_embeddings
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError, RunError
from spkver.packs import pack_audio
from spkver.windows import extract_windows, window_starts

SECONDS = (3.3, 0.7, 5.0)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    model = {"name": "xvector", "channels": 8, "pooled_channels": 8, "dim": 6}
    return Encoder(validate(EncoderConfig, {"model": model})).eval()


def noise(seconds, rate=16000, seed=0):
    return 0.1 * np.random.default_rng(seed).normal(size=round(seconds * rate))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three recordings, one shorter than a window, as a data directory and as a pack."""
    folder = tmp_path_factory.mktemp("corpus")
    paths = [str(folder / f"{number}.wav") for number in range(3)]
    for number, (path, seconds) in enumerate(zip(paths, SECONDS)):
        soundfile.write(path, noise(seconds, seed=number), 16000)
    data = from_columns(["a", "b", "c"], paths, ["p", "q", "q"])
    write_datadir(folder / "data", data)
    pack_audio(data, folder / "pack", jobs=1, min_seconds=0.1)
    return folder


@pytest.mark.parametrize("source", ["data", "pack"])
@pytest.mark.parametrize("chunk", [300.0, 2.0])
def test_window_embedding_equals_that_of_the_part(encoder, corpus, tmp_path, source, chunk, monkeypatch):
    monkeypatch.setattr(windows, "CHUNK_SECONDS", chunk)
    monkeypatch.setattr(windows, "BATCH_SECONDS", 3.0)
    done = extract_windows(encoder, corpus / source, tmp_path / "w.parquet", window=1.0, hop=0.5)
    found = read_embeddings(tmp_path / "w.parquet")
    starts = {"a": [0, 0.5, 1, 1.5, 2, 2.3], "b": [0], "c": [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]}
    assert (done.windows, done.unusable, done.rejected) == (16, 0, [])
    assert found.ids == [name for name, times in starts.items() for _ in times]
    assert found.speakers == ["p"] * 6 + ["q"] * 10
    ends = {"a": 3.3, "b": 0.7, "c": 5.0}
    expected = [[start, min(start + 1, ends[name])] for name, times in starts.items() for start in times]
    np.testing.assert_allclose(found.times, expected, atol=1e-9)
    for row in (0, 5, 6, 15):
        waveform, _ = audio.read(corpus / f"{'abc'.index(found.ids[row])}.wav")
        first, last = np.round(found.times[row] * 16000).astype(int)
        np.testing.assert_allclose(found.vectors[row], encoder.embed(waveform[first:last]), rtol=1e-4, atol=1e-5)


def test_window_starts_cover_the_recording():
    assert window_starts(10, 4, 3).tolist() == [0, 3, 6]
    assert window_starts(11, 4, 3).tolist() == [0, 3, 6, 7]
    assert window_starts(4, 4, 3).tolist() == window_starts(2, 4, 3).tolist() == [0]


def test_windows_of_segments_other_rates_and_unusable_recordings(encoder, tmp_path):
    half_silent = noise(4.0, 44100)
    half_silent[round(1.9 * 44100) :] = 0
    soundfile.write(tmp_path / "x.wav", half_silent, 44100)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    paths = [str(tmp_path / name) for name in ("x.wav", "x.wav", "silent.wav", "missing.wav")]
    data = from_columns(
        ["u1", "u2", "u3", "u4"],
        paths,
        ["p"] * 4,
        recordings=["x", "x", "silent", "missing"],
        starts=[0.0, 0.5, 0.0, 0.0],
        ends=[4.0, 2.0, 1.0, 1.0],
    )
    write_datadir(tmp_path / "data", data)
    out = tmp_path / "w.parquet"
    done = extract_windows(encoder, tmp_path / "data", out, window=1.0, hop=1.0, max_rejected=0.5)
    found = read_embeddings(out)
    assert list(zip(found.ids, found.times[:, 0].tolist())) == [("u1", 0), ("u1", 1), ("u2", 0), ("u2", 0.5)]
    assert done.unusable == 3
    reasons = [json.loads(line) for line in (tmp_path / "w.parquet.rejected.jsonl").read_text().splitlines()]
    assert [line["id"] for line in reasons] == ["u3", "u4"]
    assert "no usable window" in reasons[0]["reason"] and "missing.wav" in reasons[1]["reason"]
    out.unlink()
    with pytest.raises(RunError, match="2 of 4 utterances rejected"):
        extract_windows(encoder, tmp_path / "data", out, window=1.0, hop=1.0)
    assert not out.exists()


def test_windows_use_memory_independent_of_the_length(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(windows, "CHUNK_SECONDS", 5.0)
    monkeypatch.setattr(windows, "BATCH_SECONDS", 5.0)
    peaks = []
    for seconds in (20, 80):
        soundfile.write(tmp_path / f"{seconds}.wav", noise(seconds), 16000)
        data = from_columns(["u"], [str(tmp_path / f"{seconds}.wav")], ["p"])
        write_datadir(tmp_path / f"{seconds}", data)
        tracemalloc.start()
        extract_windows(encoder, tmp_path / f"{seconds}", tmp_path / "w.parquet", window=2.0, hop=2.0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 5e5  # 80 s are 5 MB


def test_windows_reject_invalid_arguments(encoder, corpus, tmp_path):
    with pytest.raises(InputError, match=r"the model needs 0\.145 s or more"):
        extract_windows(encoder, corpus / "data", tmp_path / "w", window=0.1, hop=0.1)
    from spkver.features import FrontEndConfig
    from spkver.packs import make_features

    make_features(corpus / "pack", tmp_path / "features", FrontEndConfig(), jobs=1)
    with pytest.raises(InputError, match="a feature pack"):
        extract_windows(encoder, tmp_path / "features", tmp_path / "w", window=1.0, hop=0.5)
