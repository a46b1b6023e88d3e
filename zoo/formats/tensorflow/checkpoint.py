"""TensorFlow checkpoints (format V2) in NumPy, without TensorFlow.

A checkpoint `P` is an index `P.index`, a sorted table of tensor name to type, shape and place, and data files
`P.data-00000-of-00001` and so on, which hold the arrays side by side. Entries are protocol buffers, decoded
here by hand: a handful of fields. Source: tensorflow/core/util/tensor_bundle and
tensorflow/core/protobuf/tensor_bundle.proto.
"""

import difflib
import re
import struct
from collections.abc import Mapping

import ml_dtypes
import numpy as np

from zoo.formats.tensorflow.crc32c import crc32c, mask
from zoo.formats.tensorflow.leveldb_table import MAGIC, read_table, read_varint, write_table, write_varint
from zoo.store import PresetError, check_name, check_shape, check_tensor_name

_DTYPES = {  # tensorflow/core/framework/types.proto
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    4: np.dtype("u1"),
    5: np.dtype("<i2"),
    6: np.dtype("i1"),
    9: np.dtype("<i8"),
    10: np.dtype("?"),
    14: np.dtype(ml_dtypes.bfloat16),
    17: np.dtype("<u2"),
    19: np.dtype("<f2"),
    22: np.dtype("<u4"),
    23: np.dtype("<u8"),
}
_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}
_STRING = 7  # the object graph of tf.train.Checkpoint, which is no weight

_LARGEST_INDEX = 4 << 20  # some 30,000 tensors; BERT-large with its optimizer has 1,200
_MOST_SHARDS = 10_000
_MOST_TENSORS = 100_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers


class TFCheckpoint(Mapping):
    """Tensors by name, each a `StoredTensor` that is read when `numpy.asarray` asks for it.

    Args:
        folder: `zoo.store.Folder`.
        prefix: str, what the files' names begin with, such as `bert_model.ckpt`. None: what the folder's
            `checkpoint` file names, or else the one `.index` file that is there.

    Raises:
        PresetError: no such checkpoint, a file is missing, or the index is damaged or does not fit the data
        files.
    """

    def __init__(self, folder, prefix=None):
        self.prefix = _find_prefix(folder) if prefix is None else prefix
        index = f"{self.prefix}.index"
        where = f"{folder}/{index}"
        entries = read_table(folder.bytes(index, cap=_LARGEST_INDEX), where)
        shards = _read_header(entries.pop(b"", None), where)
        if len(entries) > _MOST_TENSORS:
            raise PresetError(f"{where}: {len(entries)} tensors; zoo reads at most {_MOST_TENSORS}")
        files = {}
        self._tensors = {}
        for key, value in entries.items():
            if key.startswith(b"\0"):  # a part of a partitioned variable; its whole is refused below
                continue
            name = _decode_name(key, where)
            entry = _Entry(value, f"{where}: {name}")
            if entry.dtype_number == _STRING:
                continue
            file = f"{self.prefix}.data-{entry.shard:05d}-of-{shards:05d}"
            if entry.shard >= shards:
                raise PresetError(f"{where}: {name} lies in data file {entry.shard} of {shards}")
            if file not in files:
                files[file] = folder.memory_map(file)
            self._tensors[name] = StoredTensor(entry, files[file], f"{folder}/{file}: {name}")

    def __getitem__(self, name):
        if name not in self._tensors:
            found = difflib.get_close_matches(name, self._tensors)  # not the backend's helper, which imports Keras
            raise KeyError(f"{name!r} is not in checkpoint {self.prefix}" + (f"; near: {found}" if found else ""))
        return self._tensors[name]

    def __iter__(self):
        return iter(self._tensors)

    def __len__(self):
        return len(self._tensors)


