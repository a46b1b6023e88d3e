"""Gated attention unit, GAU (Hua et al., arXiv 2202.10447; kexue.fm/archives/8934)."""

import math

import keras
from keras import ops

from zoo.layers import activations, plugins
from zoo.layers.attention import attention_scores, attention_weights
from zoo.layers.scale_offset import ScaleOffset


@keras.saving.register_keras_serializable(package="zoo")
class GatedAttentionUnit(keras.layers.Layer):
    """(u ⊙ A v) W_o with single-head attention weights A: attention and feed-forward in one layer.

    Self-attention form: [u, v, z] = φ(x W_i); q and k are two affine maps of the shared z.
    Cross form (`cross_attention=True`): [u, q] = φ(x W_uq), k = φ(key W_k), v = φ(value W_v), no affine maps.

    Args:
        expanded_dim: int, e, width of u and v; twice the hidden size in the paper.
        key_dim: int, s, width shared by query and key; 128 in the published model.
        activation: φ, over all of u, v and z.
        use_bias: bool, biases of the projections and the β of the affine maps.
        position, normalization, score_scale, dropout, kernel_initializer: as in `MultiHeadAttention`; the default
            normaliser is `"squared_relu"`, the paper's.
        cross_attention: bool.

    Inputs: query float `[B, n, d]`, key and value float `[B, m, d]` (cross form only); padding_mask bool `[B, m]`;
    attention_mask bool and attention_bias float `[n, m]` or `[B, n, m]`; positions `[n]` or `[B, n]`.
    Output: float `[B, n, d]`.
    """

    def __init__(
        self,
        expanded_dim,
        key_dim=128,
        activation="silu",
        use_bias=True,
        position=None,
        normalization="squared_relu",
        score_scale=None,
        dropout=0.0,
        cross_attention=False,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # float positions must stay float32
        self.expanded_dim, self.key_dim = expanded_dim, key_dim
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.position = plugins.get(position)
        self.normalization = plugins.get(normalization)
        self.score_scale = score_scale
        self.dropout = dropout
        self.cross_attention = cross_attention
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def dense(self, units, name, activation=None):
        return keras.layers.Dense(
            units,
            activation=activation,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, query_shape, key_shape=None, value_shape=None):
        if self.cross_attention:
            self.gate_query = self.dense(self.expanded_dim + self.key_dim, "gate_query", self.activation)
            self.gate_query.build(query_shape)
            self.key_dense = self.dense(self.key_dim, "key", self.activation)
            self.key_dense.build(key_shape)
            self.value_dense = self.dense(self.expanded_dim, "value", self.activation)
            self.value_dense.build(value_shape)
        else:
            self.input_dense = self.dense(2 * self.expanded_dim + self.key_dim, "input", self.activation)
            self.input_dense.build(query_shape)
            self.query_scale = ScaleOffset(self.use_bias, dtype=self.dtype_policy, name="query_scale")
            self.key_scale = ScaleOffset(self.use_bias, dtype=self.dtype_policy, name="key_scale")
            self.query_scale.build((self.key_dim,))
            self.key_scale.build((self.key_dim,))
        self.output_dense = self.dense(query_shape[-1], "output")
        self.output_dense.build((*query_shape[:-1], self.expanded_dim))
        self.dropout_layer = keras.layers.Dropout(self.dropout, dtype=self.dtype_policy)

    def project(self, query, key, value):
        """u `[B, n, e]`, v `[B, m, e]`, q `[B, n, s]`, k `[B, m, s]`."""
        e = self.expanded_dim
        if self.cross_attention:
            gate_query = self.gate_query(query)
            return gate_query[..., :e], self.value_dense(value), gate_query[..., e:], self.key_dense(key)
        u, v, z = ops.split(self.input_dense(query), [e, 2 * e], axis=-1)
        return u, v, self.query_scale(z), self.key_scale(z)

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
        u, v, q, k = self.project(query, key, value)
        scale = 1 / math.sqrt(self.key_dim) if self.score_scale is None else self.score_scale
        scores = attention_scores(q, k, self.position, scale, positions)  # [B, n, m]
        weights = attention_weights(scores, self.normalization, padding_mask, attention_mask, attention_bias)
        weights = self.dropout_layer(ops.cast(weights, v.dtype), training=training)
        return self.output_dense(u * ops.matmul(weights, v))

    def compute_output_spec(self, query, key=None, value=None, **kwargs):
        return keras.KerasTensor(query.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "expanded_dim": self.expanded_dim,
            "key_dim": self.key_dim,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "position": plugins.serialize(self.position),
            "normalization": plugins.serialize(self.normalization),
            "score_scale": self.score_scale,
            "dropout": self.dropout,
            "cross_attention": self.cross_attention,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
