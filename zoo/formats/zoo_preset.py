"""Our own preset folders: `config.json`, `model.safetensors`, `vocab.txt`, `manifest.json`, `README.md`.

Beside the vocab.txt, which is read, stands a tokenizer.json for programs that know Hugging Face's `tokenizers` alone.
"""

import json
import re
import reprlib

import ml_dtypes  # comes with keras; NumPy itself knows no bfloat16
import numpy as np

import zoo
from zoo.backend.variables import backbone_of, to_numpy, weights_of
from zoo.formats import fields
from zoo.formats.checkpoint import Checkpoint
from zoo.formats.families import family, task_name
from zoo.formats.int8 import Dequantized, quantized
from zoo.formats.vocabulary import read_tokenizer_json, read_vocabulary, tokenizer_class
from zoo.store import PresetError, safetensors_bytes
from zoo.text.tokenizer import Tokenizer
from zoo.text.wordpiece_fields import json_bytes

FORMAT = 1  # a change that an older zoo cannot read takes the next number; tests/goldens keeps a preset of each
SINCE = "0.1"  # the first release that reads this format; an older one names it in its error
_DTYPES = {"float32": "float32", "float16": "float16", "bfloat16": ml_dtypes.bfloat16}

_KEYS = {"format", "backbone", "task", "tokenizer"}
_OPTIONAL = {"zoo"}
_RELEASE = re.compile(r"\d{1,4}(\.\d{1,4}){0,2}")


def matches(folder):
    """Whether config.json is one of ours."""
    return folder.has("config.json") and {"format", "backbone"} <= set(folder.json("config.json"))


def read(folder):
    """Describe a preset; its manifest is checked first."""
    source = f"{folder.path}/config.json"
    config = _config(folder, source)
    if not folder.verify():
        raise PresetError(
            f"{folder.path}: manifest.json is missing, so nothing says that the preset is whole: was a save or a copy "
            f"cut short? Get the folder again; if you wrote its files yourself, call zoo.store.seal(folder)"
        )
    backbone = config["backbone"]
    described("backbone", backbone, list(zoo.FAMILIES), source)
    cls = family(backbone["class"])
    unknown = sorted(set(backbone["config"]) - set(cls.arguments()))
    if unknown:
        raise PresetError(f"{source}: {backbone['class']} takes no {', '.join(unknown)}")
    _check_arguments(backbone["config"], source)
    if config["task"] is not None:
        described("task", config["task"], list(zoo.TASKS), source)
    weights = Dequantized(folder.safetensors("model.safetensors"), f"{folder.path}/model.safetensors")
    options = config["tokenizer"]
    if options is not None and not isinstance(options, dict):
        raise PresetError(f"{source}: tokenizer={options!r}; expected an object or null")
    return Checkpoint(
        family=backbone["class"],
        config=backbone["config"],
        weights=weights,
        names=lambda path: (path, None),
        source=f"{folder.path} (config.json, model.safetensors)",
        # the head of a task may stay unread when only the backbone is wanted
        known_extras=(r"(?!(layer_\d+|token_embedding|segment_embedding|position_embedding|embedding_\w+)/).*",)
        if config["task"]
        else (),
        vocabulary=_vocabulary(folder, options, source),
        tokenizer_options=options or {},
        task=config["task"],
    )


def _config(folder, source):
    """config.json, once its format is found to be one that this zoo reads."""
    config = folder.json("config.json")
    version = fields.size(config, "format", source)
    if version > FORMAT:
        needed = config.get("zoo")
        known = isinstance(needed, str) and _RELEASE.fullmatch(needed)
        raise PresetError(
            f"{source} has format {version}, this zoo {zoo.__version__} reads up to {FORMAT}: "
            + (f"it needs zoo {needed}, pip install 'keras-zoo>={needed}'" if known else "upgrade zoo")
        )
    if set(config) - _OPTIONAL != _KEYS:
        odd = ", ".join(sorted((set(config) - _OPTIONAL) ^ _KEYS))[:200]
        raise PresetError(f"{source}: unknown or missing keys {odd}; expected {', '.join(sorted(_KEYS))}")
    return config


def _vocabulary(folder, options, source):
    """What the tokenizer is made of, None where there is none or its file is missing."""
    if options is None or not folder.has(tokenizer_class(options, f"{source}, tokenizer").vocabulary_file):
        return None
    return read_tokenizer_json(folder) if "class" in options else read_vocabulary(folder)


