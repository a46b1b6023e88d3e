"""Multi-head attention whose positions, normaliser, score scale and masks are pluggable."""

import math

import keras
from keras import ops

from zoo.layers import plugins
from zoo.layers.masks import align, visible_keys


def attention_scores(query, key, position, scale, query_positions=None, key_positions=None):
    """Scaled scores in float32 under every policy.

    Args:
        query: float `[..., n, s]`. key: float `[..., m, s]`.
        position: None for plain products, or an object with a `scores` method such as `RotaryEmbedding`.
        scale: float; it multiplies the query, n·s products instead of n·m.

    Returns:
        float32 `[..., n, m]`.
    """
    query = ops.cast(query, "float32") * scale
    key = ops.cast(key, "float32")
    if position is None:
        return ops.matmul(query, ops.swapaxes(key, -1, -2))
    return position.scores(query, key, query_positions, key_positions)


def attention_weights(scores, normalizer, padding_mask=None, attention_mask=None, attention_bias=None):
    """Float bias, masks, then the normaliser: float32 weights `[..., n, m]`."""
    rank = len(scores.shape)
    if attention_bias is not None:
        scores = scores + align(ops.cast(attention_bias, "float32"), rank)
    return normalizer(scores, visible_keys(padding_mask, attention_mask, rank))


@keras.saving.register_keras_serializable(package="zoo")
class MultiHeadAttention(keras.layers.Layer):
    """softmax(Q Kᵀ / sqrt(s)) V over H heads, then an output projection.

    Args:
        num_heads: int, H.
        head_dim: int, width of a value head.
        key_dim: int or None, s, width of a query and key head; None means head_dim.
        output_dim: int or None, width of the output; None means the width of the query input.
        use_bias: bool, biases of the four projections.
        position: None or a position option (`RotaryEmbedding()`).
        normalization: `"softmax"`, `"softmax_plus"`, `"squared_relu"` or a normaliser object.
        score_scale: float or None; None means 1/sqrt(s).
        dropout: float, on the weights.
        kernel_initializer: initializer of the kernels `[in, out]`.

    Inputs:
        query float `[B, n, d]`; key and value float `[B, m, d]` (None: the query, self-attention);
        padding_mask bool `[B, m]`, True at real keys; attention_mask bool and attention_bias float, `[n, m]`,
        `[B, n, m]` or `[B, H, n, m]`; positions of queries (and keys in self-attention) `[n]` or `[B, n]`.
    Output: float `[B, n, output_dim]`. A query that sees no key gets the output of a zero vector.
    """

    def __init__(
        self,
        num_heads,
        head_dim,
        key_dim=None,
        output_dim=None,
        use_bias=True,
        position=None,
        normalization="softmax",
        score_scale=None,
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # float positions must stay float32; projections cast for themselves
        self.num_heads, self.head_dim, self.output_dim = num_heads, head_dim, output_dim
        self.key_dim = head_dim if key_dim is None else key_dim
        self.use_bias = use_bias
        self.position = plugins.get(position)
        self.normalization = plugins.get(normalization)
        self.score_scale = score_scale
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def dense(self, units, name):
        return keras.layers.Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, query_shape, key_shape=None, value_shape=None):
        key_shape = query_shape if key_shape is None else key_shape
        self.query_dense = self.dense(self.num_heads * self.key_dim, "query")
        self.query_dense.build(query_shape)
        self.key_dense = self.dense(self.num_heads * self.key_dim, "key")
        self.key_dense.build(key_shape)
        self.value_dense = self.dense(self.num_heads * self.head_dim, "value")
        self.value_dense.build(key_shape if value_shape is None else value_shape)
        self.output_dense = self.dense(query_shape[-1] if self.output_dim is None else self.output_dim, "output")
        self.output_dense.build((*query_shape[:-1], self.num_heads * self.head_dim))
        self.dropout_layer = keras.layers.Dropout(self.dropout, dtype=self.dtype_policy)

    def split_heads(self, x, width):
        """`[B, n, H * width]` -> `[B, H, n, width]`."""
        return ops.swapaxes(ops.reshape(x, (-1, ops.shape(x)[1], self.num_heads, width)), 1, 2)

    def call(
        self,
        query,
        key=None,
        value=None,
        padding_mask=None,
        attention_mask=None,
        attention_bias=None,
        positions=None,
        training=None,
    ):
        key = query if key is None else key
        value = key if value is None else value
        q = self.split_heads(self.query_dense(query), self.key_dim)
        k = self.split_heads(self.key_dense(key), self.key_dim)
        v = self.split_heads(self.value_dense(value), self.head_dim)
        scale = 1 / math.sqrt(self.key_dim) if self.score_scale is None else self.score_scale
        scores = attention_scores(q, k, self.position, scale, positions)  # [B, H, n, m]
        weights = attention_weights(scores, self.normalization, padding_mask, attention_mask, attention_bias)
        weights = self.dropout_layer(ops.cast(weights, v.dtype), training=training)
        heads = ops.swapaxes(ops.matmul(weights, v), 1, 2)  # [B, n, H, head_dim]
        return self.output_dense(ops.reshape(heads, (-1, ops.shape(heads)[1], self.num_heads * self.head_dim)))

    def compute_output_spec(self, query, key=None, value=None, **kwargs):
        width = query.shape[-1] if self.output_dim is None else self.output_dim
        return keras.KerasTensor((*query.shape[:-1], width), dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "key_dim": self.key_dim,
            "output_dim": self.output_dim,
            "use_bias": self.use_bias,
            "position": plugins.serialize(self.position),
            "normalization": plugins.serialize(self.normalization),
            "score_scale": self.score_scale,
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
