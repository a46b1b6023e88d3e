"""How a query is compared with a key: normalised products, and scales of the scores.

The products (kexue.fm/archives/9859) divide in float32 by the norm over the features of a head. A rotation changes no
norm, so they commute with rotary positions. The norm takes the place of 1/sqrt(s): ‖k‖ is about sqrt(s) in a trained model.
"""

import math

from keras import ops

from zoo.layers.options import Option, register_option

EPSILON = 1e-12  # a zero vector stays zero, with a finite gradient


def unit_vectors(x):
    """x / ‖x‖ over the last axis."""
    return x * ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + EPSILON)


class ScoreProduct(Option):
    """A product of query and key other than q · k / sqrt(s)."""

    argument, method = "product", "transform"
    score_scale = 1.0  # the scores are multiplied by it
    factor = None  # function from the number of keys that each query sees to a further factor

    def transform(self, query, key):
        """The vectors whose plain product is the score, float32 `[..., n, s]` and `[..., m, s]`."""
        raise NotImplementedError(f"{type(self).__name__}.transform")


@register_option("key_norm")
class KeyNorm(ScoreProduct):
    """KNA, q · k/‖k‖: long inputs do not change the size of the scores, a key cannot shout."""

    def transform(self, query, key):
        return query, unit_vectors(key)


@register_option("query_norm")
class QueryNorm(ScoreProduct):
    """QNA, q/‖q‖ · k."""

    def transform(self, query, key):
        return unit_vectors(query), key


@register_option("cos_a")
class CosA(ScoreProduct):
    """λ cos(q, k) with λ = 4 ln n.

    Args:
        length: float > 1 or None, n: half the training length in the post. None: the number of keys that each query
            sees ("CosA-log n").
    """

    def __init__(self, length=None):
        if length is not None and not length > 1:
            raise ValueError(f"CosA: length={length!r}; expected None or a number above 1")
        self.length = length

    @property
    def score_scale(self):
        return 1.0 if self.length is None else 4 * math.log(self.length)

    @property
    def factor(self):
        """λ from the number of keys, or None where it is fixed."""
        return None if self.length is not None else lambda count: 4 * ops.log(ops.maximum(count, 1.0))

    def transform(self, query, key):
        return unit_vectors(query), unit_vectors(key)


class LengthScale(Option):
    """A factor of a query's scores from the number of keys that it sees."""

    argument, method = "log_n", "factor"

    def factor(self, count):
        """float32, of the shape of `count`: float32 `[..., n or 1, 1]` or a scalar, how many keys a query sees."""
        raise NotImplementedError(f"{type(self).__name__}.factor")


@register_option
class LogN(LengthScale):
    """Scores of a query that sees n keys are multiplied by max(1, ln n / ln L).

    For models that were not trained with a log-n scale (kexue.fm/archives/8823, 9706): it holds the entropy of attention
    on long inputs near that of training, and changes nothing up to the length of training. A model that is trained with
    the scale uses the normaliser `SoftmaxPlus` instead.

    Args:
        train_length: int > 1, L.
    """

    def __init__(self, train_length):
        if not train_length > 1:
            raise ValueError(f"LogN: train_length={train_length!r}; expected the number of tokens in training, above 1")
        self.train_length = train_length

    def factor(self, count):
        """Factor of every query from the number of keys that it sees, both float32."""
        return ops.maximum(ops.log(ops.maximum(count, 1.0)) / math.log(self.train_length), 1.0)


def log_length_scale(key_dim, length, base_length=512):
    """ln n / (ln n₀ · sqrt(s)): 1/sqrt(s) at n₀, and for other lengths what keeps the entropy about the same.

    A value for `score_scale` (kexue.fm/archives/8823) of a model that is trained at one length; `SoftmaxPlus` and `LogN`
    take the length of each row.

    Args:
        key_dim: int, s.
        length: int, n, of at least 2.
        base_length: int, n₀.

    Returns:
        float.
    """
    if min(length, base_length) < 2:
        raise ValueError(f"length={length}, base_length={base_length}; expected at least 2: ln 1 is 0")
    return math.log(length) / (math.log(base_length) * math.sqrt(key_dim))


def scale_for_entropy(key_dim, length, entropy):
    """Score scale at which untrained attention has this entropy: sqrt(2 (ln n − entropy) / s) (kexue.fm/archives/8620).

    Independent queries and keys of variance 1 have scores of variance γ² = scale² s, and softmax over n of them an
    entropy of ln n − γ²/2 as long as n is well above e^(γ²); 1/sqrt(s) means ln n − 1/2, nearly uniform at every length.

    Args:
        key_dim: int, s.
        length: int, n.
        entropy: float in nats, at most ln n.

    Returns:
        float.
    """
    if not 0 < entropy <= math.log(length):
        raise ValueError(f"entropy={entropy}; expected more than 0 and at most ln {length} = {math.log(length):.3f}")
    return math.sqrt(2 * (math.log(length) - entropy) / key_dim)
