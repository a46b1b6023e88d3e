"""Multi-head attention whose positions, normaliser, scores and masks are pluggable; and decoding with a cache.

Every attention layer (`MultiHeadAttention`, `GatedAttentionUnit`) is: project, weights by one `AttentionOptions`
(see there for the order in which options act), mix the values, project. Blocks pass the same arguments through.

Decoding with a cache, in attention layers and in blocks alike:

    cache = layer.empty_cache(batch_size, capacity)             # a tuple of two tensors, batch axis first
    y, cache = layer.step(x, cache, index)                      # x: t >= 1 new tokens [B, t, d]; y [B, t, d]

  * `index`, int or int scalar tensor, is the number of tokens in the cache: the new ones go to places index ..
    index + t - 1 of its `capacity` places. All shapes are fixed, so that a step may be compiled once. The caller
    keeps index + t <= capacity.
  * Keys and values are cached as they leave their projections, in the compute dtype: not normalised, and rotated only
    by a plain `RotaryEmbedding`. Other positions act anew at each step: under ReRoPE a key's rotation depends on the
    query. Beams are re-ordered by `ops.take(part, beams, 0)`.
  * A query at place i sees the places j <= i. `attention_mask`, bool `[t, capacity]` or `[B, t, capacity]`, replaces
    this rule among the places that are filled: all True reads a prefix in both directions, as UniLM's source.
  * `padding_mask`, bool `[B, capacity]`: False where a place holds padding. Prompts of different lengths are padded on
    the left, so that all rows share one index.
  * `positions` `[t]` or `[B, t]` of the new tokens, `key_positions` `[capacity]` or `[B, capacity]` of all places;
    None counts places. Give both or none.
  * Windows and directions count places. A step equals the rows of the call on the whole sequence under the same masks.
"""

import keras
from keras import ops

from zoo.layers.attention_options import OptionsLayer
from zoo.layers.dropout import Dropout
from zoo.layers.real_tokens import tokens_and_mask


class AttentionLayer(OptionsLayer):
    """What attention layers share: the weights of their options, mixing values, the cache."""

    def build_options(self, num_heads):
        """Make the weights by which options are trained, and the dropout of the attention weights."""
        self.trained_options = {
            name: self.add_weight(shape=shape, initializer=keras.initializers.Constant(start), name=name)
            for name, (shape, start) in self.options.trained(num_heads, self.key_dim).items()
        }
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy)

    def mix(self, query, key, value, num_heads, training=None, **places):
        """A v: `[B, (H,) n, s]`, `[B, (H,) m, s]`, `[B, (H,) m, e]` -> `[B, (H,) n, e]`."""
        weights = self.options.attention_weights(query, key, num_heads, self.trained_options, **places)
        weights = ops.cast(weights, value.dtype)
        if training:
            weights = self.dropout_layer(weights, training=True)
        mixed, position = ops.matmul(weights, value), self.options.position
        if position is None or not position.in_values:
            return mixed
        here = places.get("first_query", 0) + ops.arange(ops.shape(query)[-2], dtype="int32")
        return mixed + position.mixed(weights, here, ops.arange(ops.shape(key)[-2], dtype="int32"), value.shape[-1])

    def check_cross(self):
        """Raise ValueError where keys of another sequence meet rules about places in one sequence."""
        if self.options.visibility:
            raise ValueError(
                f"{', '.join(map(repr, self.options.visibility))} in cross attention: windows and directions compare "
                "places in one sequence; give an attention_mask instead"
            )
        if self.options.position is not None and self.options.position.counts_places:
            raise ValueError(f"{self.options.position!r} in cross attention: it compares places in one sequence")

    def empty_cache(self, batch_size, capacity):
        """Zeros for the keys and values of `capacity` tokens, see the module's docstring."""
        return tuple(ops.zeros(shape, dtype=self.compute_dtype) for shape in self.cache_shapes(batch_size, capacity))

    def mix_cached(self, query, key, value, num_heads, cache, index, attention_mask, positions, key_positions, **masks):
        """A v of the new queries over the cache with the new keys and values put in, and this cache."""
        self.options.check_pattern("causal")
        count = ops.shape(query)[-2]
        here = index + ops.arange(count, dtype="int32")
        rotated = self.options.keys_rotate_once()
        if rotated:
            key = self.options.position.rotate(key, here if positions is None else positions, sequence_axis=-2)
            key = ops.cast(key, self.compute_dtype)
        start = [0] * (len(key.shape) - 2) + [index, 0]
        keys, values = (ops.slice_update(old, start, new) for old, new in zip(cache, (key, value)))
        there = ops.arange(ops.shape(keys)[-2], dtype="int32")
        if attention_mask is None:
            attention_mask = there[None, :] <= here[:, None]
        else:
            attention_mask = ops.logical_and(ops.cast(attention_mask, "bool"), there < index + count)
        places = {
            "positions": here if positions is None else positions,
            "key_positions": there if key_positions is None else key_positions,
            "attention_mask": attention_mask,
            "first_query": index,
            "rotated_keys": rotated,
            **masks,
        }
        return self.mix(query, keys, values, num_heads, training=False, **places), (keys, values)


