"""Import pyannote's segmentation network, pyannote/segmentation-3.0 or one of its form."""

from __future__ import annotations

import re

from torch import Tensor

from spkver.diarization.segmentation import SegmentationConfig, SegmentationNetwork, write_segmentation
from spkver.encoder import load_weights
from spkver.errors import InputError
from spkver.files import StrPath, sha256
from spkver.interop.peers.files import read_checkpoint, tensors_in
from spkver.storage import located

NAME = "pyannote-segmentation"
FILE = "pytorch_model.bin"
_RENAMED = {  # our names of theirs
    "sincnet.wav_norm1d.": "norm_waveform.",
    "sincnet.conv1d.0.filterbank.": "filters.",
    "sincnet.conv1d.1.": "convs.0.",
    "sincnet.conv1d.2.": "convs.1.",
    "sincnet.norm1d.": "norms.",
}
_CONSTANTS = ("filters.n_", "filters.window_")  # that we compute
CARD = """# pyannote segmentation

- Source: `{source}`, sha256 {hash}, a network of pyannote.audio (https://github.com/pyannote/pyannote-audio).
- For `spkver diarize --segmentation`. It takes 16 kHz.
- pyannote/segmentation-3.0 is published under the MIT licence, by Hervé Bredin and CNRS.
"""


def import_segmentation(source: StrPath, out: StrPath) -> None:
    """Convert a checkpoint of pyannote's PyanNet, or a folder with pytorch_model.bin, to the directory `out`.

    No code of the checkpoint is run. Raises InputError for another network.
    """
    path = located(source)
    path = path / FILE if path.is_dir() else path
    tensors = {_ours(name): tensor for name, tensor in tensors_in(read_checkpoint(path, strange=True), path).items()}
    tensors = {name: tensor for name, tensor in tensors.items() if name not in _CONSTANTS}
    network = SegmentationNetwork(_sizes(tensors, str(path)))
    load_weights(network, tensors, str(path))
    write_segmentation(out, network, CARD.format(source=path.name, hash=sha256(path)))


def _ours(name: str) -> str:
    for theirs, own in _RENAMED.items():
        if name.startswith(theirs):
            return own + name[len(theirs) :]
    return name


def _sizes(tensors: dict[str, Tensor], source: str) -> SegmentationConfig:
    """The sizes of a network with these tensors; the length of its windows and its speakers are those of 3.0."""
    try:
        return SegmentationConfig(
            filters=2 * len(tensors["filters.low_hz_"]),
            channels=len(tensors["convs.0.weight"]),
            lstm_size=tensors["lstm.weight_hh_l0"].shape[1],
            lstm_layers=sum(re.fullmatch(r"lstm\.weight_hh_l\d+", name) is not None for name in tensors),
            linear_size=len(tensors["linear.0.weight"]),
            linear_layers=sum(re.fullmatch(r"linear\.\d+\.weight", name) is not None for name in tensors),
        )
    except KeyError as error:
        raise InputError(f"{source}: not a segmentation network of pyannote.audio (no {error.args[0]})") from error
