"""Additive biases of attention scores that fall with the distance |i − j|, all float32."""

import math

from keras import ops

from zoo.layers.options import Option, register_option
from zoo.layers.rotary import RotaryEmbedding, distances


class ScoreBias(Option):
    """A number for each query, key and head, added to the scaled scores before masks and normaliser."""

    argument, method = "score_bias", "bias"

    def trained(self, num_heads, key_dim):
        """Weights for the layer to make: name -> (shape, initial value)."""
        return {}

    def bias(self, query_positions, key_positions, num_heads, trained):
        """float32 `[1 or B, 1 or H, n, m]`.

        Args:
            query_positions: float32 `[1 or B, n]`. key_positions: float32 `[1 or B, m]`.
            num_heads: int, H.
            trained: the layer's weights by the names of `trained`.
        """
        raise NotImplementedError(f"{type(self).__name__}.bias")


def _per_head(values):
    """`[H]` -> float32 `[H, 1, 1]`."""
    return ops.reshape(ops.cast(values, "float32"), (-1, 1, 1))


def _gaps(query_positions, key_positions):
    """|i − j|, `[1 or B, 1, n, m]`."""
    return ops.expand_dims(ops.abs(distances(query_positions, key_positions)), 1)


@register_option("alibi")
class ALiBi(ScoreBias):
    """−λ_h |i − j| (arXiv 2108.12409).

    Args:
        slopes: list of H floats, λ_h, or None for 2^(−8h/H), h = 1 .. H.
    """

    def __init__(self, slopes=None):
        self.slopes = None if slopes is None else [float(slope) for slope in slopes]

    def check(self, num_heads, key_dim):
        if self.slopes is not None and len(self.slopes) != num_heads:
            raise ValueError(f"ALiBi has {len(self.slopes)} slopes, the attention {num_heads} heads; give one a head")

    def bias(self, query_positions, key_positions, num_heads, trained):
        slopes = self.slopes or [2 ** (-8 * h / num_heads) for h in range(1, num_heads + 1)]
        return -_per_head(slopes) * _gaps(query_positions, key_positions)


@register_option("kerple")
class KERPLE(ScoreBias):
    """−r1 ln(1 + r2 |i − j|), or −r1 |i − j|^r2, with r1 and r2 trained for each head (arXiv 2205.09921).

    Trained are numbers x with r1 = softplus(x), and r2 = softplus(x) (logarithmic) or 2 sigmoid(x) (power: r2 < 2). They are
    weights of the model, so that a model trained without them cannot be loaded with this option.

    Args:
        kind: `"logarithmic"` or `"power"`.
        r1, r2: float > 0, where training starts; r2 < 2 in the power form.
    """

    def __init__(self, kind="logarithmic", r1=1.0, r2=1.0):
        if kind not in ("logarithmic", "power"):
            raise ValueError(f"KERPLE: kind={kind!r}; expected 'logarithmic' or 'power'")
        if not r1 > 0 or not r2 > 0 or (kind == "power" and not r2 < 2):
            raise ValueError(f"KERPLE: r1={r1!r}, r2={r2!r}; expected r1 > 0, r2 > 0, and r2 < 2 in the power form")
        self.kind, self.r1, self.r2 = kind, r1, r2

    def trained(self, num_heads, key_dim):
        inverse_softplus = lambda r: math.log(math.expm1(r))
        start = inverse_softplus(self.r2) if self.kind == "logarithmic" else math.log(self.r2 / (2 - self.r2))
        return {"kerple_r1": ((num_heads,), inverse_softplus(self.r1)), "kerple_r2": ((num_heads,), start)}

    def bias(self, query_positions, key_positions, num_heads, trained):
        r1, r2 = _per_head(trained["kerple_r1"]), _per_head(trained["kerple_r2"])
        gaps = _gaps(query_positions, key_positions)
        if self.kind == "logarithmic":
            growth = ops.log1p(ops.softplus(r2) * gaps)
        else:  # 0^r2 has no finite derivative by r2, so the gap 0 is kept out of the power
            power = ops.exp(2 * ops.sigmoid(r2) * ops.log(ops.where(gaps > 0, gaps, 1.0)))
            growth = ops.where(gaps > 0, power, 0.0)
        return -ops.softplus(r1) * growth


@register_option("sandwich")
class Sandwich(ScoreBias):
    """+λ p_i · p_j with sinusoidal positions p: λ Σ_m cos((i − j) θ_m), which falls with |i − j| on average.

    Source: arXiv 2212.10356; biases of query and key before the rotation can learn it, see `AttentionOptions`.

    Args:
        strength: float, λ.
        size: even int, number of sinusoids and cosinusoids.
        base: float, θ_m = base^(−2m/size).
    """

    def __init__(self, strength=1.0, size=128, base=10000.0):
        if size % 2:
            raise ValueError(f"Sandwich: size={size}; expected an even number, sines and cosines in pairs")
        self.strength, self.size, self.base = strength, size, base
        self.rotary = RotaryEmbedding(base)

    def bias(self, query_positions, key_positions, num_heads, trained):
        query, key = (self.sinusoids(positions) for positions in (query_positions, key_positions))
        return ops.expand_dims(ops.matmul(query * self.strength, ops.swapaxes(key, -1, -2)), 1)

    def sinusoids(self, positions):
        """p, `[1 or B, n, size]`."""
        angles = ops.expand_dims(positions, -1) * self.rotary.frequencies(self.size)
        return ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=-1)
