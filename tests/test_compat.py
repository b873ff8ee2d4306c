from __future__ import annotations

import importlib
import inspect
import sys

import pytest

from spkver import compat
from spkver.errors import InputError


def test_torchaudio_computes_without_its_extension():
    try:
        module = compat.torchaudio()
    except InputError as error:
        pytest.skip(str(error))
    import torch

    assert module.functional.resample(torch.zeros(1, 160), 16000, 8000).shape == (1, 80)
    assert compat.torchaudio() is module


def test_speechbrain_leaves_no_lazy_modules():
    try:
        compat.speechbrain()
    except InputError as error:
        pytest.skip(str(error))
    for module in list(sys.modules.values()):
        getattr(module, "__file__", None)
    inspect.getmodule(inspect.currentframe())


def test_missing_packages_are_input_errors(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", absent)
    for needed in (compat.torchaudio, compat.speechbrain):
        with pytest.raises(InputError, match="this needs torchaudio: pip install torchaudio"):
            needed()


def test_torchaudio_of_another_torch_is_an_input_error(monkeypatch):
    calls = []

    def broken(name):
        calls.append(name)
        raise OSError("libc10_cuda.so: cannot open shared object file") if len(calls) == 1 else AttributeError("x")

    monkeypatch.setattr(importlib, "import_module", broken)
    monkeypatch.setitem(sys.modules, compat.EXTENSION, None)
    with pytest.raises(InputError, match=r"does not load with this torch \(libc10_cuda\.so.*matches torch"):
        compat.torchaudio()
