"""Small corpora on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spkver.datadir import DataDir, from_columns


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., DataDir]:
    """A data directory of `count` short 16-bit recordings of noise by three speakers, below tmp_path/wav."""

    def make(count: int = 10, rate: int = 16000) -> DataDir:
        folder = tmp_path / "wav"
        folder.mkdir(exist_ok=True)
        random = np.random.default_rng(count)
        names = [f"s{number % 3}-{number:03d}.wav" for number in range(count)]
        for number, name in enumerate(names):
            samples = random.integers(-20000, 20000, size=rate // 2 + 100 * number).astype(np.int16)
            soundfile.write(folder / name, samples, rate)
        paths = [str(folder / name) for name in names]
        speakers = [name[:2] for name in names]
        return from_columns(names, paths, speakers, sessions=[f"day{number % 2}" for number in range(count)])

    return make
