"""Augmentation in batches on the training device.

A waveform augmentation is `Augmentation(config, sample_rate)(waveform (batch, time), generator)`, a feature
augmentation `Augmentation(config)(features (batch, frames, bins), generator)`. All randomness comes from the
generator, so a step can be made again from its seed. `simulate` runs the waveform augmentations, and codecs, at pack
time.
"""

from spkver.registry import Registry

WAVEFORM = Registry(
    "waveform augmentation",
    {
        "noise": "spkver.augment.noise:Noise",
        "reverb": "spkver.augment.reverb:Reverb",
    },
)

CODECS = Registry(
    "codec",
    {
        "mu_law": "spkver.augment.codec:MuLaw",
        "a_law": "spkver.augment.codec:ALaw",
        "gsm": "spkver.augment.codec:GSM",
        "opus": "spkver.augment.codec:Opus",
        "mp3": "spkver.augment.codec:MP3",
        "vorbis": "spkver.augment.codec:Vorbis",
        "band": "spkver.augment.codec:Band",
    },
)

FEATURES = Registry(
    "feature augmentation",
    {"spec_augment": "spkver.augment.spec_augment:SpecAugment"},
)
