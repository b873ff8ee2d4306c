"""Packing recordings: exact, complete, repeatable, and resumable after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from spkver import audio
from spkver.datadir import DataDir, from_columns, read_datadir, write_datadir
from spkver.errors import InputError, RunError
from spkver.packs import Pack, pack_audio
from spkver.packs.recordings import expected_seconds

Corpus = Callable[..., DataDir]


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def test_16_bit_recordings_are_stored_unchanged(tmp_path: Path, corpus: Corpus) -> None:
    data = corpus(10)
    summary = pack_audio(data, tmp_path / "p", rows_per_shard=4)
    pack = Pack.open(tmp_path / "p")
    assert (summary.rows, summary.speakers, summary.rejected, len(pack.shards)) == (10, 3, 0, 3)
    assert (pack.ids, pack.speakers, pack.sessions) == (data.ids, data.speakers, data.sessions)
    assert summary.seconds == pytest.approx(pack.seconds.sum(), abs=1e-3)
    for row, path in enumerate(data.paths):
        np.testing.assert_array_equal(pack[row], soundfile.read(path, dtype="int16")[0])
    assert sorted(content(tmp_path / "p")) == [
        "pack.json",
        "rejected.jsonl",
        *(f"shard-0000{n}.arrow" for n in range(3)),
    ]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "ULAW", "FLOAT"])
@pytest.mark.parametrize("coding", ["pcm", "flac"])
def test_pack_equals_audio_read(tmp_path: Path, subtype: str, coding: str) -> None:
    noise = np.random.default_rng(0).normal(scale=0.3, size=(9000, 2))
    soundfile.write(tmp_path / "x.wav", noise, 16000, subtype=subtype)
    data = from_columns(["a", "b"], [str(tmp_path / "x.wav")] * 2, ["s", "t"], channels=[0, 1])
    pack_audio(data, tmp_path / "p", coding=coding)  # type: ignore[arg-type]
    pack = Pack.open(tmp_path / "p")
    for channel in (0, 1):
        expected, _ = audio.read(tmp_path / "x.wav", 16000, channel=channel)
        np.testing.assert_array_equal(pack[channel], audio.to_int16(expected))
        np.testing.assert_array_equal(pack.crop(channel, 7000, 999), audio.to_int16(expected)[7000:7999])


def test_flac_pack_is_smaller_and_not_mixed_with_pcm(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", np.sin(np.arange(50000) / 9).astype(np.float32) / 2, 16000)
    data = from_columns(["a"], [str(tmp_path / "x.wav")], ["s"])
    pack_audio(data, tmp_path / "p", coding="flac")
    assert Pack.open(tmp_path / "p").shards[0].bytes < 60000
    with pytest.raises(InputError, match="other input or settings"):
        pack_audio(data, tmp_path / "p")


def test_number_of_processes_does_not_matter(tmp_path: Path, corpus: Corpus) -> None:
    data = corpus(7)
    pack_audio(data, tmp_path / "one", rows_per_shard=2)
    pack_audio(data, tmp_path / "two", rows_per_shard=2, jobs=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_other_rates_are_resampled(tmp_path: Path, corpus: Corpus) -> None:
    data = corpus(2, rate=8000)
    pack_audio(data, tmp_path / "p")
    pack = Pack.open(tmp_path / "p")
    expected, _ = audio.read(data.paths[1], 16000)
    np.testing.assert_array_equal(pack[1], audio.to_int16(expected))
    assert pack.lengths[1] == 2 * soundfile.info(data.paths[1]).frames


def test_segments_are_cut_out(tmp_path: Path, corpus: Corpus) -> None:
    recording = soundfile.read(corpus(1).paths[0], dtype="int16")[0]
    table = pa.table(
        {
            "id": ["a", "b"],
            "speaker": ["s", "s"],
            "recording": ["r", "r"],
            "path": corpus(1).paths * 2,
            "start": [0.0, 0.1],
            "end": pa.array([0.35, None], pa.float64()),
        }
    )
    pack_audio(DataDir(table), tmp_path / "p")
    pack = Pack.open(tmp_path / "p")
    np.testing.assert_array_equal(pack[0], recording[:5600])
    np.testing.assert_array_equal(pack[1], recording[1600:])


def test_speaker_on_each_channel_of_a_call(tmp_path: Path) -> None:
    """A stereo call is two recordings in one file, with their channels in Kaldi's reco2file_and_channel."""
    call = np.random.default_rng(0).integers(-9000, 9000, size=(8000, 2)).astype(np.int16)
    soundfile.write(tmp_path / "call.wav", call, 8000)
    paths = [str(tmp_path / "call.wav")] * 2
    write_datadir(tmp_path / "data", from_columns(["call-A", "call-B"], paths, ["anna", "bert"], channels=[0, 1]))
    assert (tmp_path / "data" / "reco2file_and_channel").read_text() == "call-A call A\ncall-B call B\n"
    pack_audio(read_datadir(tmp_path / "data"), tmp_path / "p", sample_rate=8000)
    pack = Pack.open(tmp_path / "p")
    assert pack.speakers == ["anna", "bert"]
    for row in (0, 1):
        np.testing.assert_array_equal(pack[row], call[:, row])


