"""Our own preset folders: `config.json`, `model.safetensors`, `vocab.txt`, `manifest.json`, `README.md`."""

import json

import ml_dtypes  # comes with keras; NumPy itself knows no bfloat16

from zoo.formats.bert4keras import vocabulary
from zoo.formats.checkpoint import FAMILIES, Checkpoint
from zoo.store import PresetError, safetensors_bytes
from zoo.weights import backbone_of, to_numpy, weights_of

FORMAT = 1
_DTYPES = {"float32": "float32", "float16": "float16", "bfloat16": ml_dtypes.bfloat16}

_KEYS = {"format", "backbone", "task", "tokenizer"}


def recognises(folder):
    """Whether config.json is one of ours."""
    return folder.has("config.json") and {"format", "backbone"} <= set(folder.json("config.json"))


def read(folder):
    """Describe a preset; its manifest is checked first."""
    import zoo

    folder.verify()
    config = folder.json("config.json")
    source = f"{folder.path}/config.json"
    version = config["format"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise PresetError(f"{source}: format={version!r}; expected a whole number")
    if version > FORMAT:
        raise PresetError(
            f"{source} has format {version}, this zoo {zoo.__version__} reads up to {FORMAT}; upgrade zoo"
        )
    if set(config) != _KEYS:
        odd = ", ".join(sorted(set(config) ^ _KEYS))
        raise PresetError(f"{source}: unknown or missing keys {odd}; expected {', '.join(sorted(_KEYS))}")
    backbone = config["backbone"]
    described("backbone", backbone, FAMILIES, source)
    cls = getattr(zoo, backbone["class"])
    unknown = sorted(set(backbone["config"]) - set(cls.arguments()))
    if unknown:
        raise PresetError(f"{source}: {backbone['class']} takes no {', '.join(unknown)}")
    if config["task"] is not None:
        described("task", config["task"], zoo.TASKS, source)
    weights = folder.safetensors("model.safetensors")
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
        vocabulary=vocabulary(folder) if options is not None else None,
        tokenizer_options=options or {},
        task=config["task"],
    )


def described(what, entry, classes, source):
    """Check a `{"class": ..., "config": {...}}` entry; classes come from a closed list, never from the file."""
    if not isinstance(entry, dict) or set(entry) != {"class", "config"} or not isinstance(entry["config"], dict):
        raise PresetError(f"{source}: {what}={str(entry)[:80]!r}; expected {{'class': name, 'config': arguments}}")
    if entry["class"] not in classes:
        raise PresetError(
            f"{source}: {what} of unknown class {str(entry['class'])[:80]!r}; known are {', '.join(classes)}"
        )


def to_zoo_preset(model, weights_dtype="float32"):
    """File name -> bytes of a model's preset folder, the manifest apart."""
    if weights_dtype not in _DTYPES:
        raise ValueError(f"weights_dtype={weights_dtype!r}; expected one of {', '.join(_DTYPES)}")
    backbone, tokenizer = backbone_of(model), model.tokenizer
    if type(backbone).__name__ not in FAMILIES:
        raise ValueError(
            f"a {type(model).__name__} over a {type(backbone).__name__} cannot be saved as a zoo preset, which holds "
            f"one of {', '.join(FAMILIES)}; save a keras-hub backbone with its own save_to_preset"
        )
    config = {
        "format": FORMAT,
        "backbone": {"class": type(backbone).__name__, "config": backbone.architecture()},
        "task": None if model is backbone else {"class": type(model).__name__, "config": model.task_config()},
        "tokenizer": None if tokenizer is None else tokenizer.get_config(),
    }
    weights = {path: to_numpy(variable).astype(_DTYPES[weights_dtype]) for path, variable in weights_of(model).items()}
    files = {
        "config.json": json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n",
        "model.safetensors": safetensors_bytes(weights),
        "README.md": model.card().encode(),
    }
    if tokenizer is not None:
        files["vocab.txt"] = tokenizer.vocabulary_text.encode()
    return files
