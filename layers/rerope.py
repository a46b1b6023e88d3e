"""ReRoPE and Leaky ReRoPE: distances beyond a window stop growing, or grow slower (kexue.fm/archives/9708)."""

from keras import ops

from zoo.layers.distances import counted, distances
from zoo.layers.plugins import Plugin
from zoo.layers.rotary import RotaryEmbedding


class LeakyReRoPE(Plugin):
    """Rotary scores at the distance ρ(δ) = δ up to the window w, w + (δ − w)/k beyond it; odd in δ.

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

    def get_config(self):
        return {
            "window": self.window,
            "factor": self.factor,
            "causal": self.causal,
            "base": self.base,
            "pairing": self.pairing,
        }


class ReRoPE(LeakyReRoPE):
    """Rotary scores at the distance min(δ, w): `LeakyReRoPE` with k → ∞, whose far keys are not rotated at all.

    Args: see `LeakyReRoPE`.
    """

    def __init__(self, window, causal=False, base=10000.0, pairing="interleaved"):
        super().__init__(window, 1.0, causal, base, pairing)
        self.slope = 0.0

    def get_config(self):
        config = super().get_config()
        del config["factor"]
        return config
