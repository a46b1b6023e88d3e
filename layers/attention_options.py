"""From queries and keys to attention weights: one pipeline, and the record of the options that take part in it."""

import math
from typing import Any

from keras import ops

from zoo.backend.arguments import described
from zoo.layers import options
from zoo.layers.base import ConfiguredLayer
from zoo.layers.masks import Direction, Visibility, align, visible_keys
from zoo.layers.rotary import Position, counted
from zoo.layers.score_biases import ScoreBias
from zoo.layers.score_normalizers import Normalizer, Softmax, SoftmaxPlus, SquaredReLU, visible_count
from zoo.layers.score_products import LengthScale, ScoreProduct

_KINDS = {kind.argument: kind for kind in (ScoreProduct, LengthScale, Position, ScoreBias, Visibility, Normalizer)}
_DEFAULTS = {
    "query_key_bias": False,
    "product": None,
    "log_n": None,
    "position": None,
    "score_scale": None,
    "score_bias": None,
    "visibility": (),
    "normalization": Softmax(),
}


def attention_scores(query, key, position, scale, query_positions=None, key_positions=None, rotated_keys=False):
    """Scaled scores in float32 under every policy.

    Args:
        query: float `[..., n, s]`. key: float `[..., m, s]`.
        position: None for plain products, or an object with a `scores` method such as `RotaryEmbedding`.
        scale: float; it multiplies the query, n·s products instead of n·m.
        rotated_keys: bool, whether the position, a `RotaryEmbedding`, has acted on the keys already.

    Returns:
        float32 `[..., n, m]`.
    """
    query = ops.cast(query, "float32") * scale
    key = ops.cast(key, "float32")
    if position is None or rotated_keys:
        query = position.rotate(query, query_positions, sequence_axis=-2) if rotated_keys else query
        return ops.matmul(query, ops.swapaxes(key, -1, -2))
    return position.scores(query, key, query_positions, key_positions)


