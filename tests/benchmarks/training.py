"""Training from audio packs: python tests/benchmarks/training.py [--device cuda] [--models xvector resnet34]

Makes packs of synthetic recordings, noises, music, babble and rooms in a temporary folder and trains on them with
`spkver.recipe.train`, with speeds, reverberation, noise and SpecAugment. Prints for every network

    bare step   forward, backward and optimizer on one prepared batch of features: the upper limit of any loop
    whole loop  utterances per second in each window of the log after the first, and the best; the share of time
                waiting for batches; and peak memory (of the device, or of the process)
    work        floating-point operations of a step (torch.utils.flop_counter), and the share of the device's peak that
                the loop reaches; the peak is that of a matrix product in the same precision, measured here
    traffic     bytes read and written by the operations of a step, with features, if each were a separate kernel
    floor       upper limits by the work, and, without compilation, by the memory traffic, at the peak and bandwidth
                measured here; a large cache may exceed the latter
    loader      batches drawn and read by one thread without other work, and augmentation and features on the device

On a GPU, also reports whether the host waits for the device within a step. Other work on the machine makes everything
slower: repeat, and use the best results.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from spkver.config import validate
from spkver.packs import PackWriter
from spkver.recipe import Recipe, build, train
from spkver.training.monitoring.pace import fast_cpu
from spkver.training.step.compiling import forward_of

RATE = 16000


def write_pack(path: Path, rows: int, speakers: int, seconds: float, *, decay: float | None = None) -> str:
    """Noise with roughly the spectrum and the pauses of speech; with a decay (seconds), room responses."""
    random = np.random.default_rng(len(path.name))
    size = int(seconds * RATE)
    noise = np.convolve(random.normal(size=size + 4 * RATE), np.ones(8) / 3, "same")
    with PackWriter(path, kind="audio", sample_rate=RATE) as pack:
        for row in range(rows):
            start = random.integers(0, 4 * RATE)
            level = np.repeat(random.uniform(200, 4000, size=size // 1600 + 1), 1600)[:size]
            samples = noise[start : start + size] * level
            if decay:
                samples = samples * np.exp(-7 * np.arange(size) / RATE / decay)
                samples[50] = 30000
            pack.add(f"{row:05}", f"s{row % speakers:04}", "", np.clip(samples, -32768, 32767).astype("<i2"))
    return str(path)


def make_recipe(folder: Path, options: argparse.Namespace, model: str, *, compiled: bool) -> Recipe:
    noises = {kind: str(folder / kind) for kind in ("noise", "music", "babble")}
    waveform = [{"name": "reverb", "packs": str(folder / "rooms")}, {"name": "noise", "packs": noises}]
    augment = {"speeds": [1.0, 0.9, 1.1], "waveform": waveform, "features": ["spec_augment"]}
    tree: dict[str, Any] = {
        "data": {"train": str(folder / "train"), "crop_seconds": options.seconds},
        "model": model,
        "loss": "lmcl",
        "augment": {} if options.plain else augment,
        "train": {
            "steps": options.steps * (options.windows + 1),
            "log_every": options.steps,
            "batch_size": options.batch,
            "device": options.device,
            "threads": options.threads,
            "precision": options.precision,
            "compile": compiled,
        },
    }
    return validate(Recipe, tree)


def timed(work: Callable[[], object], device: torch.device, seconds: float = 3.0) -> float:
    """Time of a call in seconds: the best of the calls within a time budget, after a warm-up call."""
    once(work, device)
    times: list[float] = []
    while sum(times) < seconds:
        times.append(once(work, device))
    return min(times)


def once(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(device: torch.device, kind: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    return 2 * size**3 / timed(lambda: a @ b, device)


def bandwidth(device: torch.device) -> float:
    """Bytes per second, read and written, of a copy in device memory."""
    source = torch.ones((1 << 30 if device.type == "cuda" else 1 << 26) // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / timed(lambda: target.copy_(source), device)


class Traffic(TorchDispatchMode):
    """Counts the bytes of all tensors that operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = op(*args, **(kwargs or {}))
        if not op.is_view and "empty" not in op.name():
            self.bytes += sum(one.nbytes for one in tree_leaves((args, kwargs, out)) if isinstance(one, torch.Tensor))
        return out


