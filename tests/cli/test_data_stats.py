"""`spkver data stats` with a look at the samples."""

import numpy as np

from spkver import audio
from spkver.datadir import from_columns, write_datadir


def test_stats_of_samples(spkver, tmp_path):
    for number in range(4):
        samples = np.random.default_rng(number // 2).normal(scale=0.1, size=8000).astype(np.float32)
        audio.write(tmp_path / f"{number}.wav", samples, 16000)
    paths = [str(tmp_path / f"{number}.wav") for number in range(4)]
    write_datadir(tmp_path / "data", from_columns(list("abcd"), paths, ["s", "t", "t", "t"]))
    done = spkver("data", "stats", tmp_path / "data", "--out", tmp_path / "page.html", "--other", tmp_path / "data")
    assert "the same audio under two speakers (1)\n  utterances  speakers\n  a b         s t\n" in done.stdout
    assert f"shared with {tmp_path / 'data'} (6)" in done.stdout
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    spkver("pack", tmp_path / "data", tmp_path / "pack", "--jobs", 1)
    assert spkver("data", "stats", tmp_path / "pack").stdout.splitlines()[0].split() == ["speakers", "2"]
    done = spkver("data", "stats", tmp_path / "data", "--pitch", code=2)
    assert "no spk2gender" in done.stderr
