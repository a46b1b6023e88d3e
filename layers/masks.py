"""Which keys a query may see: padding, causal and UniLM masks (kexue.fm/archives/6933), all boolean."""

import keras
from keras import ops


def causal_mask(length):
    """Mask of a language model: query i sees keys j <= i.

    Returns:
        bool `[n, n]`.
    """
    index = ops.arange(length)
    return index[None, :] <= index[:, None]


def unilm_mask(segment_ids):
    """Prefix mask: segment 0 (source) sees itself in both directions, segment 1 (target) sees what came before.

    Args:
        segment_ids: int `[B, n]`.

    Returns:
        bool `[B, n, n]`.
    """
    order = ops.cumsum(ops.cast(segment_ids, "int32"), axis=1)
    return order[:, None, :] <= order[:, :, None]


def align(mask, rank):
    """Put the head axis into a mask or bias: `[B, n, m]` -> `[B, 1, n, m]` for scores of rank 4.

    `[n, m]` and tensors that already have the rank of the scores pass unchanged.
    """
    if len(mask.shape) not in (2, 3, rank):
        raise ValueError(
            f"an attention mask or bias has shape {tuple(mask.shape)}; expected [n, m], [B, n, m]"
            + (" or [B, H, n, m]" if rank == 4 else "")
        )
    return ops.expand_dims(mask, 1) if rank == 4 and len(mask.shape) == 3 else mask


def visible_keys(padding_mask, attention_mask, rank):
    """AND of a padding mask `[B, m]` and an attention mask, broadcastable to scores of the given rank; or None."""
    visible = None
    if padding_mask is not None:
        visible = ops.cast(padding_mask, "bool")
        for _ in range(rank - 2):
            visible = ops.expand_dims(visible, 1)  # [B, 1, m] or [B, 1, 1, m]
    if attention_mask is not None:
        attention_mask = align(ops.cast(attention_mask, "bool"), rank)
        visible = attention_mask if visible is None else ops.logical_and(visible, attention_mask)
    return visible


@keras.saving.register_keras_serializable(package="zoo")
class PaddingMask(keras.layers.Layer):
    """Real tokens of a batch: the given mask, or else `token_ids != 0` with position 0 always real.

    The original never masks the first position, so that no row is fully masked (bert4keras, `Embedding.compute_mask`).

    Inputs: token_ids int `[B, n]`, padding_mask bool or int `[B, n]` or None. Output: bool `[B, n]`.
    """

    def call(self, token_ids, padding_mask=None):
        if padding_mask is not None:
            return ops.cast(padding_mask, "bool")
        first = ops.arange(ops.shape(token_ids)[1]) == 0
        return ops.logical_or(ops.not_equal(token_ids, 0), first[None, :])

    def compute_output_spec(self, token_ids, padding_mask=None):
        return keras.KerasTensor(token_ids.shape, dtype="bool")


@keras.saving.register_keras_serializable(package="zoo")
class AttentionMask(keras.layers.Layer):
    """The attention pattern of a backbone, by name.

    Args:
        kind: `"causal"` (bool `[n, n]`) or `"unilm"` (bool `[B, n, n]`, from the segment ids).

    Inputs: token_ids int `[B, n]`, segment_ids int `[B, n]` (for `"unilm"`; None means all source).
    """

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        if kind not in ("causal", "unilm"):
            raise ValueError(f"attention_mask={kind!r}; expected 'bidirectional', 'causal' or 'unilm'")
        self.kind = kind

    def call(self, token_ids, segment_ids=None):
        if self.kind == "causal":
            return causal_mask(ops.shape(token_ids)[1])
        return unilm_mask(ops.zeros_like(token_ids) if segment_ids is None else segment_ids)

    def compute_output_spec(self, token_ids, segment_ids=None):
        batch, length = token_ids.shape
        shape = (length, length) if self.kind == "causal" else (batch, length, length)
        return keras.KerasTensor(shape, dtype="bool")

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}
