"""Augmentation in batches on the training device.

A waveform augmentation is `Augmentation(config)(waveform (batch, time), generator)`, a feature augmentation the same on
(batch, frames, bins). All randomness comes from the generator, so a step can be made again from its seed.
"""

from spkver.registry import Registry

WAVEFORM = Registry(
    "waveform augmentation",
    {
        "noise": "spkver.augment.noise:Noise",
        "reverb": "spkver.augment.reverb:Reverb",
    },
)

FEATURES = Registry(
    "feature augmentation",
    {"spec_augment": "spkver.augment.spec_augment:SpecAugment"},
)
