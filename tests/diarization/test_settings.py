from __future__ import annotations

from spkver.diarization.settings import read_settings
from spkver.modeldir import default_model


def test_the_packaged_model_has_settings_of_its_own():
    """Fails for a new packaged model until `spkver tune-diarization` has made its settings."""
    settings = read_settings(default_model())
    assert settings is not None and settings.measured
