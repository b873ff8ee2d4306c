from __future__ import annotations

import numpy as np
import pytest
import torch

from spkver.diarization.segmentation import (
    FIELD,
    RATE,
    STEP,
    SegmentationConfig,
    SegmentationNetwork,
    SincFilters,
    overlap_regions,
    read_segmentation,
    write_segmentation,
)
from spkver.errors import InputError
from spkver.modeldir import CONFIG, WEIGHTS

SMALL = SegmentationConfig(seconds=2.0, filters=8, channels=6, lstm_size=4, lstm_layers=2, linear_size=5)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SegmentationNetwork(SMALL).eval()


def test_filters_are_windowed_band_passes_and_their_quadrature():
    filters = SincFilters(4)
    with torch.no_grad():
        filters.low_hz_.copy_(torch.tensor([[100.0], [-400.0]]))  # the sign has no effect
        filters.band_hz_.copy_(torch.tensor([[50.0], [300.0]]))
    times = np.arange(-125, 126) / RATE
    window = np.hamming(251)
    for row, (low, high) in enumerate(((150, 250), (450, 800))):
        even = 2 * high * np.sinc(2 * high * times) - 2 * low * np.sinc(2 * low * times)
        odd = np.divide(
            np.cos(2 * np.pi * low * times) - np.cos(2 * np.pi * high * times),
            np.pi * times,
            out=np.zeros(251),
            where=times != 0,
        )
        found = filters.filters().detach().numpy()[:, 0]
        assert found[row] == pytest.approx(even * window / (2 * (high - low)), abs=1e-5)
        assert found[2 + row] == pytest.approx(odd * window / (2 * (high - low)), abs=1e-5)


def test_sets_of_speakers_are_in_the_order_of_pyannote():
    members = SegmentationNetwork(SegmentationConfig()).members.int().tolist()
    assert members == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]]


def test_frames_are_those_of_pyannote(network):
    assert SegmentationNetwork(SegmentationConfig()).frames == 589
    waveform = torch.randn(2, network.samples)
    log = network(waveform)
    assert log.shape == (2, network.frames, 7)
    assert log.exp().sum(-1).detach().numpy() == pytest.approx(1, abs=1e-5)
    assert network(waveform[:, : FIELD + 9 * STEP]).shape[1] == 10
    assert network(waveform[:, : FIELD + 9 * STEP - 1]).shape[1] == 9


def test_the_level_has_no_effect(network):
    waveform = torch.randn(1, network.samples)
    assert torch.allclose(network(waveform), network(0.1 * waveform + 0.01), atol=1e-3)


class Loud(SegmentationNetwork):
    """Says that several speak where the waveform is positive at the middle of a frame."""

    def overlapped(self, waveform):
        middles = FIELD // 2 + STEP * torch.arange(self.frames)
        return (waveform[:, middles] > 0).float()


def regions(waveform):
    return overlap_regions(Loud(SMALL), len(waveform), lambda a, b: waveform[a:b])


@pytest.mark.parametrize("seconds", [1.0, 2.0, 2.1, 7.3, 40.0])
def test_overlap_is_found_anywhere(seconds):
    waveform = np.full(round(seconds * RATE), -0.1, np.float32)
    first, last = round(0.4 * len(waveform)), round(0.7 * len(waveform))
    waveform[first:last] = 0.1
    ((start, end),) = regions(waveform)
    assert abs(start - first) <= STEP and abs(end - last) <= STEP
    assert regions(np.abs(waveform))[-1][1] <= len(waveform)
    assert regions(-np.abs(waveform)) == []


def test_the_mean_of_the_windows_decides(network, monkeypatch):
    hop = network.samples // (2 * STEP)
    said = torch.zeros(3, network.frames)
    said[0, hop : hop + 10] = 0.7  # the second window hears it too
    said[1, :10] = 0.4
    said[1, 20:30] = 0.9  # and the first does not
    monkeypatch.setattr(network, "overlapped", lambda waveform: said)
    samples = network.samples + 2 * hop * STEP
    found = overlap_regions(network, samples, lambda a, b: np.zeros(b - a, np.float32))
    middle = FIELD // 2 + STEP * hop
    assert found == [(middle - STEP // 2, middle + 10 * STEP - STEP // 2)]


def test_the_probability_of_overlap_is_that_of_all_larger_sets(network):
    waveform = torch.randn(2, network.samples)
    assert torch.allclose(network.overlapped(waveform), network(waveform).exp()[..., 4:].sum(-1))


def test_a_directory_gives_the_same_network(network, tmp_path):
    write_segmentation(tmp_path / "seg", network, "# card\n")
    read = read_segmentation(tmp_path / "seg")
    waveform = torch.randn(1, network.samples)
    assert read.config == SMALL and torch.equal(read(waveform), network(waveform))


def test_directories_of_other_things_are_refused(network, tmp_path):
    with pytest.raises(InputError, match="not a model directory"):
        read_segmentation(tmp_path)
    write_segmentation(tmp_path / "seg", network, "")
    (tmp_path / "seg" / WEIGHTS).write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"cannot be read .*import the model again"):
        read_segmentation(tmp_path / "seg")
    (tmp_path / "seg" / CONFIG).write_text("front_end: fbank\n")
    with pytest.raises(InputError, match="front_end"):
        read_segmentation(tmp_path / "seg")
