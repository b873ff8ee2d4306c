"""The memory of a device, and the memory that a computation needs."""

from __future__ import annotations

import contextlib
import gc
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from spkver.errors import RunError

_STATUS, _MEMINFO, _PEAK_RESET = Path("/proc/self/status"), Path("/proc/meminfo"), Path("/proc/self/clear_refs")
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class OutOfMemoryError(RunError):
    """The memory of the device is too small."""


def limit(device: torch.device) -> int | None:
    """The number of bytes available to this process on a device; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    available, own = _field(_MEMINFO, "MemAvailable"), _field(_STATUS, "VmRSS")
    limits = [int(text) for path in _CGROUP_LIMITS if path.is_file() and (text := path.read_text().strip()).isdigit()]
    if available is not None:
        limits.append(available + (own or 0))
    return min(limits, default=None)


def peak(device: torch.device, work: Callable[[], object]) -> int:
    """The peak number of bytes of this process on a device during some work.

    On a CPU this is resident memory; on other systems than Linux, it is the peak since the process started.
    Raises OutOfMemoryError if the memory is too small.
    """
    gc.collect()
    with as_error():
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            work()
            torch.cuda.synchronize(device)
            return torch.cuda.max_memory_reserved(device)
        if _PEAK_RESET.exists():
            _PEAK_RESET.write_text("5")  # proc(5): resets the peak to the current size
        work()
        return _field(_STATUS, "VmHWM") or _peak_by_getrusage()


@contextlib.contextmanager
def as_error() -> Iterator[None]:
    """Turn all errors of exhausted memory within the context into an OutOfMemoryError."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(_in_words(error)) from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # the message of PyTorch's CPU allocator
            raise
        raise OutOfMemoryError(_in_words(error)) from error


def _in_words(error: BaseException) -> str:
    asked = re.search(r"tried to allocate [\d.]+ \w+", str(error), re.IGNORECASE)
    detail = f" ({asked[0].lower()})" if asked else ""
    return f"out of memory{detail}; 'spkver train ... --dry-run' finds a train.batch_size that fits"


def largest(sizes: Sequence[tuple[int, int]], most: int) -> int:
    """The largest size that needs at most `most` bytes, by a line through two measurements (size, bytes)."""
    (small, few), (large, many) = sizes
    slope = max(many - few, 1) / (large - small)
    return int(small + (most - few) / slope) if most > 0 else 0


def _field(path: Path, name: str) -> int | None:
    """A field of a file in /proc that is given in kB, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", path.read_text(), re.MULTILINE) if path.is_file() else None
    return 1024 * int(found[1]) if found else None


def _peak_by_getrusage() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if platform.system() == "Darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
