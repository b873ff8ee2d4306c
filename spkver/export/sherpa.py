"""What sherpa-onnx computes before the network, and the metadata without which it ends the process.

From sherpa-onnx's csrc/speaker-embedding-extractor*.cc and features.h, as of version 2.0.
"""

from __future__ import annotations

from typing import Any

from spkver.encoder import Encoder
from spkver.features.config import FrontEndBase

WAVEFORM = "it takes features, not a waveform; leave --waveform out"

BELOW_NYQUIST_HZ = 400.0  # where its band ends
SCALES = {32768.0: "0", 1.0: "1"}  # its normalize_samples, which keeps the waveform in [-1, 1]
NORMALISATIONS = ("mean", "none")  # which the exported network does itself, after leaving out digital silence

# what it can compute, by field of the front end
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
    """The first field in which its front end is another than the model's, in words, or ""."""
    if front_end.name != "fbank":
        return f"the model's front_end is {front_end.name}, it computes fbank"
    fields = dict(front_end)
    for name, values in {**POSSIBLE, "high_hz": (front_end.sample_rate / 2 - BELOW_NYQUIST_HZ,)}.items():
        if (own := fields[name]) not in values:
            return f"the model's front_end.{name} is {own}, it computes {' or '.join(map(str, values))}"
    return ""


def metadata(encoder: Encoder, language: str) -> dict[str, str]:
    """What it reads from the file. Its front end must be the model's: see `difference`."""
    front_end = encoder.config.front_end
    return {
        "framework": "wespeaker",  # of those that it knows, the one whose features go in as they are
        "language": language,
        "sample_rate": str(front_end.sample_rate),
        "output_dim": str(encoder.dim),
        "normalize_samples": SCALES[dict(front_end)["scale"]],
        "feature_normalize_type": "",
        "comment": f"{encoder.config.model.name}, exported by spkver",
        "url": "",
    }
