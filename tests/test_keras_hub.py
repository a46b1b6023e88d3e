"""keras-hub preset folders: read as keras-hub computes them, and nothing but plain HDF5."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys

import h5py
import ml_dtypes
import numpy as np
import pytest
from support.arrays import assert_close

import zoo
from zoo.formats import hdf5, keras_hub
from zoo.formats.checkpoint import match
from zoo.models.preset import read
from zoo.store import Folder, PresetError

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"改密码abc", "##b"]

# keras-hub imports TensorFlow, so it runs in a process of its own, on whichever backend is asked for.
MAKE = """
import sys
import numpy as np
import keras, keras_hub

folder, vocabulary = sys.argv[1], sys.argv[2].split(",")
rng = np.random.default_rng(7)
ids = rng.integers(1, 12, (3, 9)).astype("int32")
inputs = {"token_ids": ids, "segment_ids": (ids > 6).astype("int32"), "padding_mask": np.ones_like(ids)}
models, tokenizers = keras_hub.models, keras_hub.tokenizers
sizes = dict(vocabulary_size=12, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)


def shaken(model):
    for weight in model.weights:
        if not weight.path.endswith("/scale") and "seed" not in weight.path:
            weight.assign(rng.normal(0, 0.4, weight.shape))
    return model


bert = shaken(models.BertBackbone(**sizes, max_sequence_length=10))
tokenizer = models.BertTokenizer(vocabulary)
bert.save_to_preset(f"{folder}/bert", max_shard_size=None)
tokenizer.save_to_preset(f"{folder}/bert")
bert.save_to_preset(f"{folder}/sharded", max_shard_size=2e-6)
task = shaken(models.BertMaskedLM(bert, models.BertMaskedLMPreprocessor(tokenizer)))
task.save_to_preset(f"{folder}/bert_mlm")
positions = np.tile(np.arange(9, dtype="int32"), (3, 1))
v2 = shaken(models.RoformerV2Backbone(**sizes, head_size=4))
v2.save_to_preset(f"{folder}/v2")
models.RoformerV2Tokenizer(vocabulary, lowercase=True).save_to_preset(f"{folder}/v2")
half = models.RoformerV2Backbone(**sizes, head_size=4, dtype="bfloat16")
half.save_to_preset(f"{folder}/bfloat16")
head = keras.Model(task.input, task.output)
out = {
    "mlm_hidden": bert(inputs)["sequence_output"],
    "mlm": task({**inputs, "mask_positions": positions}),
    "v2": v2({name: inputs[name] for name in ("token_ids", "segment_ids")}),
}
out = {name: keras.ops.convert_to_numpy(array) for name, array in out.items()}
np.savez(f"{folder}/out.npz", **out, **inputs)

import json
words = vocabulary[:5] + ["cafe", "café", "Café", "Caf", "##é", "##e", "今", "天", "a", "##a", "?"]
texts = ["Café 今天", "café?", "CAFÉ cafe", "今[MASK]a", "aa [CLS]", "a" * 101, "a" * 99, ""]
ids = {}
for number, options in enumerate([
    {}, {"lowercase": True}, {"strip_accents": True}, {"lowercase": True, "strip_accents": True},
    {"special_tokens_in_strings": True}, {"lowercase": True, "special_tokens_in_strings": True}, {"oov_token": "a"},
]):
    tokenizer = tokenizers.BertTokenizer(words, **options)
    tokenizer.save_to_preset(f"{folder}/tokenizer_{number}")
    ids[number] = [[int(one) for one in tokenizer(text)] for text in texts]
with open(f"{folder}/tokenizers.json", "w") as file:
    json.dump({"texts": texts, "ids": list(ids.values())}, file)
