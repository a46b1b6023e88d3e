"""TensorFlow checkpoints without TensorFlow: equal to its reader and writer, and hard to fool (see test_hostile.py, T12)."""

import importlib.util
import os
import pathlib
import struct
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from support.fuzz_readers import sample_arrays as arrays

from zoo.formats.tensorflow.checkpoint import TFCheckpoint, write_tf_checkpoint
from zoo.formats.tensorflow.crc32c import crc32c, mask
from zoo.formats.tensorflow.leveldb_table import write_table, write_varint
from zoo.store import Folder, PresetError, write_folder

pytestmark = pytest.mark.neutral

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDENS = ROOT / "tests" / "goldens"
MODELS = ["bert", "gau_alpha", "roformer", "roformer_v2", "roformer_v2_mlm"]
INDEX, DATA = "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"


def same(actual, expected):
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert actual[name].shape == array.shape and actual[name].dtype == array.dtype, name
        values = np.asarray(actual[name])
        assert values.shape == array.shape and values.dtype == array.dtype, name
        np.testing.assert_array_equal(values, array, err_msg=name)


def put(path, files):
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def read_all(path, prefix=None):
    checkpoint = TFCheckpoint(Folder(path), prefix)
    return {name: np.asarray(checkpoint[name]) for name in checkpoint}


def copy_of(model, path):
    return put(path, {name: (GOLDENS / model / name).read_bytes() for name in (INDEX, DATA, "checkpoint")})


# TensorFlow itself, in a process of its own: its import takes seconds, and this process must stay without.

TENSORFLOW = """
import os, pathlib, sys
import ml_dtypes, numpy as np
import tensorflow as tf

root, goldens = map(pathlib.Path, sys.argv[1:])

def dump(prefix, target):
    reader = tf.train.load_checkpoint(str(prefix))
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    raw = {name: value.view(np.uint16) if value.dtype == ml_dtypes.bfloat16 else value
           for name, value in values.items() if value.dtype.kind != "S" and not isinstance(value, bytes)}
    np.savez(target, **{name.replace("/", "|"): value for name, value in raw.items()})

def save(prefix, tensors, slices=None):
    names = sorted(tensors)  # as tf.train.Saver does
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names,
                      tensors=[tf.constant(tensors[name]) for name in names],
                      shape_and_slices=[(slices or {}).get(name, "") for name in names])

for model in sorted(goldens.iterdir()):
    if (model / "bert_model.ckpt.index").exists():
        dump(model / "bert_model.ckpt", root / f"{model.name}.npz")
dump(root / "ours" / "model.ckpt", root / "ours.npz")

stored = np.load(root / "arrays.npz")
arrays = {name.replace("|", "/"): stored[name] for name in stored}
arrays["brain"] = arrays["brain"].view(ml_dtypes.bfloat16)
for name in ("plain", "sharded", "many", "partitioned", "object", "v1"):
    (root / name).mkdir()
save(root / "plain" / "model.ckpt", arrays)
names, parts = sorted(arrays), []
for k in range(3):
    parts.append(str(root / "sharded" / f"part{k}"))
    save(parts[-1], {name: arrays[name] for name in names[k::3]})
merged = str(root / "sharded" / "model.ckpt")
tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=merged)
save(root / "many" / "model.ckpt", {f"{k:04d}/{'scope/' * 50}x": np.float32([k]) for k in range(1000)})
save(root / "partitioned" / "model.ckpt", {"whole": arrays["ids"], "parted": np.zeros((2, 3), "float32")},
     {"parted": "4 3 0,2:-"})
tf.train.Checkpoint(kernel=tf.Variable(arrays["ids"])).write(str(root / "object" / "model.ckpt"))
v1 = str(root / "v1" / "model.ckpt")
tf.raw_ops.Save(filename=v1, tensor_names=["ids"], data=[tf.constant(arrays["ids"])])
"""


