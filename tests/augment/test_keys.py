"""Every key of an augmentation changes its result, or is rejected if it has no effect."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spkver.augment import CODECS, FEATURES, WAVEFORM
from spkver.config import validate
from spkver.errors import InputError

RATE = 16000
PACKS = {"noise": "n", "music": "m", "babble": "b"}
PARTS = [
    *((WAVEFORM, {"name": name}) for name in WAVEFORM),
    *((WAVEFORM, {"name": "noise", "packs": {kind: PACKS[kind]}}) for kind in PACKS),
    (WAVEFORM, {"name": "noise", "packs": PACKS}),
    (WAVEFORM, {"name": "reverb", "packs": "r"}),
    *((FEATURES, {"name": name}) for name in FEATURES),
    *((CODECS, {"name": name}) for name in CODECS),
]


@pytest.fixture
def outcome(recordings, voice):
    """The result of an augmentation for a batch of speech."""
    random = np.random.default_rng(0)
    noises = [(3000 * random.normal(size=size)).astype(np.int16) for size in (300, 9000, 20000)]
    opened = {name: recordings(*noises) for name in "nmb"} | {"r": recordings(*noises[1:])}
    speech = np.stack([voice(pitch, 1.0) for pitch in (90, 120, 150, 180, 210, 240)])

    def compute(registry, config) -> np.ndarray:
        if registry is CODECS:
            codec = registry.build(config)
            return np.stack([codec(speech[0], RATE, np.random.default_rng(seed)) for seed in range(3)])
        if registry is WAVEFORM:
            part, values = registry.build(config, RATE, opened.__getitem__), torch.from_numpy(speech)
        else:
            part, values = registry.build(config, 80), torch.ones(6, 100, 80)
        drawn = (part.draw(6, np.arange(6), values.shape[1], np.random.default_rng(seed)) for seed in range(8))
        return np.stack([part(values, one).numpy() for one in drawn])

    return compute


@pytest.mark.parametrize(("registry", "keys"), PARTS, ids=str)
def test_every_key_has_an_effect_or_is_rejected(registry, keys, alternatives, outcome):
    config = validate(registry, keys)
    plain = outcome(registry, config)
    for key, changed in alternatives(config):
        accepted = []
        for tree in changed:
            try:
                accepted.append(outcome(registry, validate(registry, tree)))
            except InputError:
                continue
        assert not accepted or any(not np.array_equal(one, plain) for one in accepted), key


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "reverb", "longest": 2}, "longest has no effect without packs; leave it out"),
        ({"name": "reverb", "packs": "r", "rt60": [0.2, 0.3]}, "rt60 has no effect with packs"),
        ({"name": "reverb", "packs": "r", "direct_ratio_db": [0, 3]}, "direct_ratio_db has no effect with packs"),
        ({"name": "noise", "packs": {"noise": "n"}, "slope_db_per_octave": [-3, 0]}, "no effect with packs.noise"),
        ({"name": "noise", "music_snr_db": [0, 3]}, "music_snr_db has no effect without packs.music"),
        ({"name": "noise", "shares": {"music": 2}}, "shares.music has no effect without packs.music"),
    ],
)
def test_key_without_effect_is_named(keys, message):
    with pytest.raises(InputError, match=message):
        validate(WAVEFORM, keys)


def test_a_kind_without_a_pack_can_be_switched_off():
    assert validate(WAVEFORM, {"name": "noise", "shares": {"music": 0}}).shares.music == 0
