"""Calls of two speakers at 8 kHz, from the recordings to a verdict; and what is said where rates differ."""

import numpy as np
import soundfile
import yaml

from spkver.datadir import from_columns, write_datadir
from spkver.packs import Pack


def test_telephone_calls_from_packing_to_verify(spkver, tmp_path):
    random = np.random.default_rng(0)
    for call in range(4):
        sides = random.normal(scale=0.1, size=(9000, 2))
        soundfile.write(tmp_path / f"call{call}.sph", sides, 8000, format="NIST", subtype="ULAW")
    ids = [f"call{call}-{side}" for call in range(4) for side in "AB"]
    paths = [str(tmp_path / f"{name[:5]}.sph") for name in ids]
    speakers = [f"s{call // 2 * 2 + side}" for call in range(4) for side in (0, 1)]
    write_datadir(tmp_path / "data", from_columns(ids, paths, speakers, channels=[0, 1] * 4))

    said = spkver("pack", tmp_path / "data", tmp_path / "wide", "--jobs", 1).stdout
    assert "warning: 100% of the recordings have a sample rate below 16000 Hz (lowest 8000): they are upsampled" in said
    assert Pack.open(tmp_path / "wide").lengths.tolist() == [18000] * 8
    assert "warning" not in spkver("pack", tmp_path / "data", tmp_path / "p", "--sample-rate", 8000, "--jobs", 1).stdout

    recipe = {
        "data": {"train": str(tmp_path / "p"), "crop_seconds": 0.5},
        "front_end": "telephone",
        "model": {"name": "xvector", "channels": 8, "pooled_channels": 8, "dim": 4},
        "loss": "nsl",
        "train": {"steps": 2, "batch_size": 4, "device": "cpu", "threads": 1},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(recipe))
    spkver("train", tmp_path / "c.yaml", "--out", tmp_path / "exp")
    model = tmp_path / "exp" / "model"
    done = spkver("extract", tmp_path / "data", tmp_path / "e.parquet", "--model", model, "--device", "cpu")
    assert "8 embeddings" in done.stdout and done.stderr == ""
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", random.normal(scale=0.1, size=16000), 16000)
    done = spkver("verify", tmp_path / "a.wav", tmp_path / "b.wav", "--model", model)
    assert (
        f"warning: {tmp_path / 'a.wav'}: recorded at 16000 Hz: a model of 8000 Hz was not trained on wide-band"
        in done.stderr
    )