class AttentionOptions(options.Option):
    """What makes weights of queries and keys, in the order in which it acts. `...` leaves it to the layer's own.

    Args:
        query_key_bias: bool, trained vectors added to query and key of every head before the rotation, for layers
            without biases: with rotary positions they favour near keys (kexue.fm/archives/9577).
        product: None (q·k / sqrt(s)), `KeyNorm()`, `QueryNorm()` or `CosA()`.
        log_n: None or `LogN(train_length)`.
        position: None (no positions), `RotaryEmbedding()`, `ReRoPE(w)`, `LeakyReRoPE(w, k)`, `XPOS()` or
            `RelativePosition()`.
        score_scale: float or None; None means that of the product, 1/sqrt(s) where there is none.
        score_bias: None, `ALiBi()`, `KERPLE()` or `Sandwich()`.
        visibility: an option or a list of them, all of which must allow a key: `Window(w)`, `Direction(side)`.
        normalization: `Softmax()`, `SoftmaxPlus()` or `SquaredReLU()`.

    Each of them may be an object of your own subclass of the kind, or a function that stands for its method, see
    `zoo.layers.options`. Short names (`"key_norm"`) and the form in configs do as well.

    Raises:
        ValueError: an option of the wrong kind.
    """

    query_key_bias: bool
    product: Any
    log_n: Any
    position: Any
    score_scale: float | None
    score_bias: Any
    visibility: tuple
    normalization: Any
    watch: Any = None  # a function that `zoo.analysis.attention_maps` shows weights and visible keys to, for one call

    def __init__(
        self,
        query_key_bias=...,
        product=...,
        log_n=...,
        position=...,
        score_scale=...,
        score_bias=...,
        visibility=...,
        normalization=...,
    ):
        given = {
            "query_key_bias": query_key_bias,
            "product": product,
            "log_n": log_n,
            "position": position,
            "score_scale": score_scale,
            "score_bias": score_bias,
            "visibility": visibility,
            "normalization": normalization,
        }
        self.given = {name: _read(name, value) for name, value in given.items() if value is not ...}
        for name, default in _DEFAULTS.items():
            setattr(self, name, self.given.get(name, default))

    @classmethod
    def get(cls, given):
        """The object for an instance, a dict of arguments, or None for nothing given."""
        if given is None:
            return cls()
        if isinstance(given, cls):
            return given
        if not isinstance(given, dict) or set(given) - set(_DEFAULTS):
            raise ValueError(
                f"attention options {given!r}; expected None, AttentionOptions(...) or a dict with some of "
                f"{', '.join(_DEFAULTS)}"
            )
        return cls(**given)

    def with_defaults(self, base):
        """These options where they are given, `base`'s where not."""
        return AttentionOptions(**{**base.given, **self.given})

    over = with_defaults  # its name until 0.1

    def get_config(self):
        """JSON form of what is given; `AttentionOptions.get` reads it back."""
        return {name: described(list(value) if name == "visibility" else value) for name, value in self.given.items()}

    def described(self):
        return self.get_config()

    def argument_values(self):
        return self.given

    def parts(self):
        """Every option that is set."""
        parts = (self.product, self.log_n, self.position, self.score_bias, *self.visibility, self.normalization)
        return [part for part in parts if part is not None]

    def counting(self):
        """Options that scale the scores of a query by the number of keys that it sees."""
        return [part for part in (self.product, self.log_n) if part is not None and part.factor is not None]

    def check(self, num_heads, key_dim, use_bias=False):
        """Raise ValueError where options do not fit a layer, or each other.

        Args:
            num_heads: int, H. key_dim: int, s.
            use_bias: bool, whether the layer's projections have biases.
        """
        for part in self.parts():
            part.check(num_heads, key_dim)
        if self.query_key_bias and use_bias:
            raise ValueError("query_key_bias=True beside use_bias=True: query and key have a bias already; drop one")
        lengths = [type(part).__name__ for part in self.counting()]
        lengths += [type(self.normalization).__name__] * isinstance(self.normalization, SoftmaxPlus)
        if len(lengths) > 1:
            raise ValueError(f"{' and '.join(lengths)} both scale the scores with the log of the length; keep one")
        if getattr(self.position, "logit_factor", 1.0) != 1:
            lengths.append(type(self.position.scaling).__name__)
        if lengths and isinstance(self.normalization, SquaredReLU):
            raise ValueError(
                f"{lengths[0]} with SquaredReLU: relu² is homogeneous, a scale changes its size and not its "
                "concentration (kexue.fm/archives/9019); use a softmax, or no scale of the scores"
            )
        if self.score_scale is not None and self.product is not None:
            raise ValueError(f"score_scale={self.score_scale} with {self.product}, which sets the scale itself")

    def check_pattern(self, pattern):
        """Raise ValueError where options do not fit a backbone's attention pattern.

        Args:
            pattern: `"bidirectional"`, `"causal"` or `"unilm"`.
        """
        sides = [rule.side for rule in self.visibility if isinstance(rule, Direction)]
        if pattern != "causal" and getattr(self.position, "causal_only", False) and "left" not in sides:
            raise ValueError(
                f"{self.position!r} is for causal attention, where no query sees a key on its right; in a model with "
                f"attention_mask={pattern!r} add Direction('left'), or let ReRoPE have causal=False"
            )
        if pattern != "bidirectional" and set(sides) - {"left"}:
            raise ValueError(
                f"Direction({sides[0]!r}) in a model with attention_mask={pattern!r}, which looks left only"
            )

    def trained(self, num_heads, key_dim):
        """Weights for the layer to make: name -> (shape, initial value)."""
        weights = {} if self.score_bias is None else self.score_bias.trained(num_heads, key_dim)
        if self.query_key_bias:
            weights |= dict.fromkeys(("query_bias", "key_bias"), ((num_heads, key_dim), 0.0))
        return weights

    def attention_weights(
        self,
        query,
        key,
        num_heads,
        trained=None,
        padding_mask=None,
        attention_mask=None,
        attention_bias=None,
        positions=None,
        key_positions=None,
        first_query=0,
        rotated_keys=False,
    ):
        """Weights of the keys for every query, float32 `[B, (H,) n, m]`.

        Args:
            query: float `[B, (H,) n, s]`. key: float `[B, (H,) m, s]`.
            num_heads: int, H.
            trained: weights of the layer by the names of `trained`.
            padding_mask, attention_mask, attention_bias: as in `MultiHeadAttention`.
            positions, key_positions: `[n]` or `[B, n]`, `[m]` or `[B, m]`; None for the positions of the keys means
                those of the queries.
            first_query: int, place of the first query among the keys, for windows and directions.
            rotated_keys: bool, see `keys_rotate_once`.
        """
        rank, length, num_keys = len(query.shape), ops.shape(query)[-2], ops.shape(key)[-2]
        visible = visible_keys(padding_mask, attention_mask, rank)
        for rule in self.visibility:
            seen = rule.visible(
                first_query + ops.arange(length, dtype="int32"), ops.arange(num_keys, dtype="int32"), num_heads
            )
            visible = seen if visible is None else ops.logical_and(visible, seen)
        query, key = ops.cast(query, "float32"), ops.cast(key, "float32")
        if self.query_key_bias:
            query, key = query + _per_head(trained["query_bias"], rank), key + _per_head(trained["key_bias"], rank)
        if self.product is not None:
            query, key = self.product.transform(query, key)
        for part in self.counting():
            query = query * part.factor(visible_count(num_keys, visible))
        scale = self.scale(query.shape[-1])
        where = positions, key_positions
        if self.position is not None and self.position.counts_places:
            where = first_query + ops.arange(length, dtype="int32"), ops.arange(num_keys, dtype="int32")
        scores = attention_scores(query, key, self.position, scale, *where, rotated_keys)
        if self.score_bias is not None:
            here = counted(positions, length)
            there = counted(positions if key_positions is None else key_positions, num_keys)
            bias = self.score_bias.bias(here, there, num_heads, trained)
            scores = scores + (bias if rank == 4 else bias[:, 0])
        if attention_bias is not None:
            scores = scores + align(ops.cast(attention_bias, "float32"), rank)
        weights = self.normalization(scores, visible)
        if self.watch is not None:
            self.watch(weights, visible)
        return weights

    def keys_rotate_once(self):
        """Whether a key in a cache may be kept rotated: nothing acts on it before, and no query has a say in its angle."""
        return hasattr(self.position, "rotate") and self.product is None and not self.query_key_bias

    def scale(self, key_dim):
        """Factor of all scores."""
        if self.score_scale is not None:
            scale = self.score_scale
        else:
            scale = 1 / math.sqrt(key_dim) if self.product is None else self.product.score_scale
        return scale * getattr(self.position, "logit_factor", 1.0)


