"""Measures against what was put in; suspects against what was planted."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spkver import audio
from spkver.datadir import from_columns, write_datadir
from spkver.errors import InputError
from spkver.features import FrontEndConfig
from spkver.packs import PackWriter, make_features, pack_audio
from spkver.source import Read, Source, open_source
from spkver.stats import measure, suspects
from spkver.stats.counts import count
from spkver.stats.report import examine

RATE = 16000


def noise(seconds: float, seed: int = 0, level: float = 0.05) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=level, size=round(seconds * RATE)).astype(np.float32)


def voice(hz: float, seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """A harmonic tone of this pitch with pauses and noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * hz * k * time) / k for k in range(1, 20)) * (time % 1 < 0.7)
    return (0.1 * wave + noise(seconds, seed, 0.001)).astype(np.float32)


# --- measures ---------------------------------------------------------------------------------------------------------


@given(wanted=st.floats(0, 40), share=st.floats(0.3, 0.8), seed=st.integers(0, 99))
def test_snr_of_speech_over_noise(wanted: float, share: float, seed: int) -> None:
    """Noise at speech level for a share of the time, plus background noise throughout."""
    background = noise(10, seed, 0.01)
    loud = noise(10, seed + 100, 0.01 * 10 ** (wanted / 20))
    mixed = background + loud * (np.arange(len(loud)) < share * len(loud))
    assert measure.snr(mixed.astype(np.float64), RATE) == pytest.approx(wanted, abs=2.5)


def test_levels_and_offset() -> None:
    x = 0.5 * np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE) + 0.25
    seconds, level, peak, _, clipped, offset, rate, _ = measure.of_waveform(x.astype(np.float32), RATE)
    assert (seconds, rate, clipped) == (1.0, RATE, 0.0)
    assert level == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01)
    assert peak == pytest.approx(20 * np.log10(0.75), abs=0.01)
    assert offset == pytest.approx(0.25, abs=1e-6)


@given(limit=st.floats(0.15, 1.0), gain=st.floats(1.0, 8.0), hz=st.floats(60, 900))
def test_clipping_is_found_at_any_level(limit: float, gain: float, hz: float) -> None:
    x = np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)
    assert measure.clipped_share(audio.to_int16(x * limit) / 32768) < 0.002
    clipped = audio.to_int16(np.clip(gain * x, -1, 1) * limit) / 32768
    at_limit = np.mean(np.abs(clipped) >= np.abs(clipped).max())
    found = measure.clipped_share(clipped)
    assert found <= at_limit
    if RATE / hz * (0.5 - np.arcsin(1 / gain) / np.pi) > 6:  # tops of several samples
        assert found == pytest.approx(at_limit, rel=0.1)


@pytest.mark.parametrize(
    "waveform", [np.zeros(RATE), np.ones(RATE), np.ones(1), np.eye(1, RATE)[0], np.full(500, -1.0)]
)
def test_degenerate_recordings_have_finite_measures(waveform: np.ndarray) -> None:
    assert np.isfinite(measure.of_waveform(waveform.astype(np.float32), RATE)[:6]).all()


# --- suspects ---------------------------------------------------------------------------------------------------------


def test_duplicates_across_formats(tmp_path: Path) -> None:
    for name, seed in (("a.wav", 0), ("b.flac", 0), ("c.wav", 1), ("d.wav", 1), ("e.wav", 2)):
        audio.write(tmp_path / name, noise(0.5, seed), RATE)
    ids = ["a.wav", "b.flac", "c.wav", "d.wav", "e.wav"]
    data = from_columns(ids, [str(tmp_path / name) for name in ids], ["s", "s", "s", "t", "t"])
    write_datadir(tmp_path / "data", data)
    source = open_source(tmp_path / "data")
    found = suspects.duplicates(source, measure.measure(source, jobs=2))
    assert found == [suspects.Twice((2, 3), True), suspects.Twice((0, 1), False)]


def test_pitch() -> None:
    for hz in (90.0, 120.0, 210.0, 300.0):
        assert suspects.pitch(voice(hz), RATE) == pytest.approx(hz, rel=0.02)
    assert suspects.pitch(np.zeros(RATE, np.float32), RATE) is None
    assert suspects.pitch(voice(100)[:100], RATE) is None


class Voices(Source):
    """Synthetic voices of these pitches in Hz."""

    def __init__(self, speakers: list[str], pitches: list[float], **tags: list[str | None]) -> None:
        super().__init__("x", [f"u{number}" for number in range(len(speakers))], speakers, tags)
        self._pitches = pitches

    def seconds(self) -> np.ndarray:
        return np.full(len(self), 2.0)

    def read(self, row: int, seconds: float | None = None) -> tuple[np.ndarray, int]:
        return voice(self._pitches[row], seed=row), RATE

    def open(self, row: int) -> tuple[int, Read]:
        raise NotImplementedError

    def table(self) -> pa.Table:
        raise NotImplementedError

    def fingerprint(self) -> str:
        raise NotImplementedError


def test_speakers_whose_pitch_contradicts_gender() -> None:
    genders = ["m", "f", "f", "female", None]
    source = Voices(["a", "b", "b", "c", "d"], [230, 100, 110, 220, 90], gender=genders)
    found = suspects.odd_voices(source)
    assert [(one.speaker, one.gender) for one in found] == [("a", "m"), ("b", "f")]
    assert found[1].pitch == pytest.approx(105, abs=6)
    source.tags["age"] = ["12", "40", "40", "40", "40"]
    assert [one.speaker for one in suspects.odd_voices(source)] == ["b"]
    with pytest.raises(InputError, match="no spk2gender"):
        suspects.odd_voices(Voices(["s"], [100]))