def test_too_long_recording_is_rejected_without_decoding(tmp_path: Path, corpus: Corpus) -> None:
    data = corpus(12)
    summary = pack_audio(data, tmp_path / "p", max_seconds=0.565)
    assert summary.rejected == 1
    reason = json.loads((tmp_path / "p" / "rejected.jsonl").read_text())["reason"]
    assert reason == "too long (0.6 s, maximum 0.565 s); split it into segments"


def bad_recordings(folder: Path) -> dict[str, str]:
    """One unusable recording of each kind, and the reason."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=16000).astype(np.float32)
    soundfile.write(folder / "silent.wav", np.zeros(16000, np.int16), 16000)
    soundfile.write(folder / "short.wav", noise[:160], 16000)
    soundfile.write(folder / "nan.wav", np.where(np.arange(16000) == 5, np.nan, noise), 16000, subtype="FLOAT")
    soundfile.write(folder / "array.wav", np.tile(noise[:, None], 30), 16000)
    soundfile.write(folder / "cut.wav", noise, 16000)
    (folder / "cut.wav").write_bytes((folder / "cut.wav").read_bytes()[:9000])
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("hello " * 100)
    return {
        "silent.wav": "silent",
        "short.wav": "too short (0.010 s, minimum 0.3 s)",
        "nan.wav": "NaN or infinite samples",
        "array.wav": "30 channels; choose one from 0 to 29 (--channel)",
        "cut.wav": "truncated: 8956 of 32000 bytes of audio; copy the file again",
        "empty.wav": "empty (0 bytes)",
        "text.wav": "cannot be decoded (Format not recognised.)",
        "missing.wav": "no such file",
    }


def test_unusable_recordings_are_rejected_with_the_reason(tmp_path: Path, corpus: Corpus) -> None:
    good = corpus(4)
    reasons = bad_recordings(tmp_path / "wav")
    ids = good.ids + list(reasons)
    data = from_columns(ids, [str(tmp_path / "wav" / name) for name in ids], ["s"] * len(ids))
    summary = pack_audio(data, tmp_path / "p", max_rejected=0.7, rows_per_shard=3)
    assert Pack.open(tmp_path / "p").ids == good.ids
    assert (summary.rows, summary.rejected) == (4, len(reasons))
    lines = [json.loads(line) for line in (tmp_path / "p" / "rejected.jsonl").read_text().splitlines()]
    assert {line["id"]: line["reason"] for line in lines} == reasons
    assert {line["path"] for line in lines} == {str(tmp_path / "wav" / name) for name in reasons}


def test_too_many_rejected_stop_the_run_until_repaired(tmp_path: Path, corpus: Corpus) -> None:
    data = corpus(6)
    broken = Path(data.paths[0])
    sound = broken.read_bytes()
    broken.write_bytes(b"")
    with pytest.raises(RunError, match=r"1 of 6 recordings rejected.*s0-000\.wav: empty \(0 bytes\)"):
        pack_audio(data, tmp_path / "p", rows_per_shard=3)
    assert not (tmp_path / "p").exists()
    broken.write_bytes(sound)
    assert pack_audio(data, tmp_path / "p", rows_per_shard=3).rows == 6


def test_shards_with_rejected_rows_are_made_again(tmp_path: Path, corpus: Corpus) -> None:
    """Also for shell commands, whose sources show no change."""
    data = corpus(9)
    piped = from_columns(data.ids, [f"cat {path} |" for path in data.paths], data.speakers)
    sound = {path: Path(path).read_bytes() for path in (data.paths[0], data.paths[7])}
    for path in sound:
        Path(path).write_bytes(b"")
    keys = {"rows_per_shard": 3, "allow_pipes": True, "max_rejected": 0.2}
    with pytest.raises(RunError, match="2 of 9 recordings rejected"):
        pack_audio(piped, tmp_path / "p", **keys)
    for path, content_ in sound.items():
        Path(path).write_bytes(content_)
    done = pack_audio(piped, tmp_path / "p", **keys)
    assert (done.rows, done.rejected, done.kept) == (9, 0, 1)


def test_channel_of_the_data_directory_wins_over_the_option(tmp_path: Path) -> None:
    call = np.random.default_rng(0).integers(-9000, 9000, size=(8000, 2)).astype(np.int16)
    soundfile.write(tmp_path / "call.wav", call, 8000)
    data = from_columns(["a", "b"], [str(tmp_path / "call.wav")] * 2, ["s", "t"], channels=[0, None])
    pack_audio(data, tmp_path / "p", sample_rate=8000, channel=1)
    pack = Pack.open(tmp_path / "p")
    for row, channel in enumerate((0, 1)):
        np.testing.assert_array_equal(pack[row], call[:, channel])


def test_expected_seconds_is_estimated(tmp_path: Path, corpus: Corpus) -> None:
    """A segment without end lasts to the end of its recording, which the header states."""
    whole = soundfile.info(corpus(1).paths[0]).duration
    one = {"recordings": ["r", "r"], "starts": [0.0, 0.2], "ends": [None, None]}
    data = from_columns(["a", "b"], corpus(1).paths * 2, ["s", "s"], **one)
    assert expected_seconds(data) == pytest.approx(2 * whole - 0.2)
    assert expected_seconds(from_columns(["a"], ["cat x |"], ["s"])) is None


def test_finished_pack_is_not_made_again(tmp_path: Path, corpus: Corpus) -> None:
    data = corpus(3)
    first = pack_audio(data, tmp_path / "p")
    for path in data.paths:
        Path(path).unlink()
    again = pack_audio(data, tmp_path / "p")
    assert again.already_packed
    assert (again.rows, again.speakers, again.seconds) == (first.rows, first.speakers, first.seconds)
    with pytest.raises(InputError, match="other input or settings"):
        pack_audio(data, tmp_path / "p", min_seconds=0.4)


def test_other_directories_are_not_replaced(tmp_path: Path, corpus: Corpus) -> None:
    for name in ("p", "q.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis").write_text("years of work")
        with pytest.raises(InputError, match=name):
            pack_audio(corpus(2), tmp_path / name.removesuffix(".partial"))
        assert (tmp_path / name / "thesis").exists()


def test_partial_directory_of_other_settings_is_discarded(tmp_path: Path, corpus: Corpus) -> None:
    data = corpus(4)
    Path(data.paths[3]).unlink()
    with pytest.raises(RunError):
        pack_audio(data, tmp_path / "p", rows_per_shard=2)
    fewer = data.filter(np.array([True, True, True, False]))
    assert pack_audio(fewer, tmp_path / "p", rows_per_shard=2).kept == 0
    assert not (tmp_path / "p.partial").exists()


SCRIPT = """
import sys
from spkver.datadir import read_datadir
from spkver.packs import pack_audio

