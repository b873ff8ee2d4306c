"""The cost of networks: parameters, multiply-adds, embeddings per second.

Parameters and multiply-adds are counted on torch's meta device, without computation; the largest network takes seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from spkver.config import validate
from spkver.errors import RunError
from spkver.models import MODELS
from spkver.models.variants import VARIANTS, Variant

FRAMES_PER_SECOND = 100


class Cost(NamedTuple):
    """Cost of a network: dimension of the embedding, parameters, and multiply-adds of one embedding."""

    dim: int
    parameters: int
    multiply_adds: int


def build(name: str, device: torch.device | str = "cpu") -> Any:
    """Build a network by name (a variant, or a network with its defaults) with random weights, for inference.

    Raises InputError with the nearest known name.
    """
    config = validate(MODELS, name)
    with torch.device(device):
        return MODELS.build(config, variant(name).bins).eval()


def variant(name: str) -> Variant:
    """The published parameter count of a network, by name."""
    return VARIANTS.get(name, Variant({}))


def cost(name: str, seconds: float) -> Cost:
    """Count for an utterance of the given duration in seconds.

    Multiply-adds include convolutions, linear layers and attention, as in the papers.
    """
    network = build(name, "meta")
    features = torch.empty(1, frames(seconds), variant(name).bins, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(features)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Cost(network.dim, parameters, counter.get_total_flops() // 2)


def frames(seconds: float) -> int:
    """The number of frames of features of the given duration in seconds."""
    return round(seconds * FRAMES_PER_SECOND)


def threads() -> int:
    """The number of CPU threads, which the environment variable OMP_NUM_THREADS sets."""
    return torch.get_num_threads()


def embeddings_per_second(
    name: str,
    seconds: float,
    device: torch.device,
    batch: int,
    runtime: str = "eager",
    at_least: float = 0.5,
    prepare: Callable[[nn.Module, Tensor], Callable[[Tensor], Tensor]] = lambda network, features: network,
) -> float:
    """Embeddings per second from features, in batches of `batch` utterances, measured for `at_least` seconds.

    The result is that of the fastest of three or more batches after a warm-up.
    prepare: function of the network and its input that returns the function to run; runtime: its name
    Raises RunError if the network does not run here.
    """
    features = torch.randn(batch, frames(seconds), variant(name).bins, device=device)
    try:
        network = prepare(build(name).to(device), features)
        _timed(network, features)
    except RuntimeError as error:  # for example out of memory, or no compiler
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"{name} does not run ({runtime}, {batch} utterances at a time, {device}): {reason}") from error
    times = [_timed(network, features) for _ in range(3)]
    while sum(times) < at_least:
        times.append(_timed(network, features))
    return batch / min(times)


@torch.inference_mode()
def _timed(network: Callable[[Tensor], Tensor], features: Tensor) -> float:
    start = time.perf_counter()
    network(features).cpu()  # waits for the device
    return time.perf_counter() - start
