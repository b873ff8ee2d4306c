"""`spkver pack` and `spkver features` from the shell."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spkver import audio
from spkver.datadir import from_columns, write_datadir
from spkver.packs import Pack

Spkver = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    paths = [str(tmp_path / f"{number}.wav") for number in range(10)]
    for path in paths:
        audio.write(path, random.normal(scale=0.1, size=9600).astype(np.float32), 16000)
    write_datadir(tmp_path / "data", from_columns([f"u{n}" for n in range(10)], paths, ["s"] * 10))
    return tmp_path / "data"


def test_pack_and_features(spkver: Spkver, tmp_path: Path, data: Path) -> None:
    done = spkver("pack", data, tmp_path / "p", "--jobs", 1)
    assert done.stderr == ""
    told, made = done.stdout.splitlines()
    assert told.startswith(f"{tmp_path / 'p'}: about 192.0 kB; ")
    assert made == f"{tmp_path / 'p'}: 10 utterances, 1 speakers, 0.00 h, 0 rejected"
    assert "already packed" in spkver("pack", data, tmp_path / "p", "--jobs", 1).stdout
    done = spkver("features", tmp_path / "p", tmp_path / "f", "bins=30", "--speed", "0.9", "--jobs", 1)
    assert done.stderr == ""
    pack = Pack.open(tmp_path / "f")
    assert (len(pack), pack.bins, pack[0].shape) == (20, 30, (60, 30))
    done = spkver("features", tmp_path / "p", tmp_path / "g", "bin=30", code=2)
    assert "unknown key 'bin'; did you mean 'bins'?" in done.stderr
    done = spkver("features", tmp_path / "p", tmp_path / "g", "name=waveform", code=2)
    assert "feature packs hold features of fbank; waveform is computed in training" in done.stderr
    spkver("features", tmp_path / "p", tmp_path / "g", "name=3dspeaker", "--jobs", 1)
    assert Pack.open(tmp_path / "g").front_end["high_hz"] == 8000


def test_rejected_recordings(spkver: Spkver, tmp_path: Path, data: Path) -> None:
    (tmp_path / "3.wav").write_bytes(b"")
    spkver("pack", data, tmp_path / "p", "--jobs", 1)
    assert json.loads((tmp_path / "p" / "rejected.jsonl").read_text())["reason"] == "empty (0 bytes)"
    (tmp_path / "4.wav").unlink()
    done = spkver("pack", data, tmp_path / "q", "--jobs", 1, code=1)
    assert "2 of 10 recordings rejected, more than the allowed share 0.1; first: u3: empty" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "q").exists()


def test_parts_of_two_runs_are_gathered_to_the_same_pack(spkver: Spkver, tmp_path: Path, data: Path) -> None:
    spkver("pack", data, tmp_path / "whole", "--jobs", 1)
    done = spkver("gather", tmp_path / "p", code=2)
    assert "no parts to gather" in done.stderr
    for share in ("1/2", "2/2"):
        spkver("pack", data, tmp_path / "p", "--part", share, "--jobs", 1)
    assert spkver("gather", tmp_path / "p").stdout == f"{tmp_path / 'p'}: complete\n"
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "p").iterdir())
    for name in names:
        assert (tmp_path / "p" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_pipes_need_permission(spkver: Spkver, tmp_path: Path, data: Path) -> None:
    scp = (data / "wav.scp").read_text().splitlines()
    (data / "wav.scp").write_text("\n".join([f"u0 cat {tmp_path}/0.wav |", *scp[1:]]) + "\n")
    done = spkver("pack", data, tmp_path / "p", "--jobs", 1, code=2)
    assert "wav.scp:1: 'u0': is a shell command; it runs only with --allow-pipes" in done.stderr
    spkver("pack", data, tmp_path / "p", "--jobs", 1, "--allow-pipes")


def test_pack_imports_no_heavy_library(tmp_path: Path, data: Path) -> None:
    code = (
        "import sys; from spkver.datadir import read_datadir; from spkver.packs import pack_audio;"
        f"pack_audio(read_datadir({str(data)!r}), {str(tmp_path / 'p')!r});"
        "print([name for name in ('torch', 'torchaudio', 'scipy', 'librosa', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_simulated(spkver: Spkver, tmp_path: Path, data: Path) -> None:
    (tmp_path / "sim.yaml").write_text("waveform: [noise]\ncodec: {probability: 0.7, codecs: [gsm]}\n")
    spkver("pack", data, tmp_path / "p", "--jobs", 1, "--simulate", tmp_path / "sim.yaml", "--seed", 3)
    assert json.loads((tmp_path / "p" / "pack.json").read_text())["simulation"]["seed"] == 3
    done = spkver("pack", data, tmp_path / "p", "--seed", 3, code=2)
    assert "--seed needs --simulate" in done.stderr
    (tmp_path / "sim.yaml").write_text("codec: {codecs: [gmm]}\n")
    done = spkver("pack", data, tmp_path / "q", "--simulate", tmp_path / "sim.yaml", code=2)
    assert "sim.yaml:1: codec.codecs.0: unknown codec 'gmm'; did you mean 'gsm'?" in done.stderr
