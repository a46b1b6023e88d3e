"""Gated attention unit, GAU (Hua et al., arXiv 2202.10447; kexue.fm/archives/8934)."""

import keras
from keras import ops

from zoo.backend.arguments import Configured
from zoo.layers import activations
from zoo.layers.attention import AttentionLayer
from zoo.layers.real_tokens import tokens_and_mask


@keras.saving.register_keras_serializable(package="zoo")
class ScaleOffset(Configured, keras.layers.Layer):
    """x · γ + β over the last axis: two of them make query and key of the z that they share.

    Args:
        use_offset: bool, with β.

    Input and output: float `[..., s]`. γ starts at 1, β at 0.
    """

    def __init__(self, use_offset=True, **kwargs):
        super().__init__(**kwargs)
        self.use_offset = use_offset

    def build(self, input_shape):
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gamma")
        if self.use_offset:
            self.beta = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="beta")

    def call(self, x):
        x = ops.cast(x, self.compute_dtype) * self.gamma
        return x + self.beta if self.use_offset else x

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="zoo")
class GatedAttentionUnit(AttentionLayer):
    """(u ⊙ A v) W_o with single-head attention weights A: attention and feed-forward in one layer.

    Self-attention form: [u, v, z] = φ(x W_i); q and k are two affine maps of the shared z.
    Cross form (`cross_attention=True`): [u, q] = φ(x W_uq), k = φ(key W_k), v = φ(value W_v), no affine maps.

    Args:
        expanded_dim: int, e, width of u and v; twice the hidden size in the paper.
        key_dim: int, s, width shared by query and key; 128 in the published model.
        activation: φ, over all of u, v and z.
        use_bias: bool, biases of the projections and the β of the affine maps.
        position, normalization, score_scale, dropout, kernel_initializer, attention_options: as in
            `MultiHeadAttention`; the default normaliser is `"squared_relu"`, the paper's.
        cross_attention: bool.

    Inputs: query float `[B, n, d]`, key and value float `[B, m, d]` (cross form only); padding_mask bool `[B, m]`;
    attention_mask bool and attention_bias float `[n, m]` or `[B, n, m]`; positions `[n]` or `[B, n]`, key_positions
    `[m]` or `[B, m]` (cross form; None counts 0 .. m-1).
    Output: float `[B, n, d]`.

    See the docstring of `zoo.layers.attention` for `empty_cache` and `step`.
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
        attention_options=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # float positions must stay float32
        self.expanded_dim, self.key_dim = expanded_dim, key_dim
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.dropout = dropout
        self.cross_attention = cross_attention
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.take_options(attention_options, position=position, normalization=normalization, score_scale=score_scale)
        self.options.check(1, key_dim, use_bias)
        if cross_attention:
            self.check_cross()

    def build(self, query_shape, key_shape=None, value_shape=None):
        if self.cross_attention:
            self.gate_query = self.projection(self.expanded_dim + self.key_dim, "gate_query", self.activation)
            self.gate_query.build(query_shape)
            self.key_dense = self.projection(self.key_dim, "key", self.activation)
            self.key_dense.build(key_shape)
            self.value_dense = self.projection(self.expanded_dim, "value", self.activation)
            self.value_dense.build(value_shape)
        else:
            self.input_dense = self.projection(2 * self.expanded_dim + self.key_dim, "input", self.activation)
            self.input_dense.build(query_shape)
            self.query_scale = ScaleOffset(self.use_bias, dtype=self.dtype_policy, name="query_scale")
            self.key_scale = ScaleOffset(self.use_bias, dtype=self.dtype_policy, name="key_scale")
            self.query_scale.build((self.key_dim,))
            self.key_scale.build((self.key_dim,))
        self.output_dense = self.projection(query_shape[-1], "output")
        self.output_dense.build((*query_shape[:-1], self.expanded_dim))
        self.build_options(1)

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
        key_positions=None,
        training=None,
    ):
        tokens, padding_mask = tokens_and_mask(padding_mask)
        if self.cross_attention and key_positions is None and positions is not None:
            key_positions = ops.arange(ops.shape(key)[1], dtype="int32")
        places = {
            "padding_mask": padding_mask,
            "attention_mask": attention_mask,
            "attention_bias": attention_bias,
            "positions": positions,
            "key_positions": key_positions,
        }
        u, v, q, k = self.project(query, key, value)
        if tokens is None:
            return self.output_dense(u * self.mix(q, k, v, 1, training, **places))
        v, q, k = map(tokens.padded, (v, q, k))
        return self.output_dense(u * tokens.flat(self.mix(q, k, v, 1, training, **places)))

    def cache_shapes(self, batch_size, capacity):
        return [(batch_size, capacity, width) for width in (self.key_dim, self.expanded_dim)]

    def step(self, x, cache, index, padding_mask=None, attention_mask=None, positions=None, key_positions=None):
        """New tokens `[B, t, d]` over cached ones: output `[B, t, d]`, cache."""
        if self.cross_attention:
            raise ValueError("a cache of the query's own tokens makes no sense with cross_attention=True")
        u, v, q, k = self.project(x, None, None)
        mixed, cache = self.mix_cached(
            q, k, v, 1, cache, index, attention_mask, positions, key_positions, padding_mask=padding_mask
        )
        return self.output_dense(u * mixed), cache

    def compute_output_spec(self, query, key=None, value=None, **kwargs):
        return keras.KerasTensor(query.shape, dtype=self.compute_dtype)
