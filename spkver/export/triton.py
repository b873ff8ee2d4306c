"""A model repository of NVIDIA's Triton Inference Server: MODEL/config.pbtxt and MODEL/1/model.onnx.

The form is that of Triton's documentation (model repository, model configuration). Requests of one length are batched
by the server.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from spkver.config import Component
from spkver.encoder import Encoder
from spkver.errors import InputError
from spkver.export.onnx import INPUTS, OUTPUT, OnnxConfig, OnnxExport
from spkver.files import StrPath, atomic_directory

LARGEST_BATCH = 64
CONFIG = """# {about}
name: "{name}"
backend: "onnxruntime"
max_batch_size: {batch}
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "{output}" data_type: TYPE_FP32 dims: [ {dim} ] }} ]
dynamic_batching {{ max_queue_delay_microseconds: 2000 }}
"""


class TritonConfig(Component):
    """Options of the repository."""

    name: Literal["triton"] = "triton"
    weights: Literal["float32", "float16", "int8"] = "float32"


class TritonExport:
    """A folder that `tritonserver --model-repository` takes, with one model of the name of the folder."""

    Config = TritonConfig

    def __init__(self, config: TritonConfig) -> None:
        self.config = config

    def write(self, encoder: Encoder, path: StrPath) -> list[str]:
        """Write the folder. Raises InputError if the name of the folder cannot be the name of a model."""
        name = Path(path).name
        if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
            raise InputError(
                f"{path}: use letters, digits, '_', '-' and '.' in the name, which is the model's in Triton"
            )
        with atomic_directory(path) as folder:
            (folder / name / "1").mkdir(parents=True)
            export = OnnxExport(OnnxConfig(waveform=True, weights=self.config.weights))
            said = export.write(encoder, folder / name / "1" / "model.onnx")
            (folder / name / "config.pbtxt").write_text(
                CONFIG.format(
                    about=f"spkver model {encoder.model_id}; waveforms of {encoder.sample_rate} Hz in [-1, 1]",
                    name=name,
                    batch=LARGEST_BATCH,
                    input=INPUTS["waveform"],
                    output=OUTPUT,
                    dim=encoder.dim,
                )
            )
        return [f"{path}: model '{name}'", *said[1:2]]
