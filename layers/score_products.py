"""How a query is compared with a key where it is not the scaled product: norms (kexue.fm/archives/9859).

All divide in float32 by the norm over the features of a head. A rotation changes no norm, so they commute with rotary
positions. The norm takes the place of 1/sqrt(s): ‖k‖ is about sqrt(s) in a trained model.
"""

import math

from keras import ops

from zoo.layers.plugins import Plugin

EPSILON = 1e-12  # a zero vector stays zero, with a finite gradient


def unit_vectors(x):
    """x / ‖x‖ over the last axis."""
    return x * ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + EPSILON)


class ScoreProduct(Plugin):
    """A product of query and key other than q · k / sqrt(s)."""

    score_scale = 1.0  # the scores are multiplied by it
    factor = None  # function from the number of keys that each query sees to a further factor

    def transform(self, query, key):
        """The vectors whose plain product is the score, float32 `[..., n, s]` and `[..., m, s]`."""
        raise NotImplementedError(f"{type(self).__name__}.transform")


class KeyNorm(ScoreProduct):
    """KNA, q · k/‖k‖: long inputs do not change the size of the scores, a key cannot shout."""

    def transform(self, query, key):
        return query, unit_vectors(key)


class QueryNorm(ScoreProduct):
    """QNA, q/‖q‖ · k."""

    def transform(self, query, key):
        return unit_vectors(query), key


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

    def get_config(self):
        return {"length": self.length}