if __name__ == "__main__":
    data = read_datadir(sys.argv[1], allow_pipes=True)
    print(pack_audio(data, sys.argv[2], jobs=int(sys.argv[3]), allow_pipes=True, rows_per_shard=2))
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_run_resumes_to_the_same_bytes(tmp_path: Path, corpus: Corpus, jobs: int) -> None:
    data = corpus(12)
    slow = [f"sleep 0.05; cat {path} |" for path in data.paths]
    slow_data = from_columns(data.ids, slow, data.speakers)
    write_datadir(tmp_path / "data", slow_data)
    (tmp_path / "script.py").write_text(SCRIPT)

    def start() -> subprocess.Popen:
        arguments = [sys.executable, *(str(tmp_path / name) for name in ("script.py", "data", "killed")), str(jobs)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
        return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True)

    records = tmp_path / "killed.partial" / "records"
    for wanted in (1, 3) if jobs == 2 else (2,):
        process = start()
        deadline = time.monotonic() + 60
        while len(list(records.glob("*.json"))) < wanted and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.01)
        children = _children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        _wait_until_gone(children)
        assert not (tmp_path / "killed").exists()
    done = len(list(records.glob("*.json")))
    (tmp_path / "killed.partial" / ".shard-00005.arrow.x.part").write_bytes(b"what a kill leaves behind")
    output = start().communicate(timeout=60)[0]
    assert f"kept={done}" in output
    pack_audio(slow_data, tmp_path / "whole", allow_pipes=True, rows_per_shard=2)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "killed", "script.py", "wav", "whole"]


def _children(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listing.read_text().split()] if listing.exists() else []


