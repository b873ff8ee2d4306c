from __future__ import annotations

from spkver.config import dump, validate
from spkver.diarization.settings import ENERGY, Settings, read_settings
from spkver.modeldir import default_model


def test_the_packaged_model_has_settings_of_its_own():
    """Fails for a new packaged model until `spkver tune-diarization` has made its settings."""
    settings = read_settings(default_model())
    assert settings is not None and settings.measured


def test_energy_by_name_has_the_limits_of_diarization():
    keys = {"clustering": "spectral"}
    for tree in (keys, keys | {"vad": "energy"}):
        assert validate(Settings, tree).vad.model_dump() == ENERGY
    own = validate(Settings, keys | {"vad": {"name": "energy", "range_db": 40}})
    assert own.vad.range_db == 40 and own.vad.context == 2
    assert "range_db: 26" in dump(validate(Settings, keys))
