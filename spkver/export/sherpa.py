"""The front end of sherpa-onnx, and the metadata that it needs (it exits without them).

From sherpa-onnx's csrc/speaker-embedding-extractor*.cc and features.h, as of version 2.0.
"""

from __future__ import annotations

from typing import Any

from spkver.encoder import Encoder
from spkver.features.config import FrontEndBase

WAVEFORM = "it takes features, not a waveform; omit --waveform"

BELOW_NYQUIST_HZ = 400.0  # upper end of its band
SCALES = {32768.0: "0", 1.0: "1"}  # its normalize_samples; 1 keeps the waveform in [-1, 1]
NORMALISATIONS = ("mean", "none")  # done by the exported network, after removing digital silence

# supported values, by field of the front end
POSSIBLE: dict[str, tuple[Any, ...]] = {
    "bins": (80,),
    "frame_length_ms": (25.0,),
    "frame_shift_ms": (10.0,),
    "window": ("povey",),
    "preemphasis": (0.97,),
    "remove_dc": (True,),
    "low_hz": (20.0,),
    "snip_edges": (False,),
    "scale": tuple(SCALES),
    "normalise": NORMALISATIONS,
}


def difference(front_end: FrontEndBase) -> str:
    """A description of the first field in which its front end differs from that of the model, or ""."""
    if front_end.name != "fbank":
        return f"the model has front_end {front_end.name}, sherpa-onnx computes fbank"
    fields = dict(front_end)
    for name, values in {**POSSIBLE, "high_hz": (front_end.sample_rate / 2 - BELOW_NYQUIST_HZ,)}.items():
        if (own := fields[name]) not in values:
            return f"the model has front_end.{name} {own}, sherpa-onnx computes {' or '.join(map(str, values))}"
    return ""


def metadata(encoder: Encoder, language: str) -> dict[str, str]:
    """The metadata that it reads. Its front end must match that of the model, see `difference`."""
    front_end = encoder.config.front_end
    return {
        "framework": "wespeaker",  # the framework whose features it passes to the network unchanged
        "language": language,
        "sample_rate": str(front_end.sample_rate),
        "output_dim": str(encoder.dim),
        "normalize_samples": SCALES[dict(front_end)["scale"]],
        "feature_normalize_type": "",
        "comment": f"{encoder.config.model.name}, exported by spkver",
        "url": "",
    }
