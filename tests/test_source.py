from __future__ import annotations

import numpy as np
import pytest
import soundfile

from spkver import audio
from spkver.config import validate
from spkver.datadir import from_columns, read_datadir, write_datadir
from spkver.errors import InputError
from spkver.features import FRONT_ENDS, FrontEndConfig
from spkver.packs import make_features, pack_audio
from spkver.source import open_source

RATE = 16000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three segments of a stereo recording, as data directory, audio pack, FLAC pack and feature pack."""
    folder = tmp_path_factory.mktemp("corpus")
    samples = 0.1 * np.random.default_rng(0).normal(size=(5 * RATE, 2))
    soundfile.write(folder / "r.wav", samples, RATE)
    data = from_columns(
        ["a", "b", "c"],
        [str(folder / "r.wav")] * 3,
        ["s", "s", "t"],
        recordings=["left", "right", "right"],
        starts=[0.0, 1.0, 1.5],
        ends=[2.0, 2.5, None],
        channels=[0, 1, 1],
        sessions=["x", "y", "x"],
        genders=["f", "f", None],
    )
    write_datadir(folder / "data", data)
    pack_audio(data, folder / "audio")
    pack_audio(data, folder / "flac", coding="flac")
    make_features(folder / "audio", folder / "features", FrontEndConfig())
    return folder


FORMS = ("data", "audio", "flac")


@pytest.mark.parametrize("form", FORMS)
def test_all_kinds_of_source_have_the_same_utterances(corpus, form):
    found, data = open_source(corpus / form), open_source(corpus / "data")
    assert (found.ids, found.speakers, found.kind) == (["a", "b", "c"], ["s", "s", "t"], "audio")
    assert found.tags["session"] == ["x", "y", "x"]
    assert found.seconds() == pytest.approx([2.0, 1.5, 3.5])
    for row in range(3):
        (one, rate), (other, _) = found.read(row), data.read(row)
        assert rate == RATE and one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=1e-4)
        samples, read = found.open(row)
        assert samples == len(one)
        assert np.array_equal(read(100, samples - 7), one[100 : samples - 7])


@pytest.mark.parametrize("form", [*FORMS, "features"])
def test_read_with_seconds_gives_the_middle(corpus, form):
    source = open_source(corpus / form)
    whole, _ = source.read(2)
    middle, _ = source.read(2, 1.0)
    first = (len(whole) - len(middle)) // 2
    assert len(middle) == (100 if form == "features" else RATE)
    assert np.array_equal(middle, whole[first : first + len(middle)])
    assert np.array_equal(source.read(1, 9.0)[0], source.read(1)[0])


@pytest.mark.parametrize("form", ["audio", "flac", "features"])
def test_lengths_of_packs_match_what_read_gives(corpus, form):
    source = open_source(corpus / form)
    for cut in (None, 1.75):
        lengths = [len(source.read(row, cut)[0]) for row in range(3)]
        assert source.lengths(cut) == pytest.approx(np.array(lengths) / (100 if form == "features" else RATE))


def test_lengths_of_data_directories_are_unknown(corpus):
    assert open_source(corpus / "data").lengths() is None


@pytest.mark.parametrize("form", [*FORMS, "features"])
def test_table_of_every_kind_of_source(corpus, form):
    table = open_source(corpus / form).table()
    assert table.select(["id", "speaker", "session"]).to_pylist() == [
        {"id": "a", "speaker": "s", "session": "x"},
        {"id": "b", "speaker": "s", "session": "y"},
        {"id": "c", "speaker": "t", "session": "x"},
    ]


def test_recordings_are_resampled_to_the_front_end(corpus):
    telephone = validate(FRONT_ENDS, "telephone")
    source = open_source(corpus / "data", front_end=telephone)
    waveform, rate = source.read(0)
    expected, _ = audio.read(corpus / "r.wav", 8000, start=0.0, end=2.0, channel=0)
    assert rate == 8000 and np.array_equal(waveform, expected)
    samples, read = source.open(0)
    assert samples == 16000 and len(read(0, samples)) == samples
    assert "sample rate above 8000 Hz" in source.warning()
    assert open_source(corpus / "data").warning() is None


def test_pack_of_another_front_end_is_rejected(corpus):
    with pytest.raises(InputError, match="audio at 16000 Hz, the front end takes 8000 Hz"):
        open_source(corpus / "audio", front_end=validate(FRONT_ENDS, "telephone"))
    with pytest.raises(InputError, match="features made with window povey, the front end has window hamming"):
        open_source(corpus / "features", front_end=validate(FrontEndConfig, {"window": "hamming"}))


def test_feature_pack_is_rejected_where_audio_is_needed(corpus):
    source = open_source(corpus / "features", front_end=FrontEndConfig())
    assert source.kind == "features" and source.read(0)[0].shape == (200, 80)
    for refused in (source.audio, lambda: source.open(0)):
        with pytest.raises(InputError, match="features: a feature pack; give the audio pack that it was made from"):
            refused()


def test_open_reads_parts_of_a_whole_recording(corpus):
    assert [tuple(place)[1:] for place in read_datadir(corpus / "data").places()] == [
        (0.0, 2.0, 0),
        (1.0, 2.5, 1),
        (1.5, None, 1),
    ]
    whole = from_columns(["u"], ["x.wav"], ["s"])
    assert [tuple(place) for place in whole.places()] == [("x.wav", 0.0, None, None)]