"""


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    """Presets that keras-hub wrote, and what it computes with them on torch, where its masks are right.

    Importing keras-hub takes longer than these tests, so the presets are kept for the runs on other backends.
    """
    edition = hashlib.sha256(f"{MAKE}{importlib.metadata.version('keras-hub')}".encode()).hexdigest()[:16]
    kept = request.config.cache.mkdir("keras_hub") / edition
    if not kept.exists():
        folder = tmp_path_factory.mktemp("keras_hub")
        environment = os.environ | {"KERAS_BACKEND": "torch", "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-c", MAKE, str(folder), ",".join(VOCABULARY)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        with contextlib.suppress(OSError):  # another run was quicker
            os.rename(shutil.copytree(folder, kept.with_suffix(f".{os.getpid()}")), kept)
    return kept


@pytest.fixture
def copy(made, tmp_path):
    """`copy("bert")`: a preset that a test may damage."""
    return lambda name: shutil.copytree(made / name, tmp_path / name)


def numpy_output(model, inputs):
    import keras

    return keras.ops.convert_to_numpy(model(inputs))


def inputs_of(made):
    arrays = np.load(made / "out.npz", allow_pickle=False)
    return arrays, {name: arrays[name] for name in ("token_ids", "segment_ids", "padding_mask")}


def test_roformer_v2_equals_keras_hub(made):
    arrays, inputs = inputs_of(made)
    model = zoo.RoFormerV2.from_preset(made / "v2")
    assert_close(numpy_output(model, inputs), arrays["v2"], atol=2e-5)
    assert model.tokenizer.vocabulary == VOCABULARY and model.tokenizer.lowercase


def test_bert_and_its_masked_lm_equal_keras_hub(made):
    arrays, inputs = inputs_of(made)
    model = zoo.MaskedLM.from_preset(made / "bert_mlm")
    assert_close(numpy_output(model.backbone, inputs), arrays["mlm_hidden"], atol=2e-5)
    # keras-hub's head has ε = 1e-5 in its norm, BERT's and ours 1e-12
    assert_close(numpy_output(model, inputs), arrays["mlm"], atol=1e-3)
    assert not model.tokenizer.lowercase


@pytest.mark.neutral
def test_shards_are_one_checkpoint(made):
    sharded, plain = (keras_hub.read(Folder(made / name)).weights for name in ("sharded", "bert"))
    assert len([name for name in os.listdir(made / "sharded") if name.endswith(".h5")]) > 1
    assert {name: np.asarray(array).tolist() for name, array in sharded.items()} == {
        name: np.asarray(array).tolist() for name, array in plain.items()
    }


@pytest.mark.neutral
def test_bfloat16_is_read(made):
    name = "layers/reversible_embedding/vars/0"
    array = np.asarray(keras_hub.read(Folder(made / "bfloat16")).weights[name])
    assert array.dtype == ml_dtypes.bfloat16 and 0 < np.abs(array.astype("float32")).max() < 1


@pytest.mark.neutral
def test_trained_gains_are_refused(copy):
    folder = copy("v2")
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        file["layers/roformer_v2_encoder_1/feedforward_norm/vars/0"][3] = 1.5
    checkpoint = keras_hub.read(Folder(folder))
    with pytest.raises(PresetError, match="roformer_v2_encoder_1/feedforward_norm/vars/0 must be all ones"):
        match(checkpoint, wanted_of(checkpoint))


def wanted_of(checkpoint):
    """Variable path -> shape of the backbone behind a RoFormerV2 checkpoint, written out."""
    d, inner = 8, 16
    wanted = {"token_embedding/embeddings": (12, d), "segment_embedding/embeddings": (2, d)}
    for layer in range(checkpoint.config["num_layers"]):
        for name in ("query", "key", "value", "output"):
            wanted[f"layer_{layer}/attention/{name}/kernel"] = (d, d)
        wanted[f"layer_{layer}/feedforward/inner/kernel"] = (d, inner)
        wanted[f"layer_{layer}/feedforward/outer/kernel"] = (inner, d)
    return wanted


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda f: f.__delitem__("layers/roformer_v2_encoder/attention_layer/q_dense/vars/0"),
            "q_dense/vars/0 for layer_0",
        ),
        (
            lambda f: f.create_dataset("layers/surprise/vars/0", data=np.ones(3, "float32")),
            "layers/surprise/vars/0 (3,)",
        ),
        (
            lambda f: replaced(
                f, "layers/roformer_v2_encoder/feedforward_output_dense/vars/0", np.ones((8, 16), "float32")
            ),
            "feedforward_output_dense/vars/0 has shape (8, 16)",
        ),
        (
            lambda f: replaced(
                f, "layers/roformer_v2_encoder/attention_layer/q_dense/vars/0", np.ones((8, 8), "int32")
            ),
            "q_dense/vars/0 has type int32",
        ),
    ],
)
def test_damaged_weights_are_named(change, words, copy):
    folder = copy("v2")
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        change(file)
    checkpoint = keras_hub.read(Folder(folder))
    with pytest.raises(PresetError, match=re.escape(words)):
        match(checkpoint, wanted_of(checkpoint))


def replaced(file, name, array):
    del file[name]
    file.create_dataset(name, data=array)


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("preset", "field", "value", "word"),
    [
        ("v2", "hidden_dim", 10**10, "hidden_dim"),
        ("v2", "hidden_dim", 16, "head_size|hidden_dim|reversible_embedding"),
        ("v2", "num_layers", 3, "roformer_v2_encoder_2"),
        ("v2", "num_layers", 10**9, "layers"),
        ("v2", "vocabulary_size", 13, "reversible_embedding"),
        ("v2", "vocabulary_size", "12", "vocabulary_size"),
        ("v2", "head_size", 3, "head_size"),
        ("v2", "max_wavelength", 500, "max_wavelength"),
        ("v2", "use_bias", True, "use_bias"),
        ("v2", "activation", {"module": "os", "class_name": "system"}, "activation"),
        ("v2", "dropout", -1, "dropout"),
        ("v2", "quantization", "int8", "quantization"),
        ("bert", "max_sequence_length", 11, "position_embedding"),
        ("bert", "num_heads", 0, "num_heads"),
    ],
)
def test_config_fields_are_checked_before_anything_is_built(preset, field, value, word, copy):
    folder = copy(preset)
    document = json.loads((folder / "config.json").read_text())
    document["config"][field] = value
    (folder / "config.json").write_text(json.dumps(document))
    with pytest.raises(PresetError, match=word) as caught:
        read(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.neutral
@pytest.mark.parametrize(
    "name", ["keras>Lambda", "keras_hub>GemmaBackbone", "os>system", None, ["keras_hub>BertBackbone"]]
)
def test_other_classes_are_not_ours(name, copy):
    folder = copy("bert")
    (folder / "config.json").write_text(json.dumps({"registered_name": name, "config": {}}))
    assert not keras_hub.matches(Folder(folder))


@pytest.mark.neutral
@pytest.mark.filterwarnings("ignore:.*spelled out like any other word")
@pytest.mark.parametrize("number", range(7))
def test_tokenizers_give_the_ids_of_keras_hub(number, made):
    stored = json.loads((made / "tokenizers.json").read_text())
    found = keras_hub._tokenizer(Folder(made / f"tokenizer_{number}"))
    ours = zoo.Tokenizer.from_config(found["tokenizer_options"], found["vocabulary"])
    for text, ids in zip(stored["texts"], stored["ids"][number], strict=True):
        assert ours.encode(text)[0][1:-1] == ids, text


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("split", False),
        ("split_on_cjk", False),
        ("suffix_indicator", "@@"),
        ("lowercase", "yes"),
        ("strip_accents", 1),
        ("special_tokens", ["[OTHER]"]),
        ("sequence_length", 7),
        ("surprise", 1),
    ],
)
def test_tokenizers_that_zoo_cannot_be_are_refused(field, value, copy):
    folder = copy("bert")
    document = json.loads((folder / "tokenizer.json").read_text())
    document["config"][field] = value
    (folder / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(PresetError, match=re.escape(f"tokenizer.json: {field} is {value!r}")):
        read(folder)
    document["registered_name"] = "keras_hub>GemmaTokenizer"
    (folder / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(PresetError, match="registered_name is 'keras_hub>GemmaTokenizer'"):
        read(folder)


@pytest.mark.neutral
def test_vocabulary_is_not_taken_through_a_linked_folder(copy):
    folder = copy("bert")
    os.rename(folder / "assets", folder.parent / "elsewhere")
    os.symlink(folder.parent / "elsewhere", folder / "assets")
    with pytest.raises(PresetError, match="symbolic link"):
        read(folder)


@pytest.mark.neutral
@pytest.mark.parametrize("shard", ["../x", "/etc/passwd", "model_00000.weights.h5/../x", "model.weights.h5", None, 7])
def test_an_index_may_name_only_shards_beside_it(shard, copy):
    folder = copy("bert")
    os.rename(folder / "model.weights.h5", folder.parent / "x")
    (folder / "model.weights.json").write_text(json.dumps({"weight_map": {"/layers/dense/vars": shard}}))
    with pytest.raises(PresetError, match="lies beside the index"):
        read(folder)


@pytest.mark.neutral
def test_missing_and_doubled_shards(copy):
    folder = copy("sharded")
    shards = sorted(name for name in os.listdir(folder) if name.endswith(".h5"))
    shutil.copy(folder / shards[0], folder / shards[1])
    with pytest.raises(PresetError, match="in another shard as well"):
        read(folder)
    os.remove(folder / shards[0])
    with pytest.raises(PresetError, match=f"{shards[0]} is missing"):
        read(folder)
    os.remove(folder / "model.weights.json")
    with pytest.raises(PresetError, match=r"neither model\.weights\.h5"):
        read(folder)


# HDF5 that Keras does not write


def soft_link(file, _):
    file["layers/a"] = h5py.SoftLink("/layers/b")


def external_link(file, folder):
    file["layers/a"] = h5py.ExternalLink(str(folder / "secret.h5"), "/x")


def second_name(file, _):
    file["layers/a"] = file["layers/b/vars/0"]


def loop(file, _):
    file["layers/b/again"] = file["layers"]


def external_storage(file, folder):
    file.create_dataset("layers/a", (4,), "float32", external=[(str(folder / "secret"), 0, 16)])


def virtual(file, folder):
    layout = h5py.VirtualLayout((4,), "float32")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "x", (4,))
    file.create_virtual_dataset("layers/a", layout)


def unwritten(file, _):
    file.create_dataset("layers/a", (1 << 40,), "float32")


def overflowing(file, _):
    file.create_dataset("layers/a", (1 << 33, 1 << 33), "float32")


def chunked(file, _):
    file.create_dataset("layers/a", (1 << 40,), "float32", chunks=(1024,))


def compressed(file, _):
    file.create_dataset("layers/a", data=np.zeros(1 << 20, "float32"), compression="gzip")


def objects(file, _):
    file.create_dataset("layers/a", (2,), h5py.special_dtype(vlen=str))


def references(file, _):
    file.create_dataset("layers/a", (2,), h5py.ref_dtype)


def records(file, _):
    file.create_dataset("layers/a", (2,), np.dtype([("x", "f4"), ("y", "f4")]))


def null(file, _):
    file.create_dataset("layers/a", data=h5py.Empty("f4"))


def named_type(file, _):
    file["layers/a"] = np.dtype("f4")


def odd_name(file, _):
    file.create_dataset("layers/..%2f", data=np.ones(2, "float32"))


def deep(file, _):
    file.create_dataset("/".join(["a"] * 40), data=np.ones(2, "float32"))


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("hostile", "words"),
    [
        (soft_link, "layers/a is a link"),
        (external_link, "layers/a is a link"),
        (second_name, "more than one name"),
        (loop, "more than one name"),
        (external_storage, "in another file"),
        (virtual, "virtual"),
        (unwritten, "claims shape"),
        (overflowing, "claims shape"),
        (chunked, "chunked"),
        (compressed, "compressed"),
        (objects, "plain numbers"),
        (references, "plain numbers"),
        (records, "plain numbers"),
        (null, "neither a group nor an array"),
        (named_type, "neither a group nor an array"),
        (odd_name, "no name that Keras writes"),
        (deep, "too deep"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_hostile_hdf5_is_refused_unread(hostile, words, tmp_path):
    (tmp_path / "secret").write_bytes(b"a secret of 16 b")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.ones(4, "float32")
    preset = tmp_path / "preset"
    preset.mkdir()
    with h5py.File(preset / "model.weights.h5", "w") as file:
        file["layers/b/vars/0"] = np.ones(3, "float32")
        hostile(file, tmp_path)
    with pytest.raises(PresetError, match=words) as caught:
        hdf5.datasets(Folder(preset), "model.weights.h5")
    assert str(preset / "model.weights.h5") in str(caught.value)


@pytest.mark.neutral
def test_damaged_hdf5_is_an_error_or_other_numbers(tmp_path):
    """Cuts and flips of a good file: our error, or arrays no larger than the file; never anything else."""
    whole = tmp_path / "whole.h5"
    with h5py.File(whole, "w") as file:
        for layer in range(3):
            file[f"layers/dense_{layer}/vars/0"] = np.arange(12, dtype="float32").reshape(3, 4)
    content, generator = whole.read_bytes(), np.random.default_rng(11)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    refused = 0
    for trial in range(300):
        broken = bytearray(content)
        if trial % 3 == 0:
            broken = broken[: generator.integers(len(broken))]
        else:
            for place in generator.integers(len(broken), size=trial % 3):
                broken[place] ^= 1 << generator.integers(8)
        (damaged / "model.weights.h5").write_bytes(broken)
        try:
            found = hdf5.datasets(Folder(damaged), "model.weights.h5")
            assert sum(np.asarray(array).nbytes for array in found.values()) <= len(broken)
        except PresetError:
            refused += 1
    assert refused > 100