class StoredTensor:
    """A tensor in a checkpoint: shape and dtype at once, values through `numpy.asarray`, CRC-checked.

    Attributes:
        shape: tuple of int.
        dtype: NumPy dtype.
    """

    def __init__(self, entry, data, where):
        self.shape, self.dtype = entry.shape, entry.dtype
        self._where, self._checksum = where, entry.checksum
        size = check_shape(self.shape, self.dtype.itemsize, where)
        if size != entry.size:
            raise PresetError(
                f"{where} of shape {self.shape} and dtype {self.dtype} needs {size} bytes, the index says {entry.size}"
            )
        if entry.offset + size > len(data):
            raise PresetError(
                f"{where} should end at byte {entry.offset + size}, the file has {len(data)}. Is the copy complete?"
            )
        self._data = data[entry.offset : entry.offset + size]

    def __array__(self, dtype=None, copy=None):
        if mask(crc32c(self._data)) != self._checksum:
            raise PresetError(f"{self._where}: checksum is wrong: the file is damaged. Get it again from its source")
        array = np.frombuffer(self._data, dtype=self.dtype).reshape(self.shape)
        if self.dtype == np.bool_ and self._data.size and self._data.max() > 1:
            raise PresetError(f"{self._where} is bool and holds a byte other than 0 and 1")
        if dtype is not None and dtype != self.dtype:
            return array.astype(dtype)
        # Values need not start at a multiple of their size; not every library takes such arrays.
        return array.copy() if copy or not array.flags.aligned else array


def _find_prefix(folder):
    names = folder.names()
    prefixes = [name.removesuffix(".index") for name in names if name.endswith(".index")]
    if "checkpoint" in names:
        found = re.search(r'^model_checkpoint_path:\s*"([^"]*)"', folder.text("checkpoint"), re.MULTILINE)
        # Often a path on the machine that trained it. Only its last part counts, to choose among the files.
        latest = re.split(r"[/\\]", found[1])[-1] if found else None
        if latest in prefixes:
            return latest
    if len(prefixes) == 1:
        return prefixes[0]
    for name in names:
        if not prefixes and bytes(folder.memory_map(name)[-8:]) == struct.pack("<Q", MAGIC):
            raise PresetError(
                f"{folder}/{name} is a TensorFlow checkpoint of format V1, which zoo does not read. Load it "
                f"in TensorFlow and save it with "
                f"tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V2)"
            )
    raise PresetError(
        f"{folder}: expected one TensorFlow checkpoint, a file such as bert_model.ckpt.index, found "
        + (f"{', '.join(prefixes[:10])} and no file `checkpoint` that names one of them" if prefixes else "none")
    )


def _decode_name(key, where):
    try:
        name = key.decode("utf-8")
    except UnicodeDecodeError:
        name = ""
    if not name.isprintable() or not name:
        raise PresetError(f"{where}: {key[:200]!r} is no tensor name")
    return name


def _read_header(value, where):
    """Number of data files, once the header is found to be of a kind that zoo reads."""
    if value is None:
        raise PresetError(f"{where}: the header is missing")
    header = dict(_fields(value, where, {1: _VARINT, 2: _VARINT, 3: _BYTES}))
    if header.get(2, 0) != 0:
        raise PresetError(f"{where}: written on a big-endian machine, which zoo does not read")
    needed = dict(_fields(header.get(3, b""), where, {1: _VARINT, 2: _VARINT})).get(2, 0)
    if needed > 1:
        raise PresetError(f"{where}: needs a reader of version {needed} of the format, zoo has version 1")
    shards = header.get(1, 0)
    if not 1 <= shards <= _MOST_SHARDS:
        raise PresetError(f"{where}: {shards} data files; expected 1 to {_MOST_SHARDS}")
    return shards


class _Entry:
    """BundleEntryProto."""

    def __init__(self, value, where):
        self.shape, self.shard, self.offset, self.size, self.checksum, self.dtype_number = (), 0, 0, 0, 0, 0
        kinds = {1: _VARINT, 2: _BYTES, 3: _VARINT, 4: _VARINT, 5: _VARINT, 6: _FIXED32, 7: _BYTES}
        for field, content in _fields(value, where, kinds):
            if field == 1:
                self.dtype_number = content
            elif field == 2:
                self.shape = _read_shape(content, where)
            elif field == 3:
                self.shard = content
            elif field == 4:
                self.offset = content
            elif field == 5:
                self.size = content
            elif field == 6:
                self.checksum = content
            elif field == 7:
                raise PresetError(
                    f"{where} is partitioned over several tensors, which zoo does not read. Load the "
                    f"checkpoint in TensorFlow without a partitioner and save it again"
                )
        self.dtype = _DTYPES.get(self.dtype_number)
        if self.dtype is None and self.dtype_number != _STRING:
            raise PresetError(
                f"{where} has TensorFlow's type number {self.dtype_number}; zoo reads "
                f"{', '.join(str(dtype) for dtype in _DTYPES.values())}"
            )


