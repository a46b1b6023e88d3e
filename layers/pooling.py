"""From hidden states to one vector a text; padding never counts."""

import keras
from keras import ops

from zoo.backend.arguments import Configured

POOLINGS = ("cls", "mean", "max", "first_last_mean", "attention", "comparison")


def masked_mean(x, padding_mask):
    """Mean over the real tokens in float32 `[B, d]`; 0 where there are none."""
    weights = ops.expand_dims(ops.cast(padding_mask, "float32"), -1)
    total = ops.sum(ops.cast(x, "float32") * weights, axis=1)
    return total / ops.maximum(ops.sum(weights, axis=1), 1.0)


def rms_normal(x):
    """x / sqrt(mean of squares) over the last axis; 0 stays 0."""
    return x * ops.rsqrt(ops.maximum(ops.mean(ops.square(x), axis=-1, keepdims=True), 1e-12))


@keras.saving.register_keras_serializable(package="zoo")
class Pooling(Configured, keras.layers.Layer):
    """Sentence vector from hidden states.

    Args:
        kind: `"cls"` (first token), `"mean"`, `"max"`, `"first_last_mean"` (mean of the embedding output's and the
            last layer's means, as BERT-whitening and Sentence-BERT use it), `"attention"` (softmax of a trained product
            with each token), or `"comparison"` of the two texts of a row: their means u and v, brought to length √d, as
            u · v and |u − v| by elements (arXiv 1705.02364), so that a head of two texts read together starts from what
            a representation matcher knows.

    Inputs: hidden_states float `[B, n, d]`; padding_mask bool `[B, n]`, None where all tokens are
    real; first_hidden_states float `[B, n, d]`
    (`"first_last_mean"` only); second_text bool `[B, n]`, True at the second text's tokens (`"comparison"` only).
    Output: float32 `[B, d]`, `"comparison"` `[B, 2 d]`.
    """

    def __init__(self, kind="mean", **kwargs):
        super().__init__(**kwargs)
        if kind not in POOLINGS:
            raise ValueError(f"pooling={kind!r}; expected one of {', '.join(POOLINGS)}")
        self.kind = kind

    def build(
        self, hidden_states_shape, padding_mask_shape=None, first_hidden_states_shape=None, second_text_shape=None
    ):
        if self.kind == "attention":
            self.query = self.add_weight(
                shape=(hidden_states_shape[-1],), initializer="zeros", name="query", autocast=False
            )

    def call(self, hidden_states, padding_mask=None, first_hidden_states=None, second_text=None):
        if self.kind == "cls":
            return ops.cast(hidden_states[:, 0], "float32")
        if padding_mask is None:
            padding_mask = ops.ones(ops.shape(hidden_states)[:2], dtype="bool")
        if self.kind == "mean":
            return masked_mean(hidden_states, padding_mask)
        if self.kind == "first_last_mean":
            if first_hidden_states is None:
                raise ValueError("pooling 'first_last_mean' needs first_hidden_states, the embedding output [B, n, d]")
            first, last = (masked_mean(x, padding_mask) for x in (first_hidden_states, hidden_states))
            return (first + last) / 2
        real = ops.cast(padding_mask, "bool")
        if self.kind == "comparison":
            if second_text is None:
                raise ValueError("pooling 'comparison' needs second_text, True at the tokens of the second text [B, n]")
            second = ops.cast(second_text, "bool")
            parts = ops.logical_and(real, ops.logical_not(second)), ops.logical_and(real, second)
            u, v = (rms_normal(masked_mean(hidden_states, part)) for part in parts)
            return ops.concatenate([u * v, ops.abs(u - v)], axis=-1)
        x = ops.cast(hidden_states, "float32")
        if self.kind == "max":
            top = ops.max(ops.where(real[..., None], x, -1e30), axis=1)
            return ops.where(ops.any(real, axis=1, keepdims=True), top, 0.0)
        scores = ops.where(real, ops.matmul(x, ops.cast(self.query, "float32")), -1e30)
        weights = ops.softmax(scores, axis=-1) * ops.cast(real, "float32")
        return ops.sum(x * weights[..., None], axis=1)

    def output_width(self, hidden_dim):
        """Width of the output for hidden states of a width."""
        return 2 * hidden_dim if self.kind == "comparison" else hidden_dim

    def compute_output_spec(self, hidden_states, padding_mask=None, first_hidden_states=None, second_text=None):
        return keras.KerasTensor((hidden_states.shape[0], self.output_width(hidden_states.shape[-1])), dtype="float32")
