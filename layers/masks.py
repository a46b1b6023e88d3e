"""Which keys a query may see, all boolean: padding, causal and UniLM masks (kexue.fm/archives/6933), windows, directions."""

import keras
from keras import ops

from zoo.backend.arguments import Configured
from zoo.layers.options import Option, register_option


def causal_mask(length):
    """Mask of a language model: query i sees keys j <= i.

    Returns:
        bool `[n, n]`.
    """
    index = ops.arange(length, dtype="int32")
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
class PaddingMask(Configured, keras.layers.Layer):
    """Real tokens of a batch: the given mask, or else `token_ids != 0` with position 0 always real.

    The original never masks the first position, so that no row is fully masked (bert4keras, `Embedding.compute_mask`).

    Inputs: token_ids int `[B, n]`, padding_mask bool or int `[B, n]` or None. Output: bool `[B, n]`.
    """

    def call(self, token_ids, padding_mask=None):
        if padding_mask is not None:
            return ops.cast(padding_mask, "bool")
        first = ops.arange(ops.shape(token_ids)[1], dtype="int32") == 0
        return ops.logical_or(ops.not_equal(token_ids, 0), first[None, :])

    def compute_output_spec(self, token_ids, padding_mask=None):
        return keras.KerasTensor(token_ids.shape, dtype="bool")


@keras.saving.register_keras_serializable(package="zoo")
class AttentionMask(Configured, keras.layers.Layer):
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


class Visibility(Option):
    """A rule about which keys a query may see, from their places alone.

    Places are counted in tokens, 0 .. n-1, whatever the position ids are.
    """

    argument, method = "visibility", "visible"

    def visible(self, query_places, key_places, num_heads):
        """bool `[n, m]`, or `[H, n, m]` where heads differ.

        Args:
            query_places: int `[n]`. key_places: int `[m]`.
            num_heads: int, H.
        """
        raise NotImplementedError(f"{type(self).__name__}.visible")


@register_option
class Window(Visibility):
    """Query i sees key j where |i − j| < width; under a causal mask, j in (i − width, i].

    `Window(train_length)` in every layer of a trained model is the baseline of length extrapolation
    (kexue.fm/archives/9431); narrow windows make a model whose scores never see an untrained distance
    (`zoo.layers.hwfa`).

    Args:
        width: int >= 1.
    """

    def __init__(self, width):
        if not isinstance(width, int) or width < 1:
            raise ValueError(f"Window: width={width!r}; expected an int >= 1, the number of tokens seen on one side")
        self.width = width

    def visible(self, query_places, key_places, num_heads):
        """bool `[n, m]`."""
        return ops.abs(query_places[:, None] - key_places[None, :]) < self.width


@register_option
class Direction(Visibility):
    """Query i sees keys j <= i (`"left"`), j >= i (`"right"`), or one in each half of the heads (`"mixed"`).

    Mixed directions give an encoder the full-rank weights of a causal model (kexue.fm/archives/9529): heads of both
    directions in each layer, or layers of alternating direction where there is but one head.

    Args:
        side: `"left"`, `"right"` or `"mixed"` (the first H/2 heads left).
    """

    def __init__(self, side):
        if side not in ("left", "right", "mixed"):
            raise ValueError(f"Direction: side={side!r}; expected 'left', 'right' or 'mixed'")
        self.side = side

    def check(self, num_heads, key_dim):
        if self.side == "mixed" and num_heads % 2:
            raise ValueError(
                f"Direction('mixed') needs an even number of heads, got {num_heads}; with one head let the layers "
                "alternate between Direction('left') and Direction('right')"
            )

    def visible(self, query_places, key_places, num_heads):
        """bool `[n, m]`, for mixed heads `[H, n, m]`."""
        left = key_places[None, :] <= query_places[:, None]
        right = key_places[None, :] >= query_places[:, None]
        if self.side == "mixed":
            return ops.concatenate([ops.repeat(side[None], num_heads // 2, axis=0) for side in (left, right)], axis=0)
        return left if self.side == "left" else right
