"""Attention as a recurrence over the keys (kexue.fm/archives/10017): softmax that never holds an n x m matrix.

For one query, adding key after key, Z and o are all that has to be remembered:

    Z ← Z + e^s,   o ← o + (e^s / Z) (v − o)

Here a whole block of keys is added at a time, and the running maximum of the scores is kept beside Z so that nothing
overflows (online softmax: Milakov and Gimelshein, arXiv 1805.02867).
"""

import math
from typing import Any

from keras import ops

from zoo.layers.score_normalizers import MASKED


class RunningSoftmax:
    """The state of softmax attention after some of the keys; `add` gives the state after more of them.

    Args:
        largest: float32 `[..., n, 1]`, the largest score so far.
        weight: float32 `[..., n, 1]`, Z of the scores less the largest.
        total: float32 `[..., n, e]`, the values summed with the weights of Z.
    """

    def __init__(self, largest, weight, total):
        self.largest, self.weight, self.total = largest, weight, total

    @classmethod
    def start(cls, scores, value, visible=None):
        """The state after the first keys: scores `[..., n, m]`, value `[..., m, e]`, visible bool or None."""
        return cls(*_block(scores, value, visible))

    def add(self, scores, value, visible=None):
        """The state after more keys."""
        largest, weight, total = _block(scores, value, visible)
        common = ops.maximum(self.largest, largest)
        before, after = ops.exp(self.largest - common), ops.exp(largest - common)
        return RunningSoftmax(common, self.weight * before + weight * after, self.total * before + total * after)

    def output(self):
        """Attention's output, float32 `[..., n, e]`; 0 for a query that has seen no key."""
        return self.total / ops.where(self.weight > 0, self.weight, 1.0)


def _block(scores, value, visible):
    """Largest score, Z and the weighted sum of one block."""
    scores = ops.cast(scores, "float32")
    if visible is not None:
        scores = ops.where(visible, scores, MASKED)
    largest = ops.max(scores, axis=-1, keepdims=True)
    weights = ops.exp(scores - largest)
    if visible is not None:
        weights = ops.where(visible, weights, 0.0)  # exp(0) = 1 where every key of the block is masked
    return largest, ops.sum(weights, axis=-1, keepdims=True), ops.matmul(weights, ops.cast(value, "float32"))


def recurrent_attention(
    query, key, value, padding_mask=None, causal=False, scale=None, query_block=1024, key_block=1024
):
    """softmax(scale · Q Kᵀ) V, block by block: memory O(n + query_block · key_block) instead of O(n m).

    A reference for inputs that exact attention cannot hold, not a fast path: it takes the O(n m) time of attention. The
    loop is unrolled, ceil(n / query_block) · ceil(m / key_block) blocks (half of them if causal), since loops of Keras
    do not compile everywhere; a compiled function of very many blocks takes long to compile. The memory bound is that
    of prediction: differentiating keeps every block.

    Args:
        query: float `[..., n, s]`. key: float `[..., m, s]`. value: float `[..., m, e]`. Rotate query and key before,
            `RotaryEmbedding().rotate(query, sequence_axis=-2)`.
        padding_mask: bool `[B, m]`, True at real keys, or None.
        causal: bool; the queries are the last n of the m positions.
        scale: float or None; None means 1/sqrt(s).
        query_block, key_block: int; they change speed and memory, not the result.

    Returns:
        float `[..., n, e]` in the dtype of value; 0 for a query that sees no key.

    Raises:
        ValueError: a length is not static, a block is not positive, more queries than keys with `causal`.
    """
    length, keys, rank = query.shape[-2], key.shape[-2], len(query.shape)
    if length is None or keys is None:
        raise ValueError(f"query {tuple(query.shape)}, key {tuple(key.shape)}; expected static lengths n and m")
    if min(query_block, key_block) < 1:
        raise ValueError(f"query_block={query_block}, key_block={key_block}; expected whole numbers of at least 1")
    if causal and length > keys:
        raise ValueError(f"{length} queries, {keys} keys; with causal=True expected at most as many queries as keys")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if padding_mask is not None:
        padding_mask = ops.reshape(
            ops.cast(padding_mask, "bool"), (ops.shape(padding_mask)[0], *[1] * (rank - 2), keys)
        )
    outputs = []
    for first in range(0, length, query_block):
        rows = range(first, min(first + query_block, length))
        q = ops.cast(query[..., rows.start : rows.stop, :], "float32") * scale
        last_key = rows.stop + keys - length if causal else keys  # later ones are hidden from all rows
        state: Any = None
        for start in range(0, last_key, key_block):
            columns = range(start, min(start + key_block, last_key))
            k = ops.cast(key[..., columns.start : columns.stop, :], "float32")
            visible = None if padding_mask is None else padding_mask[..., columns.start : columns.stop]
            if causal and columns.stop - 1 > rows.start + keys - length:
                earlier = _causal_block(rows, columns, keys - length)
                visible = earlier if visible is None else ops.logical_and(visible, earlier)
            scores = ops.matmul(q, ops.swapaxes(k, -1, -2))
            v = value[..., columns.start : columns.stop, :]
            state = RunningSoftmax.start(scores, v, visible) if state is None else state.add(scores, v, visible)
        outputs.append(ops.cast(state.output(), value.dtype))
    return ops.concatenate(outputs, axis=-2)


def _causal_block(rows, columns, offset):
    """bool `[rows, columns]`: column j <= row i + offset."""
    i, j = ops.arange(rows.start, rows.stop, dtype="int32"), ops.arange(columns.start, columns.stop, dtype="int32")
    return j[None, :] <= i[:, None] + offset
