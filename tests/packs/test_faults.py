"""Failures of real machines: full disks, files that change or disappear, concurrent runs, unusual names."""

import ctypes
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spkver import audio
from spkver.datadir import DataDir, from_columns, write_datadir
from spkver.errors import InputError, RunError
from spkver.features import FrontEndConfig
from spkver.packs import Pack, PackWriter, make_features, pack_audio, verify

Corpus = Callable[..., DataDir]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux's way to make it happen")


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def spkver(*arguments: object, **options: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "spkver", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]


# --- disks ------------------------------------------------------------------------------------------------------------


def test_size_is_reported_before_the_start(tmp_path: Path, corpus: Corpus) -> None:
    data, told = corpus(10), []
    pack_audio(data, tmp_path / "p", say=told.append)
    real = sum(shard.bytes for shard in Pack.open(tmp_path / "p").shards)
    assert told[0].startswith(f"{tmp_path / 'p'}: about 169.0 kB; ") and told[0].endswith(" free")
    assert real == pytest.approx(169000, rel=0.1)
    make_features(tmp_path / "p", tmp_path / "f", FrontEndConfig(), speeds=(0.5,), say=told.append)
    real = sum(shard.bytes for shard in Pack.open(tmp_path / "f").shards)
    about = float(told[1].split("about ")[1].split(" kB")[0]) * 1000
    assert real == pytest.approx(about, rel=0.1)


@pytest.mark.parametrize("known", ["nothing", "durations", "half of them", "pipes"])
def test_pack_larger_than_the_disk_is_rejected_before_the_start(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, known: str
) -> None:
    data = corpus(10)
    seconds = [
        soundfile.info(path).duration if known != "half of them" or row % 2 else None
        for row, path in enumerate(data.paths)
    ]
    if known in ("durations", "half of them"):
        data = from_columns(data.ids, data.paths, data.speakers, seconds=seconds)
    if known == "pipes":
        data = from_columns(data.ids, [f"cat {path} |" for path in data.paths], data.speakers)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 150000))  # type: ignore[attr-defined]
    told: list[str] = []
    if known == "pipes":  # nothing to estimate the size from
        pack_audio(data, tmp_path / "p", allow_pipes=True, say=told.append)
        assert "size unknown; 150.0 kB free" in told[0]
        return
    with pytest.raises(InputError, match=r"p: about 169\.0 kB, but 150\.0 kB free on its disk; free some space"):
        pack_audio(data, tmp_path / "p", say=told.append)
    assert not told and sorted(path.name for path in tmp_path.iterdir()) == ["p.partial", "wav"]


def interrupt(data: DataDir, out: Path) -> None:
    """An interrupted pack of three shards of three, which failed at its last recording; that is repaired now."""
    last = Path(data.paths[-1])
    sound = last.read_bytes()
    last.write_bytes(b"")
    with pytest.raises(RunError):
        pack_audio(data, out, rows_per_shard=3)
    last.write_bytes(sound)


def test_finished_shards_need_no_additional_space(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = corpus(9)
    interrupt(data, tmp_path / "p")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 100000))  # type: ignore[attr-defined]
    assert pack_audio(data, tmp_path / "p", rows_per_shard=3).kept == 2


@LINUX
@pytest.mark.parametrize("jobs", [1, 2])
def test_full_disk_stops_with_one_line_and_can_resume(tmp_path: Path, corpus: Corpus, jobs: int) -> None:
    """Files of the process are limited to 30 kB, less than a shard, which acts like a full disk."""
    write_datadir(tmp_path / "data", corpus(6))
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))  # noqa: E731
    run = spkver("pack", tmp_path / "data", tmp_path / "p", "--jobs", jobs, preexec_fn=limit)
    _, error = run.communicate(timeout=120)
    assert run.returncode == 1
    assert error.strip().splitlines() == [
        f"spkver: error: {tmp_path / 'p.partial'}: disk full (File too large); free some space and run again to resume"
    ]
    assert not list((tmp_path / "p.partial").glob(".*")) and not list((tmp_path / "p.partial").glob("shard*"))
    assert pack_audio(corpus(6), tmp_path / "p").rows == 6