def _check_arguments(config, source):
    """Refuse arguments of the wrong type or range by their names; those not listed here the constructor judges."""
    for name in ("dropout", "attention_dropout", "norm_epsilon"):
        if name in config:
            fields.fraction(config, name, source, None)
    if "custom_position_ids" in config:
        fields.choice(config, "custom_position_ids", source, (True, False))
    if "attention_mask" in config:
        fields.choice(config, "attention_mask", source, ("bidirectional", "causal", "unilm"))
    for name in ("activation", "position", "normalization"):
        # An unknown name is the constructor's to refuse; other types it would take for something else.
        option = config.get(name)
        named = isinstance(option.get("class"), str) if isinstance(option, dict) else isinstance(option, str | None)
        if not named:
            raise PresetError(f"{source}: {name} is {reprlib.repr(option)}; expected an option by name")


def described(what, entry, classes, source):
    """Check a `{"class": ..., "config": {...}}` entry; classes come from a closed list, never from the file."""
    if not isinstance(entry, dict) or set(entry) != {"class", "config"} or not isinstance(entry["config"], dict):
        raise PresetError(f"{source}: {what}={str(entry)[:80]!r}; expected {{'class': name, 'config': arguments}}")
    if entry["class"] not in classes:
        raise PresetError(
            f"{source}: {what} of unknown class {str(entry['class'])[:80]!r}; known are {', '.join(classes)}"
        )


def to_files(model, weights_dtype="float32"):
    """File name -> bytes of a model's preset folder, the manifest apart."""
    if weights_dtype not in (*_DTYPES, "int8"):
        raise ValueError(f"weights_dtype={weights_dtype!r}; expected one of {', '.join(_DTYPES)}, int8")
    backbone, tokenizer = backbone_of(model), model.tokenizer
    if (name := type(backbone).__name__) not in zoo.FAMILIES or family(name) is not type(backbone):
        parents = [one.__name__ for one in type(backbone).__mro__ if one.__name__ in zoo.FAMILIES]
        mend = (
            f"it would come back as a zoo.{parents[0]}, without what your class changes; keep its weights with save_weights"
            if parents
            else "save a keras-hub backbone with its own save_to_preset"
        )
        raise ValueError(
            f"a {type(model).__name__} over a {name} cannot be saved as a zoo preset, which holds "
            f"one of {', '.join(zoo.FAMILIES)}; {mend}"
        )
    if model is not backbone and task_name(type(model)) is None:
        raise ValueError(
            f"a {type(model).__name__} cannot be saved as a zoo preset, which holds one of {', '.join(zoo.TASKS)} or a "
            f"child of one; save its backbone: model.backbone.save_to_preset(folder)"
        )
    config = {
        "format": FORMAT,
        "zoo": SINCE,
        "backbone": {"class": type(backbone).__name__, "config": backbone.architecture()},
        "task": None if model is backbone else {"class": task_name(type(model)), "config": model.task_config()},
        "tokenizer": None if tokenizer is None else tokenizer.get_config(),
    }
    weights = {}
    for path, variable in weights_of(model).items():
        array = to_numpy(variable)
        weights |= quantized(path, array) if weights_dtype == "int8" else {path: _rounded(array, weights_dtype, path)}
    files = {
        "config.json": json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n",
        "model.safetensors": safetensors_bytes(weights),
        "README.md": model.card().encode(),
    }
    if tokenizer is not None:
        files[tokenizer.vocabulary_file] = tokenizer.vocabulary_text.encode()
        if type(tokenizer) is Tokenizer and (content := json_bytes(tokenizer)) is not None:
            files["tokenizer.json"] = content
    return files


def _rounded(array, dtype, path):
    """A weight in the type of the file; one that does not fit is an error, not an infinity to be found much later."""
    with np.errstate(over="ignore"):
        rounded = array.astype(_DTYPES[dtype])
    if dtype != "float32" and not np.isfinite(rounded).all():
        finite = np.abs(array[np.isfinite(array)])
        raise ValueError(
            f"{path}: {np.sum(~np.isfinite(array))} weights are NaN or infinite and the others reach "
            f"{finite.max(initial=0.0):.6g}, where {dtype} ends at {ml_dtypes.finfo(_DTYPES[dtype]).max:.6g}; save in float32"
        )
    return rounded
