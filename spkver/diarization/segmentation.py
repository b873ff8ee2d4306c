"""The segmentation network of pyannote.audio: who speaks, possibly at the same time, in a short window of a recording.

Plaquet, Bredin, "Powerset multi-class cross entropy loss for neural speaker diarization", Interspeech 2023. The filters
are those of SincNet with their quadrature pairs: Pariente, Cornell, Deleforge, Vincent, "Filterbank design for
end-to-end speech separation", ICASSP 2020. `spkver import --from pyannote-segmentation` writes the directory that
`read_segmentation` reads; it has the files of a model directory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Literal

import numpy as np
import safetensors.torch
import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from spkver.config import Config, load, save
from spkver.diarization.speech import Regions
from spkver.encoder import load_weights
from spkver.errors import InputError
from spkver.files import StrPath, atomic_directory, write_text
from spkver.modeldir import CARD, CONFIG, WEIGHTS, check
from spkver.source import Read

RATE = 16000
STEP = 270  # samples from one frame of the network to the next
FIELD = 991  # samples that a frame is computed from
_KERNEL, _LEAST_HZ = 251, 50.0
_BATCH = 8  # windows that are read and computed at once


class SegmentationConfig(Config):
    """The sizes of the network; the defaults are those of pyannote/segmentation-3.0."""

    name: Literal["pyannote"] = "pyannote"
    seconds: float = Field(10.0, gt=0, description="length of a window")
    speakers: int = Field(3, ge=1, description="maximum number of speakers in a window")
    at_once: int = Field(2, ge=1, description="speakers in a frame, at most")
    filters: int = Field(80, ge=2)
    channels: int = Field(60, ge=1)
    lstm_size: int = Field(128, ge=1, description="size of one direction")
    lstm_layers: int = Field(4, ge=1)
    linear_size: int = Field(128, ge=1)
    linear_layers: int = Field(2, ge=1)


class SincFilters(nn.Module):
    """Band-pass filters, of which only the edges are learned: cosines, then sines, one of each per band."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.low_hz_ = nn.Parameter(torch.linspace(30, 7900, filters // 2)[:, None])  # names of the checkpoints
        self.band_hz_ = nn.Parameter(torch.full((filters // 2, 1), 100.0))

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, 1, time) to (batch, filters, frames), every 10 samples."""
        return F.conv1d(waveform, self.filters(), stride=10)

    def filters(self) -> Tensor:
        """The impulse responses (filters, 1, samples), the middle of a cosine's being 1."""
        low = _LEAST_HZ + self.low_hz_.abs()
        high = (low + _LEAST_HZ + self.band_hz_.abs()).clamp(_LEAST_HZ, RATE / 2)
        half = _KERNEL // 2
        times = 2 * math.pi * (torch.arange(-half, 0.0, device=low.device) / RATE)
        window = torch.hamming_window(_KERNEL, periodic=False, device=low.device, dtype=torch.float64)[:half].float()
        # operations in the order of the original, because the network amplifies rounding
        even = ((high * times).sin() - (low * times).sin()) / (times / 2) * window / (2 * (high - low))
        odd = ((low * times).cos() - (high * times).cos()) / (times / 2) * window / (2 * (high - low))
        middle = torch.ones_like(low)
        pairs = [torch.cat([even, middle, even.flip(1)], 1), torch.cat([odd, 0 * middle, -odd.flip(1)], 1)]
        return torch.cat(pairs)[:, None]


class SegmentationNetwork(nn.Module):
    """Filters, convolutions, LSTMs and linear layers, which give a class for each set of speakers."""

    members: Tensor

    def __init__(self, config: SegmentationConfig) -> None:
        super().__init__()
        self.config = config
        filters, channels = config.filters // 2 * 2, config.channels
        self.norm_waveform = nn.InstanceNorm1d(1, affine=True)
        self.filters = SincFilters(filters)
        self.convs = nn.ModuleList([nn.Conv1d(filters, channels, 5), nn.Conv1d(channels, channels, 5)])
        self.norms = nn.ModuleList([nn.InstanceNorm1d(size, affine=True) for size in (filters, channels, channels)])
        self.lstm = nn.LSTM(channels, config.lstm_size, config.lstm_layers, batch_first=True, bidirectional=True)
        sizes = [2 * config.lstm_size] + config.linear_layers * [config.linear_size]
        self.linear = nn.ModuleList([nn.Linear(before, after) for before, after in pairwise(sizes)])
        sets = [own for size in range(config.at_once + 1) for own in combinations(range(config.speakers), size)]
        self.classifier = nn.Linear(sizes[-1], len(sets))
        members = torch.tensor([[speaker in own for speaker in range(config.speakers)] for own in sets]).float()
        self.register_buffer("members", members, persistent=False)  # (sets, speakers)

    @property
    def samples(self) -> int:
        """Samples of a window."""
        return round(self.config.seconds * RATE)

    @property
    def frames(self) -> int:
        """Frames of a window."""
        return 1 + (self.samples - FIELD) // STEP

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, time) in [-1, 1] to the log probabilities (batch, frames, sets of speakers)."""
        x = self.filters(self.norm_waveform(waveform[:, None])).abs()
        for layer, norm in enumerate(self.norms):
            x = F.leaky_relu(norm(F.max_pool1d(self.convs[layer - 1](x) if layer else x, 3)))
        x = self.lstm(x.transpose(1, 2))[0]
        for linear in self.linear:
            x = F.leaky_relu(linear(x))
        return F.log_softmax(self.classifier(x), dim=-1)

    def overlapped(self, waveform: Tensor) -> Tensor:
        """(batch, time) to the probability that several speak, (batch, frames)."""
        return self(waveform).exp()[..., self.members.sum(dim=1) > 1].sum(dim=-1)


@torch.inference_mode()
def overlap_regions(
    network: SegmentationNetwork, samples: int, read: Read, tick: Callable[[int], object] = lambda samples: None
) -> Regions:
    """The regions of a recording in which several people speak, in order.

    samples, read: the recording at 16 kHz, as `Source.open` gives it; tick: called with the number of samples done
    Each window begins in the middle of the one before. The mean of their probabilities decides.
    """
    size, frames = network.samples, network.frames
    hop = max(1, size // (2 * STEP))  # frames
    windows = 1 + max(0, -(-(samples - size) // (hop * STEP)))
    sums, counts = np.zeros((windows - 1) * hop + frames), np.zeros((windows - 1) * hop + frames)
    done = 0
    for first in range(0, windows, _BATCH):
        starts = range(first * hop, min(first + _BATCH, windows) * hop, hop)
        start, end = starts[0] * STEP, starts[-1] * STEP + size
        waveform = read(start, min(end, samples))
        padded = np.pad(waveform, (0, end - start - len(waveform)))
        cut = np.lib.stride_tricks.sliding_window_view(padded, size)[:: hop * STEP].copy()
        for frame, several in zip(starts, network.overlapped(torch.from_numpy(cut)).numpy()):
            sums[frame : frame + frames] += several
            counts[frame : frame + frames] += 1
        tick(min(end, samples) - done)
        done = min(end, samples)
    edges = np.flatnonzero(np.diff(np.r_[False, sums >= counts / 2, False]))
    places = (edges * STEP + (FIELD - STEP) // 2).clip(max=samples)  # half a step before the middle of a frame
    return [(int(a), int(b)) for a, b in places.reshape(-1, 2) if a < b]


def read_segmentation(path: StrPath) -> SegmentationNetwork:
    """The network in a directory, for inference. Raises InputError if it is not one."""
    root = check(path)
    network = SegmentationNetwork(load(SegmentationConfig, root / CONFIG))
    try:
        tensors = safetensors.torch.load_file(root / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{root / WEIGHTS}: cannot be read ({error}); import the model again") from error
    load_weights(network, tensors, str(root / WEIGHTS))
    return network.eval()


def write_segmentation(path: StrPath, network: SegmentationNetwork, card: str) -> None:
    """Write the directory of a network atomically."""
    with atomic_directory(path, holds=CONFIG) as part:
        safetensors.torch.save_file(network.state_dict(), part / WEIGHTS)
        save(network.config, part / CONFIG)
        write_text(part / CARD, card)
