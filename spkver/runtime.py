"""Run networks in ONNX files with onnxruntime."""

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


def provider(device: str) -> str:
    """The execution provider of onnxruntime for a device: cpu, cuda, openvino, coreml, ..., or auto (CUDA, else CPU).

    Raises InputError for one that this build of onnxruntime does not have.
    """
    runtime = load_optional("onnxruntime", "export")
    known = {name.removesuffix("ExecutionProvider").lower(): name for name in runtime.get_available_providers()}
    wanted = ("cuda" if "cuda" in known else "cpu") if device == "auto" else device.lower()
    if wanted not in known:
        raise InputError(
            f"device '{device}': this build of onnxruntime runs on {', '.join(sorted(known))} only; use one of them, "
            "or install the build for that device (e.g. onnxruntime-gpu for cuda)"
        )
    return known[wanted]


def session(model: bytes, threads: int, device: str = "cpu") -> Any:
    """An onnxruntime session of a serialised model. device: as for `provider`; what it cannot run runs on the CPU.

    Raises InputError if onnxruntime cannot load the model or the device.
    """
    runtime = load_optional("onnxruntime", "export")
    wanted = provider(device)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # fatal only: failures are raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning threads take cores from PyTorch
    try:
        opened = runtime.InferenceSession(model, options, providers=list(dict.fromkeys([wanted, provider("cpu")])))
    except Exception as error:  # its own exception classes, not derived from RuntimeError
        raise InputError(f"onnxruntime cannot load it ({str(error).strip().splitlines()[0]})") from error
    if opened.get_providers()[0] != wanted:  # onnxruntime falls back to the CPU without an error
        raise InputError(
            f"device '{device}': onnxruntime cannot start {wanted}; are its driver and libraries installed?"
        )
    return opened


class OnnxNetwork(Network):
    """A network written by `spkver export`, with the interface of a PyTorch network.

    device: as for `provider`; about: the metadata of the file
    Raises InputError for any other file, and for one that takes a waveform.
    """

    fixed_precision = True  # set by the export

    def __init__(self, path: StrPath, device: str = "cpu") -> None:
        super().__init__()
        try:
            self._session = session(located(path).read_bytes(), torch.get_num_threads(), device)
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
            raise InputError(
                f"{path}: takes a waveform, for other programs; here give the model directory, or an export without "
                "--waveform"
            )
        self._input = self._session.get_inputs()[0].name

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) float32 to (batch, dim)."""
        return torch.from_numpy(self._session.run(None, {self._input: features.numpy()})[0])
