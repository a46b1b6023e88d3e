"""Files made to hurt, one section a row T1 .. T17 of SECURITY.md.

Every refusal is a `PresetError` that names the file and the field; nothing was run, asked over the network, written, or
opened outside the folder. What single readers do with single bad bytes is tested beside them.
"""

import json
import os
import pathlib
import pickle
import shlex
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
from support import hostile_presets as make
from support.fuzz_readers import READERS, run_round
from support.hostile_presets import (
    BAD_NAMES,
    BAD_VALUES,
    GOOD,
    INERT,
    JSON,
    ODD_TENSORS,
    OTHERS,
    RATES,
    SIZES,
    arrays,
    at,
    files,
    load,
    put,
    refused,
    with_config,
)
from support.hostile_safetensors import HOSTILE
from support.library_source import ROOT
from support.watching import contents, watched

import zoo
from zoo.formats import hub
from zoo.formats.tensorflow.checkpoint import TFCheckpoint, write_tf_checkpoint
from zoo.store import Folder, PresetError, check_name, safetensors_bytes, write_folder
from zoo.store.safetensors import SafeTensors

pytestmark = pytest.mark.neutral


@pytest.fixture(autouse=True)
def outside(tmp_path, monkeypatch):
    """Where a hostile preset would like to reach: home, working folder and a secret; all as they were afterwards."""
    place = tmp_path / "outside"
    put(place, {"secret": b"secret of the sentinel", "vocab.txt": b"secret\n"})
    put(place / "home", {"secret": b"x"})
    put(place / "work", {"config.json": b"{}"})
    monkeypatch.setenv("HOME", str(place / "home"))
    monkeypatch.chdir(place / "work")
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # thousands of small saves
    before = contents(place)
    yield place
    assert contents(place) == before


@pytest.fixture
def inside(tmp_path):
    return tmp_path / "preset"


def test_what_is_spoilt_below_was_sound(inside):
    for kind in ("matcher", "classifier", "hugging_face", "tensorflow", "BERT", "ALBERT", "GAUAlpha"):
        write_folder(inside / kind, files(kind))
        assert load(inside / kind).verified


# T1: classes by name

CLASSES = ["os.system", "keras.utils.get_file", "builtins.eval", "keras.layers.Lambda", "../BERT", "Backbone"]
CLASSES += [{"class_name": "Lambda"}, ["BERT"], None, 1, True]


@pytest.mark.parametrize("name", CLASSES, ids=repr)
@pytest.mark.parametrize("field", ["backbone", "task"])
def test_T01_a_preset_names_only_classes_of_a_closed_table(field, name, inside, outside):
    write_folder(inside, with_config("matcher", at(f"{field}.class", name)))
    with refused(outside, "config.json", f"{field} of unknown class", str(name), "known are"):
        load(inside)


@pytest.mark.parametrize("name", CLASSES, ids=repr)
def test_T01_foreign_configs_name_only_known_models(name, inside, outside):
    for kind, field in (("hugging_face", "model_type"), ("keras_hub", "registered_name")):
        put(inside / kind, {"config.json": json.dumps({field: name}).encode()})
        with refused(outside, str(inside / kind), f"config.json has {field}", "unknown model; known are"):
            load(inside / kind)
    for field in ("position", "normalization"):
        write_folder(inside / field, with_config("BERT", at(f"backbone.config.{field}", {"class": name, "config": {}})))
        with refused(outside, str(inside / field), "option"):
            load(inside / field)


# T2: names of files


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
@pytest.mark.parametrize("here", ["inside", "outside"])
def test_T02_odd_names_are_refused_before_anything_is_opened(name, here, inside, outside, monkeypatch):
    write_folder(inside, {"config.json": b"{}", "x": b""})
    folders = [Folder(inside), Folder(put(inside / "plain", {"x": b""}))]
    monkeypatch.chdir(inside if here == "inside" else outside)
    with monkeypatch.context() as patch:
        for function in ("open", "stat", "lstat"):
            patch.setattr(os, function, None)  # a call would be a TypeError
        with pytest.raises(PresetError, match="name"):
            check_name(name)
        for folder in folders:
            for method in (folder.has, folder.bytes, folder.text, folder.json, folder.memory_map, folder.safetensors):
                with pytest.raises(PresetError, match="name"):
                    method(name)
            with pytest.raises(PresetError, match="name"):
                folder.subfolder(name)
    if isinstance(name, str):  # a manifest, an index, a checkpoint that name it
        seal = {"size": 0, "sha256": "0" * 64}
        put(inside, {"manifest.json": json.dumps({"zoo_manifest": 1, "files": {name: seal}}).encode()})
        with refused(outside, "manifest.json", "name"):
            load(inside)
        with pytest.raises(PresetError):
            TFCheckpoint(folders[1], name)
        with pytest.raises(PresetError, match="name"):
            write_folder(inside / "saved", {name: b"x"})


