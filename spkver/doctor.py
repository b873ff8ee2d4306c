"""What this installation can do: versions, device, what loads and what does not and why, and the room on its disks.

Nothing is imported before it is probed, and every line comes as soon as it is known.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spkver import __version__, compat
from spkver.files import readable_size
from spkver.packs.layout import INDEX

# What the toolkit is installed with, and its optional parts: {extra: (module, what it is for)}
REQUIRED = ("numpy", "scipy", "soundfile", "pyarrow", "pydantic", "yaml", "click", "tqdm", "safetensors", "torch")
OPTIONAL = {
    "plot": ("matplotlib", "DET curves and plots"),
    "tensorboard": ("tensorboardX", "event files"),
    "export": ("onnxruntime", "ONNX files"),
    "hdf5": ("h5py", "HDF5 files"),
    "faiss": ("faiss", "nearest-neighbour indices"),
    "wandb": ("wandb", "logging runs to Weights & Biases"),
    "m4a": ("av", "reading m4a, webm, aac, amr and wma"),
    "ssl": ("transformers", "self-supervised encoders"),
    "fused": ("triton", "the fused reduction of the head"),
    "synthetic": ("espeakng_loader", "voices of the quickstart"),
    "geometry": ("sklearn", "recipes/margin_geometry"),
}
_DISTRIBUTIONS = {
    "faiss": "faiss-cpu",
    "yaml": "PyYAML",
    "sklearn": "scikit-learn",
    "espeakng_loader": "espeakng-loader",
}


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and whether the toolkit lacks something without it."""

    name: str
    found: str
    broken: bool = False


def examine(folder: Path | None = None) -> Iterator[Finding]:
    """Look at this installation and at the packs and models below `folder` (the current directory)."""
    yield Finding("spkver", f"{__version__} in {Path(__file__).parent}")
    yield Finding("Python", f"{platform.python_version()} ({sys.executable})")
    yield Finding("system", f"{platform.platform()}, {_cpus()}")
    for module in REQUIRED:
        yield _probe(module, importlib.import_module, required=True)
    yield _probe("torchaudio", lambda name: compat.torchaudio(), required=True)
    yield _probe("speechbrain", lambda name: compat.speechbrain(), required=True)
    yield _probe("librosa", importlib.import_module, required=True)
    for extra, (module, purpose) in OPTIONAL.items():
        yield _probe(module, importlib.import_module, required=False, purpose=purpose, extra=extra)
    if torch := sys.modules.get("torch"):
        yield Finding("device", _device(torch))
        yield Finding("bf16", _bf16(torch))
    if soundfile := sys.modules.get("soundfile"):
        yield Finding("recordings", _formats(soundfile))
    yield from _kept(folder or Path())


def _probe(module: str, load: Callable[[str], Any], *, required: bool, purpose: str = "", extra: str = "") -> Finding:
    """Import a module. What stops it may be any error at all, so any is told."""
    try:
        load(module)
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        remedy = f"; for {purpose}: pip install 'spkver[{extra}]'" if extra else ""
        return Finding(module, f"does not load: {why}{remedy}", broken=required)
    note = " (its compiled part does not load; what is used here needs none)" if _without_extension(module) else ""
    return Finding(module, f"{_version(module)}{note}{f', {purpose}' if purpose else ''}")


def _version(module: str) -> str:
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return "version not known"


def _without_extension(module: str) -> bool:
    return module == "torchaudio" and getattr(sys.modules.get(compat.EXTENSION), "__file__", None) is None


def _cpus() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {readable_size(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))} of memory"
    return f"{cores} CPU cores{memory}"


def _device(torch: Any) -> str:
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}, but no device" if torch.version.cuda else "torch without CUDA"
        return f"cpu with {torch.get_num_threads()} threads ({built})"
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return "; ".join(
        f"cuda:{number} {one.name}, {readable_size(one.total_memory)}, compute capability {one.major}.{one.minor}"
        for number, one in enumerate(found)
    )


def _bf16(torch: Any) -> str:
    if torch.cuda.is_available():
        return "yes" if torch.cuda.is_bf16_supported(including_emulation=False) else "not in hardware: train in float32"
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return "not known for this CPU"
    fast = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    return f"yes ({', '.join(fast)})" if fast else "not in this CPU: it works, slowly; train in float32"


def _formats(soundfile: Any) -> str:
    known = soundfile.available_formats()
    wanted = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3", "sph": "NIST", "aiff": "AIFF"}
    names = [name for name, container in wanted.items() if container in known]
    if "OPUS" in soundfile.available_subtypes("OGG"):
        names.insert(3, "opus")
    names += ["m4a", "webm", "aac", "amr", "wma"] if sys.modules.get("av") else []
    return f"{', '.join(names)} (libsndfile {soundfile.__libsndfile_version__})"


def _kept(folder: Path) -> Iterator[Finding]:
    """Packs and models where the commands of the README put them, and how much room there is."""
    packs = sorted(path.parent for pattern in ("*", "*/*") for path in folder.glob(f"{pattern}/{INDEX}"))
    models = sorted(folder.glob("exp/*/model"))
    for name, paths in (("packs", packs), ("models", models)):
        shown = ", ".join(f"{path} ({readable_size(_size(path))})" for path in paths[:20])
        yield Finding(name, shown or f"none in {folder.resolve()}")
    for name, path in (("free here", folder), ("free for temporary files", Path(tempfile.gettempdir()))):
        yield Finding(name, f"{readable_size(shutil.disk_usage(path).free)} on the disk of {path.resolve()}")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
