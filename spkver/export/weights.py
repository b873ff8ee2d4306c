"""Smaller weights in an ONNX file. The front end stays in float32, because it needs the precision."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spkver.errors import load_optional

FRONT_END = "front_end"  # module name, the prefix of its nodes and weights in the export
SMALLEST = 1024  # values; smaller tensors (biases, norms) save nothing
HALF_MAX = float(np.finfo(np.float16).max)


def half(model: Any) -> Any:
    """Store weights as float16 and compute in float32: half the size, same speed."""
    onnx = load_optional("onnx", "export")
    kept = {name for node in model.graph.node if node.name.startswith(f"/{FRONT_END}/") for name in node.input}
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or tensor.name in kept or np.prod(tensor.dims) < SMALLEST:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if np.abs(values).max() > HALF_MAX:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def int8(model: Any) -> Any:
    """Dynamic quantisation: convolutions and matrix products in 8-bit integers, a quarter of the size.

    Unsigned weights with one scale per tensor, the only kind with CPU convolutions in onnxruntime.
    """
    onnx = load_optional("onnx", "export")
    quantization = load_optional("onnxruntime.quantization", "export")
    front_end = [node.name for node in model.graph.node if node.name.startswith(f"/{FRONT_END}/")]
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "int8.onnx"
        quantization.quantize_dynamic(
            model, path, weight_type=quantization.QuantType.QUInt8, nodes_to_exclude=front_end
        )
        return onnx.load(path)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress output and log messages, such as those of the quantiser about every skipped tensor."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


WAYS = {"float32": lambda model: model, "float16": half, "int8": int8}
