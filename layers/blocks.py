"""Residual blocks of the lineage, all post-norm: x ← Norm(x + Dropout(F(x))), or another residual in place of the sum."""

import keras
from keras import ops

from zoo.layers import activations, options
from zoo.layers.attention import MultiHeadAttention
from zoo.layers.attention_options import OptionsLayer
from zoo.layers.dropout import Dropout
from zoo.layers.feedforward import FeedForward
from zoo.layers.flash import MixedChunkAttention
from zoo.layers.gated_attention import GatedAttentionUnit
from zoo.layers.norm import LayerNorm, RMSNorm
from zoo.layers.real_tokens import first_tokens
from zoo.layers.residuals import Residual


class _PostNormBlock(OptionsLayer):
    """What all blocks share: the residual step and its norm, and what they pass on to their attention."""

    def __init__(self, norm, norm_epsilon, dropout, residual, **kwargs):
        super().__init__(autocast=False, **kwargs)  # float positions must stay float32
        if norm not in ("layer_norm", "rms_norm"):
            raise ValueError(f"norm={norm!r}; expected 'layer_norm' or 'rms_norm'")
        self.norm, self.norm_epsilon, self.dropout = norm, norm_epsilon, dropout
        self.residual = options.Untracked(options.get(residual, Residual))  # each branch makes its own

    def attention_arguments(self):
        """What a block's attention layer takes from it, whichever it is."""
        return {
            "attention_options": self.options,
            "dropout": self.attention_dropout,
            "use_bias": self.use_bias,
            "kernel_initializer": self.kernel_initializer,
            "dtype": self.dtype_policy,
        }

    def make_norm(self, name, shape):
        layer = (LayerNorm if self.norm == "layer_norm" else RMSNorm)(
            epsilon=self.norm_epsilon, dtype=self.dtype_policy, name=name
        )
        layer.build(shape)
        return layer

    def make_residual(self, name, shape):
        """The residual of one branch, None for the plain sum."""
        residual = self.residual.option
        if not isinstance(residual, keras.layers.Layer):
            return residual
        layer = type(residual).from_config({**residual.get_config(), "name": name, "dtype": self.dtype_policy})
        x = keras.KerasTensor(shape, dtype=self.compute_dtype)
        layer(x, x)  # builds it, whatever the arguments of its `build`
        return layer

    def add(self, x, branch, residual, norm, training):
        if training:  # a layer that does nothing costs as much as a small product
            branch = self.dropout_layer(branch, training=True)
        return norm(ops.cast(x, branch.dtype) + branch if residual is None else residual(x, branch))

    def compute_output_spec(self, x, *args, **kwargs):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="zoo")
class TransformerBlock(_PostNormBlock):
    """Attention, then feed-forward, each with a residual and a norm: the block of BERT, RoFormer and RoFormerV2.

    Args:
        num_heads, head_dim, key_dim, position, normalization, attention_dropout, attention_options: of the attention,
            see `MultiHeadAttention`.
        intermediate_dim, activation: of the feed-forward, see `FeedForward`.
        use_bias: bool, biases everywhere.
        norm: `"layer_norm"` or `"rms_norm"` (no gain). norm_epsilon: float.
        dropout: float, after both branches.
        kernel_initializer: of all kernels.
        residual: None for x + F(x), `zoo.layers.DeepNorm(alpha)`, `zoo.layers.AlphaResidual(...)`, of which every
            branch makes its own, or an object or function of your own, see `zoo.layers.options`.

    Inputs: x float `[B, n, d]`, padding_mask bool `[B, n]`, attention_mask bool `[n, n]` or `[B, n, n]`,
    positions `[n]` or `[B, n]`. Output: float `[B, n, d]`.
    """

    takes_real_tokens = True  # in the place of padding_mask; a subclass that computes something else does not

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
        attention_options=None,
        residual=None,
        **kwargs,
    ):
        super().__init__(norm, norm_epsilon, dropout, residual, **kwargs)
        self.num_heads, self.head_dim, self.key_dim = num_heads, head_dim, key_dim
        self.intermediate_dim, self.activation = intermediate_dim, activations.get(activation)
        self.use_bias = use_bias
        self.attention_dropout = attention_dropout
        self.take_options(attention_options, position=position, normalization=normalization)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, x_shape):
        self.attention = MultiHeadAttention(
            self.num_heads, self.head_dim, self.key_dim, name="attention", **self.attention_arguments()
        )
        self.attention.build(x_shape)
        self.attention_norm = self.make_norm("attention_norm", x_shape)
        self.feedforward = FeedForward(
            self.intermediate_dim,
            self.activation,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer,
            dtype=self.dtype_policy,
            name="feedforward",
        )
        self.feedforward.build(x_shape)
        self.feedforward_norm = self.make_norm("feedforward_norm", x_shape)
        self.attention_residual = self.make_residual("attention_residual", x_shape)
        self.feedforward_residual = self.make_residual("feedforward_residual", x_shape)
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy)

    def call(self, x, padding_mask=None, attention_mask=None, positions=None, training=None):
        places = {"padding_mask": padding_mask, "attention_mask": attention_mask, "positions": positions}
        return self.after_attention(x, self.attention(x, **places, training=training), training)

    def first(self, x, padding_mask=None, attention_mask=None, positions=None, training=None):
        """The call's output at each row's first token alone, `[B, 1, d]`."""
        first = first_tokens(x, padding_mask)
        branch = self.attention.first(first, x, padding_mask, attention_mask, positions, training)
        return self.after_attention(first, branch, training)

    def after_attention(self, x, branch, training):
        x = self.add(x, branch, self.attention_residual, self.attention_norm, training)
        return self.add(x, self.feedforward(x), self.feedforward_residual, self.feedforward_norm, training)

    def empty_cache(self, batch_size, capacity):
        return self.attention.empty_cache(batch_size, capacity)

    def step(self, x, cache, index, **places):
        """New tokens `[B, t, d]` over cached ones, see `zoo.layers.attention`: output `[B, t, d]`, cache."""
        branch, cache = self.attention.step(x, cache, index, **places)
        return self.after_attention(x, branch, training=False), cache