def _per_head(vectors, rank):
    """`[H, s]` -> float32 `[H, 1, s]` where queries have a head axis, else `[1, s]`."""
    vectors = ops.cast(vectors, "float32")
    return ops.expand_dims(vectors, 1) if rank == 4 else vectors


def _read(name, value):
    if name == "query_key_bias":
        return bool(value)
    if name == "score_scale":
        if value is not None and not isinstance(value, int | float):
            raise ValueError(f"score_scale={value!r}; expected None or a number")
        return value
    if name == "visibility":
        rules = value if isinstance(value, list | tuple) else [value]
        return tuple(options.get(rule, Visibility) for rule in rules if rule is not None)
    if name == "normalization" and value is None:
        raise ValueError("normalization=None; expected 'softmax', 'softmax_plus', 'squared_relu' or such an object")
    return options.get(value, _KINDS[name])


class OptionsLayer(ConfiguredLayer):
    """A layer that takes `attention_options`, and some of them as arguments of its own."""

    def take_options(self, attention_options, **single):
        """Keep the arguments as they are given, and what they amount to in `options`.

        Args:
            attention_options: `AttentionOptions`, a dict of its arguments, or None; what it gives goes before `single`.
            single: options by name.
        """
        own = AttentionOptions(**single)
        for name, value in own.given.items():
            setattr(self, name, value)
        self.attention_options = AttentionOptions.get(attention_options)
        self.options = self.attention_options.with_defaults(own)
