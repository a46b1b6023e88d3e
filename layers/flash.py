"""Mixed-chunk attention, FLASH (Hua et al., arXiv 2202.10447; kexue.fm/archives/8934)."""

import math

import keras
from keras import ops

from zoo.layers import activations
from zoo.layers.attention_options import OptionsLayer
from zoo.layers.dropout import Dropout
from zoo.layers.gated_attention import ScaleOffset
from zoo.layers.linear_attention import check_chunk_length, chunk_size, merge_chunks, split_chunks, sum_of_earlier
from zoo.layers.masks import causal_mask
from zoo.layers.real_tokens import tokens_and_mask
from zoo.layers.rotary import rotating_position

_INSIDE_CHUNKS = {"position", "normalization", "score_scale"}  # the options that say nothing about pairs of tokens


@keras.saving.register_keras_serializable(package="zoo")
class MixedChunkAttention(OptionsLayer):
    """Gated attention unit in linear time: exact attention inside chunks of c tokens, linear attention between them.

        [u, v, z] = φ(x W_i);  q, k, q', k' are four affine maps of z
        o_i = (u_i ⊙ (Σ_{j in the chunk of i} A_ij v_j  +  q'_i · Σ_j k'_j v_j / l'_i)) W_o

    The second sum runs over all real tokens, or with `causal=True` over those of earlier chunks (none in the first
    chunk, whose linear part is 0); l' is how many these are, counted in each sample, so that padding on the right
    changes nothing. Time and memory are O(n c) instead of O(n²). Where n <= c and `causal=True`, or q' = 0, it is the
    `GatedAttentionUnit` with the same weights.

    The sources differ in l'. The paper's code (and lucidrains') divides each chunk's sum by c and adds the chunks up,
    so that the causal linear part grows with the position; the post calls that a slip and averages over the tokens
    seen, (g − 1) c in chunk g, as here. Inside a chunk the post divides by c (`SquaredReLU(length=c)`), whereas the
    default here divides by the keys that the query sees, as `GatedAttentionUnit` does.

    Args:
        chunk_length: int, c; 256 in the paper.
        causal: bool.
        position: None or an option that rotates queries and keys on their own (`RotaryEmbedding`); all four are.
        dropout: float, on the weights inside the chunks.
        normalization, score_scale: as in `GatedAttentionUnit`, inside the chunks.
        attention_options: `AttentionOptions` or a dict that gives position, normalization or score_scale and nothing else.
        expanded_dim, key_dim, activation, use_bias, kernel_initializer: as in `GatedAttentionUnit`.

    Inputs: x float `[B, n, d]`; padding_mask bool `[B, n]`, True at real tokens; positions `[n]` or `[B, n]`.
    Output: float `[B, n, d]`.
    """

    def __init__(
        self,
        expanded_dim,
        key_dim=128,
        chunk_length=256,
        causal=False,
        activation="silu",
        use_bias=True,
        position=None,
        normalization="squared_relu",
        score_scale=None,
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        attention_options=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # float positions must stay float32
        check_chunk_length(chunk_length)
        self.expanded_dim, self.key_dim = expanded_dim, key_dim
        self.chunk_length, self.causal = chunk_length, causal
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.take_options(attention_options, position=position, normalization=normalization, score_scale=score_scale)
        self.check_options(self.options)
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def head(self, name):
        head = ScaleOffset(self.use_bias, dtype=self.dtype_policy, name=name)
        head.build((self.key_dim,))
        return head

    @staticmethod
    def check_options(options):
        """Raise ValueError for options about pairs of tokens, which chunks do not form."""
        others = sorted(set(options.given) - _INSIDE_CHUNKS)
        if others:
            raise ValueError(
                f"{', '.join(others)} in {options!r}: they act on pairs of tokens, chunks do not; drop them"
            )
        rotating_position(options.position, "attention between chunks")

    def build(self, x_shape):
        self.input_dense = self.projection(2 * self.expanded_dim + self.key_dim, "input", self.activation)
        self.input_dense.build(x_shape)
        self.query_scale, self.key_scale = self.head("query_scale"), self.head("key_scale")
        self.linear_query_scale, self.linear_key_scale = self.head("linear_query_scale"), self.head("linear_key_scale")
        self.output_dense = self.projection(x_shape[-1], "output")
        self.output_dense.build((*x_shape[:-1], self.expanded_dim))
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy)

    def call(self, x, padding_mask=None, attention_mask=None, positions=None, training=None):
        tokens, padding_mask = tokens_and_mask(padding_mask)
        if attention_mask is not None:
            raise ValueError(f"{self.name} got an attention_mask; between chunks there is only causal=True or False")
        u, v, z = ops.split(self.input_dense(x), [self.expanded_dim, 2 * self.expanded_dim], axis=-1)
        if tokens is not None:
            v, z = tokens.padded(v), tokens.padded(z)
        length = ops.shape(v)[1]
        real = ops.ones((1, length), "float32") if padding_mask is None else ops.cast(padding_mask, "float32")
        real = ops.expand_dims(real, -1)  # [B or 1, n, 1]
        query, key, linear_query, linear_key = (
            self.rotated(head(z), positions)
            for head in (self.query_scale, self.key_scale, self.linear_query_scale, self.linear_key_scale)
        )  # float32 [B, n, s] each
        size = chunk_size(length, self.chunk_length)
        mixed = self.inside(query, key, v, real, size, training)
        between = self.earlier_chunks if self.causal else self.all_chunks
        mixed = mixed + between(linear_query, linear_key * real, v, real, size)
        return self.output_dense(u * (mixed if tokens is None else tokens.flat(mixed)))

    def rotated(self, x, positions):
        x = ops.cast(x, "float32")
        position = self.options.position
        return x if position is None else position.rotate(x, positions, sequence_axis=1)

    def inside(self, query, key, value, real, size, training):
        """Exact attention of every chunk to itself, `[B, n, e]`."""
        scale = 1 / math.sqrt(self.key_dim) if self.options.score_scale is None else self.options.score_scale
        key, real = split_chunks(key, size), split_chunks(real, size)
        scores = ops.matmul(split_chunks(query * scale, size), ops.swapaxes(key, -1, -2))  # [B, G, c, c]
        visible = ops.cast(ops.swapaxes(real, -1, -2), "bool")  # [B or 1, G, 1, c]
        if self.causal:
            visible = ops.logical_and(visible, causal_mask(size))
        weights = ops.cast(self.options.normalization(scores, visible), value.dtype)
        weights = self.dropout_layer(weights, training=True) if training else weights
        return merge_chunks(ops.matmul(weights, split_chunks(value, size)), ops.shape(value)[1])

    def all_chunks(self, query, key, value, real, size):
        """Linear attention to all tokens, `[B, n, e]`."""
        memory = ops.matmul(ops.swapaxes(key, -1, -2), ops.cast(value, "float32"))  # [B, s, e]
        return self.read(query, memory, ops.sum(real, axis=1, keepdims=True), value.dtype)

    def earlier_chunks(self, query, key, value, real, size):
        """Linear attention to the tokens of earlier chunks, `[B, n, e]`."""
        key, wide = split_chunks(key, size), split_chunks(ops.cast(value, "float32"), size)
        memory = sum_of_earlier(ops.matmul(ops.swapaxes(key, -1, -2), wide))  # [B, G, s, e]
        seen = sum_of_earlier(ops.sum(split_chunks(real, size), axis=-2, keepdims=True))  # [B or 1, G, 1, 1]
        return merge_chunks(self.read(split_chunks(query, size), memory, seen, value.dtype), ops.shape(value)[1])

    def read(self, query, memory, seen, dtype):
        # The sum over tokens is float32, its mean as precise as the values are.
        memory = ops.cast(memory / ops.maximum(seen, 1.0), dtype)
        return ops.matmul(ops.cast(query, dtype), memory)

    def compute_output_spec(self, x, *args, **kwargs):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)
