"""HDF5: datasets `ids`, `vectors`, `speakers` (where known), `scales`, `times`; attributes `model`, `front_end`.

Files of other toolkits, one dataset for each vector with its id as its path, are read too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spkver.embeddings import Embeddings
from spkver.errors import InputError, load_optional
from spkver.files import StrPath, atomic_file
from spkver.interop.form import Form, about_model, from_arrays, to_arrays

_NUMBERS = ("vectors", "scales", "times")
_MOST_COMPRESSED = 2000  # times; deflate reaches 1000


def read(path: StrPath) -> Embeddings:
    """Read an HDF5 file. What lies outside it is not followed."""
    h5py = load_optional("h5py", "hdf5")
    try:
        with h5py.File(path, "r") as file:
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
                except ValueError as error:  # HDF5 ends a text at its first NUL
                    raise InputError(f"HDF5 cannot hold one of the {name} ({error})") from error
        file.attrs.update(about_model(embeddings))


def _dataset(h5py: Any, file: Any, name: str) -> Any:
    """A dataset whose values are in the file. Raises InputError for links and for sizes that cannot be true."""
    link = file.get(name, getlink=True)
    found = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise InputError(f"'{name}' is not a dataset of the file itself")
    if found.nbytes > _MOST_COMPRESSED * found.id.get_storage_size():
        raise InputError(f"'{name}' states {found.nbytes} bytes, which the file does not hold")
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
        raise InputError("neither a dataset 'vectors' nor datasets of one size, one for each id, are in it")
    return from_arrays({"vectors": np.stack(vectors)}, ids, None, {})


FORM = Form(read, write)
