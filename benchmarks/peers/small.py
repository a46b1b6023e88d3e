"""The model and the batch that everyone trains: RoFormerV2-small and 16 pairs of rows, a fifth of them padding."""

import numpy as np

CONFIG = {  # as in the published chinese_roformer-v2-char_L-6_H-384_A-6
    "vocab_size": 12000,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}


def arguments():
    """The same in zoo's and keras-hub's words."""
    return {
        "vocabulary_size": CONFIG["vocab_size"],
        "num_layers": CONFIG["num_hidden_layers"],
        "num_heads": CONFIG["num_attention_heads"],
        "hidden_dim": CONFIG["hidden_size"],
        "intermediate_dim": CONFIG["intermediate_size"],
    }


def flops_per_token(length, training):
    """Multiplications and additions of the matrix products for a token of a row of `length`."""
    d, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    kernels = CONFIG["num_hidden_layers"] * (4 * d * d + 2 * d * inner)
    return (3 if training else 1) * (2 * kernels + CONFIG["num_hidden_layers"] * 4 * length * d)


def batch(rows, length=64, seed=0):
    """token_ids int32 `[rows, length]` (0 is padding), segment_ids zeros."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(round(0.6 * length), length + 1, rows)
    token_ids = rng.integers(5, CONFIG["vocab_size"], (rows, length)).astype("int32")
    token_ids[np.arange(length) >= lengths[:, None]] = 0
    return token_ids, np.zeros_like(token_ids)


def labels(pairs, seed=0):
    return np.random.default_rng(seed).integers(0, 2, pairs).astype("float32")
