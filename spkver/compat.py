"""Import torchaudio and speechbrain even if the compiled extension of torchaudio does not match the installed torch.

The torchaudio on PyPI is built for CUDA and does not load beside a CPU-only torch, but its Python part (Kaldi's fbank,
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
    """The module torchaudio, without its compiled extension if that does not load.

    Raises InputError if torchaudio is not installed, or if its Python part does not load either.
    """
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError as error:
        raise InputError(f"this needs torchaudio: pip install torchaudio ({error})") from error
    except (ImportError, OSError) as error:
        return _without_extension(error)


def speechbrain() -> ModuleType:
    """The module speechbrain. Raises InputError if it, or the torchaudio that it imports, does not load."""
    torchaudio()
    try:
        module = importlib.import_module("speechbrain")
    except (ImportError, OSError, AttributeError) as error:
        raise InputError(f"this needs speechbrain: pip install speechbrain ({error})") from error
    # its aliases of old module names import optional packages on any attribute access, for example by tools that
    # inspect all modules (inspect, hypothesis)
    for name, loaded in list(sys.modules.items()):
        if name.startswith("speechbrain.") and type(loaded).__name__ in ("LazyModule", "DeprecatedModuleRedirect"):
            del sys.modules[name]
    return module


def transformers() -> ModuleType:
    """The module transformers. Raises InputError if it does not load."""
    with contextlib.suppress(InputError):  # works without torchaudio, but not with a broken one
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
            f"torchaudio does not load with this torch ({reason}), nor without its compiled extension ({error}); "
            "install the torchaudio version that matches torch"
        ) from error
