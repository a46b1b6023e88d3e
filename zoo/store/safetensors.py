"""The safetensors format over bytes: 8 bytes of header length, a JSON header, then the arrays side by side.

Source: github.com/huggingface/safetensors. A file is accepted only if its tensors cover the data without gap
or overlap, so that it has one meaning and room for nothing else.
"""

import io
import json
import struct
from collections.abc import Mapping

import ml_dtypes
import numpy as np

from zoo.store import strict_json
from zoo.store.names import PresetError, check_shape, check_tensor_name

# In the order in which tensors are written: largest items first keeps every array aligned.
DTYPES = {
    name: np.dtype(dtype)
    for name, dtype in {
        "F64": "<f8",
        "I64": "<i8",
        "U64": "<u8",
        "F32": "<f4",
        "I32": "<i4",
        "U32": "<u4",
        "F16": "<f2",
        "BF16": ml_dtypes.bfloat16,
        "I16": "<i2",
        "U16": "<u2",
        "BOOL": "?",
        "I8": "i1",
        "U8": "u1",
    }.items()
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_LONGEST_HEADER = 16 << 20  # a model of 100,000 tensors needs 12 MB


class SafeTensors(Mapping):
    """Tensors by name as read-only views of the file's memory map: nothing is read before it is looked at.

    Args:
        buffer: `uint8 [n]` array, the whole file.
        where: str, the file that errors name.

    Attributes:
        metadata: dict of str to str.

    Raises:
        PresetError: header or tensors do not fit the file.
    """

    def __init__(self, buffer, where):
        header, self._data = _split(buffer, where)
        self._where = where
        self.metadata = header.pop("__metadata__", {})
        if not isinstance(self.metadata, dict) or not all(isinstance(v, str) for v in self.metadata.values()):
            raise PresetError(f"{where}: __metadata__ must be an object of strings")
        self._entries = {name: _entry(name, entry, where) for name, entry in header.items()}
        end = 0
        for name, (_, _, begin, stop) in sorted(self._entries.items(), key=lambda item: item[1][2:]):
            if begin != end:
                raise PresetError(
                    f"{where}: tensor {name[:200]!r} starts at byte {begin}, the one before ends at {end}"
                )
            end = stop
        if end != len(self._data):
            raise PresetError(f"{where}: the tensors end at byte {end} of the data, the file at {len(self._data)}")

    def __getitem__(self, name):
        dtype, shape, begin, end = self._entries[name]
        data = self._data[begin:end]
        if dtype == np.bool_ and data.size and data.max() > 1:
            raise PresetError(f"{self._where}: tensor {name[:200]!r} is BOOL and holds a byte other than 0 and 1")
        array = np.frombuffer(data, dtype=dtype).reshape(shape)
        return array if array.flags.aligned else array.copy()

    def __iter__(self):
        return iter(self._entries)

    def __len__(self):
        return len(self._entries)


def _split(buffer, where):
    """(header as dict, data as `uint8` array)."""
    if len(buffer) < 8:
        raise PresetError(f"{where}: {len(buffer)} bytes; a safetensors file has at least 10")
    (length,) = struct.unpack("<Q", buffer[:8].tobytes())
    if length > _LONGEST_HEADER or length > len(buffer) - 8:
        raise PresetError(
            f"{where}: the header should be {length} bytes long, the file has {len(buffer)} and zoo reads "
            f"headers up to {_LONGEST_HEADER}. Is it cut, or no safetensors file?"
        )
    header = buffer[8 : 8 + length].tobytes()
    if not header.startswith(b"{"):  # also keeps a file from being two formats at once
        raise PresetError(f"{where}: the header starts with {header[:1]!r}, not with an opening brace")
    return strict_json.parse(header, f"{where}, header"), buffer[8 + length :]


def _entry(name, entry, where):
    """(dtype, shape, begin, end) of a header entry, once they are found to agree."""
    where = f"{where}: tensor {name[:200]!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise PresetError(f"{where} must have dtype, shape and data_offsets and nothing else")
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise PresetError(f"{where} has dtype {str(entry['dtype'])[:40]!r}; zoo reads {', '.join(DTYPES)}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _sizes(shape):
        raise PresetError(f"{where} has shape {str(shape)[:200]}; expected whole numbers, none negative")
    needed = check_shape(shape, dtype.itemsize, where)
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise PresetError(f"{where} has data_offsets {str(offsets)[:200]}; expected begin <= end")
    if needed != offsets[1] - offsets[0]:
        raise PresetError(
            f"{where} of shape {tuple(shape)} and dtype {entry['dtype']} needs {needed} bytes, its data_offsets "
            f"{offsets} leave {offsets[1] - offsets[0]}"
        )
    return dtype, tuple(shape), *offsets


def _sizes(values):
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def safetensors_writer(arrays, metadata=None):
    """A function that writes arrays to a binary file, for `write_folder`: no second copy in memory.

    Args:
        arrays: mapping of tensor name to array.
        metadata: dict of str to str, or None.

    Raises:
        PresetError: a name outside `A-Z a-z 0-9 _ . / -`, or a dtype the format lacks.
    """
    arrays = {check_tensor_name(name): _storable(name, array) for name, array in arrays.items()}
    order = sorted(arrays, key=lambda name: (list(_CODES).index(arrays[name].dtype), name))
    header, end = {"__metadata__": dict(metadata)} if metadata else {}, 0
    for name in order:
        begin, end = end, end + arrays[name].nbytes
        code = _CODES[arrays[name].dtype]
        header[name] = {"dtype": code, "shape": list(arrays[name].shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)

    def write(file):
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8))

    return write


def safetensors_bytes(arrays, metadata=None):
    """The same as bytes: equal arrays give equal bytes, whatever their order.

    Args:
        arrays: mapping of tensor name to array.
        metadata: dict of str to str, or None.
    """
    file = io.BytesIO()
    safetensors_writer(arrays, metadata)(file)
    return file.getvalue()


def _storable(name, array):
    if name == "__metadata__":
        raise PresetError("tensor name '__metadata__': safetensors keeps it for itself")
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder("<") if array.dtype.kind in "fiu" else array.dtype
    if dtype not in _CODES:
        raise PresetError(f"tensor {name[:200]!r} has dtype {array.dtype}; safetensors stores {', '.join(DTYPES)}")
    return array.astype(dtype, copy=False)
