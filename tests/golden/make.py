"""Write the golden files: one of each kind of file, in the current format, and their expected values.

    python tests/golden/make.py

The files of a format are made once, when the format is new, and are never changed: they are what older versions of
spkver wrote. So this writes tests/golden/format_N only where there is none. When a format changes, raise FORMAT here
and keep the old folder, which the tests go on reading.
"""

from __future__ import annotations

import json
import os
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from spkver.config import validate
from spkver.embeddings import Embeddings, write_embeddings
from spkver.encoder import Encoder
from spkver.export import EXPORTS
from spkver.extraction import extract
from spkver.features import FrontEndConfig
from spkver.formats.convert import write
from spkver.packs import Pack, PackWriter, make_features
from spkver.recipe import Recipe, train
from spkver.scoring.calibration import Affine, Steps, write_map
from spkver.scoring.chain import Chain, Step, write_chain
from spkver.scoring.plda import Plda, write_plda
from spkver.training.state import checkpoint
from spkver.verify.book import enrol, forget, open_book
from spkver.verify.decision import Calibration, Decision, Rate, write_decision

FORMAT = 2
FORMS = (".npz", ".h5", ".jsonl", ".safetensors", ".faiss")
RATE = 8000
FRONT_END = {"sample_rate": RATE, "bins": 8, "high_hz": 3600.0}
RECIPE = {
    "data": {"train": "features", "crop_seconds": 0.2},
    "front_end": FRONT_END,
    "model": {"name": "xvector", "channels": 4, "pooled_channels": 6, "dim": 6},
    "loss": "lmcl",
    "train": {"steps": 2, "batch_size": 2, "device": "cpu", "threads": 1, "keep_checkpoints": 1},
}
RATE_OF_ERRORS = Rate(rate=0.125, low=0.0625, high=0.25, errors=1, trials=8)
DECISION = Decision(
    threshold=0.5,
    low=0.25,
    high=0.75,
    wish="a false-accept rate of 0.125",
    far=RATE_OF_ERRORS,
    frr=RATE_OF_ERRORS,
    calibration=Calibration(scale=2.0, offset=-1.0, least=-2.0, most=3.0, prior=0.5),
    speakers=2,
)


def waveform(seconds: float = 0.4) -> np.ndarray:
    """The waveform of the stored embedding of a model: float32 (time,), deterministic."""
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 300 * time) * (1 + np.sin(2 * np.pi * 5 * time))).astype(np.float32)


def main() -> None:
    """Write the folder."""
    folder = Path(__file__).parent / f"format_{FORMAT}"
    folder.mkdir()
    os.chdir(folder)  # so that the paths in the files are relative
    values = packs() | run() | embeddings() | scoring()
    Path("values.json").write_text(json.dumps(values, indent=1) + "\n")
    print(f"{folder}: {sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()):,} bytes")


def packs() -> dict[str, Any]:
    """Audio packs in PCM and FLAC, and a feature pack."""
    for name, coding in (("audio", "pcm"), ("audio_flac", "flac")):
        with PackWriter(name, kind="audio", sample_rate=RATE, coding=coding) as pack:
            for row in range(4):
                samples = np.random.default_rng(row).normal(0, 3000, 1600).astype("<i2")
                pack.add(f"s{row % 2}/{row}.wav", f"s{row % 2}", f"day{row // 2}", samples)
    make_features("audio", "features", FrontEndConfig(**FRONT_END))
    audio, features = Pack.open("audio"), Pack.open("features")
    return {
        "ids": audio.ids,
        "speakers": audio.speakers,
        "sessions": audio.sessions,
        "samples": audio[3][:8].tolist(),
        "frames": features.lengths.tolist(),
        "features": features[3][2].tolist(),
    }


def run() -> dict[str, Any]:
    """An experiment with checkpoint, head, and a model with threshold and cohort; the model as ONNX."""
    train(validate(Recipe, RECIPE), "exp")
    for path in Path("exp").iterdir():
        if not path.name.startswith(("checkpoints", "model")):  # the other files are logs and the config
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    encoder = Encoder.open("exp/model")
    extract(encoder, "audio", "exp/embeddings.parquet")
    cohort = Embeddings(list("abc"), np.eye(3, 6, dtype=np.float32), None, encoder.model_id)
    write_decision("exp/model", DECISION, cohort, top=2)
    EXPORTS.build(EXPORTS.get("onnx").Config()).write(encoder, "model.onnx")
    tensors = checkpoint.read(Path("exp/checkpoints/step-00000002")).tensors
    return {
        "model": encoder.model_id,
        "embedding": encoder.embed(waveform()).tolist(),
        "checkpoint": {name: tensor.double().sum().item() for name, tensor in sorted(tensors.items())},
        "head": tensors["state.loss.head.weight"].tolist(),
    }


def embeddings() -> dict[str, Any]:
    """Embeddings of each storage type, embeddings of windows, and a speaker book."""
    vectors = np.arange(-6, 6, dtype=np.float32).reshape(3, 4) / 4
    whole = Embeddings(["a", "ä b", "c"], vectors, ["ada", "", "eve"], "0123abcd", {"name": "fbank", "bins": 8})
    for dtype in ("float32", "float16", "int8"):
        write_embeddings(f"embeddings_{dtype}.parquet", whole, dtype)
    for suffix in FORMS:
        write(f"embeddings{suffix}", whole)
    times = np.array([[0.0, 1.5], [0.75, 2.25], [0.0, 1.5]])
    write_embeddings("windows.parquet", Embeddings(["a", "a", "b"], vectors, None, "0123abcd", {}, times))
    both = Embeddings(["a1", "a2"], vectors[:2], None, "0123abcd")
    enrol("book", "Ada", both, seconds=[2.5, 4.0], session="phone", purpose="golden files", until=date(9999, 12, 31))
    enrol("book", "Ève", Embeddings(["e1"], vectors[2:], None, "0123abcd"))
    enrol("book", "Gone", Embeddings(["g1"], vectors[:1] + 1, None, "0123abcd"))
    forget("book", ["Gone"])
    book = open_book("book")
    held = {name: book.about(name) for name in book.recordings()}
    return {"vectors": vectors.tolist(), "times": times.tolist(), "book": held}


def scoring() -> dict[str, Any]:
    """A chain of transforms, a PLDA model, and both kinds of calibration."""
    mean, matrix = np.array([0.5, -1.0, 0.25]), np.array([[1.0, 0.0], [2.0, 0.5], [0.0, -1.0]])
    write_chain("chain", Chain((Step("centre", mean), Step("pca", mean, matrix), Step("length")), "0123abcd"))
    between, within = np.diag([2.0, 1.0, 0.5]), np.eye(3) + 0.25
    write_plda("plda", Plda(mean, between, within, "0123abcd"))
    write_map("affine.json", Affine(np.array([2.0, -0.5]), 0.125))
    write_map("steps.json", Steps(np.array([-1.0, 0.0, 1.5]), np.array([-3.0, 0.5, 2.0])))
    return {
        "mean": mean.tolist(),
        "matrix": matrix.tolist(),
        "between": between.tolist(),
        "within": within.tolist(),
    }


if __name__ == "__main__":
    main()
