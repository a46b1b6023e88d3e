"""From attention scores to attention weights: softmax, squared ReLU and the entropy-invariant softmax.

All take scores `[..., n, m]` and `visible`, a boolean mask broadcastable to them (None: all keys are visible),
compute in float32 and give a fully masked row weights of 0. `l` is the number of visible keys of a row.
"""

import math

import keras
from keras import ops

from zoo.layers.options import Option, register_option

MASKED = -1e30  # exp(MASKED - max) is exactly 0 in float32, and unlike -inf it never makes 0 * inf


def visible_count(num_keys, visible):
    """l of every row, float32 `[..., n or 1, 1]`, or the number of keys where nothing is masked."""
    if visible is None:
        return ops.cast(num_keys, "float32")
    return ops.sum(ops.cast(visible, "float32"), axis=-1, keepdims=True)


def masked_softmax(scores, visible):
    """Softmax over the visible keys; rows that see none get 0."""
    scores = ops.cast(scores, "float32")
    if visible is None:
        return ops.softmax(scores)
    # The sum is MASKED, every digit, where a key is masked: as `where` on the scores gives, but that costs five times as
    # much on torch where the mask is the same for all queries, and as much again in each of two gradients.
    weights = ops.softmax(scores + MASKED * ops.cast(ops.logical_not(visible), "float32"))
    return weights * ops.cast(ops.any(visible, axis=-1, keepdims=True), "float32")


class Normalizer(Option):
    """From the scores of a query to the weights of the keys."""

    argument, method = "normalization", "__call__"

    def __call__(self, scores, visible=None):
        """Weights float32 `[..., n, m]`, 0 where a key is not visible.

        Args:
            scores: float32 `[..., n, m]`.
            visible: bool, broadcastable to the scores, or None where every key is visible.
        """
        raise NotImplementedError(f"{type(self).__name__}.__call__")


@register_option("softmax")
@keras.saving.register_keras_serializable(package="zoo")
class Softmax(Normalizer):
    """Plain softmax."""

    def __call__(self, scores, visible=None):
        return masked_softmax(scores, visible)


@register_option("softmax_plus")
@keras.saving.register_keras_serializable(package="zoo")
class SoftmaxPlus(Normalizer):
    """Entropy-invariant softmax: scores are multiplied by `ln max(l, floor) / ln base` (kexue.fm/archives/8823).

    Args:
        base: float, the length at which it equals plain softmax.
        floor: float, shortest length that counts. Below it ln l flattens the scores and quality drops; the
            original clamps at 16 since 2023-03, after GAU-α was published.
    """

    def __init__(self, base=512, floor=16):
        self.base, self.floor = base, floor

    def __call__(self, scores, visible=None):
        length = ops.maximum(visible_count(ops.shape(scores)[-1], visible), float(self.floor))
        return masked_softmax(ops.cast(scores, "float32") * (ops.log(length) / math.log(self.base)), visible)


@register_option("squared_relu")
@keras.saving.register_keras_serializable(package="zoo")
class SquaredReLU(Normalizer):
    """relu(scores)² / length (arXiv 2202.10447; kexue.fm/archives/9019).

    Three conventions of the length exist:
      * `SquaredReLU()`: l, the visible keys of the row (bert4keras, the post);
      * `SquaredReLU(length=512)`: a fixed one, that of pretraining (better when fine-tuning on other lengths);
      * `SquaredReLU(squared_length=True)`: l², with `score_scale=1.0` in the layer (the paper's appendix).

    Args:
        length: float or None. None counts the visible keys.
        squared_length: bool. Divide by the square of the length.
    """

    def __init__(self, length=None, squared_length=False):
        self.length, self.squared_length = length, squared_length

    def __call__(self, scores, visible=None):
        weights = ops.square(ops.relu(ops.cast(scores, "float32")))
        if visible is not None:
            weights = ops.where(visible, weights, 0.0)
        if self.length is not None:
            return weights / float(self.length) ** (2 if self.squared_length else 1)
        length = ops.maximum(visible_count(ops.shape(scores)[-1], visible), 1.0)
        return weights / (ops.square(length) if self.squared_length else length)
