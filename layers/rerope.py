"""Variants of rotary positions: distances that stop growing or grow slower beyond a window, products that decay."""

import numpy as np
from keras import ops

from zoo.layers.options import register_option
from zoo.layers.rotary import Position, RotaryEmbedding, counted, distances


@register_option
class LeakyReRoPE(Position):
    """Rotary scores at the distance ρ(δ) = δ up to the window w, w + (δ − w)/k beyond it; odd in δ (kexue.fm/archives/9708).

    A model trained with rotary positions reads longer inputs without further training: no distance that it sees is
    new to it. Best with w between a quarter and half of the training length, and with `LogN`.

    A full sequence takes two score matrices (a third for the right side of an encoder, where the published patch
    would use +w); a single query rotates the keys alone, by −ρ. Keys are given unrotated in both forms.

    Args:
        window: float > 0, w, in positions; below the training length.
        factor: float >= 1, k.
        causal: bool. True saves the third matrix where no key on the right is ever seen.
        base, pairing: of the rotary embedding.
    """

    def __init__(self, window, factor, causal=False, base=10000.0, pairing="interleaved"):
        if not factor >= 1:
            raise ValueError(f"{type(self).__name__}: factor={factor!r}; expected a number >= 1")
        if not window > 0:
            raise ValueError(f"{type(self).__name__}: window={window!r}; expected a number of positions above 0")
        self.window, self.factor, self.causal = window, factor, causal
        self.base, self.pairing = base, pairing
        self.rotary = RotaryEmbedding(base, pairing)
        self.slope = 1 / factor

    @property
    def causal_only(self):
        return self.causal

    def check(self, num_heads, key_dim):
        self.rotary.check(num_heads, key_dim)

    def effective(self, distance):
        """ρ(δ), elementwise."""
        size = ops.abs(distance)
        return ops.where(
            size < self.window, distance, ops.sign(distance) * (self.window + (size - self.window) * self.slope)
        )

    def scores(self, query, key, query_positions=None, key_positions=None):
        """q_i · R^(−ρ(i−j)) k_j, float32 `[..., n, m]`, for query `[..., n, s]` and unrotated key `[..., m, s]`."""
        query, key = ops.cast(query, "float32"), ops.cast(key, "float32")
        here = counted(query_positions, ops.shape(query)[-2])
        there = counted(query_positions if key_positions is None else key_positions, ops.shape(key)[-2])
        distance = distances(here, there)  # [1 or B, n, m]
        rotate = lambda x, positions: self.rotary.rotate(x, positions, sequence_axis=-2)
        product = lambda q, k: ops.matmul(q, ops.swapaxes(k, -1, -2))
        if query.shape[-2] == 1:
            return product(query, rotate(key, -self.effective(distance)[:, 0]))
        if len(query.shape) == 4:
            distance = ops.expand_dims(distance, 1)
        far_key = rotate(key, there * self.slope) if self.slope else key
        far = lambda side: product(rotate(query, here * self.slope + side * self.window * (1 - self.slope)), far_key)
        scores = ops.where(distance >= self.window, far(1), product(rotate(query, here), rotate(key, there)))
        return scores if self.causal else ops.where(distance <= -self.window, far(-1), scores)


@register_option
class ReRoPE(LeakyReRoPE):
    """Rotary scores at the distance min(δ, w): `LeakyReRoPE` with k → ∞, whose far keys are not rotated at all.

    Args: see `LeakyReRoPE`.
    """

    def __init__(self, window, causal=False, base=10000.0, pairing="interleaved"):
        super().__init__(window, 1.0, causal, base, pairing)
        self.slope = 0.0


@register_option("xpos")
class XPOS(Position):
    """Rotated q_i ζ^(i/c) · rotated k_j ζ^(−j/c), ζ_m = (2m/s + γ)/(1 + γ) for the pairs m = 0 .. s/2−1
    (arXiv 2212.10554).

    For causal attention only: to the right the products grow without bound.

    Args:
        scale_base: float > 0, c, in positions.
        gamma: float > 0, γ.
        base, pairing: of the rotary embedding.
    """

    causal_only = True

    def __init__(self, scale_base=512.0, gamma=0.4, base=10000.0, pairing="interleaved"):
        if not scale_base > 0 or not gamma > 0:
            raise ValueError(f"XPOS: scale_base={scale_base!r}, gamma={gamma!r}; expected numbers above 0")
        self.scale_base, self.gamma, self.base, self.pairing = scale_base, gamma, base, pairing
        self.rotary = RotaryEmbedding(base, pairing)

    def check(self, num_heads, key_dim):
        self.rotary.check(num_heads, key_dim)

    def scores(self, query, key, query_positions=None, key_positions=None):
        """float32 `[..., n, m]`, for query `[..., n, s]` and unrotated key `[..., m, s]`."""
        here = counted(query_positions, ops.shape(query)[-2])
        there = counted(query_positions if key_positions is None else key_positions, ops.shape(key)[-2])
        # Only differences count. Around the middle the powers stay inside float32 for twice as many tokens.
        middle = ops.max(there, axis=-1, keepdims=True) / 2
        query = self.rotary.rotate(query, here, -2) * self.decay(here - middle, query.shape, 1)
        key = self.rotary.rotate(key, there, -2) * self.decay(there - middle, key.shape, -1)
        return ops.matmul(query, ops.swapaxes(key, -1, -2))

    def decay(self, positions, shape, sign):
        """ζ^(±p/c) for every feature, `[1 or B, (1,) n, s]`."""
        size = shape[-1]
        zeta = (np.arange(size // 2) * 2 / size + self.gamma) / (1 + self.gamma)
        zeta = np.repeat(zeta, 2) if self.pairing == "interleaved" else np.tile(zeta, 2)
        rate = ops.convert_to_tensor((sign * np.log(zeta) / self.scale_base).astype("float32"))
        decay = ops.exp(ops.expand_dims(positions, -1) * rate)
        return ops.expand_dims(decay, 1) if len(shape) == 4 else decay
