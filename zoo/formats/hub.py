"""Presets to be downloaded: `hf://org/name[@revision]`, `kaggle://owner/model/framework/variation[/version]`.

Only files that zoo reads are asked for: JSON, vocabularies, safetensors, TensorFlow checkpoints, Keras' HDF5.
Pickles and Python files stay where they are.
"""

import os
import re

from zoo.formats import shards
from zoo.store import Folder, PresetError

# Patterns for huggingface_hub; in them * also crosses folders, which is harmless: zoo opens no such file.
HUGGING_FACE_FILES = (
    "config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "manifest.json",
    "README.md",  # a sealed folder is whole or refused
    "bert_config.json",
    "*.ckpt.index",
    "*.ckpt.data-*-of-*",
    "model.weights.h5",
    "model.weights.json",
    "model_*.weights.h5",
    "task.json",
    "task.weights.h5",
    "assets/tokenizer/vocabulary.txt",
    "modules.json",  # sentence-transformers
    "*_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)

_HUGGING_FACE = re.compile(r"hf://(?P<name>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?", re.ASCII)
_KAGGLE = re.compile(r"kaggle://(?P<handle>\w[\w-]*(/[\w.-]+){2}/\w[\w.-]*(/\d+)?)", re.ASCII)
_KAGGLE_OPTIONAL = ("tokenizer.json", "assets/tokenizer/vocabulary.txt", "task.json", "task.weights.h5")
_KAGGLE_SHARD = re.compile(r"model_\d{5}\.weights\.h5")


def download(address):
    """The local folder of a preset on a hub, downloaded where it is not in the hub's own cache.

    Args:
        address: str, "hf://..." or "kaggle://...".

    Returns:
        str, the folder. Its files may be links into the cache.

    Raises:
        PresetError: an address of another form, a preset that the hub does not give.
        ImportError: the extra `hub` is not installed.
    """
    found = _HUGGING_FACE.fullmatch(address)
    if found and ".." not in address:
        return _from_hugging_face(found["name"], found["revision"])
    found = _KAGGLE.fullmatch(address)
    if found and ".." not in address:
        return _from_kaggle(found["handle"])
    raise PresetError(
        f"{address!r} is no preset address; known are hf://org/name, hf://org/name@revision and "
        f"kaggle://owner/model/framework/variation[/version]"
    )


def _from_hugging_face(name, revision):
    try:
        import huggingface_hub
    except ImportError as error:
        raise _extra_missing(f"hf://{name}", error) from error
    try:
        folder = huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(HUGGING_FACE_FILES))
    except Exception as error:  # the hub's and its HTTP library's errors have no common class
        raise _not_given(f"hf://{name}", error) from error
    return os.fspath(folder)


def _from_kaggle(handle):
    """A keras-hub preset, file by file: kagglehub alone would fetch everything that lies there."""
    try:
        import kagglehub
    except ImportError as error:
        raise _extra_missing(f"kaggle://{handle}", error) from error

    def fetch(name, optional=False):
        try:
            return os.fspath(kagglehub.model_download(handle, name))
        except Exception as error:
            if optional and _says_absent(error):
                return None
            raise _not_given(f"kaggle://{handle}, file {name}", error) from error

    folder = os.path.dirname(fetch("config.json"))
    if not fetch("model.weights.h5", optional=True):  # larger presets are cut into shards
        fetch("model.weights.json")
        for shard in _shards(folder):
            fetch(shard)
    for name in _KAGGLE_OPTIONAL:
        fetch(name, optional=True)
    return folder


def _says_absent(error):
    """Whether kagglehub means that the preset has no such file, rather than that the way there is cut."""
    return type(error).__name__ == "NotFoundError" or any(
        sign in str(error) for sign in ("404 Client Error", "is not present in the model files")
    )


def _shards(folder):
    where = shards.read(Folder(folder, links=True), "model.weights.json", _KAGGLE_SHARD, "model_00000.weights.h5")
    return sorted({file for files in where.values() for file in files})


def _extra_missing(address, error):
    return ImportError(f"{address} needs a package that is not installed ({error.name}): pip install 'keras-zoo[hub]'")


def _not_given(address, error):
    return PresetError(
        f"{address} could not be had: {type(error).__name__}: {error}\n"
        f"Is the name right, is the network reachable, does the preset ask for a login? "
        f"A folder that you have downloaded yourself can be passed by its path."
    )
