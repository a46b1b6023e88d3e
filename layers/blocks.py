"""Residual blocks of the lineage, all post-norm: x ← Norm(x + Dropout(F(x)))."""

import keras
from keras import ops

from zoo.layers import activations, plugins
from zoo.layers.attention import MultiHeadAttention
from zoo.layers.feedforward import FeedForward
from zoo.layers.gated_attention import GatedAttentionUnit
from zoo.layers.norm import LayerNorm, RMSNorm


class _PostNormBlock(keras.layers.Layer):
    """What both blocks share: the residual step and its norm."""

    def __init__(self, norm, norm_epsilon, dropout, **kwargs):
        super().__init__(autocast=False, **kwargs)  # float positions must stay float32
        if norm not in ("layer_norm", "rms_norm"):
            raise ValueError(f"norm={norm!r}; expected 'layer_norm' or 'rms_norm'")
        self.norm, self.norm_epsilon, self.dropout = norm, norm_epsilon, dropout

    def make_norm(self, name, shape):
        layer = (LayerNorm if self.norm == "layer_norm" else RMSNorm)(
            epsilon=self.norm_epsilon, dtype=self.dtype_policy, name=name
        )
        layer.build(shape)
        return layer

    def residual(self, x, branch, norm, training):
        return norm(ops.cast(x, branch.dtype) + self.dropout_layer(branch, training=training))

    def compute_output_spec(self, x, *args, **kwargs):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "dropout": self.dropout,
        }


@keras.saving.register_keras_serializable(package="zoo")
class TransformerBlock(_PostNormBlock):
    """Attention, then feed-forward, each with a residual and a norm: the block of BERT, RoFormer and RoFormerV2.

    Args:
        num_heads, head_dim, key_dim, position, normalization, attention_dropout: of the attention, see
            `MultiHeadAttention`.
        intermediate_dim, activation: of the feed-forward, see `FeedForward`.
        use_bias: bool, biases everywhere.
        norm: `"layer_norm"` or `"rms_norm"` (no gain). norm_epsilon: float.
        dropout: float, after both branches.
        kernel_initializer: of all kernels.

    Inputs: x float `[B, n, d]`, padding_mask bool `[B, n]`, attention_mask bool `[n, n]` or `[B, n, n]`,
    positions `[n]` or `[B, n]`. Output: float `[B, n, d]`.
    """

    def __init__(
        self,
        num_heads,
        head_dim,
        intermediate_dim,
        key_dim=None,
        activation="gelu",
        use_bias=True,
        norm="layer_norm",
        norm_epsilon=1e-12,
        position=None,
        normalization="softmax",
        dropout=0.0,
        attention_dropout=0.0,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(norm, norm_epsilon, dropout, **kwargs)
        self.num_heads, self.head_dim, self.key_dim = num_heads, head_dim, key_dim
        self.intermediate_dim, self.activation = intermediate_dim, activations.get(activation)
        self.use_bias = use_bias
        self.position, self.normalization = plugins.get(position), plugins.get(normalization)
        self.attention_dropout = attention_dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, x_shape):
        common = {"use_bias": self.use_bias, "kernel_initializer": self.kernel_initializer, "dtype": self.dtype_policy}
        self.attention = MultiHeadAttention(
            self.num_heads,
            self.head_dim,
            self.key_dim,
            position=self.position,
            normalization=self.normalization,
            dropout=self.attention_dropout,
            name="attention",
            **common,
        )
        self.attention.build(x_shape)
        self.attention_norm = self.make_norm("attention_norm", x_shape)
        self.feedforward = FeedForward(self.intermediate_dim, self.activation, name="feedforward", **common)
        self.feedforward.build(x_shape)
        self.feedforward_norm = self.make_norm("feedforward_norm", x_shape)
        self.dropout_layer = keras.layers.Dropout(self.dropout, dtype=self.dtype_policy)

    def call(self, x, padding_mask=None, attention_mask=None, positions=None, training=None):
        branch = self.attention(
            x, padding_mask=padding_mask, attention_mask=attention_mask, positions=positions, training=training
        )
        x = self.residual(x, branch, self.attention_norm, training)
        return self.residual(x, self.feedforward(x), self.feedforward_norm, training)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "key_dim": self.key_dim,
            "intermediate_dim": self.intermediate_dim,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "position": plugins.serialize(self.position),
            "normalization": plugins.serialize(self.normalization),
            "attention_dropout": self.attention_dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable(package="zoo")
class GAUBlock(_PostNormBlock):
    """One gated attention unit with a residual and a norm; two of them replace one `TransformerBlock`.

    Args: see `GatedAttentionUnit` for the unit's, `TransformerBlock` for the rest.
    Inputs and output: those of `TransformerBlock`.
    """

    def __init__(
        self,
        expanded_dim,
        key_dim=128,
        activation="silu",
        use_bias=False,
        norm="rms_norm",
        norm_epsilon=1e-7,
        position=None,
        normalization="softmax_plus",
        dropout=0.0,
        attention_dropout=0.0,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(norm, norm_epsilon, dropout, **kwargs)
        self.expanded_dim, self.key_dim = expanded_dim, key_dim
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.position, self.normalization = plugins.get(position), plugins.get(normalization)
        self.attention_dropout = attention_dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, x_shape):
        self.gau = GatedAttentionUnit(
            self.expanded_dim,
            self.key_dim,
            activation=self.activation,
            use_bias=self.use_bias,
            position=self.position,
            normalization=self.normalization,
            dropout=self.attention_dropout,
            kernel_initializer=self.kernel_initializer,
            dtype=self.dtype_policy,
            name="gau",
        )
        self.gau.build(x_shape)
        self.gau_norm = self.make_norm("gau_norm", x_shape)
        self.dropout_layer = keras.layers.Dropout(self.dropout, dtype=self.dtype_policy)

    def call(self, x, padding_mask=None, attention_mask=None, positions=None, training=None):
        branch = self.gau(
            x, padding_mask=padding_mask, attention_mask=attention_mask, positions=positions, training=training
        )
        return self.residual(x, branch, self.gau_norm, training)

    def get_config(self):
        return {
            **super().get_config(),
            "expanded_dim": self.expanded_dim,
            "key_dim": self.key_dim,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "position": plugins.serialize(self.position),
            "normalization": plugins.serialize(self.normalization),
            "attention_dropout": self.attention_dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
