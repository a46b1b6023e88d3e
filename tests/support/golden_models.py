"""The golden models of tests/goldens, loaded from their original checkpoints."""

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
LINEAGE = {
    "albert": "ALBERT",
    "nezha": "NEZHA",
    "electra": "ELECTRA",
}  # goldens of fewer lengths, see tests/test_lineage_models.py
HUGGING_FACE_SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}  # of the small models that transformers makes
CASES = ("l7", "l12", "l16", "l40", "l7_padded_to_16", "odd")
# Fresh models and their batches have the sizes of the golden ones: JAX compiles every operation anew for each shape.
TINY = {  # family -> arguments beside those that all share
    "BERT": {"num_heads": 4, "intermediate_dim": 64},
    "ALBERT": {"num_heads": 4, "intermediate_dim": 64, "embedding_dim": 24},
    "RoFormer": {"num_heads": 4, "intermediate_dim": 64},
    "RoFormerV2": {"num_heads": 4, "intermediate_dim": 64},
    "GAUAlpha": {"expanded_dim": 64, "key_dim": 16},
    "NEZHA": {"num_heads": 4, "intermediate_dim": 64},
    "ELECTRA": {"num_heads": 4, "intermediate_dim": 64},
}
TOKEN_IDS = np.array(
    [[2, 3, 4, 5, 6, 7, 8], [9, 3, 5, 0, 0, 0, 0], [4, 8, 8, 7, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0]], "int32"
)
SEGMENT_IDS = np.array([[0, 0, 1, 1, 1, 1, 1]] * 4, "int32")


def load(name, cls=None, **options):
    """A golden model, by its family's class or by the class of a task."""
    return getattr(zoo, cls or {**FAMILIES, **LINEAGE}[name]).from_preset(GOLDENS / name, **options)


@functools.cache
def backbone(name):
    """The same for all tests: none may change it."""
    return load(name)


def tiny(family, **options):
    """A freshly initialised model of 2 layers, 32 features and 120 tokens."""
    config = {"vocabulary_size": 120, "num_layers": 2, "hidden_dim": 32, **TINY[family], **options}
    return getattr(zoo, family)(**config)


def batch(arrays, case):
    return {name: arrays[f"in/{case}/{name}"] for name in ("token_ids", "segment_ids")}


def numpy(x):
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")))
