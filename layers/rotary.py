"""Rotary position embedding, RoPE (Su et al., arXiv 2104.09864; kexue.fm/archives/8265)."""

import keras
from keras import ops

from zoo.backend import rotate_pairs
from zoo.layers import plugins


@keras.saving.register_keras_serializable(package="zoo")
class RotaryEmbedding(keras.layers.Layer):
    """Rotates pairs of features by an angle proportional to the position: q·k then depends on the distance only.

        y_2i = x_2i cos(p θ_i) − x_2i+1 sin(p θ_i),  y_2i+1 = x_2i+1 cos(p θ_i) + x_2i sin(p θ_i),  θ_i = base^(−2i/s)

    Angles and rotation are float32 under every policy: positions above 256 are not exact in bfloat16.

    Args:
        base: float.
        pairing: `"interleaved"` (features 2i, 2i+1: this lineage) or `"half_split"` (i, i + s/2: LLaMA, Hugging
            Face). They are the same function of permuted weights, see `interleaved_to_half_split`.
        scaling: None or a frequency scaling for inputs longer than those of training, e.g. `NTKMixed(8)`.
        sequence_axis: int, axis of the sequence when called as a layer.

    Inputs: x float `[B, n, s]` or `[B, n, H, s]` (with `sequence_axis=1`), positions int or float `[n]` or `[B, n]`,
    None counts 0 .. n-1. Output: shape and dtype of x.
    """

    causal_only = False

    def __init__(self, base=10000.0, pairing="interleaved", sequence_axis=1, scaling=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if pairing not in ("interleaved", "half_split"):
            raise ValueError(f"pairing={pairing!r}; expected 'interleaved' or 'half_split'")
        self.base, self.pairing, self.sequence_axis = base, pairing, sequence_axis
        self.scaling = plugins.get(scaling, "scaling")
        # It has no weights, and attention calls `rotate`: a layer that stays unbuilt makes Keras run the whole model op
        # by op before every prediction on JAX.
        self.built = True

    def build(self, x_shape):
        pass

    def check(self, num_heads, key_dim):
        """Raise ValueError where features do not come in pairs."""
        if key_dim % 2:
            raise ValueError(f"rotary embedding needs an even feature size, got {key_dim}")

    def call(self, x, positions=None):
        rotated = self.rotate(x, positions, self.sequence_axis) * self.logit_factor**0.5  # query and key have one each
        return ops.cast(rotated, x.dtype)

    @property
    def logit_factor(self):
        """Factor of scores before a softmax, 1 but for `YaRN`: attention's, and a call's; the rotation alone has none."""
        return 1.0 if self.scaling is None else self.scaling.logit_factor

    def frequencies(self, size):
        """θ_i, float32 `[s/2]`."""
        self.check(1, size)
        theta = ops.power(float(self.base), -2.0 * ops.arange(size // 2, dtype="float32") / size)
        if self.scaling is None:
            return theta
        return theta / ops.convert_to_tensor(self.scaling.divisors(size, self.base).astype("float32"))

    def rotate(self, x, positions=None, sequence_axis=1):
        """The rotation alone, float32 whatever the dtype of x."""
        x = ops.cast(x, "float32")
        if positions is None:
            positions = ops.arange(ops.shape(x)[sequence_axis])
        angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * self.frequencies(x.shape[-1])  # [(B,) n, s/2]
        if len(angles.shape) == 2:
            angles = ops.expand_dims(angles, 0)
        for axis in range(1, len(x.shape) - 1):
            if axis != sequence_axis % len(x.shape):
                angles = ops.expand_dims(angles, axis)
        cos, sin = ops.cos(angles), ops.sin(angles)
        if self.pairing == "half_split":
            first, second = ops.split(x, 2, axis=-1)
            return ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
        return rotate_pairs(x, cos, sin)

    def scores(self, query, key, query_positions=None, key_positions=None):
        """q_i · k_j after rotation, float32 `[..., n, m]`, for query `[..., n, s]` and key `[..., m, s]`."""
        query = self.rotate(query, query_positions, sequence_axis=-2)
        key = self.rotate(key, query_positions if key_positions is None else key_positions, sequence_axis=-2)
        return ops.matmul(query, ops.swapaxes(key, -1, -2))

    def options(self):
        """What describes it as an option of attention."""
        options = {"base": self.base, "pairing": self.pairing, "sequence_axis": self.sequence_axis}
        return options if self.scaling is None else {**options, "scaling": plugins.serialize(self.scaling)}

    def described(self):
        return plugins.serialize(self)

    def get_config(self):
        return {**super().get_config(), **self.options()}


def interleaved_to_half_split(kernel, num_heads):
    """Permute the output columns of a query or key projection from interleaved to half-split pairing.

    Args:
        kernel: array `[..., H * s]`, kernel or bias.
        num_heads: int, H.

    Returns:
        array of the same shape: per head columns 0, 2, 4, ..., 1, 3, 5, ...
    """
    *rest, width = kernel.shape
    pairs = ops.reshape(kernel, (*rest, num_heads, width // num_heads // 2, 2))
    return ops.reshape(ops.swapaxes(pairs, -1, -2), (*rest, width))