@contextmanager
def no_waiting(device: torch.device) -> Any:
    """Raise an error if the host waits for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def memory(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB of the device"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB of the process"


class Parts(NamedTuple):
    """Measurements of the parts of a step."""

    device: torch.device
    precision: str
    bare: float  # seconds
    work: int  # floating-point operations
    traffic: int  # bytes


def measure_parts(recipe: Recipe, options: argparse.Namespace, folder: Path) -> Parts:
    """Print the bare step and the loader of a recipe's first batch."""
    learner = build(recipe, folder / "unused", lambda text: None).learner
    device, inputs, size = learner.device, learner.inputs, options.batch
    learner.encoder.train()
    batch = inputs.batch(0) if device.type == "cpu" else inputs.batch(0).to(device)
    features = inputs.features(batch)

    def step(forward: Callable[[torch.Tensor], torch.Tensor] = learner.encoder.network) -> None:
        learner.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=learner.bf16):
            embeddings = forward(features)
        learner.loss(embeddings, batch.labels, 0.5).loss.backward()
        learner.optimizer.step()

    words = f"{recipe.model.name} on {device}, {'compiled' if recipe.train.compile else 'eager'}"
    precision = "bf16" if learner.bf16 else "fp32"
    print(f"\n{words}, {precision}: batches of {size} x {options.seconds:g} s, {len(learner.sampler.classes)} classes")
    forward = forward_of(learner.encoder.network, recipe.train, device, print)
    first = once(lambda: step(forward), device)
    bare = timed(lambda: step(forward), device, options.bare_seconds)
    print(f"  bare step   {size / bare:9.1f} utt/s ({1e3 * bare:.1f} ms; the first took {first:.1f} s)")
    numbers = iter(range(1, 1 << 30))
    loading = timed(lambda: inputs.batch(next(numbers)), device)
    making = timed(lambda: inputs.features(batch), device)
    print(f"  loader      {size / loading:9.1f} utt/s drawn and read by one thread")
    print(f"              {size / making:9.1f} utt/s augmented and made into features")
    if device.type == "cuda":
        check_waiting(learner, batch)
    with FlopCounterMode(display=False) as counter, Traffic() as traffic:  # what is compiled cannot be counted
        inputs.features(batch)
        step()
    return Parts(device, precision, bare, counter.get_total_flops(), traffic.bytes)


class Device(NamedTuple):
    """Measurements of the device."""

    peaks: dict[str, float]  # floating-point operations a second, by precision
    bandwidth: float  # bytes a second


def measure(recipe: Recipe, options: argparse.Namespace, folder: Path, able: Device) -> None:
    """Print the results of the whole loop of a recipe, next to its parts."""
    with fast_cpu(options.threads):
        parts = measure_parts(recipe, options, folder)
    if parts.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(parts.device)
    train(recipe, folder / "out", say=lambda text: None)
    records = [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()][1:]
    shutil.rmtree(folder / "out")
    rates = [one["utterances_per_second"] for one in records]
    steps, reach = max(rates) / options.batch, able.peaks[parts.precision]
    shown = " ".join(f"{rate:.1f}" for rate in rates)
    print(f"  whole loop  {max(rates):9.1f} utt/s ({shown}), {steps * parts.bare:.0%} of the bare step's")
    print(f"  waiting     {100 * min(one['waiting'] for one in records):9.2f} % of the time for batches")
    print(f"  memory      {memory(parts.device)} at most")
    print(f"  work        {parts.work / 1e9 / options.batch:9.2f} GFLOP an utterance")
    alone = parts.work / parts.bare / reach
    print(f"              {parts.work * steps / reach:9.1%} of the device's peak; the bare step {alone:.1%}")
    print(f"  traffic     {parts.traffic / 1e6 / options.batch:9.1f} MB an utterance")
    by_work, by_traffic = reach * options.batch / parts.work, able.bandwidth * options.batch / parts.traffic
    print(f"  floor       {by_work:9.1f} utt/s by work, {by_traffic:.1f} by traffic")


def check_waiting(learner: Any, batch: Any) -> None:
    learner.step(0, batch)
    wait(learner.device)
    try:
        with no_waiting(learner.device):
            learner.step(1, batch)
        print("  the host does not wait for the device within a step")
    except RuntimeError as error:
        print(f"  THE HOST WAITS for the device: {str(error).splitlines()[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", nargs="+", default=["xvector"])
    parser.add_argument("--compile", choices=["no", "yes", "both"], default="both")
    parser.add_argument("--batch", type=int, help="64, on a GPU 256")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--threads", type=int, help="Of the CPU.")
    parser.add_argument("--steps", type=int, help="In a window of the log: 8, on a GPU 100.")
    parser.add_argument("--windows", type=int, default=3, help="That count; one more comes before them.")
    parser.add_argument("--bare-seconds", type=float, default=5.0)
    parser.add_argument("--speakers", type=int, default=334)
    parser.add_argument("--cudnn-benchmark", action="store_true", help="Let cuDNN choose its algorithms by trying.")
    parser.add_argument("--plain", action="store_true", help="Without augmentation.")
    parser.add_argument("--folder", help="Where the packs go, 0.2 GB (the system's temporary folder).")
    options = parser.parse_args()
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    torch.backends.cudnn.benchmark = options.cudnn_benchmark
    options.batch = options.batch or (256 if on_gpu else 64)
    options.steps = options.steps or (100 if on_gpu else 8)
    root = Path(tempfile.mkdtemp(prefix="training-", dir=options.folder))
    try:
        write_pack(root / "train", 4 * options.speakers, options.speakers, 4.0)
        for kind in ("noise", "music", "babble"):
            write_pack(root / kind, 50, 1, 10.0)
        write_pack(root / "rooms", 50, 1, 1.0, decay=0.5)
        peaks = {name: peak(device, kind) for name, kind in (("bf16", torch.bfloat16), ("fp32", torch.float32))}
        able = Device(peaks, bandwidth(device))
        name = torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads"
        shown = ", ".join(f"{one / 1e12:.3f} {kind}" for kind, one in peaks.items())
        speed = f"{able.bandwidth / 1e9:.1f} GB/s"
        print(f"torch {torch.__version__}, {name}; a product of matrices: {shown} TFLOP/s; a copy: {speed}")
        for model in options.models:
            for compiled in {"no": [False], "yes": [True], "both": [False, True]}[options.compile]:
                measure(make_recipe(root, options, model, compiled=compiled), options, root, able)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
