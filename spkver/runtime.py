"""Run networks in ONNX files with onnxruntime, on the CPU."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from spkver.errors import InputError, load_optional
from spkver.files import StrPath, refuse_newer, refuse_stand_in
from spkver.models.base import Network
from spkver.storage import located

ABOUT = "spkver"  # metadata key of a JSON object with the encoder config and other information of `spkver export`


def session(model: bytes, threads: int) -> Any:
    """An onnxruntime session of a serialised model.

    Raises InputError if onnxruntime cannot load the model.
    """
    runtime = load_optional("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # fatal only: failures are raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning threads take cores from PyTorch
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exception classes, not derived from RuntimeError
        raise InputError(f"onnxruntime cannot load it ({str(error).strip().splitlines()[0]})") from error


class OnnxNetwork(Network):
    """A network written by `spkver export`, with the interface of a PyTorch network.

    about: the metadata of the file
    Raises InputError for any other file, and for one that takes a waveform.
    """

    fixed_precision = True  # set by the export

    def __init__(self, path: StrPath) -> None:
        super().__init__()
        try:
            self._session = session(located(path).read_bytes(), torch.get_num_threads())
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        except InputError as error:
            refuse_stand_in(path)
            raise InputError(f"{path}: {error}") from error
        try:
            found = self._session.get_modelmeta().custom_metadata_map
            self.about: dict[str, Any] = json.loads(found[ABOUT])
            refuse_newer(path, self.about)
            self.dim, self.min_frames = int(self.about["dim"]), int(self.about["min_frames"])
            kind = self.about["input"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not written by `spkver export`: its metadata have no front end") from error
        if kind != "features":
            raise InputError(f"{path}: takes a waveform; export the model without --waveform")
        self._input = self._session.get_inputs()[0].name

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) float32 to (batch, dim)."""
        return torch.from_numpy(self._session.run(None, {self._input: features.numpy()})[0])
