"""Feature packs contain the features of the front end."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from spkver.augment.speed import change_speed
from spkver.config import validate
from spkver.datadir import DataDir
from spkver.encoder import EncoderConfig
from spkver.errors import InputError, RunError
from spkver.features import EnergyVadConfig, FrontEnd, FrontEndConfig
from spkver.packs import Pack, PackWriter, make_features, pack_audio
from spkver.packs.featurise import _FeatureTask

Corpus = Callable[..., DataDir]
CONFIG = FrontEndConfig(bins=20)


@pytest.fixture
def audio_pack(tmp_path: Path, corpus: Corpus) -> Path:
    pack_audio(corpus(5), tmp_path / "audio", rows_per_shard=2)
    return tmp_path / "audio"


def expected(samples: np.ndarray, speed: float = 1.0) -> np.ndarray:
    waveform = torch.from_numpy(samples.astype(np.float32) / 32768)[None]
    return FrontEnd(CONFIG).eval()(change_speed(waveform, speed))[0].numpy()


def test_feature_pack_equals_the_front_end(tmp_path: Path, audio_pack: Path) -> None:
    source = Pack.open(audio_pack)
    summary = make_features(audio_pack, tmp_path / "f", CONFIG)
    pack = Pack.open(tmp_path / "f")
    assert (pack.kind, pack.bins, pack.sample_rate) == ("features", 20, 16000)
    assert FrontEndConfig(**(pack.front_end or {})) == CONFIG
    assert (pack.ids, pack.speakers, pack.sessions) == (source.ids, source.speakers, source.sessions)
    for row in range(len(pack)):
        np.testing.assert_array_equal(pack[row], expected(source[row]).astype(np.float16))
        assert np.abs(pack[row].astype(np.float64).mean(axis=0)).max() < 1e-2  # after CMN
    assert summary.seconds == pytest.approx(source.seconds.sum(), abs=0.01 * len(pack))


def test_speeds_add_new_speakers(tmp_path: Path, audio_pack: Path) -> None:
    source = Pack.open(audio_pack)
    summary = make_features(audio_pack, tmp_path / "f", CONFIG, speeds=(0.9, 1.1))
    pack = Pack.open(tmp_path / "f")
    assert (summary.rows, summary.speakers) == (15, 9)
    assert pack.ids[5:10] == [f"sp0.9-{name}" for name in source.ids]
    assert pack.speakers[10:] == [f"sp1.1-{name}" for name in source.speakers]
    np.testing.assert_allclose(pack[7], expected(source[2], 0.9), rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(pack[12], expected(source[2], 1.1), rtol=1e-3, atol=2e-3)


def test_pack_without_front_end_name_is_fbank(tmp_path: Path) -> None:
    front_end = CONFIG.model_dump(mode="json")
    del front_end["name"]
    with PackWriter(tmp_path / "f", kind="features", sample_rate=16000, front_end=front_end) as pack:
        pack.add("a", "s", "", np.zeros((9, CONFIG.bins), "<f2"))
    Pack.open(tmp_path / "f").require(CONFIG)
    other = validate(EncoderConfig, {"front_end": {"name": "speechbrain", "bins": CONFIG.bins}}).front_end
    with pytest.raises(InputError, match=r"features made with \w+ "):
        Pack.open(tmp_path / "f").require(other)


def test_feature_task_can_be_pickled(tmp_path: Path) -> None:
    task = _FeatureTask(tmp_path, 3, 10, CONFIG, 0.9)
    assert pickle.loads(pickle.dumps(task)) == task


def test_finished_features_are_not_made_again(tmp_path: Path, audio_pack: Path) -> None:
    make_features(audio_pack, tmp_path / "f", CONFIG)
    assert make_features(audio_pack, tmp_path / "f", CONFIG).already_packed
    with pytest.raises(InputError, match="other input or settings"):
        make_features(audio_pack, tmp_path / "f", CONFIG, speeds=(0.9,))


def test_recording_shorter_than_a_frame_is_rejected(tmp_path: Path) -> None:
    with PackWriter(tmp_path / "audio", kind="audio", sample_rate=16000) as pack:
        pack.add("a", "s", None, np.arange(800, dtype="<i2"))
        pack.add("b", "s", None, np.arange(399, dtype="<i2"))
    with pytest.raises(RunError, match="b: too short for one frame"):
        make_features(tmp_path / "audio", tmp_path / "f", CONFIG)
    assert json.loads((tmp_path / "f.partial" / "rejected.jsonl").read_text())["id"] == "b"


@pytest.mark.parametrize("snip_edges", [False, True])
def test_recording_of_one_frame_is_accepted(tmp_path: Path, snip_edges: bool) -> None:
    with PackWriter(tmp_path / "audio", kind="audio", sample_rate=16000) as pack:
        pack.add("a", "s", None, np.arange(400, dtype="<i2"))
    config = CONFIG.model_copy(update={"snip_edges": snip_edges})
    make_features(tmp_path / "audio", tmp_path / "f", config)
    assert Pack.open(tmp_path / "f").lengths.tolist() == [config.frames(400)]


@pytest.mark.parametrize("field", sorted(set(FrontEndConfig.model_fields) - {"name", "dither"}))
def test_features_of_another_front_end_are_rejected(tmp_path: Path, field: str) -> None:
    """For any field except dither, which stored features never have."""
    now = getattr(CONFIG, field)
    words = {"normalise": "none", "window": "hamming", "vad": EnergyVadConfig()}
    changed = words[field] if field in words else type(now)(not now if isinstance(now, bool) else now * 1.25)
    with PackWriter(
        tmp_path / "f", kind="features", sample_rate=16000, front_end=CONFIG.model_dump(mode="json")
    ) as pack:
        pack.add("a", "s", "", np.zeros((9, CONFIG.bins), "<f2"))
    pack = Pack.open(tmp_path / "f")
    pack.require(CONFIG.model_copy(update={"dither": 1.0}))
    with pytest.raises(InputError, match=f"features made with {field} "):
        pack.require(CONFIG.model_copy(update={field: changed}))


@pytest.mark.parametrize(
    ("config", "speeds", "message"),
    [
        (FrontEndConfig(sample_rate=8000, high_hz=3600), (), "16000 Hz, the front end takes 8000 Hz"),
        (FrontEndConfig(dither=1.0), (), "dither makes features random"),
        (CONFIG, (1.0,), "speed 1: expected a factor"),
        (CONFIG, (9.0,), "speed 9: expected a factor"),
        (CONFIG, (0.9, 0.9), "given twice"),
    ],
)
def test_make_features_rejects_invalid_settings(
    tmp_path: Path, audio_pack: Path, config: FrontEndConfig, speeds: tuple[float, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_features(audio_pack, tmp_path / "f", config, speeds=speeds)


def test_features_out_of_range_of_float16_are_rejected(
    tmp_path: Path, audio_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = FrontEnd.forward

    def loud(self: FrontEnd, waveform: torch.Tensor) -> torch.Tensor:
        found = forward(self, waveform)
        return found * 1e6 if waveform.shape[1] == longest else found

    longest = int(Pack.open(audio_pack).lengths.max())
    monkeypatch.setattr(FrontEnd, "forward", loud)
    monkeypatch.setattr("spkver.work.parts._refuse", lambda *ignored: None)
    make_features(audio_pack, tmp_path / "f", CONFIG)
    rejected = [json.loads(line) for line in (tmp_path / "f" / "rejected.jsonl").read_text().splitlines()]
    assert {one["reason"] for one in rejected} == {"features exceed the range of float16"}
    pack = Pack.open(tmp_path / "f")
    assert len(pack) == 5 - len(rejected) and all(np.isfinite(pack[row]).all() for row in range(len(pack)))


def test_features_of_a_feature_pack_are_rejected(tmp_path: Path, audio_pack: Path) -> None:
    make_features(audio_pack, tmp_path / "f", CONFIG)
    with pytest.raises(InputError, match="a feature pack"):
        make_features(tmp_path / "f", tmp_path / "g", CONFIG)