@keras.saving.register_keras_serializable(package="zoo")
class MultiHeadAttention(AttentionLayer):
    """softmax(Q Kᵀ / sqrt(s)) V over H heads, then an output projection.

    Args:
        num_heads: int, H.
        head_dim: int, width of a value head.
        key_dim: int or None, s, width of a query and key head; None means head_dim.
        output_dim: int or None, width of the output; None means the width of the query input.
        use_bias: bool, biases of the four projections.
        position: None or a position option (`RotaryEmbedding()`).
        normalization: `"softmax"`, `"softmax_plus"`, `"squared_relu"`, or an object or function of your own, see
            `zoo.layers.options`.
        score_scale: float or None; None means 1/sqrt(s).
        dropout: float, on the weights.
        kernel_initializer: initializer of the kernels `[in, out]`.
        attention_options: `AttentionOptions`, a dict of its arguments, or None; what it gives replaces position,
            normalization and score_scale.

    Inputs:
        query float `[B, n, d]`; key and value float `[B, m, d]` (None: the query, self-attention);
        padding_mask bool `[B, m]`, True at real keys; attention_mask bool and attention_bias float, `[n, m]`,
        `[B, n, m]` or `[B, H, n, m]`; positions of queries `[n]` or `[B, n]`; key_positions `[m]` or `[B, m]`, None
        means those of the queries in self-attention and 0 .. m-1 in cross attention.
    Output: float `[B, n, output_dim]`. A query that sees no key gets the output of a zero vector.

    See the module's docstring for `empty_cache` and `step`.
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
        attention_options=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # float positions must stay float32; projections cast for themselves
        self.num_heads, self.head_dim, self.output_dim = num_heads, head_dim, output_dim
        self.key_dim = head_dim if key_dim is None else key_dim
        self.use_bias = use_bias
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.take_options(attention_options, position=position, normalization=normalization, score_scale=score_scale)
        self.options.check(num_heads, self.key_dim, use_bias)

    def build(self, query_shape, key_shape=None, value_shape=None):
        key_shape = query_shape if key_shape is None else key_shape
        self.query_dense = self.projection(self.num_heads * self.key_dim, "query")
        self.query_dense.build(query_shape)
        self.key_dense = self.projection(self.num_heads * self.key_dim, "key")
        self.key_dense.build(key_shape)
        self.value_dense = self.projection(self.num_heads * self.head_dim, "value")
        self.value_dense.build(key_shape if value_shape is None else value_shape)
        self.output_dense = self.projection(query_shape[-1] if self.output_dim is None else self.output_dim, "output")
        self.output_dense.build((*query_shape[:-1], self.num_heads * self.head_dim))
        self.build_options(self.num_heads)

    def split_heads(self, x, width):
        """`[B, n, H * width]` -> `[B, H, n, width]`."""
        return ops.swapaxes(ops.reshape(x, (-1, ops.shape(x)[1], self.num_heads, width)), 1, 2)

    def join_heads(self, heads, tokens=None):
        """Output of mixed values `[B, H, n, head_dim]`."""
        heads = ops.swapaxes(heads, 1, 2)  # [B, n, H, head_dim]
        heads = ops.reshape(heads, (-1, ops.shape(heads)[1], self.num_heads * self.head_dim))
        return self.output_dense(heads if tokens is None else tokens.flat(heads))

    def project(self, query, key, value, tokens=None):
        """q `[B, H, n, s]`, k `[B, H, m, s]`, v `[B, H, m, head_dim]`; with tokens, a query that is not the key is in rows."""
        q, k, v = self.query_dense(query), self.key_dense(key), self.value_dense(value)
        if tokens is not None:
            q = tokens.padded(q) if query is key else q
            k, v = tokens.padded(k), tokens.padded(v)
        return self.split_heads(q, self.key_dim), self.split_heads(k, self.key_dim), self.split_heads(v, self.head_dim)

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
        if key is not None and key is not query:
            self.check_cross()
            if key_positions is None and positions is not None:
                key_positions = ops.arange(ops.shape(key)[1], dtype="int32")
        key = query if key is None else key
        places = {
            "padding_mask": padding_mask,
            "attention_mask": attention_mask,
            "attention_bias": attention_bias,
            "positions": positions,
            "key_positions": key_positions,
        }
        q, k, v = self.project(query, key, key if value is None else value, tokens)
        return self.join_heads(self.mix(q, k, v, self.num_heads, training, **places), tokens)

    def first(self, first, x, padding_mask=None, attention_mask=None, positions=None, training=None):
        """The call's output at the first token alone, `[B, 1, output_dim]`; `first` is this token of x, `[B, 1, d]`."""
        tokens, padding_mask = tokens_and_mask(padding_mask)
        q, k, v = self.project(first, x, x, tokens)
        key_positions = ops.arange(ops.shape(k)[2], dtype="int32") if positions is None else positions
        places = {
            "padding_mask": padding_mask,
            "attention_mask": None if attention_mask is None else attention_mask[..., :1, :],
            "positions": key_positions[..., :1],
            "key_positions": key_positions,
        }
        return self.join_heads(self.mix(q, k, v, self.num_heads, training, **places))

    def cache_shapes(self, batch_size, capacity):
        return [(batch_size, self.num_heads, capacity, width) for width in (self.key_dim, self.head_dim)]

    def step(self, x, cache, index, padding_mask=None, attention_mask=None, positions=None, key_positions=None):
        """New tokens `[B, t, d]` over cached ones: output `[B, t, output_dim]`, cache."""
        q, k, v = self.project(x, x, x)
        heads, cache = self.mix_cached(
            q, k, v, self.num_heads, cache, index, attention_mask, positions, key_positions, padding_mask=padding_mask
        )
        return self.join_heads(heads), cache

    def compute_output_spec(self, query, key=None, value=None, **kwargs):
        width = query.shape[-1] if self.output_dim is None else self.output_dim
        return keras.KerasTensor((*query.shape[:-1], width), dtype=self.compute_dtype)