def test_utterances_nearer_to_another_speaker() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(4, 16))
    speakers = {row: f"s{row % 4}" for row in range(40)} | {40: "alone"}
    vectors = {row: centres[row % 4] + 0.2 * random.normal(size=16) for row in range(41)}
    assert suspects.compare(speakers, vectors) == []
    vectors[13] = 3 * centres[2] + 0.2 * random.normal(size=16)
    (found,) = suspects.compare(speakers, vectors)
    assert (found.row, found.nearest) == (13, "s2")
    mean = np.mean([vectors[row] / np.linalg.norm(vectors[row]) for row in range(1, 40, 4) if row != 13], axis=0)
    expected = vectors[13] @ mean / np.linalg.norm(vectors[13]) / np.linalg.norm(mean)
    assert found.own == pytest.approx(expected) and found.other > found.own
    assert suspects.compare({}, {}) == []


class Ear:
    """An encoder whose embeddings depend on pitch alone."""

    sample_rate = 8000

    def unusable(self, waveform: np.ndarray) -> str | None:
        return None if len(waveform) > 100 else "too short"

    def embed_batch(self, waveforms: np.ndarray) -> np.ndarray:
        assert waveforms.shape == (1, 16000)  # resampled from 16 kHz
        angle = 3 * np.log2((suspects.pitch(waveforms[0], 8000) or 1) / 100)
        return np.array([[np.cos(angle), np.sin(angle)]], np.float32)


def test_utterances_nearer_to_another_speaker_in_a_corpus() -> None:
    pitches = [100.0, 102, 98, 150, 153, 147, 101]
    source = Voices(["a", "a", "a", "b", "b", "b", "b"], pitches)
    found = suspects.strangers(source, Ear())  # type: ignore[arg-type]
    assert [(one.row, one.nearest) for one in found] == [(6, "a")]
    assert suspects.strangers(source, Ear(), per_speaker=1) == []  # type: ignore[arg-type]


# --- the page ---------------------------------------------------------------------------------------------------------


def test_page_of_data_directory_and_pack(tmp_path: Path) -> None:
    ids = [f"<{number}>" for number in range(6)]
    for number in range(6):
        audio.write(tmp_path / f"{number}.wav", noise(0.5 + number / 10, number // 2), RATE)
    (tmp_path / "5.wav").write_bytes(b"")
    data = from_columns(
        ids,
        [str(tmp_path / f"{number}.wav") for number in range(6)],
        ["a", "a", "a", "b", "b", "b"],
        genders=["m", "m", "m", None, None, None],
        sessions=["x", "y", "y", "x", "x", "x"],
    )
    write_datadir(tmp_path / "data", data)
    pack_audio(data, tmp_path / "pack", max_rejected=0.5)
    with PackWriter(tmp_path / "other", kind="audio", sample_rate=RATE) as pack:
        pack.add("<0>", "b", "", audio.to_int16(noise(1)))
    for place in ("data", "pack"):
        source, other = open_source(tmp_path / place), open_source(tmp_path / "other")
        tables = {table.title: table for table in examine(source, others=[other], out=tmp_path / "page.html")}
        assert tables[f"shared with {tmp_path / 'other'}"].rows == [["b", "speaker"], ["<0>", "utterance"]]
        assert ["duration (s)", "0.50", "0.52", "0.70", "0.88", "0.90"] in tables["distribution"].rows
        unread = tables["recordings that cannot be read"].rows
        assert [name for name, _ in unread] == (["<5>"] if place == "data" else [])
        html = (tmp_path / "page.html").read_text()
        assert html.count('class="chart"') == 7 and "&lt;0&gt;" in html and "<0>" not in html
        assert "://" not in html  # nothing from elsewhere
        assert "distribution (7)" in tables["distribution"].text()


def test_feature_packs_are_refused(tmp_path: Path) -> None:
    with PackWriter(tmp_path / "f", kind="features", sample_rate=RATE, front_end={"bins": 4, "frame_shift_ms": 10}):
        pass
    with pytest.raises(InputError, match="a feature pack; give the audio pack"):
        examine(open_source(tmp_path / "f"))


def test_counts_of_data_directory_and_packs(tmp_path: Path) -> None:
    for number in range(3):
        audio.write(tmp_path / f"{number}.wav", noise(0.5 + number), RATE)
    data = from_columns(
        ["0", "1", "2"],
        [str(tmp_path / f"{number}.wav") for number in range(3)],
        ["a", "a", "b"],
        genders=["m", "m", "f"],
        sessions=["x", "y", "x"],
    )
    write_datadir(tmp_path / "data", data)
    pack_audio(data, tmp_path / "pack")
    make_features(tmp_path / "pack", tmp_path / "features", FrontEndConfig())
    for place in ("data", "pack", "features"):
        found = count(open_source(tmp_path / place))
        assert (found.utterances, found.speakers, found.sessions) == (3, 2, 3)
        assert found.seconds == pytest.approx((0.5, 1.5, 2.5), abs=0.01)
        assert found.hours == pytest.approx(4.5 / 3600, rel=0.01)
        assert found.per_speaker == (1, 1.5, 2)
        assert found.genders == ({"f": 1, "m": 1} if place == "data" else {})


def test_empty_pack_is_refused(tmp_path: Path) -> None:
    with PackWriter(tmp_path / "p", kind="audio", sample_rate=RATE):
        pass
    with pytest.raises(InputError, match="p: no utterances"):
        count(open_source(tmp_path / "p"))
