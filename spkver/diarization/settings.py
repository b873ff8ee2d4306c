"""The settings of diarization, stored in the model directory as diarization.yaml.

The file names the hash of its model. The hash does not cover the file, so new settings do not change the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from spkver import modeldir
from spkver.config import Config, Of, load, save
from spkver.diarization import CLUSTERINGS
from spkver.diarization.clustering import ClusteringConfig
from spkver.errors import InputError
from spkver.features.config import VADS, VadConfig
from spkver.files import StrPath
from spkver.storage import located

SETTINGS = "diarization.yaml"


class Settings(Config):
    """How the recordings of a model are diarized.

    model: the model's hash, "" if not stored yet; measured: what the settings were tuned on, and the result, in words
    """

    model: str = ""
    vad: Annotated[VadConfig, Of(VADS)] = Field(default="energy", validate_default=True)
    window: float = Field(1.5, gt=0, description="seconds")
    shift: float = Field(0.5, gt=0, description="seconds from window to window")
    clustering: Annotated[ClusteringConfig, Of(CLUSTERINGS)]
    penalty: float = Field(0.1, ge=0, description="of a change of speaker, in seconds of a difference of 1 in cosine")
    measured: str = ""


def write_settings(model: StrPath, settings: Settings) -> Path:
    """Store settings in a model directory. Raises InputError if `model` is not a model directory."""
    path = modeldir.check(model) / SETTINGS
    save(settings.model_copy(update={"model": modeldir.identity(model)}), path)
    return path


def read_settings(model: StrPath, identity: str = "") -> Settings | None:
    """The settings of a model directory, or None if it has none; identity: the model's hash, if known.

    Raises InputError for the settings of another model and for an invalid file.
    """
    path = located(model) / SETTINGS
    if not path.exists():
        return None
    settings = load(Settings, path)
    if settings.model != (identity or modeldir.identity(model)):
        raise InputError(f"{path}: the settings of another model; make new ones with spkver tune-diarization")
    return settings
