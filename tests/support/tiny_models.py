"""The smallest models that still have everything, for tests of tasks: seconds matter where each shape is compiled."""

import keras
import numpy as np
from conftest import GOLDENS

import zoo

VOCABULARY = (GOLDENS / "roformer_v2" / "vocab.txt").read_text(encoding="utf-8")

# Lengths of 3 to 11 tokens, so that batches need padding.
TEXTS = [
    "今天天气很好",
    "天气今天很好",
    "我去公园玩",
    "北京大学",
    "北京大学的学生",
    "人民",
    "中国人民",
    "the cat",
    "play rope",
    "我不在公园",
    "他说今天不来了",
    "上下",
]
PAIRS = [  # two labels, one text in two pairs
    ("今天天气很好", "天气今天很好", 1),
    ("我去公园玩", "我不在公园", 0),
    ("北京大学", "北京大学的学生", 1),
    ("人民", "上下", 0),
    ("中国人民", "他说今天不来了", 0),
    ("the cat", "play rope", 1),
    ("今天天气很好", "上下 the cat", 0),
]


def tokenizer():
    return zoo.Tokenizer.from_vocabulary_text(VOCABULARY)


def backbone(family="RoFormerV2", dropout=0.0, **arguments):
    """One layer of width 16 over the goldens' vocabulary, with its tokenizer."""
    sizes = {"vocabulary_size": 120, "num_layers": 1, "hidden_dim": 16, "max_sequence_length": 16}
    if family == "GAUAlpha":
        sizes |= {"key_dim": 8}
    else:
        sizes |= {"num_heads": 2, "intermediate_dim": 32}
    model = getattr(zoo, family)(**{**sizes, "dropout": dropout, "attention_dropout": dropout, **arguments})
    model.tokenizer = tokenizer()
    return model


def matcher(dropout=0.0, dtype=None, **options):
    return zoo.RepresentationMatcher(backbone(dropout=dropout, dtype=dtype), max_length=16, **options)


def scatter_weights(model, seed=7):
    """Weights of size 0.3 everywhere, norms and biases too, so that nothing is trivially zero or one."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(0.0, 0.3, variable.shape).astype("float32") + variable.path.endswith("gamma"))
    return model


def to_numpy(x):
    return keras.ops.convert_to_numpy(x).astype("float64")