@keras.saving.register_keras_serializable(package="zoo")
class GAUBlock(_PostNormBlock):
    """One gated attention unit with a residual and a norm; two of them replace one `TransformerBlock`.

    Args: see `GatedAttentionUnit` for the unit's, `TransformerBlock` for the rest.
    Inputs and output: those of `TransformerBlock`.
    """

    takes_real_tokens = True  # in the place of padding_mask; a subclass that computes something else does not

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
        attention_options=None,
        residual=None,
        **kwargs,
    ):
        super().__init__(norm, norm_epsilon, dropout, residual, **kwargs)
        self.expanded_dim, self.key_dim = expanded_dim, key_dim
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.attention_dropout = attention_dropout
        self.take_options(attention_options, position=position, normalization=normalization)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, x_shape):
        self.gau = GatedAttentionUnit(
            self.expanded_dim, self.key_dim, activation=self.activation, name="gau", **self.attention_arguments()
        )
        self.gau.build(x_shape)
        self.gau_norm = self.make_norm("gau_norm", x_shape)
        self.gau_residual = self.make_residual("gau_residual", x_shape)
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy)

    def call(self, x, padding_mask=None, attention_mask=None, positions=None, training=None):
        places = {"padding_mask": padding_mask, "attention_mask": attention_mask, "positions": positions}
        branch = self.gau(x, **places, training=training)
        return self.add(x, branch, self.gau_residual, self.gau_norm, training)

    def empty_cache(self, batch_size, capacity):
        return self.gau.empty_cache(batch_size, capacity)

    def step(self, x, cache, index, **places):
        """New tokens `[B, t, d]` over cached ones, see `zoo.layers.attention`: output `[B, t, d]`, cache."""
        branch, cache = self.gau.step(x, cache, index, **places)
        return self.add(x, branch, self.gau_residual, self.gau_norm, training=False), cache


@keras.saving.register_keras_serializable(package="zoo")
class FLASHBlock(GAUBlock):
    """`GAUBlock` whose unit is a `MixedChunkAttention`: linear in the length.

    The unit's weights keep the names they have in `GAUBlock`, with two more heads for the attention between chunks.

    Args:
        chunk_length, causal: see `MixedChunkAttention`. A causal model says so here; it is built with
            `attention_mask="bidirectional"`, since a mask of all pairs would be quadratic again.
        normalization: inside the chunks.
        attention_options: position, normalization and score_scale alone.
        See `GAUBlock` for the rest.

    Inputs and output: those of `TransformerBlock`, without attention_mask.

    Raises:
        ValueError: other attention_options are given; a cache is asked for.
    """

    takes_real_tokens = True

    def __init__(
        self, expanded_dim, key_dim=128, chunk_length=256, causal=False, normalization="squared_relu", **kwargs
    ):
        super().__init__(expanded_dim, key_dim, normalization=normalization, **kwargs)
        MixedChunkAttention.check_options(self.options)
        self.chunk_length, self.causal = chunk_length, causal

    def build(self, x_shape):
        self.gau = MixedChunkAttention(
            self.expanded_dim,
            self.key_dim,
            self.chunk_length,
            self.causal,
            activation=self.activation,
            name="gau",
            **self.attention_arguments(),
        )
        self.gau.build(x_shape)
        self.gau_norm = self.make_norm("gau_norm", x_shape)
        self.gau_residual = self.make_residual("gau_residual", x_shape)
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy)

    def empty_cache(self, batch_size, capacity):
        raise ValueError(
            f"{self.name}: a FLASHBlock decodes without a cache; call the model on the whole text at every token"
        )
