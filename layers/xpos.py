"""XPOS: rotary positions whose products decay with the distance (arXiv 2212.10554)."""

import numpy as np
from keras import ops

from zoo.layers.distances import counted
from zoo.layers.plugins import Plugin
from zoo.layers.rotary import RotaryEmbedding


class XPOS(Plugin):
    """Rotated q_i ζ^(i/c) · rotated k_j ζ^(−j/c), ζ_m = (2m/s + γ)/(1 + γ) for the pairs m = 0 .. s/2−1.

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

    def get_config(self):
        return {"scale_base": self.scale_base, "gamma": self.gamma, "base": self.base, "pairing": self.pairing}
