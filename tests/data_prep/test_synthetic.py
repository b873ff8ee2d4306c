from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import data_prep.synthetic.corpus
from data_prep.synthetic import espeak
from data_prep.synthetic.channels import RATE, Channel, draw_channel, impulse_response, record, through_telephone
from data_prep.synthetic.corpus import Plan, draw, generate, speak
from data_prep.synthetic.sentences import sentences
from data_prep.synthetic.voices import draw_voice
from spkver.datadir import read_datadir, validate
from spkver.errors import InputError, RunError
from spkver.trials import read_trials

TINY = Plan(train_speakers=1, dev_speakers=4, eval_speakers=4, utterances=1)

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed (extra 'synthetic')"
)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "corpus"
    summary = generate(out, TINY, jobs=2)
    assert summary is not None
    assert summary.speakers == {"train": 1, "dev": 4, "eval": 4}
    assert summary.utterances == {"train": 2, "dev": 8, "eval": 8}
    return out


def hashes(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "wav.scp"  # contains absolute paths
    }


# --- the plan: no synthesiser needed ---------------------------------------------------------------------------------


def test_default_plan_matches_the_recipe() -> None:
    speakers = draw(Plan())
    counts = {split: sum(s.split == split for s in speakers) for split in ("train", "dev", "eval")}
    assert counts["train"] >= 60 and counts["dev"] >= 10 and counts["eval"] >= 20
    assert len({speaker.name for speaker in speakers}) == len(speakers)
    assert all(len({session.channel for session in s.sessions}) == len(s.sessions) >= 2 for s in speakers)
    texts = [u.text for s in speakers for session in s.sessions for u in session.utterances]
    assert len(set(texts)) == len(texts)
    share = np.mean([bool(session.channel.telephone) for s in speakers for session in s.sessions])
    assert 0.2 < share < 0.4


def test_voices_overlap_in_pitch_and_stay_within_limits() -> None:
    rng = np.random.default_rng(0)
    voices = {c: [draw_voice(rng, c) for _ in range(200)] for c in "mf"}
    pitch = {c: np.array([v.pitch[0] for v in voices[c]]) for c in "mf"}
    assert pitch["m"].min() > 75 and pitch["f"].max() < 270
    assert np.median(pitch["m"]) < 130 < 160 < np.median(pitch["f"])
    assert pitch["m"].max() > pitch["f"].min()
    for voice in voices["m"] + voices["f"]:
        assert len(voice.variant("x").splitlines()) == len(set(voice.variant("x").splitlines()))
        assert all(70 < frequency < 150 for frequency, _, _ in voice.formants)


