"""Compare imported models with the original code of other toolkits: see originals.py."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from spkver import compat
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.interop.peers import import_model

spec = importlib.util.spec_from_file_location("originals", Path(__file__).with_name("originals.py"))
originals = importlib.util.module_from_spec(spec)
spec.loader.exec_module(originals)
CASES = json.loads(gzip.decompress(originals.GOLDEN.read_bytes()))


def _require_transformers() -> None:
    try:
        compat.transformers()
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", CASES)
def test_imported_model_gives_the_embeddings_of_the_original_code(name, tmp_path):
    case = CASES[name]
    if case["form"] == "unispeech":
        _require_transformers()
    (tmp_path / "theirs").mkdir()
    import_model(originals.save(case, tmp_path / "theirs"), tmp_path / "ours", **case["options"])
    encoder = Encoder.open(tmp_path / "ours")
    for samples, expected in zip(originals.SAMPLES, np.array(case["embeddings"])):
        error = np.abs(encoder.embed(originals.waveform(samples)) - expected).max() / np.abs(expected).max()
        print(f"{name}: largest error {error:.1e} of the largest value")
        assert error < 1e-5
