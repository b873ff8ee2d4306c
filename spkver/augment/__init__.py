"""Augmentation in batches on the training device.

A waveform augmentation is built as `Part(config, sample_rate, open_pack)`, a feature augmentation as
`Part(config, bins)`; see `draw.Augmentation` for its two steps. `simulate` applies the waveform augmentations and
codecs at pack time.
"""

from spkver.registry import Registry

WAVEFORM = Registry(
    "waveform augmentation",
    {
        "drop_chunk": "spkver.augment.drop:DropChunk",
        "drop_freq": "spkver.augment.drop:DropFreq",
        "equaliser": "spkver.augment.equaliser:Equaliser",
        "gate": "spkver.augment.gate:Gate",
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
