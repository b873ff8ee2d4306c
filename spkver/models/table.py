"""What the networks cost: parameters, multiply-adds, embeddings per second.

Parameters and multiply-adds are counted on torch's meta device: nothing is computed, and the largest network takes
seconds.
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
    """Of one network: the size of its embedding, its parameters, and the multiply-adds of one embedding."""

    dim: int
    parameters: int
    multiply_adds: int


def build(name: str, device: torch.device | str = "cpu") -> Any:
    """The network of that name (a variant's, or a network's with its defaults), with random weights, for inference.

    Raises InputError naming the nearest known one.
    """
    config = validate(MODELS, name)
    with torch.device(device):
        return MODELS.build(config, variant(name).bins).eval()


def variant(name: str) -> Variant:
    """What is published about the network of that name."""
    return VARIANTS.get(name, Variant({}))


def cost(name: str, seconds: float) -> Cost:
    """Count for an utterance of that many seconds.

    Multiply-adds are those of convolutions, linear layers and attention, as the papers count them.
    """
    network = build(name, "meta")
    features = torch.empty(1, frames(seconds), variant(name).bins, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(features)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Cost(network.dim, parameters, counter.get_total_flops() // 2)


def frames(seconds: float) -> int:
    """How many frames features of that duration have."""
    return round(seconds * FRAMES_PER_SECOND)


def threads() -> int:
    """On how many threads a CPU computes; the environment variable OMP_NUM_THREADS sets it."""
    return torch.get_num_threads()


@torch.inference_mode()
def embeddings_per_second(
    name: str,
    seconds: float,
    device: torch.device,
    batch: int,
    runtime: str = "eager",
    at_least: float = 0.5,
    prepare: Callable[[nn.Module, Tensor], Callable[[Tensor], Tensor]] = lambda network, features: network,
) -> float:
    """Features in, embeddings out: batches of that many utterances, timed for `at_least` seconds after a warm-up.

    The fastest of three batches or more counts. prepare: gives what runs the network, of it and its input; runtime: its
    name. Raises RunError where it cannot run here.
    """
    features = torch.randn(batch, frames(seconds), variant(name).bins, device=device)
    try:
        network = prepare(build(name).to(device), features)
        _timed(network, features)
    except RuntimeError as error:  # too much for the memory; no compiler
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"{name} does not run ({runtime}, {batch} utterances at a time, {device}): {reason}") from error
    times = [_timed(network, features) for _ in range(3)]
    while sum(times) < at_least:
        times.append(_timed(network, features))
    return batch / min(times)


def _timed(network: Callable[[Tensor], Tensor], features: Tensor) -> float:
    start = time.perf_counter()
    network(features).cpu()  # waits for the device
    return time.perf_counter() - start
