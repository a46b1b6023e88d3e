"""The five golden models of tests/goldens, loaded from their original checkpoints."""

import functools

import keras
import numpy as np
from conftest import GOLDENS

import zoo

FAMILIES = {
    "roformer_v2": "RoFormerV2",
    "roformer_v2_mlm": "RoFormerV2",
    "gau_alpha": "GAUAlpha",
    "roformer": "RoFormer",
    "bert": "BERT",
}
CASES = ("l7", "l12", "l16", "l40", "l7_padded_to_16", "odd")
POSITIONS = np.arange(12) * np.ones((4, 1))
TINY = {  # family -> arguments of a model as small as it gets
    "BERT": {"num_heads": 2, "intermediate_dim": 12},
    "RoFormer": {"num_heads": 2, "intermediate_dim": 12},
    "RoFormerV2": {"num_heads": 2, "intermediate_dim": 12},
    "GAUAlpha": {"key_dim": 4},
}


def load(name, cls=None, **options):
    """A golden model, by its family's class or by the class of a task."""
    return getattr(zoo, cls or FAMILIES[name]).from_preset(GOLDENS / name, **options)


@functools.cache
def backbone(name):
    """The same for all tests: none may change it."""
    return load(name)


def tiny(family, **options):
    """A freshly initialised model of 2 layers and 8 features."""
    config = {"vocabulary_size": 50, "num_layers": 2, "hidden_dim": 8, **TINY[family], **options}
    return getattr(zoo, family)(**config)


def batch(arrays, case):
    return {name: arrays[f"in/{case}/{name}"] for name in ("token_ids", "segment_ids")}


def numpy(x):
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")))
