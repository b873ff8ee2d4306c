"""ONNX export: the network (input: features), or front end and network (input: waveform); batch and time vary.

Uses PyTorch's exporter of `torch.export` programs. Its bounds on the length are not part of the file. Before it is
saved, the export is run in onnxruntime at many lengths and batch sizes, from the shortest input, and its embeddings are
compared with PyTorch's.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable, Sequence
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
from spkver.export.weights import WAYS, quiet
from spkver.features.config import SpectralConfig
from spkver.features.graph import FromKaldi, graph
from spkver.files import StrPath, atomic_file, readable_size
from spkver.runtime import ABOUT, session

EXTRA = "export"
OPSET = 18  # the lowest that this exporter writes without a conversion
SCOPES = "pkg.torch.onnx.name_scopes"  # the modules of a node, in its metadata
INPUTS = {"features": "feats", "waveform": "waveform"}
TOLERANCES = {"float32": 1e-3, "float16": 2e-2, "int8": 0.2}
OUTPUT = "embs"  # input and output names as in WeSpeaker's exports


class OnnxConfig(Component):
    """Options of the ONNX export."""

    name: Literal["onnx"] = "onnx"
    waveform: bool = Field(False, description="include the front end")
    sherpa: bool = Field(False, description="fail if sherpa-onnx would compute other features")
    language: str = Field("unknown", min_length=1, description="language in the metadata for sherpa-onnx")
    weights: Literal["float32", "float16", "int8"] = "float32"
    tolerance: float | None = Field(
        None, gt=0, description="maximum error relative to the norm of the embedding; by default depends on the weights"
    )


class OnnxExport:
    """An .onnx file with the config of the model in its metadata, and those of sherpa-onnx if compatible."""

    Config = OnnxConfig

    def __init__(self, config: OnnxConfig) -> None:
        self.config = config

    def write(self, encoder: Encoder, path: StrPath) -> list[str]:
        """Export, check and write."""
        config = self.config
        kind = "waveform" if config.waveform else "features"
        refuse_vad(encoder, kind, path)
        other = sherpa.difference(encoder.config.front_end) if kind == "features" else sherpa.WAVEFORM
        if config.sherpa and other:
            raise InputError(f"{path}: not compatible with sherpa-onnx: {other}")
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
        found = agreement(encoder, running(data, torch.get_num_threads()), kind)
        self._judge(path, found)
        with atomic_file(path) as part:
            part.write_bytes(data)
        lines = [f"{path}: input {kind}, {config.weights} weights, {readable_size(len(data))}", str(found)]
        if kind == "features":
            lines.append(f"not compatible with sherpa-onnx: {other}" if other else "compatible with sherpa-onnx")
        return lines

    def _judge(self, path: StrPath, found: Agreement) -> None:
        tolerance = self.config.tolerance or TOLERANCES[self.config.weights]
        if not found.error <= tolerance:
            raise RunError(
                f"{path}: not written: {found}, above the tolerance {tolerance:g}; set --tolerance to allow more"
            )


def running(model: bytes, threads: int) -> Callable[[Tensor], np.ndarray]:
    """An ONNX model in onnxruntime, as a function of its input."""
    opened = session(model, threads)
    name = opened.get_inputs()[0].name
    return lambda given: opened.run(None, {name: given.numpy()})[0]


def refuse_vad(encoder: Encoder, kind: str, path: StrPath) -> None:
    """Raises InputError if the file could not leave pauses out as the encoder does."""
    front_end = encoder.config.front_end
    vad = front_end.vad if isinstance(front_end, SpectralConfig) else None
    if vad is not None and vad.name == "silero":
        raise InputError(f"{path}: front_end.vad silero cannot be exported; train with `vad: energy` or none")
    if vad is not None and kind == "features":
        raise InputError(f"{path}: front_end.vad {vad.name} needs the waveform; export with --waveform")


def trace(encoder: Encoder, kind: str) -> Any:
    """The ONNX model of the network of an encoder (kind `features`), or of the whole encoder (`waveform`)."""
    example = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (2, 3 * encoder.sample_rate))).float()
    if kind == "waveform":
        return trace_network(_Whole(graph(encoder.front_end), encoder.network).eval(), example, INPUTS[kind])
    with torch.inference_mode():
        features = encoder.front_end(example)
    return trace_network(of_features(encoder).eval(), features, INPUTS[kind])


def of_features(encoder: Encoder) -> nn.Module:
    """The network of the encoder, which accepts features computed by other programs."""
    front_end = encoder.config.front_end
    return FromKaldi(encoder.network, front_end.normalise) if front_end.name == "fbank" else encoder.network


def trace_network(
    network: nn.Module, example: Tensor, name: str = INPUTS["features"], outputs: Sequence[str] = (OUTPUT,)
) -> Any:
    """The ONNX model of a network in evaluation mode, for inputs like the example (batch, time, ...), under that name.

    outputs: names of what the network returns, (batch, ...) each

    Raises RunError for a network that cannot be exported.
    """
    load_optional("onnxscript", EXTRA)
    dynamic = torch.export.Dim.DYNAMIC
    if len(example) == 1:
        example = torch.cat([example, example])  # torch.export takes an axis of size 1 for a constant
    try:
        with quiet(), warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")  # about future changes of PyTorch; the result is checked
            program = torch.export.export(network, (example,), dynamic_shapes=({0: dynamic, 1: dynamic},), strict=False)
            found = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[name],
                output_names=list(outputs),
                optimize=True,
                verbose=False,
            )
    except Exception as error:  # torch.export and the exporter have many exception classes
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise RunError(f"PyTorch cannot export this network: {reason}") from error
    assert found is not None
    return _plain(found.model_proto)


def _plain(model: Any) -> Any:
    """The model without the exporter's metadata, which is larger than a small network. Nodes are named by module."""
    graph = model.graph
    for node in graph.node:
        scopes: list[str] = next((ast.literal_eval(one.value) for one in node.metadata_props if one.key == SCOPES), [])
        node.name = "/".join(["", *scopes[1:2], node.name])
    for end in (*graph.input, *graph.output):
        for dim, axis in zip(end.type.tensor_type.shape.dim, ("batch", "time")):
            if dim.dim_param:
                dim.dim_param = axis
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    return model


def in_onnxruntime(network: nn.Module, example: Tensor, weights: str = "float32") -> Callable[[Tensor], Tensor]:
    """Run a network with onnxruntime on the CPU, with the number of threads of PyTorch."""
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
