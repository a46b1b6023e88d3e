"""The plain part of HDF5, as Keras writes it: groups of arrays of numbers.

HDF5 can name other files, claim sizes that it does not hold, run filters and form loops. All of that is
refused before a value is read.
"""

import math
import re

import ml_dtypes
import numpy as np

from zoo.store import PresetError, check_shape

_NAME = re.compile(r"[A-Za-z0-9_]{1,128}")
_MOST_OBJECTS, _DEEPEST = 100_000, 16
_LIBRARY_ERRORS = (OSError, RuntimeError, KeyError, TypeError, UnicodeError)  # what h5py makes of damage


class Dataset:
    """An array of an HDF5 file, read when it is asked for; has `.shape` and `.dtype`."""

    def __init__(self, dataset, dtype, where):
        self._dataset, self._where = dataset, where
        self.shape, self.dtype = dataset.shape, dtype

    def __array__(self, dtype=None, copy=None):
        try:
            array = np.asarray(self._dataset[()])
        except _LIBRARY_ERRORS as error:
            raise PresetError(f"{self._where} cannot be read ({error})") from None
        array = array.view(self.dtype)
        return array if dtype is None else array.astype(dtype)


def datasets(folder, name):
    """Every dataset of a file by its path, as `Dataset`.

    Refused: links of any kind but the one hard link that puts an object in its place (no soft, external or
    second links, so no loops); virtual datasets, raw data in other files; chunks and filters, so that what a
    header claims is what the file holds; types other than plain numbers.

    Args:
        folder: `zoo.store.Folder`.
        name: str.

    Raises:
        PresetError: no HDF5, a damaged file, or one of the above.
    """
    import h5py

    source, file = f"{folder.path}/{name}", folder.open(name)
    length = file.seek(0, 2)
    try:
        found = _walk(h5py.File(file, "r"), source, h5py)
    except PresetError:
        raise
    except (*_LIBRARY_ERRORS, ValueError) as error:
        raise PresetError(f"{source}: not a readable HDF5 file ({error})") from None
    total = sum(math.prod(dataset.shape) * dataset.dtype.itemsize for dataset in found.values())
    if total > length:
        raise PresetError(f"{source}: its arrays claim {total} bytes, the file has {length}")
    return found


def _walk(file, source, h5py):
    found, objects, groups = {}, 0, [("", file)]
    while groups:
        prefix, group = groups.pop()
        for key in group:
            objects, path = objects + 1, prefix + key
            if not _NAME.fullmatch(key) or path.count("/") > _DEEPEST or objects > _MOST_OBJECTS:
                raise PresetError(f"{source}: {path[:200]!r} is no name that Keras writes, or one too many or too deep")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise PresetError(f"{source}: {path} is a link to another place; zoo follows no links")
            entry = group[key]
            if h5py.h5o.get_info(entry.id).rc != 1:
                raise PresetError(f"{source}: {path} has more than one name; zoo follows no hard links")
            if isinstance(entry, h5py.Group):
                groups.append((path + "/", entry))
            else:
                found[path] = _plain(entry, f"{source}: {path}", h5py)
    return found


def _plain(entry, where, h5py):
    """A dataset as `Dataset`, once its storage is found to be plain numbers inside this file."""
    if not isinstance(entry, h5py.Dataset) or entry.shape is None:
        raise PresetError(f"{where} is neither a group nor an array")
    layout = entry.id.get_create_plist()
    if layout.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) or layout.get_nfilters():
        raise PresetError(f"{where} is chunked, compressed or virtual; Keras writes plain arrays")
    if layout.get_external_count():
        raise PresetError(f"{where} keeps its values in another file; zoo reads only this one")
    dtype = entry.dtype
    if dtype.kind == "V" and dtype.itemsize == 2 and entry.attrs.get("dtype") == "bfloat16":
        # HDF5 has no such type: Keras writes two opaque bytes and a note.
        dtype = np.dtype(ml_dtypes.bfloat16)
    elif dtype.kind not in "fiu":
        raise PresetError(f"{where} has type {dtype}; weights are plain numbers")
    claimed, stored = check_shape(entry.shape, dtype.itemsize, where), entry.id.get_storage_size()
    if claimed != stored:
        raise PresetError(f"{where} claims shape {entry.shape}, {claimed} bytes, and stores {stored}")
    return Dataset(entry, dtype, where)