@pytest.mark.parametrize("name", ["../x", "/nothing/x", "x\0", "a/../../x", "x" * 5000, "~", "$HOME", "hf:x", "C:\\x"])
def test_T02_odd_preset_names_open_nothing(name, outside):
    with refused(outside, "no folder and no preset"):
        load(name)


@pytest.mark.parametrize("address", ["hf://a/../b", "hf://a/b@../x", "hf://a", "kaggle://a/b/../../c", "file:///etc"])
def test_T02_odd_hub_addresses_reach_no_hub(address, outside):
    with refused(outside, "is no preset address"):
        hub.download(address)


# T3: an index of shards

SHARD = "model-00001-of-00001.safetensors"
INDEX = "model.safetensors.index.json"


def sharded(where, **more):
    spoilt = files("hugging_face")
    shard = spoilt.pop("model.safetensors")
    return spoilt | {SHARD: shard, INDEX: json.dumps({"weight_map": where}).encode()} | more


@pytest.mark.parametrize(
    "shard", ["../x", "/etc/passwd", "a/../../x", "x.safetensors", "C:\\x", 7, None, "model-00001-of-00002.bin"]
)
def test_T03_shards_lie_beside_their_index(shard, inside, outside):
    put(inside, sharded(dict.fromkeys(arrays("hugging_face"), shard)))
    with refused(outside, INDEX, "lies beside the index"):
        load(inside)


def test_T03_an_index_agrees_with_its_shards(inside, outside):
    where, other = dict.fromkeys(arrays("hugging_face"), SHARD), "model-00002-of-00002.safetensors"
    put(inside / "good", sharded(where, **{other: b"never named, never read"}))
    with watched() as seen:
        load(inside / "good")
    assert str(inside / "good" / other) not in seen.opened
    cases = {
        "one more": (sharded(where | {"one.more": SHARD}), "one.more"),
        "one less": (sharded(dict(list(where.items())[1:])), SHARD),
        "far": (sharded(where | {"far": other}), f"{other} is missing"),
        "in both": (sharded(where | {"far": other}, **{other: safetensors_bytes(arrays("hugging_face"))}), other),
        "a list": (sharded([SHARD]), "weight_map"),
        "twice": (sharded(where, **{INDEX: b'{"weight_map": {"a": "x", "a": "y"}}'}), "stands twice"),
    }
    for name, (content, word) in cases.items():
        put(inside / name, content)
        with refused(outside, str(inside / name), word):
            load(inside / name)
    put(inside / "link", sharded(where))
    os.rename(inside / "link" / SHARD, inside / "elsewhere")
    (inside / "link" / SHARD).symlink_to(inside / "elsewhere")
    with refused(outside, SHARD, "symbolic link"):
        load(inside / "link")


# T4: what is no plain file


KINDS = {"link": "symbolic link", "dangling": "symbolic link", "hard link": "hard links", "pipe": "named pipe"}
KINDS |= {"folder": "a folder", "socket": "a socket", "device": "symbolic link"}


@pytest.mark.parametrize("kind", KINDS)
def test_T04_links_pipes_and_folders_are_refused(kind, inside, outside):
    """A pipe would hang a reader for ever: the test's own limit is the alarm."""
    for number, name in enumerate(["vocab.txt", "config.json", "model.safetensors", "manifest.json"]):
        folder = inside / str(number)
        write_folder(folder, files("matcher"))
        (folder / name).unlink()
        make.plant(kind, folder / name, outside)
        with refused(outside, name, KINDS[kind]):
            load(folder)
    foreign = put(inside / "foreign", files("hugging_face"))
    (foreign / "vocab.txt").unlink()
    make.plant(kind, foreign / "vocab.txt", outside)
    with refused(outside, "vocab.txt", KINDS[kind]):
        load(foreign)


