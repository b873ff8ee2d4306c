"""One HTML file that recognises voices in a browser: the model, its decision, and onnxruntime-web inside.

The page loads nothing and can send nothing: its content security policy forbids every connection.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from spkver.archives import members, reading
from spkver.config import Component
from spkver.download import base_name, fetch_file
from spkver.encoder import Encoder
from spkver.errors import InputError, RunError
from spkver.export.checking import waveforms
from spkver.export.onnx import INPUTS, OUTPUT, TOLERANCES, refuse_vad, trace_network
from spkver.export.weights import WAYS
from spkver.features.config import FrontEndConfig
from spkver.features.graph import GraphFrontEnd, graph
from spkver.features.silence import silent_frames
from spkver.features.vad import EnergyVad, EnergyVadConfig
from spkver.files import StrPath, atomic_file, readable_size
from spkver.interop.hub.files import cache
from spkver.page.voices import drawn_scale, voices_page
from spkver.runtime import session
from spkver.verify.book import ODDS
from spkver.verify.cohort import Cohort
from spkver.verify.decision import Decision, read_cohort, read_decision
from spkver.verify.doubts import CLIPPED_SHARE, SPEECH_SECONDS, speech_seconds
from spkver.verify.lengths import LEAST_SECONDS

RUNTIME = "https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-1.30.0.tgz"  # MIT
RUNTIME_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
PROGRAM = "package/dist/ort.wasm.bundle.min.mjs"
WASM = "package/dist/ort-wasm-simd-threaded.wasm"
NOTE = (
    "This page recognises voices on this device. It sends nothing, so no voice leaves the device. "
    "Enrolled people are forgotten when you close the page."
)
SCALE = 32767  # of the values of the cohort, as 16-bit integers


class PageConfig(Component):
    """Options of the page."""

    name: Literal["page"] = "page"
    runtime: str | None = Field(
        None, description="onnxruntime-web-1.30.0.tgz of the npm registry; by default it is downloaded once and kept"
    )


class PageExport:
    """An HTML file with the model, its threshold, calibration and cohort."""

    Config = PageConfig

    def __init__(self, config: PageConfig) -> None:
        self.config = config

    def write(self, encoder: Encoder, path: StrPath) -> list[str]:
        """Export, check and write. Raises InputError also for a model without a decision."""
        refuse_vad(encoder, "waveform", path)
        decision, cohort = _decision(encoder)
        program, wasm = _runtime(self.config.runtime)
        network = WAYS["float16"](_traced(encoder)).SerializeToString()
        told = _checked(encoder, network)
        binary = {"program": program, "wasm": gzip.compress(wasm, mtime=0), "network": gzip.compress(network, mtime=0)}
        if cohort is not None:
            whole = np.round(cohort.vectors * SCALE).astype("<i2")
            binary["cohort"] = gzip.compress(whole.tobytes(), mtime=0)
        page = voices_page(
            "Voices",
            NOTE,
            "voices_here.js",
            {"script-src": "blob: 'wasm-unsafe-eval'"},
            {"model": _facts(encoder, decision, cohort)},
            binary,
        )
        with atomic_file(path) as part:
            part.write_text(page, encoding="utf-8")
        return [f"{path}: {readable_size(len(page.encode()))}, with {base_name(RUNTIME).removesuffix('.tgz')}", told]


class _Listener(nn.Module):
    """Waveform to embedding and seconds of speech, as `verify` measures them."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        rate = encoder.sample_rate
        self.front_end, self.network = graph(encoder.front_end), encoder.network
        self.frames = GraphFrontEnd(FrontEndConfig(sample_rate=rate, low_hz=0, high_hz=rate / 2))

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, time) to (batch, dim) and (batch,)."""
        frames = self.frames.cut(waveform)
        speech = EnergyVad(EnergyVadConfig())(waveform, frames, silent_frames(frames))
        shift = self.frames.config.frame_shift / self.frames.config.sample_rate
        return self.network(self.front_end(waveform)).float(), speech.float().sum(dim=1) * shift


def _decision(encoder: Encoder) -> tuple[Decision, Cohort | None]:
    place = None if encoder.place is None else encoder.place[0]
    decision = None if place is None else read_decision(place, encoder.model_id)
    if place is None or decision is None:
        raise InputError("the model has no stored threshold: store one with spkver threshold --model")
    return decision, read_cohort(place, decision)


def _traced(encoder: Encoder) -> Any:
    example = next(one for one in waveforms(encoder) if len(one) > 1)
    return trace_network(_Listener(encoder).eval(), example, INPUTS["waveform"], (OUTPUT, "seconds"))


@torch.inference_mode()
def _checked(encoder: Encoder, network: bytes) -> str:
    """Compare embeddings and seconds of speech with those of `verify`. Raises RunError if they differ."""
    opened = session(network, torch.get_num_threads())
    errors, seconds = [], []
    for waveform in waveforms(encoder):
        expected = encoder.embed_batch(waveform.numpy())
        found, heard = opened.run(None, {INPUTS["waveform"]: waveform.numpy()})
        errors.append(np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1))
        own = [speech_seconds(row, encoder.sample_rate) for row in waveform.numpy()]
        seconds.append(np.abs(heard - own))
    error, apart = float(np.concatenate(errors).max()), float(np.concatenate(seconds).max())
    told = f"against PyTorch: largest relative error {error:.1e}, largest difference of speech {apart:.2f} s"
    if not (error <= TOLERANCES["float16"] and apart <= 0.1):
        raise RunError(f"the page would not compute what the model computes: {told}")
    return told


def _facts(encoder: Encoder, decision: Decision, cohort: Cohort | None) -> dict[str, Any]:
    """What the engine needs besides the network (see voices_here.js)."""
    calibration = decision.calibration
    return {
        "id": encoder.model_id,
        "rate": encoder.sample_rate,
        "dim": encoder.dim,
        "min_samples": encoder.min_samples,
        "threshold": decision.threshold,
        "limits": drawn_scale(decision.threshold, calibration.scale),
        "calibration": calibration.model_dump(mode="json"),
        "lengths": None if decision.lengths is None else decision.lengths.model_dump(mode="json"),
        "cohort": None if cohort is None else {"top": cohort.top},
        "odds": ODDS,
        "least_seconds": LEAST_SECONDS,
        "short_seconds": SPEECH_SECONDS,
        "clipped_share": CLIPPED_SHARE,
    }


def _runtime(given: str | None) -> tuple[bytes, bytes]:
    """The program and the WebAssembly of onnxruntime-web."""
    archive = cache() / base_name(RUNTIME) if given is None else Path(given)
    if given is None:
        archive.parent.mkdir(parents=True, exist_ok=True)
        fetch_file(RUNTIME, archive, f"download {RUNTIME} yourself and give it as --runtime")
    elif not archive.is_file():
        raise InputError(f"{given}: there is no such file; download {RUNTIME}")
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != RUNTIME_SHA512:
        said = f"{archive}: not the published {base_name(RUNTIME)} (its SHA-512 differs)"
        if given is not None:
            raise InputError(f"{said}; download {RUNTIME}")
        archive.unlink()
        raise RunError(f"{said}; run the command again to download it")
    with reading(archive), archive.open("rb") as stream:
        files = {name: content.read() for name, _, content in members(stream, archive.name) if name in (PROGRAM, WASM)}
    return files[PROGRAM], files[WASM]