@pytest.fixture(scope="module")
def tensorflow(tmp_path_factory):
    """A folder of what TensorFlow wrote, and of what it read in the goldens and in a checkpoint of ours."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs TensorFlow")
    root = tmp_path_factory.mktemp("tensorflow")
    (root / "ours").mkdir()
    put(root / "ours", write_tf_checkpoint(arrays(), "model.ckpt"))
    raw = {name: value.view(np.uint16) if name == "brain" else value for name, value in arrays().items()}
    np.savez(root / "arrays.npz", **{name.replace("/", "|"): value for name, value in raw.items()})
    done = subprocess.run(
        [sys.executable, "-c", TENSORFLOW, root, GOLDENS],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return root


def dumped(path):
    with np.load(path, allow_pickle=False) as stored:
        found = {name.replace("|", "/"): stored[name] for name in stored}
    return found | ({"brain": found["brain"].view(ml_dtypes.bfloat16)} if "brain" in found else {})


@pytest.mark.parametrize("model", MODELS)
def test_reads_what_tensorflow_reads(model, tensorflow):
    same(TFCheckpoint(Folder(GOLDENS / model)), dumped(tensorflow / f"{model}.npz"))


def test_tensorflow_reads_what_we_write(tensorflow):
    same(dumped(tensorflow / "ours.npz"), arrays())


@pytest.mark.parametrize("kind", ["plain", "sharded"])
def test_reads_what_tensorflow_writes(kind, tensorflow):
    same(TFCheckpoint(Folder(tensorflow / kind)), arrays())


def test_writes_tensorflows_bytes_for_every_type(tensorflow):
    for name, content in write_tf_checkpoint(arrays(), "model.ckpt").items():
        assert name == "checkpoint" or content == (tensorflow / "plain" / name).read_bytes()


def test_index_of_many_blocks(tensorflow):
    """1,000 long names, too different to be shortened, fill several blocks of the table."""
    many = {f"{k:04d}/{'scope/' * 50}x": np.float32([k]) for k in range(1000)}
    checkpoint = TFCheckpoint(Folder(tensorflow / "many"))
    same(checkpoint, many)
    written = write_tf_checkpoint(many, "model.ckpt")
    assert written["model.ckpt.index"] == (tensorflow / "many" / "model.ckpt.index").read_bytes()


def test_object_graph_is_left_out(tensorflow):
    """tf.train.Checkpoint stores its object graph as a string tensor beside the variables."""
    same(TFCheckpoint(Folder(tensorflow / "object")), {"kernel/.ATTRIBUTES/VARIABLE_VALUE": arrays()["ids"]})


def test_partitioned_variable_is_refused(tensorflow):
    with pytest.raises(PresetError, match=r"model\.ckpt\.index: parted is partitioned"):
        TFCheckpoint(Folder(tensorflow / "partitioned"))


def test_v1_is_refused(tensorflow):
    with pytest.raises(PresetError, match=r"v1/model\.ckpt is a TensorFlow checkpoint of format V1"):
        TFCheckpoint(Folder(tensorflow / "v1"))


# Against the original's checkpoints


@pytest.mark.parametrize("model", MODELS)
def test_writes_the_original_bytes(model):
    """Index and data equal those of TensorFlow's own writer, byte by byte."""
    written = write_tf_checkpoint(TFCheckpoint(Folder(GOLDENS / model)), "bert_model.ckpt")
    assert sorted(written) == sorted([INDEX, DATA, "checkpoint"])
    for name, content in written.items():
        assert content == (GOLDENS / model / name).read_bytes(), name


