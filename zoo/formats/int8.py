"""Matrices in 8 bits: whole numbers from -127 to 127 beside one float32 factor for each row or column."""

from collections.abc import Mapping

import numpy as np

from zoo.store import PresetError

_SUFFIX = "/scale"  # behind the name of a matrix: its factors, 1 on every axis but one


def quantized(path, array):
    """Tensors to store for a weight: name -> array.

    Embeddings have a factor for each row, other matrices one for each output; vectors stay in float32.

    Args:
        path: str.
        array: float array.

    Raises:
        ValueError: a weight is NaN or infinite.
    """
    array = np.asarray(array, "float32")
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: {np.sum(~np.isfinite(array))} weights are NaN or infinite; save in float32")
    if array.ndim < 2:
        return {path: array}
    kept = 0 if path.endswith("embeddings") else array.ndim - 1
    largest = np.abs(array).max(axis=tuple(axis for axis in range(array.ndim) if axis != kept), keepdims=True)
    # A row of zeros, or of numbers too small to divide by, stays a row of zeros.
    scale = np.maximum(largest / 127, np.finfo("float32").tiny).astype("float32")
    return {path: np.rint(array / scale).astype("int8"), path + _SUFFIX: scale}


class Dequantized(Mapping):
    """The tensors of a file with its int8 matrices as float32: nothing is read before it is asked for.

    Args:
        tensors: mapping of name to array.
        source: str, the file that errors name.

    Raises:
        PresetError: factors that do not fit their matrix, or are negative, NaN or infinite.
    """

    def __init__(self, tensors, source):
        self._tensors, self._source = tensors, source
        self._scaled = {name for name in tensors if tensors[name].dtype == np.int8 and name + _SUFFIX in tensors}
        for name in self._scaled:
            shape, scale = tensors[name].shape, tensors[name + _SUFFIX]
            along = [axis for axis, size in enumerate(scale.shape) if size > 1]
            fits = len(scale.shape) == len(shape) and len(along) < 2 and all(scale.shape[a] == shape[a] for a in along)
            if scale.dtype != np.float32 or not fits:
                raise PresetError(
                    f"{source}: {name}{_SUFFIX} is {scale.dtype} of shape {scale.shape}; the int8 matrix of shape {shape} "
                    "takes float32, one for each row or column"
                )
            if not (np.isfinite(scale) & (scale > 0)).all():
                raise PresetError(f"{source}: {name}{_SUFFIX} holds a factor that is no finite number above 0")

    def __getitem__(self, name):
        if name.endswith(_SUFFIX) and name.removesuffix(_SUFFIX) in self._scaled:
            raise KeyError(name)
        return (
            _Product(self._tensors[name], self._tensors[name + _SUFFIX])
            if name in self._scaled
            else self._tensors[name]
        )

    def __iter__(self):
        return (
            name for name in self._tensors if name.removesuffix(_SUFFIX) not in self._scaled or name in self._scaled
        )

    def __len__(self):
        return len(self._tensors) - len(self._scaled)


class _Product:
    """An int8 matrix times its factors, computed when NumPy asks for the array."""

    dtype = np.dtype("float32")

    def __init__(self, numbers, scale):
        self.numbers, self.scale, self.shape = numbers, scale, numbers.shape

    def __array__(self, dtype=None, copy=None):
        return np.multiply(self.numbers, self.scale, dtype="float32").astype(dtype or "float32", copy=False)
