"""The safetensors reader and writer against the library, and against files made to break a reader."""

import io
import json
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from zoo.store import Folder, PresetError, safetensors_bytes, safetensors_writer, write_folder
from zoo.store.safetensors import DTYPES, SafeTensors

pytestmark = pytest.mark.neutral


def arrays():
    rng = np.random.default_rng(0)
    return {
        "a/float64": rng.normal(size=(2, 3)),
        "b/float32": rng.normal(size=(5,)).astype("float32"),
        "c/float16": rng.normal(size=(3, 1)).astype("float16"),
        "d/bfloat16": rng.normal(size=(7,)).astype(ml_dtypes.bfloat16),
        "e/bool": np.array([True, False, True]),
        "f/scalar": np.array(3, dtype="int64"),
        "g/empty": np.zeros((0, 4), dtype="float32"),
        "h/uint8": np.arange(5, dtype="uint8"),
        "i/int32": np.arange(6, dtype="int32").reshape(3, 2).T,
    }


def same(actual, expected):
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype and actual[name].shape == array.shape, name
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


def read(content):
    return SafeTensors(np.frombuffer(content, dtype=np.uint8), "x.safetensors")


def pack(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_library_reads_what_we_write():
    # Big-endian and transposed inputs come out as little-endian, C-ordered arrays.
    given = arrays() | {"j/big": np.arange(4, dtype=">f4")}
    expected = arrays() | {"j/big": np.arange(4, dtype="<f4")}
    bfloat16 = expected.pop("d/bfloat16")
    content = safetensors_bytes(given)
    (stored,) = [tensor for name, tensor in safetensors.deserialize(content) if name == "d/bfloat16"]
    assert stored == {"dtype": "BF16", "shape": [7], "data": bfloat16.tobytes()}
    given.pop("d/bfloat16")  # the library has no NumPy type for it
    same(safetensors.numpy.load(safetensors_bytes(given)), expected)


def test_we_read_what_the_library_writes(tmp_path):
    given = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays().items()}
    content = safetensors.numpy.save(given, metadata={"format": "pt"})
    write_folder(tmp_path, {"model.safetensors": content})
    tensors = Folder(tmp_path).safetensors("model.safetensors")
    same(tensors, arrays())
    assert tensors.metadata == {"format": "pt"}


def test_written_bytes_depend_on_content_alone():
    given = arrays()
    content = safetensors_bytes(given, {"k": "v"})
    assert content == safetensors_bytes(dict(reversed(given.items())), {"k": "v"})
    file = io.BytesIO()
    safetensors_writer(given, {"k": "v"})(file)
    assert content == file.getvalue()
    assert read(content).metadata == {"k": "v"} and read(safetensors_bytes(given)).metadata == {}
    same(read(safetensors_bytes({})), {})


def test_written_arrays_are_aligned_views():
    tensors = read(safetensors_bytes(arrays()))
    for name in tensors:
        assert tensors[name].flags.aligned and not tensors[name].flags.writeable
        assert not tensors[name].flags.owndata


def test_unaligned_arrays_are_copied():
    tensors = read(pack({"a": entry("U8", offsets=(0, 1)), "b": entry(offsets=(1, 5))}, b"\x07" + b"\0\0\x80\x3f"))
    assert tensors["a"][0] == 7 and tensors["b"][0] == 1.0 and tensors["b"].flags.aligned


@pytest.mark.parametrize("name", ["../x", "a/../b", "a\0", "émoji", "x" * 10_000, "", "__metadata__", 3])
def test_odd_names_are_not_written(name):
    with pytest.raises(PresetError, match="tensor name"):
        safetensors_bytes({name: np.zeros(2)})


@pytest.mark.parametrize("array", [np.array(["x"]), np.array([None]), np.zeros(2, "complex64"), [1, "a"]], ids=str)
def test_odd_dtypes_are_not_written(array):
    with pytest.raises(PresetError, match="safetensors stores F64"):
        safetensors_bytes({"x": array})


