"""Importing torchaudio and speechbrain where torchaudio's compiled part does not fit the torch that is installed.

PyPI's torchaudio is built for CUDA and does not load beside a torch for CPUs, though its Python part (Kaldi's fbank,
resampling, transforms) needs no compiled code. speechbrain imports torchaudio.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType

from spkver.errors import InputError, load_optional

EXTENSION = "torchaudio._extension"


def torchaudio() -> ModuleType:
    """The module torchaudio, without its compiled part where that cannot load.

    Raises InputError where it is not installed, or its Python part does not load either.
    """
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError as error:
        raise InputError(f"this needs torchaudio: pip install torchaudio ({error})") from error
    except (ImportError, OSError) as error:
        return _without_extension(error)


def speechbrain() -> ModuleType:
    """The module speechbrain. Raises InputError where it, or the torchaudio that it imports, cannot be loaded."""
    torchaudio()
    try:
        module = importlib.import_module("speechbrain")
    except (ImportError, OSError, AttributeError) as error:
        raise InputError(f"this needs speechbrain: pip install speechbrain ({error})") from error
    # its aliases of old module names import packages that may not be there as soon as anything looks at them, which
    # tools that walk through all modules do (inspect, hypothesis)
    for name, loaded in list(sys.modules.items()):
        if name.startswith("speechbrain.") and type(loaded).__name__ in ("LazyModule", "DeprecatedModuleRedirect"):
            del sys.modules[name]
    return module


def transformers() -> ModuleType:
    """The module transformers. Raises InputError where it, or the torchaudio that it imports, cannot be loaded."""
    with contextlib.suppress(InputError):  # it does without, but not with one that does not load
        torchaudio()
    return load_optional("transformers", "ssl")


def _without_extension(reason: Exception) -> ModuleType:
    stub = ModuleType(EXTENSION)
    stub._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
    stub.fail_if_no_align = lambda function: function  # type: ignore[attr-defined]
    sys.modules[EXTENSION] = stub
    try:
        return importlib.import_module("torchaudio")
    except (ImportError, OSError, AttributeError) as error:
        del sys.modules[EXTENSION]
        raise InputError(
            f"torchaudio does not load beside this torch ({reason}), nor without its compiled part ({error}); "
            "install the torchaudio of torch's own version"
        ) from error