def test_T04_linked_folders_inside_are_refused(inside, outside):
    put(inside, {"config.json": b"{}"})
    (inside / "assets").symlink_to(outside)
    with refused(outside, "assets is a symbolic link"):
        Folder(inside).subfolder("assets")
    (inside / ".saved").symlink_to(outside)
    with refused(outside, ".saved is a symbolic link"):
        load(inside)
    with pytest.raises(PresetError, match="symbolic link"):
        write_folder(inside, {"vocab.txt": b"overwritten\n"})


# T5: pickles

PICKLES = ["pytorch_model.bin", "model.pt", "weights.npy", "weights.npz", "head.joblib", "model.pkl"]


@pytest.mark.parametrize(
    "name", [*PICKLES, "model.safetensors", "vocab.txt", "config.json", "x.index", "manifest.json"]
)
def test_T05_pickles_are_never_opened(name, inside, outside, tmp_path):
    """Under its own name, or dressed as a file that zoo does read."""
    spoilt = files("tensorflow" if name.endswith(".index") else "hugging_face")
    content = pickle.dumps(make.Canary(tmp_path / "canary"))
    if name == "weights.npy":
        np.save(tmp_path / "object.npy", np.array([make.Canary(tmp_path / "canary")], object), allow_pickle=True)
        content = (tmp_path / "object.npy").read_bytes()
    if name in PICKLES:
        del spoilt["model.safetensors"]
    elif name.endswith(".index"):
        del spoilt["bert_model.ckpt.index"]
    put(inside, spoilt | {name: content})
    with refused(outside, str(inside), "pickle" if name in PICKLES else name):
        load(inside)
    assert not (tmp_path / "canary").exists()


def test_T05_the_command_in_the_error_converts_a_pickle(inside, outside):
    import torch

    spoilt = files("hugging_face")
    del spoilt["model.safetensors"]
    put(inside, spoilt)
    weights = {name: torch.tensor(array) for name, array in arrays("hugging_face").items()}
    torch.save(weights, inside / "pytorch_model.bin")
    with refused(outside, "zoo reads no pickle", "weights_only=True", shlex.quote(str(inside))), watched():
        load(inside)
    with pytest.raises(PresetError) as caught:
        load(inside)
    command = str(caught.value).splitlines()[1].strip().replace("python -c", f"{sys.executable} -c")
    subprocess.run(["sh", "-c", command], check=True)
    assert load(inside).num_layers == 1


# T6: fields of a config


GAU_ONLY, NOT_GAU = ["expanded_dim"], ["num_heads", "head_dim", "intermediate_dim"]


@pytest.mark.parametrize("family", ["BERT", "ALBERT", "GAUAlpha"])
def test_T06_config_fields_of_wrong_type_or_size(family, inside, outside):
    for field in SIZES + RATES + OTHERS:
        if field in (NOT_GAU if family == "GAUAlpha" else GAU_ONLY):
            continue
        for number, value in enumerate(BAD_VALUES):
            if any(field == name and type(value) is type(good) and value == good for name, good in GOOD):
                continue
            if family == "GAUAlpha" and (field, value) == ("max_sequence_length", 2**31 - 1):
                continue  # rotary: no weight has this size
            folder = inside / f"{field}{number}"
            write_folder(folder, with_config(family, at(f"backbone.config.{field}", value)))
            # A size that could be one is compared with the tensors and named by them.
            told = [field]
            if value in (0, 2**31 - 1) or isinstance(value, str | dict):
                told += ["has shape", "option"]
            with refused(outside, "config.json", tuple(told)):
                load(folder)
    for field in ("vocabulary_size", "num_layers", "hidden_dim"):
        write_folder(inside / field, with_config(family, lambda config, f=field: config["backbone"]["config"].pop(f)))
        with refused(outside, "config.json", f"{field} is None"):
            load(inside / field)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("surprise", 1, "unknown or missing keys surprise"),
        ("format", "1", "format is '1'"),
        ("format", True, "format is True"),
        ("backbone", [], "backbone="),
        ("backbone.class", "BERT", "embeddings"),
        ("backbone.config.surprise", 1, "takes no surprise"),
        ("backbone.config.num_layers", 2, "layer_1/"),
        ("backbone.config.position", {"class": "RotaryEmbedding", "config": {"x": 1}}, "config.json"),
        ("task.config.surprise", 1, "takes no surprise"),
        ("task.config.backbone", {}, "takes no backbone"),
        ("task.config.pooling", "average", "pooling='average'"),
        *(("task.config.max_length", value, "max_length=") for value in ("long", -5, 0, 1, True, 10**12, 12.5)),
        ("task.config.segment_ids", "both", "segment_ids"),
        ("task.config.num_classes", 4, "classifier"),
        *(("task.config.num_classes", value, "num_classes is") for value in (0, -1, True, "4", 2**31)),
        ("tokenizer", "x", "tokenizer='x'"),
        ("tokenizer.surprise", 1, "surprise"),
        ("tokenizer.lowercase", "yes", "lowercase"),
        ("tokenizer.word_max_length", 0, "word_max_length"),
        ("tokenizer.unk_token", "[no such token]", "[no such token]"),
    ],
)
def test_T06_other_fields_and_unknown_ones(path, value, words, inside, outside):
    write_folder(inside, with_config("matcher", at(path, value)))
    with refused(outside, str(inside), "config.json", words):
        load(inside, "RepresentationMatcher")