@LINUX
def test_small_file_system_that_fills_up(tmp_path: Path, corpus: Corpus) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", disk], capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        with pytest.raises(InputError, match=r"about 796\.0 kB, but 40\d\.\d kB free"):
            pack_audio(corpus(40), disk / "p")
        (disk / "filler").write_bytes(b"x" * 150000)
        data = corpus(10)
        lies = from_columns(data.ids, data.paths, data.speakers, seconds=[0.1] * 10)
        with pytest.raises(RunError, match=r"disk full \(No space left on device\); free some space and run again"):
            pack_audio(lies, disk / "q", rows_per_shard=1)
        (disk / "filler").unlink()
        done = pack_audio(lies, disk / "q", rows_per_shard=1)
        assert done.rows == 10 and done.kept > 2
        pack_audio(lies, tmp_path / "whole", rows_per_shard=1)
        assert content(disk / "q") == content(tmp_path / "whole")
    finally:
        subprocess.run(["umount", disk], check=True)


# --- sources that change ----------------------------------------------------------------------------------------------


def test_recording_that_disappears_is_rejected(tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    data = corpus(10)
    read = audio.read

    def read_and_lose(path: str, *arguments: object, **options: object) -> tuple[np.ndarray, int]:
        Path(data.paths[7]).unlink(missing_ok=True)
        return read(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(audio, "read", read_and_lose)
    assert pack_audio(data, tmp_path / "p").rejected == 1
    assert json.loads((tmp_path / "p" / "rejected.jsonl").read_text())["reason"] == "no such file"


def test_recording_that_changes_while_read_is_rejected(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = corpus(10)
    read = audio.read

    def read_and_append(path: str, *arguments: object, **options: object) -> tuple[np.ndarray, int]:
        found = read(path, *arguments, **options)  # type: ignore[arg-type]
        if path == data.paths[4]:
            with open(path, "ab") as stream:
                stream.write(b"more")
        return found

    monkeypatch.setattr(audio, "read", read_and_append)
    assert pack_audio(data, tmp_path / "p").rejected == 1
    reason = json.loads((tmp_path / "p" / "rejected.jsonl").read_text())["reason"]
    assert reason == "changed while it was read; run again when it is complete"


def test_recordings_changed_since_an_interruption_are_read_again(tmp_path: Path, corpus: Corpus) -> None:
    data = corpus(9)
    interrupt(data, tmp_path / "p")
    soundfile.write(data.paths[0], np.arange(8000, dtype=np.int16), 16000)  # of the same length
    assert pack_audio(data, tmp_path / "p", rows_per_shard=3).kept == 1
    pack_audio(data, tmp_path / "whole", rows_per_shard=3)
    assert content(tmp_path / "p") == content(tmp_path / "whole")


# --- two runs ---------------------------------------------------------------------------------------------------------


def test_second_run_on_the_same_output_is_rejected(tmp_path: Path, corpus: Corpus) -> None:
    data = corpus(4)
    go = tmp_path / "go"
    waiting = [f"while [ ! -e {go} ]; do sleep 0.02; done; cat {path} |" for path in data.paths]
    write_datadir(tmp_path / "data", from_columns(data.ids, waiting, data.speakers))
    arguments = ("pack", tmp_path / "data", tmp_path / "p", "--jobs", 1, "--allow-pipes")
    first = spkver(*arguments)
    deadline = time.monotonic() + 60
    while not (tmp_path / "p.partial" / "plan.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second = spkver(*arguments)
    _, error = second.communicate(timeout=60)
    go.touch()
    output, _ = first.communicate(timeout=60)
    assert second.returncode == 2
    assert f"p.partial: in use by another run (process {first.pid} on " in error
    assert first.returncode == 0 and "4 utterances" in output
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "pack.json",
        "rejected.jsonl",
        "shard-00000.arrow",
    ]
    assert "already packed" in spkver(*arguments).communicate(timeout=60)[0]


# --- damage -----------------------------------------------------------------------------------------------------------


def make_pack(path: Path, shards: int = 3) -> None:
    with PackWriter(path, kind="audio", sample_rate=16000, rows_per_shard=1) as pack:
        for number in range(shards):
            pack.add(f"u{number}", f"s{number}", "", np.arange(8000, dtype="<i2") + number)


def flip(file: Path, place: int) -> None:
    with open(file, "r+b") as stream:
        stream.seek(place, 2 if place < 0 else 0)
        byte = stream.read(1)[0]
        stream.seek(-1, 1)
        stream.write(bytes([byte ^ 4]))


def test_verify_names_every_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "p"
    make_pack(path, 4)
    run = spkver("data", "verify", path)
    assert run.communicate(timeout=60)[0] == f"{path}: intact\n"
    flip(path / "shard-00000.arrow", 5000)
    (path / "shard-00001.arrow").write_bytes((path / "shard-00001.arrow").read_bytes()[:4000])
    (path / "shard-00003.arrow").unlink()
    run = spkver("data", "verify", path)
    output, error = run.communicate(timeout=60)
    assert run.returncode == 2
    assert [line.split(":")[0].rpartition("/")[2] for line in output.splitlines()] == [
        "shard-00000.arrow",
        "shard-00001.arrow",
        "shard-00003.arrow",
    ]
    assert error == f"spkver: error: {path}: 3 of its files are damaged or missing; pack again\n"


def test_verify_checks_the_index(tmp_path: Path) -> None:
    make_pack(tmp_path / "p")
    index = tmp_path / "p" / "pack.json"
    index.write_text(index.read_text().replace('"rejected": 0', '"rejected": 1'))
    assert verify(tmp_path / "p") == [f"{index}: damaged (its checksum differs); delete the pack and make it again"]
    with pytest.raises(InputError, match="not a pack"):
        verify(tmp_path)


def test_features_of_damaged_audio_are_rejected(tmp_path: Path) -> None:
    make_pack(tmp_path / "p")
    flip(tmp_path / "p" / "shard-00001.arrow", 9000)  # damages a sample, so the pack still opens
    with pytest.raises(InputError, match=r"shard-00001\.arrow: damaged \(its hash differs\)"):
        make_features(tmp_path / "p", tmp_path / "f", FrontEndConfig(bins=10))


@pytest.mark.parametrize("name", ["../x.arrow", "/etc/passwd", "a/b.arrow", "", ".", "..", "no\0name", 5, None])
def test_shard_outside_the_pack_is_rejected(tmp_path: Path, name: object) -> None:
    make_pack(tmp_path / "p")
    (tmp_path / "x.arrow").write_bytes((tmp_path / "p" / "shard-00000.arrow").read_bytes())
    index = tmp_path / "p" / "pack.json"
    content = json.loads(index.read_text())
    content["shards"][0]["file"] = name
    index.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"missing|invalid index|incomplete index"):
        Pack.open(tmp_path / "p")
    with pytest.raises(InputError) if not isinstance(name, str) else pytest.MonkeyPatch.context():
        assert verify(tmp_path / "p")


ODD = [
    "../../etc/passwd",
    "/absolute/path.wav",
    "a b",
    "tab\there",
    "line\nend",
    "qu\"o'te",
    "ünïcode/日本.wav",
    "%s{}",
    "",
]


def test_unusual_ids_are_never_paths(tmp_path: Path) -> None:
    """Nothing is written outside the pack, and the ids are read unchanged."""
    with PackWriter(tmp_path / "p", kind="audio", sample_rate=16000) as pack:
        for name in ODD:
            pack.add(name, name, name, np.arange(800, dtype="<i2"))
    make_features(tmp_path / "p", tmp_path / "f", FrontEndConfig(bins=10))
    for made in (tmp_path / "p", tmp_path / "f"):
        pack_made = Pack.open(made)
        assert pack_made.ids == pack_made.speakers == pack_made.sessions == ODD
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "p"]


def test_unusual_ids_in_the_rejected_list(tmp_path: Path, corpus: Corpus) -> None:
    good = corpus(4)
    data = from_columns(good.ids + ODD, [*good.paths, *(f"{tmp_path}/{name}" for name in ODD)], ["s"] * (4 + len(ODD)))
    assert pack_audio(data, tmp_path / "p", max_rejected=0.9).rejected == len(ODD)
    lines = (tmp_path / "p" / "rejected.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted(ODD)


# --- permissions ------------------------------------------------------------------------------------------------------


def obey_permissions() -> None:
    """Drop root's permission to read and write everything, in a process that is being started."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@LINUX
def test_missing_permissions_are_reported(tmp_path: Path, corpus: Corpus) -> None:
    data = corpus(12)
    write_datadir(tmp_path / "data", data)
    Path(data.paths[3]).chmod(0)
    run = spkver("pack", tmp_path / "data", tmp_path / "p", "--jobs", 1, preexec_fn=obey_permissions)
    assert run.communicate(timeout=60)[1] == "" and run.returncode == 0
    assert (
        json.loads((tmp_path / "p" / "rejected.jsonl").read_text())["reason"] == "cannot be opened (Permission denied)"
    )
    (tmp_path / "closed").mkdir(mode=0o500)
    for arguments, what in [
        (("pack", tmp_path / "data", tmp_path / "closed" / "p"), f"{tmp_path}/closed is not writable"),
        (("data", "verify", tmp_path / "p"), "shard-00000.arrow: Permission denied"),
    ]:
        (tmp_path / "p" / "shard-00000.arrow").chmod(0)
        run = spkver(*arguments, preexec_fn=obey_permissions)
        _, error = run.communicate(timeout=60)
        assert run.returncode in (1, 2) and what in error and len(error.splitlines()) == 1, error
