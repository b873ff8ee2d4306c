"""ONNX: the network alone, features in, or with the front end inside, waveform in; batch and time vary.

By PyTorch's exporter that traces (`dynamo=False`): it gives every network here at every length. The other one,
torch.export, wants a least length for each network, above the shortest that the network takes. What was exported runs
in onnxruntime before it is kept, at many lengths and batches, and its embeddings are compared with PyTorch's.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from spkver import __version__
from spkver.config import Component
from spkver.encoder import Encoder
from spkver.errors import InputError, RunError, load_optional
from spkver.export import sherpa
from spkver.export.checking import Agreement, agreement
from spkver.export.weights import WAYS
from spkver.features.graph import FromKaldi, graph
from spkver.files import StrPath, atomic_file, readable_size
from spkver.runtime import ABOUT, session

EXTRA = "export"
OPSET = 17  # the first with layer norm
INPUTS = {"features": "feats", "waveform": "waveform"}
TOLERANCES = {"float32": 1e-3, "float16": 2e-2, "int8": 0.2}
OUTPUT = "embs"  # the network's names are those of WeSpeaker's exports


class OnnxConfig(Component):
    """What goes into the file."""

    name: Literal["onnx"] = "onnx"
    waveform: bool = Field(False, description="with the front end inside")
    sherpa: bool = Field(False, description="refuse what sherpa-onnx would compute otherwise")
    language: str = Field("unknown", min_length=1, description="what sherpa-onnx is told")
    weights: Literal["float32", "float16", "int8"] = "float32"
    tolerance: float | None = Field(
        None, gt=0, description="largest allowed error, relative to the embedding's length; by default as the weights"
    )


class OnnxExport:
    """An .onnx file; its metadata hold the model's config, and what sherpa-onnx needs where it computes the same."""

    Config = OnnxConfig

    def __init__(self, config: OnnxConfig) -> None:
        self.config = config

    def write(self, encoder: Encoder, path: StrPath) -> list[str]:
        """Export, check and write."""
        config = self.config
        kind = "waveform" if config.waveform else "features"
        other = sherpa.difference(encoder.config.front_end) if kind == "features" else sherpa.WAVEFORM
        if config.sherpa and other:
            raise InputError(f"{path}: not for sherpa-onnx: {other}")
        model = WAYS[config.weights](trace(encoder, kind))
        about = {
            "version": __version__,
            "model": encoder.model_id,
            "input": kind,
            "weights": config.weights,
            "dim": encoder.dim,
            "min_frames": encoder.network.min_frames,
            "config": encoder.config.model_dump(mode="json"),
        }
        metadata = {ABOUT: json.dumps(about)}
        if not other:
            metadata |= sherpa.metadata(encoder, config.language)
        load_optional("onnx", EXTRA).helper.set_model_props(model, metadata)
        data = model.SerializeToString()
        found = agreement(encoder, session(data, torch.get_num_threads()), kind)
        self._judge(path, found)
        with atomic_file(path) as part:
            part.write_bytes(data)
        lines = [f"{path}: {kind} in, {config.weights} weights, {readable_size(len(data))}", str(found)]
        if kind == "features":
            lines.append(f"not for sherpa-onnx: {other}" if other else "with the metadata that sherpa-onnx needs")
        return lines

    def _judge(self, path: StrPath, found: Agreement) -> None:
        tolerance = self.config.tolerance or TOLERANCES[self.config.weights]
        if not found.error <= tolerance:
            raise RunError(
                f"{path}: not written: {found}, more than the tolerance {tolerance:g}; --tolerance allows a larger one"
            )


def trace(encoder: Encoder, kind: str) -> Any:
    """The onnx model of an encoder's network (kind `features`), or of all of it (`waveform`)."""
    example = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (2, 3 * encoder.sample_rate))).float()
    if kind == "waveform":
        return trace_network(_Whole(graph(encoder.front_end), encoder.network).eval(), example, INPUTS[kind])
    with torch.inference_mode():
        features = encoder.front_end(example)
    return trace_network(of_features(encoder).eval(), features, INPUTS[kind])


def of_features(encoder: Encoder) -> nn.Module:
    """The encoder's network, which takes features that other programs may compute."""
    front_end = encoder.config.front_end
    return FromKaldi(encoder.network, front_end.normalise) if front_end.name == "fbank" else encoder.network


def trace_network(network: nn.Module, example: Tensor, name: str = INPUTS["features"]) -> Any:
    """The onnx model of a network in evaluation, traced on an input (batch, time, ...) of that name.

    Raises RunError for what has no form in ONNX.
    """
    buffer: Any = io.BytesIO()  # torch's annotation knows of paths only
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter(
            "ignore"
        )  # of what is deprecated in the exporter, and of traces; what comes out is checked
        try:
            torch.onnx.export(
                network,
                (example,),
                buffer,
                dynamo=False,
                opset_version=OPSET,
                input_names=[name],
                output_names=[OUTPUT],
                dynamic_axes={name: {0: "batch", 1: "time"}, OUTPUT: {0: "batch"}},
            )
        except RuntimeError as error:  # the base of the exporter's own
            reason = " ".join(str(error).split())[:300]
            raise RunError(f"PyTorch cannot export this network: {reason}") from error
    return load_optional("onnx", EXTRA).load_model_from_string(buffer.getvalue())


def in_onnxruntime(network: nn.Module, example: Tensor, weights: str = "float32") -> Callable[[Tensor], Tensor]:
    """A network that onnxruntime computes, on the CPU and as many threads as PyTorch has."""
    model = WAYS[weights](trace_network(network, example))
    run = session(model.SerializeToString(), torch.get_num_threads())
    return lambda features: torch.from_numpy(run.run(None, {INPUTS["features"]: features.numpy()})[0])


class _Whole(nn.Module):
    """Front end and network."""

    def __init__(self, front_end: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.front_end, self.network = front_end, network

    def forward(self, waveform: Tensor) -> Tensor:
        return self.network(self.front_end(waveform)).float()