@pytest.mark.parametrize(("content", "words"), JSON.values(), ids=JSON)
def test_T06_json_means_one_thing(content, words, inside, outside):
    put(inside, {"config.json": content})
    with refused(outside, str(inside / "config.json"), words):
        load(inside)


# T7: bombs


def test_T07_bombs_take_no_memory(tmp_path):
    """Headers, configs and indexes that claim what a file does not hold, under a limit to the address space."""
    make.make_bombs(tmp_path / "bombs")
    kinds = {"BERT": "BERT", "hugging_face": "hugging_face", "tensorflow": "tensorflow"}
    kinds |= {"TextClassifier": "classifier", "RepresentationMatcher": "matcher"}
    good = [tmp_path / name for name in kinds]
    for folder in good:
        write_folder(folder, files(kinds[folder.name]))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", make.LOAD_UNDER_A_LIMIT, tmp_path / "bombs", *good]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "all refused\n", done.stdout + done.stderr[-2000:]


# T8: safetensors


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_T08_safetensors_headers(content, message, inside, outside):
    put(inside, {"x.safetensors": content})
    with refused(outside, str(inside / "x.safetensors"), message):
        Folder(inside).safetensors("x.safetensors")


@pytest.mark.parametrize("name", READERS)
def test_T08_T12_mutated_files_are_refused_or_read(name):
    """2,000 rounds by their numbers; the long run of a million is benchmarks/fuzzing.py."""
    reader = READERS[name]()
    outcomes = [run_round(name, reader, number) for number in range(2_000)]
    assert 1_500 < outcomes.count("refused") < 2_000


