"""The settings of diarization, stored in the model directory as diarization.yaml.

The file names the hash of its model. The hash does not cover the file, so new settings do not change the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from spkver import modeldir
from spkver.config import Of
from spkver.diarization import CLUSTERINGS
from spkver.diarization.clustering import ClusteringConfig
from spkver.features.config import VADS, VadConfig
from spkver.files import StrPath

SETTINGS = "diarization.yaml"
ENERGY = {"name": "energy", "range_db": 26.0, "margin_db": 5.0, "context": 0}
"""The detector `energy` with stricter limits than in front ends, because false alarms and misses count alike here"""


class Settings(modeldir.Kept):
    """How the recordings of a model are diarized.

    measured: what the settings were tuned on, and the result, in words
    """

    vad: Annotated[
        Annotated[VadConfig, Of(VADS)], BeforeValidator(lambda value: ENERGY if value == "energy" else value)
    ] = Field(default="energy", validate_default=True)
    window: float = Field(1.5, gt=0, description="seconds")
    shift: float = Field(0.5, gt=0, description="seconds from window to window")
    clustering: Annotated[ClusteringConfig, Of(CLUSTERINGS)]
    segmentation: str = Field("", description="directory of a segmentation network, which finds overlapping speech")
    penalty: float = Field(0.1, ge=0, description="cost of a change of speaker, in seconds at a cosine difference of 1")
    measured: str = ""


def write_settings(model: StrPath, settings: Settings) -> Path:
    """Store settings in a model directory. Raises InputError if `model` is not a model directory."""
    return modeldir.keep(model, SETTINGS, settings)


def read_settings(model: StrPath, identity: str = "") -> Settings | None:
    """The settings of a model directory, or None if it has none; identity: the model's hash, if known.

    Raises InputError for the settings of another model and for an invalid file.
    """
    return modeldir.kept(model, SETTINGS, Settings, "make new settings with spkver tune-diarization", identity)