GOOD = pack({"a": entry(), "b": entry(offsets=(4, 8))}, bytes(8))
HOSTILE = {
    "empty file": (b"", "0 bytes"),
    "seven bytes": (bytes(7), "7 bytes"),
    "length beyond the file": (pack({}, length=100), "header should be 100 bytes"),
    "length beyond the cap": (pack({}, length=1 << 40), "header should be"),
    "length of 2^64 - 1": (pack({}, length=(1 << 64) - 1), "header should be"),
    "length zero": (pack(b""), "opening brace"),
    "starts with a blank": (pack(b" {}"), "opening brace"),
    "a list": (pack(b"[]"), "opening brace"),
    "not UTF-8": (pack(b'{"\xff": 1}'), "not UTF-8"),
    "not JSON": (pack(b"{abc}"), "header"),
    "tensor named twice": (
        pack(b'{"a": %b, "a": %b}' % ((json.dumps(entry()).encode(),) * 2), bytes(4)),
        "stands twice",
    ),
    "bottomless": (pack(b'{"a":' * 100_000), "nested deeper"),
    "metadata of numbers": (pack({"__metadata__": {"a": 1}}), "__metadata__"),
    "metadata a list": (pack({"__metadata__": ["a"]}), "__metadata__"),
    "entry a number": (pack({"a": 1}), "must have dtype"),
    "entry with more": (pack({"a": {**entry(), "path": "x"}}, bytes(4)), "must have dtype"),
    "entry with less": (pack({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)), "must have dtype"),
    "dtype unknown": (pack({"a": entry("F31")}, bytes(4)), "zoo reads F64"),
    "dtype a list": (pack({"a": entry(["F32"])}, bytes(4)), "zoo reads F64"),
    "shape negative": (pack({"a": entry(shape=(-1, -1))}, bytes(4)), "none negative"),
    "shape a float": (pack({"a": entry(shape=(1.0,))}, bytes(4)), "whole numbers"),
    "shape true": (pack({"a": entry(shape=(True,))}, bytes(4)), "whole numbers"),
    "shape text": (pack({"a": {**entry(), "shape": "1"}}, bytes(4)), "whole numbers"),
    "shape of 17 axes": (pack({"a": entry(shape=(1,) * 17)}, bytes(4)), "at most 16"),
    "shape bomb": (pack({"a": entry(shape=(1 << 40,))}, bytes(4)), "needs 4398046511104 bytes"),
    "product overflows": (
        pack({"a": entry(shape=(1 << 32, 1 << 32))}, bytes(4)),
        "needs 73786976294838206464 bytes",
    ),
    "overflow to zero": (
        pack({"a": entry(shape=(1 << 32, 1 << 32), offsets=(0, 0))}),
        "needs 73786976294838206464",
    ),
    "bytes against shape": (pack({"a": entry(shape=(2,))}, bytes(4)), "needs 8 bytes"),
    "dtype against bytes": (pack({"a": entry("F64")}, bytes(4)), "needs 8 bytes"),
    "offsets turned": (pack({"a": entry(shape=(0,), offsets=(4, 0))}, bytes(4)), "begin <= end"),
    "offsets negative": (pack({"a": entry(offsets=(-4, 0))}, bytes(4)), "begin <= end"),
    "three offsets": (pack({"a": entry(offsets=(0, 2, 4))}, bytes(4)), "begin <= end"),
    "offsets beyond the file": (pack({"a": entry(offsets=(0, 4))}), "end at byte 4 of the data"),
    "hole at the start": (pack({"a": entry(offsets=(4, 8))}, bytes(8)), "starts at byte 4"),
    "hole between": (pack({"a": entry(), "b": entry(offsets=(8, 12))}, bytes(12)), "starts at byte 8"),
    "overlap": (pack({"a": entry(), "b": entry(offsets=(2, 6))}, bytes(6)), "starts at byte 2"),
    "same bytes twice": (pack({"a": entry(), "b": entry()}, bytes(4)), "starts at byte 0"),
    "bytes after the end": (GOOD + b"x", "end at byte 8 of the data, the file at 9"),
    "cut by one byte": (GOOD[:-1], "end at byte 8 of the data, the file at 7"),
}


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_file_is_refused(content, message):
    with pytest.raises(PresetError, match=r"^x\.safetensors") as caught:
        read(content)
    assert message in str(caught.value) and len(str(caught.value)) < 1000


def test_bool_bytes_are_checked():
    tensors = read(pack({"a": entry("BOOL", (2,), (0, 2))}, b"\1\2"))
    with pytest.raises(PresetError, match="other than 0 and 1"):
        tensors["a"]


def test_empty_tensors_share_an_offset():
    tensors = read(
        pack(
            {"z": entry(shape=(0,), offsets=(0, 0)), "a": entry(), "b": entry(shape=(0, 2), offsets=(4, 4))},
            bytes(4),
        )
    )
    assert tensors["z"].shape == (0,) and tensors["b"].shape == (0, 2) and len(tensors) == 3


def mutate(content, rng):
    """A copy with a few bytes changed, cut, doubled or put in."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        position, length = rng.integers(len(content) + 1), rng.integers(1, 9)
        kind = rng.integers(5)
        if kind == 0 and content:
            content[position % len(content)] ^= 1 << rng.integers(8)
        elif kind == 1:
            del content[position : position + length]
        elif kind == 2:
            content[position:position] = rng.bytes(length)
        elif kind == 3:
            content[position : position + length] = rng.bytes(length)
        else:
            del content[position:]
    return bytes(content)


def fuzz(rounds, seed):
    """Count of mutated files that are refused; the others must give arrays of the file's own size."""
    rng, content, refused = np.random.default_rng(seed), safetensors_bytes(arrays()), 0
    for _ in range(rounds):
        mutated = mutate(content, rng)
        try:
            tensors = read(mutated)
            total = sum(np.asarray(tensors[name]).nbytes for name in tensors)
        except PresetError:
            refused += 1
            continue
        assert total <= len(mutated)
        assert all(tensors[name].dtype in DTYPES.values() for name in tensors)
    return refused


def test_fuzz():
    refused = fuzz(2_000, seed=20220301)
    assert 1_500 < refused < 2_000  # a flip in the data is the manifest's to find


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_fuzz_long(seed):
    fuzz(100_000, seed)
