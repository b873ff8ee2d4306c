"""Known published models: licence, size and published error rate, each as its publisher states it."""

from __future__ import annotations

from typing import NamedTuple

WESPEAKER = "CC-BY-4.0"  # docs/pretrained.md of WeSpeaker: the licence of the training data
VOX = "VoxCeleb1-O"
REDIMNET = "https://github.com/IDRnD/ReDimNet/releases/download/latest"
REDIMNET2 = "https://github.com/PalabraAI/redimnet2/releases/download/v1.0.0"


class Known(NamedTuple):
    """A published model.

    name: as `spkver import` takes it; network; millions: of parameters
    eer: in percent, as published on `trials`, cosine scoring unless stated; None: none was published for these weights
    stated: where licence and error rate are stated
    """

    name: str
    network: str
    millions: float
    licence: str
    eer: float | None
    trials: str
    stated: str


# the versions that 3D-Speaker's speakerlab/bin/infer_sv.py uses
PINNED = {
    "iic/speech_campplus_sv_zh-cn_16k-common": "v1.0.0",
    "iic/speech_eres2net_sv_zh-cn_16k-common": "v1.0.5",
    "iic/speech_eres2netv2_sv_zh-cn_16k-common": "v1.0.1",
    "iic/speech_eres2netv2w24s4ep4_sv_zh-cn_16k-common": "v1.0.1",
    "iic/speech_eres2net_base_200k_sv_zh-cn_16k-common": "v1.0.0",
    "iic/speech_campplus_sv_zh_en_16k-common_advanced": "v1.0.0",
    "iic/speech_campplus_sv_en_voxceleb_16k": "v1.0.2",
    "iic/speech_eres2net_sv_en_voxceleb_16k": "v1.0.2",
    "iic/speech_eres2net_base_sv_zh-cn_3dspeaker_16k": "v1.0.1",
    "iic/speech_eres2net_large_sv_zh-cn_3dspeaker_16k": "v1.0.0",
    "iic/speech_ecapa-tdnn_sv_zh-cn_cnceleb_16k": "v1.0.0",
    "iic/speech_ecapa-tdnn_sv_zh-cn_3dspeaker_16k": "v1.0.0",
    "iic/speech_ecapa-tdnn_sv_en_voxceleb_16k": "v1.0.1",
}

_WS = "wespeaker: docs/pretrained.md, examples/voxceleb/v2"
_3D = "3D-Speaker: README.md"
_RN, _RN2 = "ReDimNet: EVALUATION.md", "redimnet2: README.md"
_SB = "huggingface.co; speechbrain: recipes/VoxCeleb/SpeakerRec"

KNOWN = (
    Known("speechbrain/spkrec-ecapa-voxceleb", "ECAPA-TDNN", 20.77, "Apache-2.0", 0.80, f"{VOX}, S-norm", _SB),
    Known("Wespeaker/wespeaker-voxceleb-resnet34-LM", "ResNet34", 6.63, WESPEAKER, 0.797, VOX, _WS),
    Known("Wespeaker/wespeaker-voxceleb-resnet221-LM", "ResNet221", 23.79, WESPEAKER, 0.580, VOX, _WS),
    Known("Wespeaker/wespeaker-voxceleb-resnet293-LM", "ResNet293", 28.62, WESPEAKER, 0.532, VOX, _WS),
    Known("Wespeaker/wespeaker-voxceleb-campplus-LM", "CAM++", 7.18, WESPEAKER, 0.707, VOX, _WS),
    Known("Wespeaker/wespeaker-ecapa-tdnn512-LM", "ECAPA-TDNN", 6.19, WESPEAKER, 0.878, VOX, _WS),
    Known("Wespeaker/wespeaker-voxceleb-ecapa-tdnn1024-LM", "ECAPA-TDNN", 14.65, WESPEAKER, 0.798, VOX, _WS),
    Known("Wespeaker/wespeaker-voxceleb-gemini-DFresnet114-LM", "Gemini DF-ResNet", 6.53, WESPEAKER, 0.771, VOX, _WS),
    Known("wenet/voxblink2_samresnet34_ft", "SimAM-ResNet34", 25.2, WESPEAKER, 0.415, VOX, _WS),
    Known("wenet/voxblink2_samresnet100_ft", "SimAM-ResNet100", 50.2, WESPEAKER, 0.229, VOX, _WS),
    Known("iic/speech_campplus_sv_en_voxceleb_16k", "CAM++", 7.2, "Apache-2.0", 0.65, VOX, _3D),
    Known("iic/speech_eres2net_sv_en_voxceleb_16k", "ERes2Net", 6.61, "Apache-2.0", 0.84, VOX, _3D),
    Known("iic/speech_ecapa-tdnn_sv_en_voxceleb_16k", "ECAPA-TDNN", 20.8, "Apache-2.0", 0.86, VOX, _3D),
    Known("iic/speech_campplus_sv_zh-cn_16k-common", "CAM++", 7.2, "Apache-2.0", None, "", _3D),
    Known("iic/speech_eres2netv2_sv_zh-cn_16k-common", "ERes2NetV2", 17.8, "Apache-2.0", None, "", _3D),
    *(
        Known(
            f"{REDIMNET}/{size}-vox2-ft_lm.pt",
            f"ReDimNet-{size.upper()}",
            millions,
            "MIT",
            eer,
            VOX,
            "its EVALUATION.md",
        )
        for size, millions, eer in (
            ("b0", 1.0, 1.16),
            ("b1", 2.2, 0.85),
            ("b2", 4.7, 0.57),
            ("b3", 3.0, 0.50),
            ("b5", 9.2, 0.43),
            ("b6", 15.0, 0.40),
        )
    ),
    *(
        Known(f"{REDIMNET2}/{size}-vox2-lm.pt", f"ReDimNet2-{size.upper()}", millions, "MIT", eer, VOX, _RN2)
        for size, millions, eer in (
            ("b0", 1.1, 1.04),
            ("b1", 2.1, 0.78),
            ("b2", 3.6, 0.57),
            ("b3", 4.1, 0.42),
            ("b4", 6.6, 0.37),
            ("b5", 8.9, 0.33),
            ("b6", 12.3, 0.29),
        )
    ),
)
# licences of files that come without a README.md
_OF_ADDRESSES = {
    "https://github.com/IDRnD/": "MIT",
    "https://github.com/PalabraAI/": "MIT",
    "wenet/": "that of the training data (docs/pretrained.md of WeSpeaker); VoxCeleb: CC-BY-4.0",
}


def licence_of(name: str) -> str:
    """The licence of a model by the beginning of its name, or an empty text."""
    return next((stated for start, stated in _OF_ADDRESSES.items() if name.startswith(start)), "")


def rows() -> list[tuple[str, ...]]:
    """A table of the known models, for `tables.text`."""
    head = ("model", "network", "million parameters", "licence", "EER in %", "trials", "stated in")
    return [
        head,
        *(
            (one.name, one.network, f"{one.millions:g}", one.licence, _percent(one.eer), one.trials, one.stated)
            for one in KNOWN
        ),
    ]


def _percent(eer: float | None) -> str:
    return "" if eer is None else f"{eer:.2f}" if round(eer, 2) == eer else f"{eer:.3f}"
