"""The safetensors reader and writer against the library; files made to break the reader: test_hostile.py, row T8."""

import io

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from support.hostile_safetensors import entry, pack

from zoo.store import Folder, PresetError, safetensors_bytes, safetensors_writer, write_folder
from zoo.store.safetensors import SafeTensors

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


@pytest.mark.parametrize("array", [np.array(["x"]), np.array([None]), np.zeros(2, "complex64"), [1, "a"]], ids=str)
def test_odd_dtypes_are_not_written(array):
    with pytest.raises(PresetError, match="safetensors stores F64"):
        safetensors_bytes({"x": array})


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
