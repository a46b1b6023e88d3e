"""Sound presets of each format as files in memory, ways to spoil them, and what a refusal must look like."""

import contextlib
import functools
import json
import os
import socket

import numpy as np
import pytest

import zoo
from support.hostile_safetensors import HOSTILE
from support.tiny_models import backbone, scatter_weights
from support.watching import watched
from zoo.formats import bert4keras, hugging_face, zoo_preset
from zoo.formats.tensorflow.leveldb_table import write_table
from zoo.store import PresetError, safetensors_bytes, write_folder

DECISION = {"threshold": 0.125, "metric": "f1", "value": 0.75, "pairs": 7, "sha256": "ab" * 32}


@functools.cache
def family(name):
    return scatter_weights(backbone(name))


@functools.cache
def _files(kind):
    if kind == "matcher":
        model = zoo.RepresentationMatcher(family("RoFormerV2"), decision=DECISION)
        return zoo_preset.to_files(model)
    if kind == "classifier":
        model = zoo.TextClassifier(family("RoFormerV2"), 2, class_names=["是", "不是"])
        return zoo_preset.to_files(model)
    if kind == "hugging_face":
        return hugging_face.to_files(family("BERT"))
    if kind == "tensorflow":
        return bert4keras.to_files(family("RoFormerV2"))
    return zoo_preset.to_files(family(kind))


def files(kind):
    """File name -> bytes of a preset: "matcher", "classifier", "hugging_face", "tensorflow" or a family's name."""
    return dict(_files(kind))


@functools.cache
def arrays(kind):
    """Tensor name -> array of model.safetensors."""
    from zoo.store.safetensors import SafeTensors

    stored = SafeTensors(np.frombuffer(_files(kind)["model.safetensors"], np.uint8), kind)
    return {name: np.array(stored[name]) for name in stored}