def _wait_until_gone(pids: list[int]) -> None:
    """Wait until the worker processes of a killed run have ended."""
    deadline = time.monotonic() + 10
    while alive := [pid for pid in pids if _runs(pid)]:
        assert time.monotonic() < deadline, f"{alive} outlive their parent"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_killed_worker_is_an_error(tmp_path: Path, corpus: Corpus) -> None:
    data = corpus(4)
    suicidal = from_columns(data.ids, ["kill -9 $PPID |"] * 4, data.speakers)
    with pytest.raises(RunError, match="a process was killed"):
        pack_audio(suicidal, tmp_path / "p", jobs=2, allow_pipes=True, rows_per_shard=2)


SIMULATED = {"waveform": ["reverb"], "codec": {"probability": 0.5, "codecs": ["mu_law", "band"]}}


def test_simulated_pack_equals_simulation_of_each_utterance(tmp_path: Path, corpus: Corpus) -> None:
    """Independent of the shards; and not mixed with other packs."""
    from spkver.augment.simulate import Simulation, SimulationConfig
    from spkver.config import validate

    data, config = corpus(7), validate(SimulationConfig, SIMULATED)
    pack_audio(data, tmp_path / "one", simulation=config, rows_per_shard=7)
    pack_audio(data, tmp_path / "two", simulation=config, rows_per_shard=2)
    one, two, simulation = (
        Pack.open(tmp_path / "one"),
        Pack.open(tmp_path / "two"),
        Simulation(config, 16000, Pack.open),
    )
    for row, path in enumerate(data.paths):
        expected = simulation(audio.read(path)[0], data.ids[row])
        np.testing.assert_array_equal(one[row], audio.to_int16(expected))
        np.testing.assert_array_equal(one[row], two[row])
    assert one.header.simulation == config.model_dump(mode="json")
    for other in (None, config.model_copy(update={"seed": 2})):
        with pytest.raises(InputError, match="other input or settings"):
            pack_audio(data, tmp_path / "one", simulation=other, rows_per_shard=7)
    pack_audio(data, tmp_path / "plain")
    assert "simulation" not in json.loads((tmp_path / "plain" / "pack.json").read_text())


def test_simulation_with_packs_of_noise_and_rooms(tmp_path: Path, corpus: Corpus) -> None:
    """Other noises under the same path give a pack with another fingerprint."""
    from spkver.augment.simulate import SimulationConfig
    from spkver.config import validate

    noises = str(tmp_path / "noises")
    parts = [{"name": "reverb", "packs": noises}, {"name": "noise", "packs": {"babble": noises}}]
    config = validate(SimulationConfig, {"waveform": parts})
    pack_audio(corpus(3), noises)
    pack_audio(corpus(4), tmp_path / "sim", simulation=config)
    simulation = Pack.open(tmp_path / "sim").header.simulation
    assert simulation and set(simulation["packs"]) == {noises}
    shutil.rmtree(noises)
    with pytest.raises(InputError, match="noises: not a pack"):
        pack_audio(corpus(4), tmp_path / "other", simulation=config)
    pack_audio(corpus(2), noises)
    with pytest.raises(InputError, match="other input or settings"):
        pack_audio(corpus(4), tmp_path / "sim", simulation=config)


