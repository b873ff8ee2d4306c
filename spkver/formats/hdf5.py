"""HDF5: datasets `ids`, `vectors`, `speakers` (where known), `scales`, `times`; attributes `model`, `front_end`.

Files of other toolkits, one dataset for each vector with its id as its path, are read too.
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
from typing import Any

import numpy as np

from spkver.embeddings import Embeddings
from spkver.errors import InputError, load_optional
from spkver.files import StrPath, atomic_file
from spkver.formats import npz
from spkver.formats.form import Form, about_model, from_arrays, refuse_newer_form, to_arrays
from spkver.storage import located

_NUMBERS = ("vectors", "scales", "times")
_MOST_COMPRESSED = 2000  # times; deflate reaches 1000
_SECONDS, _BYTES_PER_SECOND = 60.0, 1e6  # maximum time to read a file
_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from spkver.formats import hdf5
hdf5.main(*sys.argv[2:])
"""


def read(path: StrPath) -> Embeddings:
    """Read an HDF5 file in a separate process, because HDF5 may crash or hang on a damaged file.

    Links to other files are not followed.
    """
    load_optional("h5py", "hdf5")
    try:
        size = located(path).stat().st_size
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    seconds = _SECONDS + size / _BYTES_PER_SECOND
    command = [sys.executable, "-c", _CHILD, json.dumps(sys.path), os.fspath(path), str(math.ceil(seconds))]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise InputError(f"damaged HDF5 file (reading it did not end in {seconds:.0f} s)") from error
    if done.returncode == InputError.exit_code:
        raise InputError(done.stderr.decode(errors="replace").strip())
    if done.returncode:
        raise InputError(f"damaged HDF5 file (HDF5 ended with code {done.returncode})")
    return npz.read(io.BytesIO(done.stdout))


def main(path: str, seconds: str) -> None:
    """Child process: write the embeddings as npz to standard output, or an error to standard error."""
    if hasattr(signal, "alarm"):
        signal.alarm(int(seconds))  # in case the parent is killed
    try:
        embeddings = _read(path)
    except InputError as error:
        sys.stderr.write(str(error))
        sys.exit(error.exit_code)
    npz.dump(sys.stdout.buffer, embeddings, "float32")


def _read(path: StrPath) -> Embeddings:
    h5py = load_optional("h5py", "hdf5")
    try:
        with h5py.File(path, "r") as file:
            refuse_newer_form(path, file.attrs)
            if "vectors" not in file:
                return _one_by_one(h5py, file)
            arrays = {name: _dataset(h5py, file, name)[()] for name in _NUMBERS if name in file}
            speakers = _texts(h5py, file, "speakers") if "speakers" in file else None
            return from_arrays(arrays, _texts(h5py, file, "ids"), speakers, dict(file.attrs))
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
        raise InputError(f"not an HDF5 file of embeddings ({error})") from error


def write(path: StrPath, embeddings: Embeddings, dtype: str) -> None:
    """Write an HDF5 file."""
    h5py = load_optional("h5py", "hdf5")
    arrays: dict[str, Any] = to_arrays(embeddings, dtype)
    texts = {"ids": embeddings.ids, "speakers": embeddings.speakers}
    with atomic_file(path) as part, h5py.File(part, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
        for name, values in texts.items():
            if values is not None:
                try:
                    file.create_dataset(name, data=values, shape=(len(values),), dtype=h5py.string_dtype())
                except ValueError as error:  # HDF5 strings end at the first NUL
                    raise InputError(f"HDF5 cannot hold one of the {name} ({error})") from error
        file.attrs.update(about_model(embeddings))


def _dataset(h5py: Any, file: Any, name: str) -> Any:
    """A dataset stored in the file itself. Raises InputError for links and impossible sizes."""
    link = file.get(name, getlink=True)
    found = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise InputError(f"'{name}' is not a dataset of the file itself")
    if found.nbytes > _MOST_COMPRESSED * found.id.get_storage_size():
        raise InputError(f"'{name}' states {found.nbytes} bytes, more than the file contains")
    return found


def _texts(h5py: Any, file: Any, name: str) -> list[str]:
    if name not in file:
        raise InputError(f"no dataset '{name}' in it")
    texts: list[str] = _dataset(h5py, file, name).asstr()[()].tolist()
    return texts


def _one_by_one(h5py: Any, file: Any) -> Embeddings:
    ids: list[str] = []
    vectors: list[np.ndarray] = []

    def visit(name: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset):
            ids.append(name)
            vectors.append(np.ravel(_dataset(h5py, file, name)[()]))

    file.visititems(visit)  # follows no links
    if not ids or len({len(vector) for vector in vectors}) != 1:
        raise InputError("neither a dataset 'vectors' nor one dataset per id, all of one size, in it")
    return from_arrays({"vectors": np.stack(vectors)}, ids, None, {})


FORM = Form(read, write)