def put(folder, content):
    """Write files without a manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder


@contextlib.contextmanager
def refused(outside, *words, error=PresetError):
    """Expect one of our errors with all of these words (or one of a tuple's), and nothing else to have happened."""
    with watched() as seen, pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    for word in words:
        assert any(one in message for one in ([word] if isinstance(word, str) else word)), (word, message)
    assert len(message) < 2000
    assert not seen.actions and not seen.written
    assert not [path for path in seen.opened if path.startswith(f"{outside}{os.sep}")]


def load(folder, cls="Backbone"):
    return getattr(zoo, cls).from_preset(folder)


def with_config(kind, change):
    """The files of a preset with an edited config.json."""
    spoilt = files(kind)
    config = json.loads(spoilt["config.json"])
    change(config)
    return spoilt | {"config.json": json.dumps(config).encode()}


def at(path, value):
    """A change that sets config[a][b][c] for the path "a.b.c"."""
    *parents, last = path.split(".")

    def change(config):
        for key in parents:
            config = config[key]
        config[last] = value

    return change


BAD_NAMES = [
    *("", ".", "..", "../x", "..\\x", "a/../../x", "/etc/passwd", "a/b", "a\\b", "C:\\x", "C:x", "\\\\host\\x"),
    *("//host/x", "x\0", "x\n", "x.", ".x", "x ", " x", "a..b", "%2e%2e/x", "%2e", "~", "~/x", "$HOME", "${HOME}"),
    *("file:x", "http://x/y", "x*", "x?", "x|y", "é.txt", "\u202etxt.x", "x" * 129, "con", "NUL.txt", "com1.json"),
    *(None, 1, b"x", ["x"], True),
]

JSON = {
    "key twice": (b'{"format": 1, "format": 1}', "stands twice"),
    "key twice inside": (b'{"b": [{"a": 1, "a": 2}]}', "stands twice"),
    "NaN": (b'{"a": NaN}', "NaN is no JSON"),
    "infinity": (b'{"a": -Infinity}', "-Infinity is no JSON"),
    "beyond float64": (b'{"a": 1e999}', "beyond float64"),
    "long number": (b'{"a": ' + b"9" * 10_000 + b"}", "40 digits"),
    "deep lists": (b"[" * 100_000, "nested deeper"),
    "deep objects": (b'{"a":' * 100_000, "nested deeper"),
    "33 levels": (b'{"a":' + b"[" * 32 + b"]" * 32 + b"}", "nested deeper"),
    "a list": (b"[1]", "expected a JSON object"),
    "a string": (b'"x"', "expected a JSON object"),
    "null": (b"null", "expected a JSON object"),
    "nothing": (b"", "Expecting value"),
    "cut": (b'{"a": 1', "delimiter"),
    "more behind": (b'{"a": 1} x', "Extra data"),
    "single quotes": (b"{'a': 1}", "double quotes"),
    "half a character": (b'{"a": "\\ud800"}', "half a character"),
    "half a character in a key": (b'{"\\udfff": 1}', "half a character"),
    "not UTF-8": (b'{"a": "\xff"}', "not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "two megabytes": (b'{"a": "' + b"x" * (2 << 20) + b'"}', "bytes; zoo reads at most 1048576"),
}


class Canary:
    """A pickle that makes a file when it is opened."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def plant(kind, place, outside):
    if kind == "link":
        place.symlink_to(outside / "vocab.txt")
    elif kind == "dangling":
        place.symlink_to(outside / "nothing")
    elif kind == "hard link":
        os.link(outside / "vocab.txt", place)
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            os.chdir(place.parent)  # names of sockets are short
            made.bind(place.name)
    elif kind == "device":
        place.symlink_to("/dev/zero")


def sparse(folder, name, size):
    with open(folder / name, "wb") as file:
        file.truncate(size)


def make_bombs(bombs):
    """Folders whose headers, configs and indexes claim what no file holds."""
    huge = 2**31 - 1
    for number, field in enumerate(["hidden_dim", "vocabulary_size", "num_layers", "max_sequence_length", "num_heads"]):
        write_folder(bombs / f"config{number}", with_config("BERT", at(f"backbone.config.{field}", huge)))
    write_folder(bombs / "gau", with_config("GAUAlpha", at("backbone.config.expanded_dim", huge)))
    for cls, kind in (("TextClassifier", "classifier"), ("RepresentationMatcher", "matcher")):
        for classes in (20_000_000, huge):
            options = {"num_classes": classes} | ({"class_names": None} if kind == "classifier" else {})
            spoilt = with_config(kind, lambda config, o=options: config["task"]["config"].update(o))
            write_folder(bombs / f"{cls} {classes}", spoilt)
    thin = {"classifier/kernel": np.zeros((1, 4_000_000), "float16"), "classifier/bias": np.zeros(4_000_000, "float16")}
    options = {"num_classes": 4_000_000, "class_names": None}
    spoilt = with_config("classifier", lambda config: config["task"]["config"].update(options))
    spoilt["model.safetensors"] = safetensors_bytes(arrays("classifier") | thin)
    write_folder(bombs / "TextClassifier thin", spoilt)
    for name in ("shape bomb", "product overflows", "overflow to zero", "empty, and too wide in all", "many values"):
        write_folder(bombs / name, files("BERT") | {"model.safetensors": HOSTILE[name][0]})
    deep = b'{"a":' * 200_000
    many = {f"f{number}": {"size": 0, "sha256": "0" * 64} for number in range(5_000)}
    put(bombs / "manifest", files("BERT") | {"manifest.json": json.dumps({"zoo_manifest": 1, "files": many}).encode()})
    put(bombs / "deep", {"config.json": deep})
    put(bombs / "lines", files("hugging_face") | {"vocab.txt": b"ab\n" * 1_100_000})
    put(bombs / "tokenizer", files("hugging_face") | {"tokenizer.json": b'{"a":[' + b"{}," * 4_000_000 + b"{}]}"})
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        sparse(put(bombs / f"sparse {name}", files("hugging_face")), name, 1 << 40)
    sparse(put(bombs / "sparse index", files("tensorflow")), "bert_model.ckpt.index", 1 << 40)
    field = {1: b"\x08\x01", 2: b"\x12\x08\x12\x06\x08\x80\x80\x80\x80\x10"}  # float32, [2^32]
    claimed = {b"": b"\x08\x01\x1a\x02\x08\x01", b"bert/embeddings/word_embeddings": field[1] + field[2]}
    put(bombs / "tensor", files("tensorflow") | {"bert_model.ckpt.index": write_table(claimed)})
    crowd = {b"": claimed[b""]} | {b"%06x" % number: field[1] + b"\x12\x02\x12\x00" for number in range(110_000)}
    put(bombs / "tensors", files("tensorflow") | {"bert_model.ckpt.index": write_table(crowd)})


# argv: a folder of bombs, and sound presets to be loaded first, so that what is made once is no growth. A folder's name
# begins with the task that loads it.
LOAD_UNDER_A_LIMIT = """
import pathlib, resource, sys
import zoo
from zoo.store import PresetError
def load(folder):
    task = pathlib.Path(folder).name.split()[0]
    getattr(zoo, task if task in zoo.TASKS else "Backbone").from_preset(folder)
for name in sys.argv[2:]:
    load(name)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
def peak():  # not ru_maxrss, which starts at the memory of the process that started this one
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
before = peak()
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20), used + (400 << 20)))
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        load(folder)
        sys.exit(f"{folder.name} was loaded")
    except PresetError as error:
        if str(folder) not in str(error):
            sys.exit(f"{folder.name}: {error}")
    grown = (peak() - before) // 1024
    if grown > 200:
        sys.exit(f"{folder.name}: {grown} MB more")