def _read_shape(value, where):
    """TensorShapeProto as a tuple of int."""
    shape = []
    for field, content in _fields(value, where, {2: _BYTES, 3: _VARINT}):
        if field == 2:
            sizes = [size for number, size in _fields(content, where, {1: _VARINT}) if number == 1]
            shape.append(sizes[-1] if sizes else 0)
        elif field == 3 and content:
            raise PresetError(f"{where} has no known shape")
    # A negative size comes as its two's complement.
    return tuple(size - (1 << 64) if size >= 1 << 63 else size for size in shape)


def _fields(value, where, kinds):
    """(field number, content) of each field of a protocol buffer; numbers as int, the rest as bytes.

    Args:
        value: bytes.
        where: str, named by errors.
        kinds: dict of the known field numbers to their wire types; other fields are passed on as they are.
    """
    position = 0
    while position < len(value):
        key, position = read_varint(value, position, where)
        field, wire = key >> 3, key & 7
        if field == 0 or kinds.get(field, wire) != wire:
            raise PresetError(f"{where}: field {field} has wire type {wire}")
        if wire == _VARINT:
            content, position = read_varint(value, position, where)
        elif wire in (_BYTES, _FIXED32, _FIXED64):
            length = {_FIXED32: 4, _FIXED64: 8}.get(wire)
            if length is None:
                length, position = read_varint(value, position, where)
            if length > len(value) - position:
                raise PresetError(f"{where}: field {field} is cut")
            content, position = value[position : position + length], position + length
            content = int.from_bytes(content, "little") if wire == _FIXED32 else content
        else:
            raise PresetError(f"{where}: field {field} has wire type {wire}, which protocol buffers lack")
        yield field, content


def write_tf_checkpoint(arrays, prefix):
    """The files of a checkpoint, byte by byte those that TensorFlow writes.

    Args:
        arrays: mapping of tensor name to array.
        prefix: str, such as `bert_model.ckpt`.

    Returns:
        dict of file name to bytes, for `zoo.store.write_folder`.

    Raises:
        PresetError: a name or dtype that has no place in a checkpoint.
    """
    check_name(prefix, "checkpoint prefix")
    entries = {b"": _field(1, 1) + _field(3, _field(1, 1))}  # one data file, little-endian, version 1
    data, offset = [], 0
    for name in sorted(arrays, key=lambda name: check_tensor_name(name).encode("ascii")):
        array = np.asarray(arrays[name])
        dtype = array.dtype.newbyteorder("<") if array.dtype.kind in "fiu" else array.dtype
        if dtype not in _NUMBERS:
            known = ", ".join(map(str, _NUMBERS))
            raise PresetError(f"tensor {name} has dtype {array.dtype}; a checkpoint from zoo holds {known}")
        content = array.astype(dtype, copy=False).tobytes()
        entries[name.encode("ascii")] = (
            _field(1, _NUMBERS[dtype])
            + _field(2, b"".join(_field(2, _field(1, size)) for size in array.shape))
            + _field(4, offset)
            + _field(5, len(content))
            + write_varint(6 << 3 | _FIXED32)
            + struct.pack("<I", mask(crc32c(content)))
        )
        data.append(content)
        offset += len(content)
    paths = f'model_checkpoint_path: "{prefix}"\nall_model_checkpoint_paths: "{prefix}"\n'
    return {
        f"{prefix}.data-00000-of-00001": b"".join(data),
        f"{prefix}.index": write_table(entries),
        "checkpoint": paths.encode("ascii"),
    }


def _field(number, content):
    """A field of a protocol buffer; the number zero is the default and left out."""
    if isinstance(content, bytes):
        return write_varint(number << 3 | _BYTES) + write_varint(len(content)) + content
    return write_varint(number << 3 | _VARINT) + write_varint(content) if content else b""