def test_sentences_differ_and_follow_the_seed() -> None:
    first, again, other = (sentences(np.random.default_rng(seed), 2000) for seed in (0, 0, 1))
    assert first == again
    assert len(set(first)) == 2000
    assert len(set(first) & set(other)) < 20
    assert all(8 <= len(text.split()) <= 20 and text[-1] in ".?" for text in first)
    assert len({word.strip(".,?") for text in first for word in text.lower().split()}) > 500


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_speakers": 0}, "--train-speakers"),
        ({"dev_speakers": 3}, "--dev-speakers"),
        ({"eval_speakers": 1}, "--eval-speakers"),
        ({"sessions": 1}, "--sessions"),
        ({"utterances": 0}, "--utterances"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_plan_without_trials_is_rejected(tmp_path: Path, change: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        generate(tmp_path / "out", dataclasses.replace(TINY, **change))
    assert not (tmp_path / "out").exists()


# --- channels --------------------------------------------------------------------------------------------------------


def channel(**changes: object) -> Channel:
    quiet = {"direct_db": 100.0, "microphone_db": (0.0,) * 9, "low_cut_hz": 0.0, "snr_db": 100.0, "telephone": ""}
    drawn = draw_channel(np.random.default_rng(3))
    return dataclasses.replace(drawn, **{**quiet, **changes})  # type: ignore[arg-type]


def speech_like(seconds: float = 2.0) -> np.ndarray:
    return 0.1 * np.random.default_rng(1).standard_normal(int(seconds * RATE))


def test_perfect_channel_changes_only_the_level() -> None:
    speech = speech_like()
    heard = record(speech, channel(level_db=-26.0), np.random.default_rng(0))
    np.testing.assert_allclose(heard, speech * (10 ** (-26 / 20) / np.sqrt(np.mean(speech**2))), atol=1e-4)


@pytest.mark.parametrize("snr_db", [5.0, 20.0])
@pytest.mark.parametrize("hum_hz", [0.0, 50.0])
def test_noise_is_at_the_stated_level(snr_db: float, hum_hz: float) -> None:
    speech = speech_like()
    quiet = record(speech, channel(), np.random.default_rng(0))
    noisy = record(speech, channel(snr_db=snr_db, hum_hz=hum_hz), np.random.default_rng(0))
    noise = noisy * ((quiet @ quiet) / (noisy @ quiet)) - quiet  # both are scaled to the same level
    assert 10 * np.log10((quiet @ quiet) / (noise @ noise)) == pytest.approx(snr_db, abs=0.2)


@pytest.mark.parametrize("rt60", [0.2, 0.5])
def test_room_decays_by_60_db_in_its_reverberation_time(rt60: float) -> None:
    response = impulse_response(channel(rt60=rt60, direct_db=3.0))
    energy = np.cumsum(response[:0:-1] ** 2)[::-1]  # Schroeder's integral, without the direct sound
    level = 10 * np.log10(energy / energy[0] + 1e-30)
    at = [np.argmax(level < db) / RATE for db in (-5, -25)]
    assert 3 * (at[1] - at[0]) == pytest.approx(rt60, rel=0.15)
    direct, tail = response[0] ** 2, np.sum(response[1:] ** 2)
    assert 10 * np.log10(direct / tail) == pytest.approx(3.0, abs=0.5)


@pytest.mark.parametrize("codec", ["GSM610", "ULAW"])
def test_telephone_keeps_300_to_3400_hz_without_delay(codec: str) -> None:
    time = np.arange(RATE) / RATE
    tones = {hz: 0.1 * np.sin(2 * np.pi * hz * time) for hz in (60, 1000, 6000)}
    heard = through_telephone(sum(tones.values()), codec)
    kept = {hz: (heard @ tone) / (tone @ tone) for hz, tone in tones.items()}
    assert len(heard) == RATE
    assert kept[1000] == pytest.approx(1.0, abs=0.15)  # in phase: the delay of the codec is compensated
    assert abs(kept[60]) < 0.1 and abs(kept[6000]) < 0.05


# --- the corpus ------------------------------------------------------------------------------------------------------


@needs_espeak
def test_data_directories_are_valid_and_sessions_sound_different(corpus: Path) -> None:
    for split, speakers in {"train": 1, "dev": 4, "eval": 4}.items():
        assert not validate(corpus / split)
        data = read_datadir(corpus / split)
        assert len(set(data.speakers)) == speakers
        assert len(set(data.required("session", "this test"))) == 2 * speakers
        assert set(data.required("gender", "this test")) <= {"m", "f"}
        for name, path, seconds in zip(data.ids, data.paths, data.required("seconds", "this test")):
            assert Path(path) == (corpus / "audio" / split / name).resolve()
            samples, rate = soundfile.read(path)
            assert (rate, soundfile.info(path).subtype) == (RATE, "PCM_16")
            assert len(samples) / rate == pytest.approx(seconds)
            assert 1.5 < seconds < 8
            assert 0.005 < samples.std() < 0.2


@needs_espeak
def test_targets_cross_sessions_and_nontargets_share_the_pitch_class(corpus: Path) -> None:
    data = read_datadir(corpus / "eval")
    of = {name: i for i, name in enumerate(data.ids)}
    speakers, sessions, classes = data.speakers, data.required("session", ""), data.required("gender", "")
    trials = read_trials(corpus / "eval" / "trials.txt")
    pairs = [(of[a], of[b]) for a, b in zip(trials.enrol.to_pylist(), trials.test.to_pylist())]
    assert trials.target is not None
    assert trials.target.sum() == 4  # one utterance in each of two sessions
    assert (~trials.target).sum() == 2 * 4  # two speakers of a class, two utterances each, both classes
    for (a, b), target in zip(pairs, trials.target):
        assert (speakers[a] == speakers[b]) == target
        assert sessions[a] != sessions[b] if target else classes[a] == classes[b]


@needs_espeak
def test_same_seed_gives_the_same_bytes_with_any_number_of_jobs(corpus: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", TINY, jobs=1)
    assert hashes(tmp_path / "again") == hashes(corpus)


@needs_espeak
def test_another_seed_gives_another_corpus(corpus: Path, tmp_path: Path) -> None:
    generate(tmp_path / "other", dataclasses.replace(TINY, seed=2), jobs=1)
    ours, other = hashes(corpus), hashes(tmp_path / "other")
    assert not {ours[name] for name in ours if name.endswith(".flac")} & set(other.values())


@needs_espeak
def test_existing_corpus_is_kept(corpus: Path, tmp_path: Path) -> None:
    assert generate(corpus, TINY) is None
    with pytest.raises(InputError, match="other settings"):
        generate(corpus, dataclasses.replace(TINY, seed=2))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not a synthetic corpus"):
        generate(tmp_path, TINY)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@needs_espeak
def test_more_speakers_than_fit_into_one_directory_of_voices(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_prep.synthetic.corpus, "MAX_VOICES", 5)
    generate(tmp_path / "parts", TINY)
    assert hashes(tmp_path / "parts") == hashes(corpus)


@needs_espeak
def test_formants_and_pitch_follow_the_voice(tmp_path: Path) -> None:
    """The vocal-tract factor moves the formants of the audio, the pitch class its pitch."""
    low, high = (s for s in draw(TINY) if s.split == "dev" and s.name in ("syn0002", "syn0003"))
    espeak.prepare_data(tmp_path, {s.name: s.voice.variant(s.name) for s in (low, high)})
    text = [espeak.Utterance("All of our early rivers are now lower, and we were away all year.")]
    pitch = {}
    for speaker in (low, high):
        (samples,), rate = espeak.synthesise(tmp_path, f"en+{speaker.name}", text)
        pitch[speaker.voice.pitch_class] = median_pitch(np.asarray(samples, float), rate)
        base, top = speaker.voice.pitch
        assert 0.85 * base < pitch[speaker.voice.pitch_class] < 1.1 * top
    assert pitch["m"] < pitch["f"]


def median_pitch(samples: np.ndarray, rate: int) -> float:
    """The median over loud frames of the best autocorrelation lag between 60 and 400 Hz."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::512]
    frames = frames[frames.std(1) > 0.5 * samples.std()]
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)[:, : rate // 60]
    correlation[:, : rate // 400] = 0
    return float(np.median(rate / correlation.argmax(1)))


# --- failures --------------------------------------------------------------------------------------------------------


@needs_espeak
def test_crash_of_the_library_is_a_run_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = draw(TINY)[0]
    espeak.prepare_data(tmp_path, {})
    monkeypatch.setattr(sys, "executable", _fake_python(tmp_path, "kill -SEGV $$"))
    with pytest.raises(RunError, match="libespeak-ng failed"):
        speak(speaker, tmp_path, tmp_path / "audio")
    monkeypatch.setattr(sys, "executable", _fake_python(tmp_path, """echo '{"sample_rate": 22050, "lengths": [9]}'"""))
    with pytest.raises(RunError, match="0 samples"):
        speak(speaker, tmp_path, tmp_path / "audio")


@needs_espeak
def test_missing_voice_or_data_is_a_run_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="libespeak-ng failed"):
        espeak.synthesise(tmp_path, "en", [espeak.Utterance("No data here.")])
    espeak.prepare_data(tmp_path, {})
    with pytest.raises(RunError, match="no voice"):
        espeak.synthesise(tmp_path, "xx-nowhere", [espeak.Utterance("Nobody.")])


def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(InputError, match=r"spkver\[synthetic\]"):
        generate(tmp_path / "out", TINY)
    assert not (tmp_path / "out").exists()


def test_only_one_module_loads_the_library() -> None:
    """One module loads the GPL library, and the processes of the toolkit never do.

    `spkver doctor` looks whether its Python part is installed, which loads no library.
    """
    root = Path(__file__).parents[2]
    users = [
        p
        for folder in ("spkver", "data_prep")
        for p in (root / folder).rglob("*.py")
        if "espeakng_loader" in p.read_text()
    ]
    assert sorted(p.name for p in users) == ["doctor.py", "espeak.py"]
    loaded = "import espeakng_loader; print('espeak-ng' in open('/proc/self/maps').read())"
    if Path("/proc/self/maps").exists():
        done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"


def test_command_makes_a_corpus(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "data_prep.synthetic"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "Example:" in done.stdout
    done = subprocess.run([*command, str(tmp_path / "x"), "--dev-speakers", "2"], capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "--dev-speakers" in done.stderr


def _fake_python(folder: Path, script: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)