@pytest.mark.parametrize("model", ["bert", "roformer_v2"])
def test_reading_imports_no_tensorflow(model):
    script = """
import sys
import numpy as np
from zoo.formats.tensorflow.checkpoint import TFCheckpoint
from zoo.store import Folder
checkpoint = TFCheckpoint(Folder(sys.argv[1]))
total = sum(np.asarray(checkpoint[name]).size for name in checkpoint)
loaded = {name.split(".")[0] for name in sys.modules}
foreign = loaded & {"tensorflow", "torch", "jax", "keras", "h5py", "google"}
sys.exit(f"{total} {foreign}" if foreign or not total else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, GOLDENS / model],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# As a mapping


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    files = write_tf_checkpoint(arrays(), "model.ckpt")
    files["model.ckpt.data-00000-of-00001"] = bytes(len(files["model.ckpt.data-00000-of-00001"]))
    checkpoint = TFCheckpoint(Folder(put(tmp_path, files)))
    assert checkpoint["half"].shape == (2, 1, 3) and checkpoint["brain"].dtype == ml_dtypes.bfloat16
    with pytest.raises(PresetError, match=r"model\.ckpt\.data-00000-of-00001: half: checksum is wrong"):
        np.asarray(checkpoint["half"])


def test_arrays_are_aligned_and_of_the_type_asked_for(tmp_path):
    tensors = {"a": np.array([1], "uint8"), "b": np.arange(3, dtype="float32")}
    stored = TFCheckpoint(Folder(put(tmp_path, write_tf_checkpoint(tensors, "x"))))["b"]
    assert np.asarray(stored).flags.aligned
    assert np.asarray(stored, dtype="float64").dtype == np.float64
    assert np.array(stored).flags.writeable


def test_unknown_name_is_a_key_error_that_helps(tmp_path):
    checkpoint = TFCheckpoint(Folder(put(tmp_path, write_tf_checkpoint(arrays(), "x"))))
    assert "bert/x" not in checkpoint and checkpoint.get("bert/x") is None
    with pytest.raises(KeyError, match="bert/embeddings/word_embeddings"):
        checkpoint["bert/embeddings/word_embedding"]


def test_sealed_checkpoint(tmp_path):
    """A checkpoint may be saved with a manifest, which then guards it."""
    write_folder(tmp_path, write_tf_checkpoint(arrays(), "model.ckpt"))
    same(TFCheckpoint(Folder(tmp_path)), arrays())


# Which checkpoint


def test_prefix(tmp_path):
    one = write_tf_checkpoint({"w": np.float32([1])}, "one.ckpt")
    two = write_tf_checkpoint({"w": np.float32([2])}, "two.ckpt-100")
    put(tmp_path, one | {"checkpoint": b""})
    assert read_all(tmp_path)["w"] == 1
    put(tmp_path, two | {"checkpoint": b""})
    with pytest.raises(PresetError, match=r"found one\.ckpt, two\.ckpt-100 and no file `checkpoint`"):
        TFCheckpoint(Folder(tmp_path))
    for named in (
        "two.ckpt-100",
        "/home/me/run 7/two.ckpt-100",
        "C:\\runs\\two.ckpt-100",
        "../../two.ckpt-100",
    ):
        text = f'model_checkpoint_path: "{named}"\nall_model_checkpoint_paths: "one.ckpt"\n'
        (tmp_path / "checkpoint").write_text(text)
        assert read_all(tmp_path)["w"] == 2
    for named in ("three", "/etc/passwd", "..", ""):
        (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{named}"\n')
        with pytest.raises(PresetError, match="found one"):
            TFCheckpoint(Folder(tmp_path))
    assert read_all(tmp_path, "one.ckpt")["w"] == 1
    for named in ("three", "../one.ckpt", "", "a/b"):
        with pytest.raises(PresetError):
            TFCheckpoint(Folder(tmp_path), named)


def test_no_checkpoint(tmp_path):
    (tmp_path / "vocab.txt").write_text("x")
    with pytest.raises(PresetError, match=r"expected one TensorFlow checkpoint.*found none"):
        TFCheckpoint(Folder(tmp_path))


# Damage


def test_missing_file_is_named(tmp_path):
    for name in (DATA, INDEX):
        (copy_of("bert", tmp_path) / name).unlink()
        with pytest.raises(PresetError, match="is missing" if name == DATA else "found none"):
            TFCheckpoint(Folder(tmp_path))


def test_missing_shard_is_named(tensorflow, tmp_path):
    names = [path.name for path in (tensorflow / "sharded").iterdir()]
    put(tmp_path, {name: (tensorflow / "sharded" / name).read_bytes() for name in names})
    (tmp_path / "model.ckpt.data-00001-of-00003").unlink()
    with pytest.raises(PresetError, match="model.ckpt.data-00001-of-00003 is missing"):
        TFCheckpoint(Folder(tmp_path))


# Files made to break a reader: every checksum is right, the content is not


def field(number, content):
    if isinstance(content, bytes):
        return write_varint(number << 3 | 2) + write_varint(len(content)) + content
    return write_varint(number << 3) + write_varint(content)


def header(shards=1, endianness=0, least_reader=0):
    return field(1, shards) + field(2, endianness) + field(3, field(1, 1) + field(2, least_reader))


def bundle_entry(shape=(1,), dtype=1, shard=0, offset=0, size=4, data=bytes(4), extra=b""):
    return (
        field(1, dtype)
        + field(2, b"".join(field(2, field(1, dimension)) for dimension in shape))
        + (field(3, shard) + field(4, offset) + field(5, size))
        + (write_varint(6 << 3 | 5) + struct.pack("<I", mask(crc32c(data))))
        + extra
    )


def open_made(path, entries, data=bytes(4)):
    put(path, {"x.index": write_table(entries), "x.data-00000-of-00001": data})
    return read_all(path)


MADE = {
    "no header": ({b"w": bundle_entry()}, "header is missing"),
    "no data files": ({b"": header(shards=0)}, "0 data files"),
    "too many data files": ({b"": header(shards=1 << 40)}, "1099511627776 data files"),
    "big endian": ({b"": header(endianness=1)}, "big-endian"),
    "newer format": ({b"": header(least_reader=2)}, "version 2"),
    "shape bomb": ({b"w": bundle_entry(shape=(1 << 40,))}, "needs 4398046511104 bytes, the index says 4"),
    "honest bomb": ({b"w": bundle_entry(shape=(1 << 38,), size=1 << 40)}, "should end at byte 1099511627776"),
    "product overflows": ({b"w": bundle_entry(shape=(1 << 32, 1 << 32))}, "at most 2^62 bytes"),
    "negative size": ({b"w": bundle_entry(shape=((1 << 64) - 1,))}, "none negative"),
    "many axes": ({b"w": bundle_entry(shape=(1,) * 17)}, "at most 16"),
    "unknown rank": ({b"w": bundle_entry() + field(2, field(3, 1))}, "no known shape"),
    "offset beyond the file": ({b"w": bundle_entry(offset=1)}, "should end at byte 5"),
    "offset near 2^64": (
        {b"w": bundle_entry(offset=(1 << 64) - 4)},
        "should end at byte 18446744073709551616",
    ),
    "unknown dtype": ({b"w": bundle_entry(dtype=99)}, "type number 99"),
    "complex": ({b"w": bundle_entry(dtype=8)}, "type number 8"),
    "no dtype": ({b"w": bundle_entry(dtype=0)}, "type number 0"),
    "shard outside": ({b"w": bundle_entry(shard=1)}, "data file 1 of 1"),
    "partitioned": ({b"w": bundle_entry(extra=field(7, b""))}, "is partitioned"),
    "name not UTF-8": ({b"\xff": bundle_entry()}, "no tensor name"),
    "name with a control character": ({b"a\n": bundle_entry()}, "no tensor name"),
    "field of the wrong kind": ({b"w": field(1, b"x")}, "field 1 has wire type 2"),
    "field zero": ({b"w": field(0, 1)}, "field 0"),
    "group": ({b"w": write_varint(9 << 3 | 3)}, "wire type 3"),
    "field cut": ({b"w": field(2, bytes(20))[:9]}, "is cut"),
    "number cut": ({b"w": b"\x08"}, "ends inside a number"),
    "number too long": ({b"w": b"\x08" + b"\xff" * 10 + b"\x01"}, "not in its shortest form"),
    "number with a tail": ({b"w": b"\x08\x81\x00"}, "not in its shortest form"),
}


@pytest.mark.parametrize(("entries", "message"), MADE.values(), ids=MADE)
def test_hostile_index_is_refused(entries, message, tmp_path):
    entries = entries if message == "header is missing" else {b"": header()} | entries
    with pytest.raises(PresetError, match=r"x\.(index|data)") as caught:
        open_made(tmp_path, entries)
    assert message in str(caught.value)


def test_bool_bytes_are_checked(tmp_path):
    entry = bundle_entry(dtype=10, size=1, data=b"\2")
    with pytest.raises(PresetError, match="other than 0 and 1"):
        open_made(tmp_path, {b"": header(), b"w": entry}, data=b"\2")


def test_unknown_fields_are_passed_over(tmp_path):
    extra = field(9, 5) + field(10, b"later") + write_varint(11 << 3 | 1) + bytes(8)
    found = open_made(tmp_path, {b"": header(), b"w": bundle_entry(extra=extra), b"s": bundle_entry(shape=())})
    assert found["w"].shape == (1,) and found["s"].shape == ()
