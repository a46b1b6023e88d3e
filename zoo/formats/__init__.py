"""Formats of presets, each a module with `matches(folder)` and `read(folder)` -> `Checkpoint`; some also write.

A module is imported when a folder may be its own, so that a model costs no reader.
"""

import importlib

# In the order in which a folder is offered to them, and what it would have to hold.
READERS = {
    "zoo_preset": "config.json with *.safetensors (zoo, Hugging Face)",
    "keras_hub": "config.json with model.weights.h5 (keras-hub)",
    "hugging_face": "",
    "bert4keras": "bert_config.json with *.ckpt.index (bert4keras, TensorFlow)",
}
WRITERS = {"zoo": "zoo_preset", "bert4keras": "bert4keras", "hugging_face": "hugging_face"}


def module(name):
    """The module of a format by its name in one of these tables."""
    return importlib.import_module(f"zoo.formats.{name}")
