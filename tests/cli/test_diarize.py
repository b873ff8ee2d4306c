"""`spkver diarize` as a user runs it."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import torch

from spkver.cli import tune_diarization
from spkver.cli.diarize import command
from spkver.config import validate
from spkver.datadir import from_columns, write_datadir
from spkver.diarization.segmentation import SegmentationConfig, SegmentationNetwork, write_segmentation
from spkver.diarization.settings import Settings, read_settings, write_settings
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.rttm import Turn, read_turns, write_turns
from spkver.scoring.plda import Plda, write_plda
from spkver.verify import conversations
from spkver.verify.decision import Calibration, Decision, Rate, write_decision
from spkver.verify.model import load_model

RATE = 16000


def formants(resonances, seconds, seed):
    """Speech-like: noise through resonances (Hz)."""
    random = np.random.default_rng(seed)
    spectrum = np.fft.rfft(random.normal(size=round(seconds * RATE)))
    frequency = np.fft.rfftfreq(round(seconds * RATE), 1 / RATE)
    gain = sum(1 / (1 + ((frequency - centre) / 150) ** 2) for centre in resonances)
    wave = np.fft.irfft(spectrum * gain, round(seconds * RATE))
    return 0.1 * wave / np.abs(wave).max()


VOICES = {"a": (300, 900), "b": (700, 2500), "c": (1500, 4000)}


def talk(*turns):
    """Turns of a voice and seconds; "" is a pause with little noise."""
    parts = [
        formants(VOICES[name], seconds, seed)
        if name
        else 1e-4 * np.random.default_rng(seed).normal(size=round(seconds * RATE))
        for seed, (name, seconds) in enumerate(turns)
    ]
    return np.concatenate(parts).astype(np.float32)


TURNS = [("a", 5), ("", 1), ("b", 4), ("", 1), ("a", 4), ("", 0.6), ("b", 5), ("", 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`model`, with settings, whose embedding is the mean spectrum; `plain`, without; recordings."""
    folder = tmp_path_factory.mktemp("diarize")
    keys = {"front_end": {"name": "fbank", "normalise": "none"}, "model": "mean_fbank"}
    encoder = Encoder(validate(EncoderConfig, keys))
    encoder.save(folder / "model")
    encoder.save(folder / "plain")
    clustering = {"name": "agglomerative", "threshold": 0.99, "least_seconds": 1}
    write_settings(folder / "model", validate(Settings, {"clustering": clustering}))
    waves = {
        "two": talk(*TURNS),
        "three": talk(*TURNS, ("c", 5), ("", 0.5), ("a", 3)),
        "one": talk(("a", 0.4), ("", 0.5)),
        "short": talk(("b", 1.0)),
        "silence": np.zeros(3 * RATE, np.float32),
        "tiny": np.full(100, 0.1, np.float32),
    }
    for name, wave in waves.items():
        soundfile.write(folder / f"{name}.wav", wave, RATE)
    soundfile.write(folder / "stereo.wav", np.stack([talk(*TURNS), talk(*TURNS)[::-1]], axis=1), RATE)
    soundfile.write(folder / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    soundfile.write(folder / "narrow.wav", talk(*TURNS)[::2], 8000)
    (folder / "bad.wav").write_bytes(b"RIFF nothing")
    return folder


def turns_of(turns):
    return [(turn.speaker, turn.start, turn.end) for turn in turns]


EXPECTED = [("speaker 1", 0, 5), ("speaker 2", 6, 10), ("speaker 1", 11, 15), ("speaker 2", 15.6, 20.6)]


def assert_turns(turns, expected=EXPECTED, shift=0.0):
    assert [turn.speaker.replace("_", " ") for turn in turns] == [speaker for speaker, *_ in expected]
    found = [[turn.start, turn.end] for turn in turns]
    np.testing.assert_allclose(found, [[start + shift, end + shift] for _, start, end in expected], atol=0.15)


def test_turns_in_all_forms(spkver, folder, tmp_path):
    done = spkver(
        "diarize", folder / "two.wav", folder / "three.wav", "--model", folder / "model", "--out", tmp_path / "o"
    )
    assert "overlap: not detected" in done.stdout and "times real time" in done.stdout
    turns = read_turns(tmp_path / "o" / "turns.rttm")
    assert_turns([turn for turn in turns if turn.recording == "two"])
    assert len({turn.speaker for turn in turns if turn.recording == "three"}) == 3
    labels = read_turns(tmp_path / "o" / "labels" / "two.txt")
    assert_turns(labels)
    told = json.loads((tmp_path / "o" / "turns.json").read_text())
    assert_turns(read_turns(tmp_path / "o" / "turns.json")[-4:])
    assert told["settings"]["clustering"]["threshold"] == 0.99 and told["overlap"].startswith("not detected")
    seconds = {(one["recording"], one["name"]): one["seconds"] for one in told["speakers"]}
    assert seconds["two", "speaker 1"] == pytest.approx(9, abs=0.3)
    again = spkver("diarize", folder / "two.wav", "--model", folder / "model", "--out", tmp_path / "two.txt")
    assert "two" in again.stdout and turns_of(read_turns(tmp_path / "two.txt")) == turns_of(labels)


def test_a_data_directory_and_recordings_that_cannot_be_used(spkver, folder, tmp_path):
    names = ["two", "bad", "nan", "silence", "tiny", "short", "one"]
    write_datadir(tmp_path / "data", from_columns(names, [str(folder / f"{name}.wav") for name in names], names))
    done = spkver("diarize", tmp_path / "data", "--model", folder / "model", "--out", tmp_path / "turns.json")
    for said in ("rejected: bad: ", "rejected: nan: ", "NaN", "rejected: tiny: ", "too short", "silence: no speech"):
        assert said in done.stderr, said
    told = json.loads((tmp_path / "turns.json").read_text())
    assert [one["recording"] for one in told["rejected"]] == ["bad", "nan", "tiny"]
    found = read_turns(tmp_path / "turns.json")
    assert_turns([turn for turn in found if turn.recording == "two"])
    assert [turn.speaker for turn in found if turn.recording in ("short", "one")] == ["speaker 1"] * 2


def files_of(folder):
    return {path.name for path in folder.iterdir()}


def refused(said, *words):
    """The error of the command in this process, which starts faster."""
    with pytest.raises(InputError, match=said):
        command.main([str(word) for word in words], standalone_mode=False)


def test_errors_are_one_line(spkver, folder, tmp_path):
    out, model = ("--out", tmp_path / "o.rttm"), ("--model", folder / "model")
    assert "too short" in spkver("diarize", folder / "tiny.wav", *out, *model, code=2).stderr

    refused("no such file", folder / "none.wav", *out, *model)
    refused("no threshold for diarization.*--threshold", folder / "two.wav", *out, "--model", folder / "plain")
    refused("not both", folder / "two.wav", *out, *model, "--speakers", 2, "--max-speakers", 3)
    refused("4 to 3 speakers", folder / "two.wav", *out, *model, "--min-speakers", 4, "--max-speakers", 3)
    refused("two recordings", folder / "two.wav", folder / "model" / ".." / "two.wav", *out, *model)


@pytest.mark.parametrize(
    ("names", "out", "said"),
    [
        (["a b", "a_b"], "o", "o/turns.rttm: 'a b' and 'a_b' are both 'a_b'"),
        (["a b", "a_b"], "o.rttm", "o.rttm: 'a b' and 'a_b' are both 'a_b'"),
        (["a", "b"], "o.txt", "o.txt: a label track is of one recording"),
        (["a\nb"], "o.json", "control characters"),
        (["d" * 252], "o", "too long for a file"),
    ],
)
def test_names_that_cannot_be_written_are_refused_before_the_work(folder, tmp_path, monkeypatch, names, out, said):
    def listen(*arguments):
        raise AssertionError("a recording was read")

    monkeypatch.setattr(conversations, "listen", listen)
    (tmp_path / "in").mkdir()
    for name in names:
        os.link(folder / "short.wav", tmp_path / "in" / f"{name}.ts")
    paths = [tmp_path / "in" / f"{name}.ts" for name in names]
    refused(said, *paths, "--model", folder / "model", "--out", tmp_path / out)
    assert files_of(tmp_path) == {"in"}


def test_label_files_have_the_name_of_the_recording(folder, tmp_path):
    names = ["é 多" * 20, "..", "100%"]
    for name in names:
        os.link(folder / "short.wav", tmp_path / f"{name}.wav")
    write_datadir(tmp_path / "data", from_columns(["x/y"], [str(folder / "short.wav")], ["x"]))
    for number, given in enumerate([[tmp_path / f"{name}.wav" for name in names], [tmp_path / "data"]]):
        out = tmp_path / f"o{number}"
        command.main([str(word) for word in (*given, "--model", folder / "model", "--out", out)], standalone_mode=False)
    assert files_of(tmp_path / "o0" / "labels") == {"é 多" * 20 + ".txt", "...txt", "100%25.txt"}
    assert read_turns(tmp_path / "o0" / "labels" / f"{names[0]}.txt")[0].recording == names[0]
    assert files_of(tmp_path / "o1" / "labels") == {"x%2Fy.txt"}


def test_channels_are_mixed_or_taken(folder):
    model = load_model(folder / "model")
    mixed = model.diarize(folder / "stereo.wav")
    assert "2 channels are mixed" in mixed.notes[0] and "diarization is not needed" in mixed.notes[0]
    assert_turns(model.diarize(folder / "stereo.wav", channel=0).turns)


def test_other_rates_and_waveforms(folder):
    model = load_model(folder / "model")
    narrow = model.diarize(folder / "narrow.wav")
    assert_turns(narrow.turns)
    assert any("below 16000 Hz" in note for note in narrow.notes)
    waveform = talk(*TURNS)
    found = model.diarize([waveform, torch.from_numpy(waveform)])
    assert_turns([turn for turn in found.turns if turn.recording == "waveform 1"])
    assert turns_of(found.turns[:4]) == turns_of(found.turns[4:])


def test_silence_before_shifts_the_turns(folder):
    model, waveform = load_model(folder / "model"), np.concatenate([np.zeros(RATE, np.float32), talk(*TURNS)])
    later = np.concatenate([np.zeros(3 * RATE, np.float32), waveform])
    turns, shifted = model.diarize(waveform).turns, model.diarize(later).turns
    np.testing.assert_allclose(
        [[turn.start + 3, turn.end + 3] for turn in turns], [[turn.start, turn.end] for turn in shifted]
    )
    assert [turn.speaker for turn in turns] == [turn.speaker for turn in shifted]


def test_the_order_of_recordings_does_not_matter(folder):
    model, files = load_model(folder / "model"), [folder / "two.wav", folder / "three.wav", folder / "short.wav"]
    assert model.diarize(files).turns == model.diarize(files[::-1]).turns


@pytest.mark.parametrize("clustering", ["agglomerative", "spectral"])
def test_the_number_of_speakers_can_be_given(folder, clustering):
    model = load_model(folder / "model")
    for number in (1, 2, 3):
        found = model.diarize(folder / "three.wav", speakers=number, clustering=clustering)
        assert len(found.speakers) == number
    assert len(model.diarize(folder / "three.wav", max_speakers=2, clustering=clustering).speakers) <= 2
    assert len(model.diarize(folder / "two.wav", min_speakers=3, clustering=clustering).speakers) >= 3


def test_a_threshold_replaces_the_stored_one(folder):
    model = load_model(folder / "plain")
    with pytest.raises(InputError, match="no threshold"):
        model.diarize(folder / "two.wav")
    assert_turns(model.diarize(folder / "two.wav", threshold=0.99).turns)
    assert len(model.diarize(folder / "two.wav", threshold=-1).speakers) == 1


def test_a_threshold_has_no_effect_on_spectral_clustering(folder, tmp_path):
    arguments = (folder / "two.wav", "--model", folder / "model", "--out", tmp_path / "o.rttm")
    said = "--threshold has no effect on the clustering 'spectral'; use --clustering agglomerative"
    refused(said, *arguments, "--clustering", "spectral", "--threshold", 0.5)


def test_a_segmentation_network_finds_overlap(spkver, folder, tmp_path):
    torch.manual_seed(0)
    network = SegmentationNetwork(SegmentationConfig(seconds=2, filters=8, channels=6, lstm_size=4, lstm_layers=1))
    arguments = (folder / "two.wav", "--model", folder / "model", "--segmentation", tmp_path / "seg")
    assert "not a model directory" in spkver("diarize", *arguments, "--out", tmp_path / "0.json", code=2).stderr
    for several, expected in ((-50.0, False), (50.0, True)):
        with torch.no_grad():
            network.classifier.bias.copy_(several * (network.members.sum(1) > 1))
        shutil.rmtree(tmp_path / "seg", ignore_errors=True)
        write_segmentation(tmp_path / "seg", network, "")
        done = spkver("diarize", *arguments, "--out", tmp_path / f"{expected}.json")
        assert "overlap: found by a segmentation network" in done.stdout and "overlap 0." in done.stdout
        turns = json.loads((tmp_path / f"{expected}.json").read_text())["turns"]
        seconds = sum(turn["end"] - turn["start"] for turn in turns)
        assert seconds == pytest.approx(36 if expected else 18, abs=1.5)  # all of the speech has a second speaker


def test_settings_of_another_model_are_refused(folder, tmp_path):
    Encoder.open(folder / "plain").save(tmp_path / "model")
    path = write_settings(tmp_path / "model", validate(Settings, {"clustering": "spectral"}))
    path.write_text(path.read_text().replace("model: ", "model: x", 1))
    with pytest.raises(InputError, match="another model"):
        load_model(tmp_path / "model").diarize(folder / "two.wav")


def test_the_threshold_is_tuned_on_a_reference(spkver, folder, tmp_path):
    names = ["two", "three"]
    write_datadir(tmp_path / "data", from_columns(names, [str(folder / f"{name}.wav") for name in names], names))
    reference = [("two", *turn) for turn in EXPECTED] + [("three", *turn) for turn in EXPECTED]
    reference += [("three", "speaker 3", 21.6, 26.6), ("three", "speaker 1", 27.1, 30.1)]
    write_turns(tmp_path / "ref.rttm", [Turn(name, start, end, who) for name, who, start, end in reference])
    Encoder.open(folder / "plain").save(tmp_path / "model")
    arguments = (tmp_path / "data", tmp_path / "ref.rttm", "--model", tmp_path / "model")
    done = spkver("tune-diarization", *arguments, "--window", 1)
    assert "of 2 recordings" in done.stdout and "DER" in done.stdout
    settings = read_settings(tmp_path / "model")
    assert settings.window == 1 and settings.measured in done.stdout
    model = load_model(tmp_path / "model")
    assert len(model.diarize(folder / "two.wav").speakers) >= 1
    write_turns(tmp_path / "ref.rttm", [Turn("two", 0, 5, "a")])
    assert "no turns of the recording 'three'" in spkver("tune-diarization", *arguments, code=2).stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--window", 1e-5], "the model needs"),
        (["--shift", 1e-5], "hop must be at least one sample"),
        (["--plda", "none"], "no plda"),
        (["--segmentation", "none"], "not a model directory"),
        (["--model", "here/model.onnx"], "not a model directory"),
    ],
)
def test_tuning_that_cannot_succeed_ends_before_the_work(folder, tmp_path, monkeypatch, more, said):
    monkeypatch.setattr(Encoder, "open", lambda place, opened=Encoder.open: opened(folder / "plain"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "model.onnx").touch()
    write_datadir("data", from_columns(["two"], [str(folder / "two.wav")], ["two"]))
    write_turns("ref.rttm", [Turn("two", *turn, who) for who, *turn in EXPECTED])
    with pytest.raises(InputError, match=said):
        given = ["data", "ref.rttm", "--model", str(folder / "plain"), *map(str, more)]
        tune_diarization.command.main(given, standalone_mode=False)


def test_tuned_settings_name_files_from_anywhere(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    small = SegmentationConfig(seconds=1, filters=6, channels=4, lstm_size=4, lstm_layers=1, linear_size=4)
    write_segmentation("segmentation", SegmentationNetwork(small), "card")
    Encoder.open(folder / "plain").save("model")
    write_datadir("data", from_columns(["two"], [str(folder / "two.wav")], ["two"]))
    write_turns("ref.rttm", [Turn("two", *turn, who) for who, *turn in EXPECTED])
    monkeypatch.setattr(tune_diarization, "VALUES", {"spectral": {"neighbours": [0.1]}})
    given = ["data", "ref.rttm", "--model", "model", "--segmentation", "segmentation"]
    tune_diarization.command.main(given, standalone_mode=False)
    monkeypatch.chdir("/")
    load_model(tmp_path / "model").diarize(folder / "short.wav")


def test_vbx_needs_a_plda(spkver, folder, tmp_path):
    model = load_model(folder / "model")
    random = np.random.default_rng(0)
    spread = random.normal(size=(model.dim, model.dim))
    mean = model.embed(folder / "short.wav").astype(np.float64)
    plda = Plda(mean, spread @ spread.T / 10 + np.eye(model.dim), 0.1 * np.eye(model.dim), model.model_id)
    write_plda(tmp_path / "plda", plda)
    arguments = (folder / "two.wav", "--model", folder / "model", "--out", tmp_path / "o.rttm")
    refused("needs --plda", *arguments, "--clustering", "vbx")
    refused("has no effect", *arguments, "--plda", tmp_path / "plda")
    spkver("diarize", *arguments, "--clustering", "vbx", "--plda", tmp_path / "plda")
    assert_turns(read_turns(tmp_path / "o.rttm"))


def test_speakers_are_named_by_a_book(spkver, folder, tmp_path):
    soundfile.write(tmp_path / "ada.wav", talk(("b", 4)), RATE)
    Encoder.open(folder / "model").save(tmp_path / "model")
    write_settings(tmp_path / "model", read_settings(folder / "model"))
    rate = Rate(rate=0.3, low=0, high=0.4, errors=3, trials=10)
    calibration = Calibration(scale=1000, offset=-990, least=-9, most=9, prior=0.5)
    keys = {"low": 0, "high": 1, "wish": "", "far": rate, "frr": rate, "speakers": 2}
    write_decision(tmp_path / "model", Decision(threshold=0.99, calibration=calibration, **keys))
    options = ("--model", tmp_path / "model", "--book", tmp_path / "book")
    spkver("enrol", "Ada", tmp_path / "ada.wav", *options)
    spkver("diarize", folder / "two.wav", folder / "three.wav", *options, "--out", tmp_path / "o.json")
    turns = read_turns(tmp_path / "o.json")
    assert [turn.speaker for turn in turns if turn.recording == "two"] == ["unknown 1", "Ada"] * 2
    others = {turn.speaker for turn in turns if turn.recording == "three"}
    assert others == {"Ada", "unknown 1", "unknown 2"}  # the third voice, and the one of both recordings
    told = json.loads((tmp_path / "o.json").read_text())
    assert {one["candidates"][0]["name"] for one in told["speakers"]} == {"Ada"}
