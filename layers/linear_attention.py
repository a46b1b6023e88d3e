"""Linear attention (Katharopoulos et al., arXiv 2006.16236; kexue.fm/archives/7546): weights φ(q)·φ(k), no softmax."""

import keras
from keras import ops

from zoo.layers.base import ConfiguredLayer
from zoo.layers.masks import causal_mask
from zoo.layers.rotary import rotating_position


def check_chunk_length(chunk_length):
    """Raise ValueError where it is no number of tokens."""
    if isinstance(chunk_length, bool) or not isinstance(chunk_length, int) or chunk_length < 1:
        raise ValueError(f"chunk_length={chunk_length!r}; expected a whole number of at least 1")


def chunk_size(length, limit):
    """c: the limit, or the whole sequence where it is shorter, so that short batches are not padded up."""
    return min(length, limit) if isinstance(length, int) else ops.minimum(length, limit)


def split_chunks(x, size):
    """`[..., n, w]` -> `[..., G, c, w]`, G = ceil(n / c), with zeros after the last token."""
    *leading, length, width = ops.shape(x)
    padding = -length % size
    if not isinstance(padding, int) or padding:
        x = ops.pad(x, [[0, 0]] * len(leading) + [[0, padding], [0, 0]])
    return ops.reshape(x, (*leading, (length + padding) // size, size, width))


def merge_chunks(x, length):
    """`[..., G, c, w]` -> `[..., n, w]`, what was padded cut off."""
    *leading, count, size, width = ops.shape(x)
    return ops.reshape(x, (*leading, count * size, width))[..., :length, :]


def sum_of_earlier(x):
    """Exclusive cumulative sum over the chunks of `[..., G, r, w]`: chunk g gets the sum of chunks h < g.

    Shifted before it is summed: subtracting a chunk from the inclusive sum would leave the rounding error of its own
    tokens there, and with it a trace of the future.
    """
    return ops.cumsum(ops.concatenate([ops.zeros_like(x[..., :1, :, :]), x[..., :-1, :, :]], axis=-3), axis=-3)


def elu_plus_one(x):
    """1 + elu(x): 1 + x above 0, exp(x) below, where elu(x) + 1 would round small weights to 0."""
    return ops.where(x > 0, x + 1, ops.exp(ops.minimum(x, 0)))


FEATURE_MAPS = {"elu_plus_one": elu_plus_one, "relu": ops.relu, "softplus": ops.softplus}  # all give φ >= 0


@keras.saving.register_keras_serializable(package="zoo")
class LinearAttention(ConfiguredLayer):
    """o_i = φ(q_i) Σ_j φ(k_j)ᵀ v_j / (φ(q_i) · Σ_j φ(k_j)) over H heads, then an output projection.

    The sums run over all real tokens, or with `causal=True` over j <= i. Time is O(n); memory is O(n) too: the causal
    sums are kept for every chunk of `chunk_length` tokens, inside which weights are written down, and never for every
    token. With rotary positions the numerator alone is rotated (RoFormer, arXiv 2104.09864, equation 19), so that the
    denominator stays positive.

    Args:
        num_heads, head_dim, key_dim, output_dim, use_bias, kernel_initializer: as in `MultiHeadAttention`.
        feature_map: φ, `"elu_plus_one"`, `"relu"` or `"softplus"`.
        causal: bool.
        chunk_length: int, tokens of a causal chunk; it decides about speed and memory, not about the result.
        position: None or an option that rotates queries and keys on their own (`RotaryEmbedding`).

    Inputs: x float `[B, n, d]`; padding_mask bool `[B, n]`, True at real tokens; positions `[n]` or `[B, n]`.
    Output: float `[B, n, output_dim]`. A query that sees no key gets the output of a zero vector.
    """

    def __init__(
        self,
        num_heads,
        head_dim,
        key_dim=None,
        output_dim=None,
        feature_map="elu_plus_one",
        causal=False,
        chunk_length=128,
        use_bias=True,
        position=None,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # float positions must stay float32
        if feature_map not in FEATURE_MAPS:
            raise ValueError(f"feature_map={feature_map!r}; expected one of {sorted(FEATURE_MAPS)}")
        check_chunk_length(chunk_length)
        self.num_heads, self.head_dim, self.output_dim = num_heads, head_dim, output_dim
        self.key_dim = head_dim if key_dim is None else key_dim
        self.feature_map, self.causal, self.chunk_length = feature_map, causal, chunk_length
        self.use_bias = use_bias
        self.position = rotating_position(position, "linear attention")
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, x_shape):
        width = x_shape[-1] if self.output_dim is None else self.output_dim
        self.query_dense = self.projection(self.num_heads * self.key_dim, "query")
        self.key_dense = self.projection(self.num_heads * self.key_dim, "key")
        self.value_dense = self.projection(self.num_heads * self.head_dim, "value")
        self.output_dense = self.projection(width, "output")
        for dense in (self.query_dense, self.key_dense, self.value_dense):
            dense.build(x_shape)
        self.output_dense.build((*x_shape[:-1], self.num_heads * self.head_dim))

    def split_heads(self, x, width):
        """`[B, n, H * width]` -> float32 `[B, H, n, width]`."""
        x = ops.reshape(x, (-1, ops.shape(x)[1], self.num_heads, width))
        return ops.cast(ops.swapaxes(x, 1, 2), "float32")

    def call(self, x, padding_mask=None, attention_mask=None, positions=None):
        if attention_mask is not None:
            raise ValueError(f"{self.name} got an attention_mask; linear attention is only causal=True or False")
        feature_map = FEATURE_MAPS[self.feature_map]
        query = feature_map(self.split_heads(self.query_dense(x), self.key_dim))
        key = feature_map(self.split_heads(self.key_dense(x), self.key_dim))
        value = self.split_heads(self.value_dense(x), self.head_dim)
        if padding_mask is not None:
            key = key * ops.cast(padding_mask, "float32")[:, None, :, None]
        rotated_query, rotated_key = self.rotated(query, positions), self.rotated(key, positions)
        total = self.causal_total if self.causal else self.total
        heads = total(rotated_query, rotated_key, value)
        weight = total(query, key, ops.ones_like(value[..., :1]))  # [B, H, n, 1]
        # φ >= 0: where the weights sum to 0 there is nothing to divide
        heads = ops.cast(heads / ops.where(weight > 0, weight, 1.0), self.compute_dtype)
        heads = ops.reshape(ops.swapaxes(heads, 1, 2), (-1, ops.shape(x)[1], self.num_heads * self.head_dim))
        return self.output_dense(heads)

    def rotated(self, x, positions):
        return x if self.position is None else self.position.rotate(x, positions, sequence_axis=-2)

    def total(self, query, key, value):
        """Σ_j (q_i · k_j) v_j, `[B, H, n, w]`."""
        return ops.matmul(query, ops.matmul(ops.swapaxes(key, -1, -2), value))

    def causal_total(self, query, key, value):
        """The same over j <= i."""
        length = ops.shape(query)[-2]
        size = chunk_size(length, self.chunk_length)
        query, key, value = (split_chunks(part, size) for part in (query, key, value))  # [B, H, G, c, s or w]
        key = ops.swapaxes(key, -1, -2)
        inside = ops.matmul(query, key) * ops.cast(causal_mask(size), "float32")  # [B, H, G, c, c]
        earlier = sum_of_earlier(ops.matmul(key, value))  # [B, H, G, s, w]
        return merge_chunks(ops.matmul(inside, value) + ops.matmul(query, earlier), length)

    def compute_output_spec(self, x, *args, **kwargs):
        width = x.shape[-1] if self.output_dim is None else self.output_dim
        return keras.KerasTensor((*x.shape[:-1], width), dtype=self.compute_dtype)