def test_T08_what_a_reader_lets_pass_the_manifest_catches(inside, outside):
    """A flip in the data is a sound file with other numbers."""
    content = files("matcher")["model.safetensors"]
    for position in np.linspace(len(content) // 2, len(content) - 1, 16).astype(int):
        write_folder(inside, files("matcher"))
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        assert len(SafeTensors(np.frombuffer(flipped, np.uint8), "x")) == len(arrays("matcher"))
        put(inside, {"model.safetensors": bytes(flipped)})
        with refused(outside, "model.safetensors", "damaged or edited"):
            load(inside)


# T9: weights that are not the model's


def test_T09_weights_that_are_not_the_models(inside, outside):
    whole, query = arrays("matcher"), "layer_0/attention/query/kernel"
    inner, output = "layer_0/feedforward/inner/kernel", "layer_0/attention/output/kernel"
    many = {f"layer_0/surprise{number:02}": np.ones(3, "float32") for number in range(12)}
    cases = {
        "missing": (
            {k: v for k, v in whole.items() if k != output},
            ["1 tensors missing in the file", f"{output} (16, 16)"],
        ),
        "extra": (whole | many, ["12 tensors unexpected", "layer_0/surprise09", "... and 2 more"]),
        "transposed": (whole | {inner: whole[inner].T}, [f"{inner} has shape (32, 16)", "(16, 32)"]),
        "integers": (whole | {query: whole[query].astype("int32")}, [f"{query} has type int32"]),
        "one axis": (whole | {query: whole[query].reshape(-1)}, [f"{query} has shape (256,)", "(16, 16)"]),
        "none": ({}, ["token_embedding/embeddings is missing"]),
    }
    for name, (tensors, words) in cases.items():
        write_folder(inside / name, files("matcher") | {"model.safetensors": safetensors_bytes(tensors)})
        with refused(outside, str(inside / name), "model.safetensors", *words):
            load(inside / name, "RepresentationMatcher")


# T10: vocabularies


def test_T10_vocabularies(inside, outside):
    text = files("matcher")["vocab.txt"]
    lines = text.decode().splitlines()
    ids = load(write(inside / "whole", files("matcher"))).tokenizer.encode("今天天气很好 play")[0]
    for name, same in {"bom": b"\xef\xbb\xbf" + text, "crlf": text.replace(b"\n", b"\r\n"), "cut": text[:-1]}.items():
        model = load(write(inside / name, files("matcher") | {"vocab.txt": same}))
        assert model.tokenizer.vocabulary == lines and model.tokenizer.encode("今天天气很好 play")[0] == ids
    kept = load(write(inside / "twice", files("matcher") | {"vocab.txt": text.replace(b"\nplay\n", b"\n\n")}))
    assert len(kept.tokenizer.vocabulary) == len(lines), "a blank line holds its id"
    cases = {
        "old mac": (text.replace(b"\n", b"\r"), "line end"),
        "surrogate": (text + b"\xed\xa0\x80\n", "not UTF-8"),
        "gb18030": (text.decode().encode("gb18030"), "not UTF-8"),
        "too long": (text + b"more\n", "121 tokens, the embedding 120 rows"),
        "ten million": (b"a\n" * 10_000_000, "bytes; zoo reads at most"),
        "millions": (b"\n" * 10_000_000 + b"a\n", "more than 1000000 lines"),
    }
    cases |= {t: (text.replace(f"{t}\n".encode(), b"gone\n"), t) for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")}
    for name, (content, words) in cases.items():
        write(inside / name, files("matcher") | {"vocab.txt": content})
        with refused(outside, str(inside / name), words):
            load(inside / name)


def write(folder, content):
    write_folder(folder, content)
    return folder


# T11: names on the way out


@pytest.mark.parametrize("name", ODD_TENSORS, ids=lambda name: repr(name)[:20])
def test_T11_odd_names_are_not_written(name, inside, outside):
    with refused(outside, "tensor name"):
        safetensors_bytes({name: np.zeros(2)})
    with refused(outside, "tensor name"):
        write_tf_checkpoint({name: np.zeros(2)}, "x.ckpt")
    if "." in str(name) or "/" in str(name):
        with refused(outside, "checkpoint prefix"):
            write_tf_checkpoint({}, f"{name}/")
    model = zoo.RepresentationMatcher.from_preset(write(inside, files("matcher")))
    model.weights[0]._path = str(name)  # as a layer of that name would have it
    before = contents(inside)
    with pytest.raises(PresetError, match="tensor name"):
        model.save_to_preset(inside)
    assert contents(inside) == before


# T12: TensorFlow checkpoints


def test_T12_flipped_and_cut_checkpoints(inside, outside):
    """64 places of each file, and as many lengths."""
    sound = files("tensorflow")
    for name in ("bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"):
        content = sound[name]
        for position in np.linspace(0, len(content) - 1, 64).astype(int):
            flipped = bytearray(content)
            flipped[position] ^= 1 << position % 8
            for spoilt in (bytes(flipped), content[:position]):
                put(inside, sound | {name: spoilt})
                with refused(outside, str(inside), "bert_model.ckpt"):
                    checkpoint = TFCheckpoint(Folder(inside))
                    for tensor in checkpoint.values():
                        np.asarray(tensor)


def test_T12_missing_and_misnamed_checkpoints(inside, outside):
    sound = files("tensorflow")
    index, data = "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"
    cases = {
        "no index": ({k: v for k, v in sound.items() if k != index}, "found none"),
        "no data": ({k: v for k, v in sound.items() if k != data}, f"{data} is missing"),
        "two": (sound | {"other.ckpt.index": sound[index], "checkpoint": b""}, "expected one TensorFlow checkpoint"),
        "swapped": (sound | {index: sound[data], data: sound[index]}, index),
    }
    for name, (content, words) in cases.items():
        put(inside / name, content)
        with refused(outside, str(inside / name), words):
            load(inside / name)


# T13: label maps and thresholds


@pytest.mark.parametrize(
    ("kind", "field", "value", "words"),
    [
        *(("matcher", "decision.threshold", value, "threshold") for value in ("0.5", None, True, [0.5])),
        ("matcher", "decision.metric", "auc", "metric"),
        ("matcher", "decision", {"threshold": 0.5}, "decision="),
        ("matcher", "decision.more", 1, "decision="),
        *(("classifier", "class_names", value, "class_names") for value in ("ab", ["a", "a"], ["a", 1], {"0": "a"})),
        ("classifier", "class_names", ["a"], "1 class_names for num_classes=2"),
        ("classifier", "class_names", ["a", "b", "c"], "3 class_names for num_classes=2"),
        *(("classifier", "num_classes", value, "config.json") for value in ("2", -1, 0, None, 1.5)),
    ],
    ids=str,
)
def test_T13_edited_labels_and_thresholds_show_at_load(kind, field, value, words, inside, outside):
    write_folder(inside, with_config(kind, at(f"task.config.{field}", value)))
    with refused(outside, str(inside), words):
        load(inside, "RepresentationMatcher" if kind == "matcher" else "TextClassifier")


def test_T13_thresholds_that_are_no_numbers(inside, outside):
    """json.dumps writes NaN, which is no JSON; and an edit that leaves the manifest alone is seen by its hash."""
    for value, word in ((float("nan"), "NaN"), (float("inf"), "Infinity")):
        write_folder(inside, with_config("matcher", at("task.config.decision.threshold", value)))
        with refused(outside, "config.json", word):
            load(inside, "RepresentationMatcher")
    write_folder(inside, files("matcher"))
    text = (inside / "config.json").read_text(encoding="utf-8")
    (inside / "config.json").write_text(text.replace("0.125", "0.625"), encoding="utf-8")
    with refused(outside, "config.json", "damaged or edited"):
        load(inside, "RepresentationMatcher")


# T14, T15: strings that stay strings


def test_T14_T15_strings_of_a_preset_stay_what_they_are(inside, outside, monkeypatch):
    """No expansion, no look-up, no template, on the way in or out or into an error."""
    config = with_config("classifier", lambda c: c["task"]["config"].update(class_names=INERT, num_classes=len(INERT)))
    head = {
        "classifier/kernel": np.ones((16, len(INERT)), "float32"),
        "classifier/bias": np.arange(len(INERT), dtype="f4"),
    }
    weights = safetensors_bytes(arrays("classifier") | head)
    vocabulary = files("classifier")["vocab.txt"].decode().splitlines()
    tokens = [one.replace(" ", "") for one in INERT]  # a line with blanks has columns
    vocabulary[-len(INERT) :] = tokens
    text = "".join(f"{token}\n" for token in vocabulary).encode()
    write_folder(inside, config | {"model.safetensors": weights, "vocab.txt": text})
    for name in ("expandvars", "expanduser"):
        monkeypatch.setattr(os.path, name, None)
    monkeypatch.setattr(pathlib.Path, "expanduser", None)
    with watched() as seen:
        model = load(inside, "TextClassifier")
    assert not seen.actions and not seen.written
    assert not [path for path in seen.opened if path.startswith((str(outside), "/etc/"))]
    assert model.class_names == INERT and model.tokenizer.vocabulary[-len(INERT) :] == tokens
    model.save_to_preset(inside / "again")
    assert load(inside / "again", "TextClassifier").class_names == INERT
    assert model.classify(["今天{0}%s{{"]) == [INERT[-1]]
    for value in INERT:
        write_folder(inside / "error", with_config("classifier", at("tokenizer.unk_token", f"no {value} token")))
        with refused(outside, "config.json", repr(f"no {value} token")):
            load(inside / "error", "TextClassifier")


# T16: the network


def test_T16_the_test_suite_cannot_reach_the_network():
    for reach in ("connect", "connect_ex"):
        with socket.socket() as line, pytest.raises(RuntimeError, match="tests run without the network"):
            getattr(line, reach)(("192.0.2.1", 80))


def test_T16_import_opens_no_socket_and_no_backend():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", make.IMPORT_IN_SILENCE], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# T17: archives


@pytest.mark.parametrize("kind", ["zip", "gztar", "tar"])
def test_T17_archives_stay_packed(kind, inside, outside, tmp_path):
    """As the only file of a folder, under the name of a weights file, and as what is named."""
    sound = put(tmp_path / "sound", files("matcher"))
    archive = pathlib.Path(shutil.make_archive(str(tmp_path / "preset"), kind, sound))
    content = archive.read_bytes()
    cases = [{archive.name: content}, files("matcher") | {"model.safetensors": content}]
    for number, spoilt in enumerate([*cases, files("hugging_face") | {"vocab.txt": content}]):
        write_folder(inside / str(number), spoilt)
        before = contents(inside)
        with refused(outside, str(inside / str(number))):
            load(inside / str(number))
        assert contents(inside) == before
    with refused(outside, archive.name):
        load(archive)
