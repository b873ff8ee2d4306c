"""Time and memory of a margin loss over many speakers: python tests/benchmarks/head.py [--help].

One forward and backward pass of LMCL for random embeddings, by reduction and number of speakers, all in one run:

    python tests/benchmarks/head.py --device cpu --classes 1000 10000 100000 1000000 --heads dense chunked
    python tests/benchmarks/head.py --device cuda --batch 512 --dim 256 --classes 1000000 --heads dense chunked fused
    python tests/benchmarks/head.py --device cuda --batch 512 --dim 256 --classes 10000000 --heads fused --momentum

A head is a reduction with an optional setting, such as chunked:2048 or fused:tf32. `plain` is the usual implementation
of other toolkits, cross entropy over the (N, C) logits. Memory is the peak beyond weights and gradients (and momentum):
on a CPU from torch's profiler in a separate pass, on a GPU from CUDA. The floor is the minimum time: that of the
matrix products (three, or four if logits are computed twice) at the rate of a large product in the same run, or
that of reading the weights twice and writing their gradient at the measured bandwidth, whichever is longer.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from spkver.config import validate
from spkver.losses import LOSSES
from spkver.losses.margin_loss import MarginLoss

S, M = 30.0, 0.2


class Plain(nn.Module):
    """LMCL as usually implemented in other toolkits."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, dim) * dim**-0.5)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        cosine = functional.linear(functional.normalize(x), functional.normalize(self.weight))
        cosine = (
            cosine - M * functional.one_hot(y, len(self.weight)) if len(self.weight) <= 10_000 else _less(cosine, y)
        )
        return functional.cross_entropy(S * cosine, y)


def _less(cosine: Tensor, y: Tensor) -> Tensor:
    return cosine.index_put((torch.arange(len(y), device=y.device), y), torch.tensor(-M).to(cosine), accumulate=True)


class Ours(nn.Module):
    """LMCL with a reduction."""

    KEYS = {"chunked": "chunk", "fused": "precision"}

    def __init__(self, head: str, dim: int, classes: int) -> None:
        super().__init__()
        name, _, value = head.partition(":")
        reduction = {"name": name, **({self.KEYS[name]: value} if value else {})}
        config = validate(LOSSES, {"name": "lmcl", "m": M, "head": {"s": S, "reduction": reduction}})
        self.loss = MarginLoss(config, dim, classes)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.loss(x, y).loss


@dataclass(frozen=True)
class Machine:
    """Measured limits of the device."""

    device: torch.device
    products: float
    """operations per second"""
    memory: float
    """bytes per second"""

    @classmethod
    def measure(cls, device: torch.device, batch: int, dim: int) -> Machine:
        a, w = torch.randn(batch, dim, device=device), torch.randn(16384, dim, device=device)
        z = torch.empty(batch, len(w), device=device)
        big = torch.randn(1 << 26, device=device)
        copy = torch.empty_like(big)
        product = min(times(lambda: torch.mm(a, w.T, out=z), device, 15))
        passes = min(times(lambda: copy.copy_(big), device, 7))
        return cls(device, 2 * batch * dim * len(w) / product, 2 * big.nbytes / passes)

    def floor(self, head: str, batch: int, dim: int, classes: int) -> float:
        """The least time of a pass, in seconds."""
        products = 3 if head in ("dense", "plain") else 4
        return max(products * 2 * batch * dim * classes / self.products, 3 * 4 * dim * classes / self.memory)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def times(run: Callable[[], object], device: torch.device, number: int) -> list[float]:
    """Time of each of several runs in seconds, after a warm-up run."""
    found = []
    for _ in range(number + 1):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        found.append(time.perf_counter() - start)
    return found[1:]


def peak(run: Callable[[], object], device: torch.device) -> int:
    """Peak memory of a run in bytes, beyond the memory in use before it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = [event for event in json.loads(trace.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        most = max(most, held)
    return most


def measure(head: str, options: argparse.Namespace, classes: int, device: torch.device) -> tuple[float, float]:
    """Time of a pass in seconds, and its peak memory in bytes beyond weights and gradients; NaN if out of memory."""
    try:
        return _measure(head, options, classes, device)
    except torch.OutOfMemoryError:
        return math.nan, math.nan


def _measure(head: str, options: argparse.Namespace, classes: int, device: torch.device) -> tuple[float, float]:
    torch.manual_seed(0)
    build = Plain(options.dim, classes) if head == "plain" else Ours(head, options.dim, classes)
    loss = build.to(device)
    x = torch.randn(options.batch, options.dim, device=device, requires_grad=True)
    y = torch.randint(classes, (options.batch,), device=device)
    optimizer = torch.optim.SGD(loss.parameters(), lr=1e-6, momentum=0.9) if options.momentum else None

    def run() -> None:
        x.grad = None
        for parameter in loss.parameters():
            parameter.grad = None
        loss(x, y).backward()
        if optimizer:
            optimizer.step()

    seconds = min(times(run, device, options.repeat))
    for tensor in (x, *loss.parameters()):
        tensor.grad = None
    gradients = sum(tensor.nbytes for tensor in (x, *loss.parameters()))
    return seconds, peak(run, device) - gradients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--classes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--heads", nargs="+", default=["plain", "dense", "chunked"])
    parser.add_argument("--repeat", type=int, default=5, help="passes, of which the fastest counts")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--tf32", action="store_true", help="products of dense, chunked and plain in tf32, on a GPU")
    parser.add_argument("--momentum", action="store_true", help="with a step of SGD with momentum")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = options.tf32

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    machine = Machine.measure(device, options.batch, options.dim)
    print(f"{name}, torch {torch.__version__}; batch {options.batch}, dimension {options.dim}")
    print(f"measured: products at {machine.products / 1e9:.0f} Gop/s, memory at {machine.memory / 1e9:.1f} GB/s")
    heads = f"{'head':<14} {'ms':>9} {'/ dense':>8} {'/ floor':>8} {'MiB':>9} {'/ dense':>8}"
    print(f"{'speakers':>9} {'weights, MiB':>12} {heads}")
    for classes in options.classes:
        found = {head: measure(head, options, classes, device) for head in options.heads}
        dense = found.get("dense", (math.nan, math.nan))
        for head, (seconds, held) in found.items():
            floor = machine.floor(head, options.batch, options.dim, classes)
            print(
                f"{classes:>9} {4 * classes * options.dim / 2**20:>12.1f} {head:<14} {1e3 * seconds:>9.1f} "
                f"{seconds / dense[0]:>8.2f} {seconds / floor:>8.2f} {held / 2**20:>9.1f} {held / dense[1]:>8.3f}"
            )


if __name__ == "__main__":
    main()