def test_recording_that_a_codec_silences_is_rejected(tmp_path: Path) -> None:
    """A tone near half the sample rate becomes silence in a telephone codec."""
    from spkver.augment.simulate import SimulationConfig
    from spkver.config import validate

    paths = [str(tmp_path / f"{name}.wav") for name in ("low", "high")]
    for path, half, level in zip(paths, (20, 1), (1000, 1)):
        soundfile.write(path, np.tile(np.repeat([level, -level], half), 9000 // half).astype(np.int16), 16000)
    config = validate(SimulationConfig, {"codec": {"probability": 1, "codecs": ["mu_law"]}})
    pack_audio(from_columns(["a", "b"], paths, ["s", "s"]), tmp_path / "p", simulation=config, max_rejected=0.5)
    assert Pack.open(tmp_path / "p").ids == ["a"]
    rejected = json.loads((tmp_path / "p" / "rejected.jsonl").read_text())
    assert (rejected["id"], rejected["reason"]) == ("b", "silent, after simulation")


def word_list(tmp_path: Path, seconds: dict[str, float]) -> DataDir:
    """Utterances ("speaker-word"); the samples of number n are 100 n and -100 n."""
    for number, (name, length) in enumerate(seconds.items(), start=1):
        samples = np.resize(np.array([100, -100], np.int16) * number, round(length * 16000))
        soundfile.write(tmp_path / f"{name}.wav", samples, 16000)
    paths = [str(tmp_path / f"{name}.wav") for name in seconds]
    return from_columns(list(seconds), paths, [name.split("-")[0] for name in seconds])


def test_short_utterances_are_joined_within_the_speaker(tmp_path: Path) -> None:
    words = {f"{who}-{word}": 1.0 for who in "ab" for word in range(5)} | {"a-long": 2.5, "c-0": 0.5}
    data = word_list(tmp_path, words)
    summary = pack_audio(data, tmp_path / "p", combine=2)
    pack = Pack.open(tmp_path / "p")
    assert summary.rows == len(pack) == 6
    seconds = {name: float(length) for name, length in zip(pack.ids, pack.seconds)}
    assert sorted(pack.speakers) == ["a", "a", "a", "b", "b", "c"]
    assert seconds["a-long"] == 2.5 and seconds["c-0"] == 0.5  # nothing to join with
    assert sorted(seconds[name] for name in pack.ids if name.startswith("comb2-")) == [2, 2, 3, 3]
    values = [int(value) for row in range(len(pack)) for value in np.unique(np.abs(pack[row]))]
    assert sorted(values) == [100 * number for number in range(1, 13)]  # each utterance in exactly one row


def test_utterances_of_two_sessions_are_not_joined(tmp_path: Path) -> None:
    data = word_list(tmp_path, {f"a-{number}": 1.0 for number in range(4)})
    table = data.table.append_column("session", pa.array(["x", "x", "y", "y"]))
    pack_audio(DataDir(table), tmp_path / "p", combine=3)
    pack = Pack.open(tmp_path / "p")
    assert sorted(zip(pack.sessions, pack.seconds)) == [("x", 2.0), ("y", 2.0)]


def test_joined_row_omits_an_unusable_utterance(tmp_path: Path) -> None:
    data = word_list(tmp_path, {f"a-{number}": 1.0 for number in range(3)})
    (tmp_path / "a-1.wav").write_bytes(b"RIFF")
    summary = pack_audio(data, tmp_path / "header", combine=3, max_rejected=0.5)
    assert (summary.rows, summary.seconds, summary.rejected) == (1, 2.0, 1)
    table = data.table.append_column("seconds", pa.array([1.0, 1.0, 1.0]))  # so that headers are not read
    summary = pack_audio(DataDir(table), tmp_path / "p", combine=3, max_rejected=0.5)
    rejected = [json.loads(line)["id"] for line in (tmp_path / "p/rejected.jsonl").read_text().splitlines()]
    assert (summary.rows, summary.seconds, rejected) == (1, 2.0, ["a-1"])


def test_speeds_add_copies_with_new_speakers(tmp_path: Path, corpus: Corpus) -> None:
    data = corpus(3)
    pack_audio(data, tmp_path / "plain")
    summary = pack_audio(data, tmp_path / "p", speeds=(0.5, 1.25))
    plain, pack = Pack.open(tmp_path / "plain"), Pack.open(tmp_path / "p")
    assert summary.rows == 9 and summary.speakers == 3 * len(set(data.speakers))
    for row, name in enumerate(plain.ids):
        at = {
            speed: pack.ids.index(f"{prefix}{name}") for speed, prefix in ((1, ""), (0.5, "sp0.5-"), (1.25, "sp1.25-"))
        }
        np.testing.assert_array_equal(pack[at[1]], plain[row])
        assert pack.speakers[at[0.5]] == f"sp0.5-{plain.speakers[row]}"
        for speed, copy in at.items():
            assert pack.lengths[copy] == -(-plain.lengths[row] // speed)
    with pytest.raises(InputError, match="given twice"):
        pack_audio(data, tmp_path / "q", speeds=(0.9, 0.9))


def test_joined_rows_do_not_depend_on_processes_or_shards(tmp_path: Path) -> None:
    data = word_list(tmp_path, {f"{who}-{word}": 0.5 + word / 10 for who in "abc" for word in range(7)})
    for name, keys in (("one", {"jobs": 1}), ("two", {"jobs": 2}), ("small", {"rows_per_shard": 2})):
        pack_audio(data, tmp_path / name, combine=1.5, speeds=(0.9,), **keys)  # type: ignore[arg-type]
    assert content(tmp_path / "one") == content(tmp_path / "two")
    one, small = Pack.open(tmp_path / "one"), Pack.open(tmp_path / "small")
    assert one.ids == small.ids and all((one[row] == small[row]).all() for row in range(len(one)))
