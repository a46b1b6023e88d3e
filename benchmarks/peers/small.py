"""The model and the batch that everyone trains: RoFormerV2-small and 16 pairs of rows, a fifth of them padding."""

import numpy as np
import products

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


def flops(rows, passes=1):
    """Operations of the matrix products on `batch(rows)`.

    Three passes are a training step, two one that needs no gradients of kernels, such as LoRA's with layers.
    """
    lengths = (batch(rows)[0] != 0).sum(1)
    sizes = CONFIG["num_hidden_layers"], CONFIG["hidden_size"], CONFIG["intermediate_size"]
    return passes * products.transformer(lengths, *sizes)


def batch(rows, length=64, seed=0):
    """token_ids int32 `[rows, length]` (0 is padding), segment_ids zeros."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(round(0.6 * length), length + 1, rows)
    token_ids = rng.integers(5, CONFIG["vocab_size"], (rows, length)).astype("int32")
    token_ids[np.arange(length) >= lengths[:, None]] = 0
    return token_ids, np.zeros_like(token_ids)


def labels(pairs, seed=0):
    return np.random.default_rng(seed).integers(0, 2, pairs).astype("float32")