print("all refused")
"""


# Fields of a backbone's config, values that none of them may have, and the exceptions
SIZES = ["vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "embedding_dim", "head_dim"]
SIZES += ["key_dim", "max_sequence_length", "num_segments", "expanded_dim"]
RATES = ["dropout", "attention_dropout", "norm_epsilon"]
OTHERS = ["activation", "attention_mask", "custom_position_ids", "position", "normalization"]
BAD_VALUES = [-1, 0, 1.5, 10**12, 2**31 - 1, "768", "os.system", True, [768], {"a": 1}, None]
GOOD = {(field, 0) for field in RATES} | {(field, None) for field in ["embedding_dim", "head_dim", "key_dim"]}
GOOD |= {("custom_position_ids", True), ("position", None), ("normalization", None), ("activation", None)}
GOOD |= {("expanded_dim", None)}

IMPORT_IN_SILENCE = """
import sys, time
def hook(event, arguments):
    if event.startswith(("socket.", "urllib.", "subprocess.", "os.system", "os.posix_spawn")):
        raise RuntimeError(f"{event} {arguments}")
sys.addaudithook(hook)
start = time.process_time()
import zoo
names = dir(zoo)
seconds = time.process_time() - start
heavy = {"keras", "torch", "jax", "tensorflow", "h5py", "huggingface_hub", "kagglehub"} & set(sys.modules)
sys.exit(f"{seconds:.3f} s, {heavy}" if heavy or seconds > 0.3 else 0)
"""

# Strings that other programs would expand, look up or fill in
INERT = [
    "~",
    "$HOME",
    "${HOME}/secret",
    "file:///etc/passwd",
    "env:HOME",
    "%(HOME)s",
    "{}",
    "{{",
    "%s",
    "{0.__class__}",
]
INERT += ["{{ config.__class__ }}", "{% include 'x' %}", "`id`", "$(id)", "[CLS]", "\\x41", "..", "/etc/passwd"]
ODD_TENSORS = ["../x", "a/../b", "a/..", "./a", "a\0", "émoji\U0001f600", "a b", "a\\b", "C:x", "x" * 10_000, ""]
