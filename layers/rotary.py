"""Positions in scores: rotary embedding, RoPE (Su et al., arXiv 2104.09864; kexue.fm/archives/8265), and relative vectors."""

import functools

import keras
import numpy as np
from keras import ops

from zoo.backend import rotate_pairs
from zoo.layers import options
from zoo.layers.frequency_scaling import FrequencyScaling


def counted(positions, length):
    """Positions float32 `[1 or B, n]` from int or float `[n]` or `[B, n]`; None counts 0 .. length - 1."""
    positions = ops.cast(ops.arange(length, dtype="int32") if positions is None else positions, "float32")
    return positions if len(positions.shape) == 2 else ops.expand_dims(positions, 0)


def distances(query_positions, key_positions):
    """How far each key lies to the left of each query: `[1 or B, n]`, `[1 or B, m]` -> `[1 or B, n, m]`."""
    return ops.expand_dims(query_positions, -1) - ops.expand_dims(key_positions, -2)


class Position(options.Option):
    """How positions enter the scores.

    An option whose scores are plain products of queries and keys that are rotated on their own has a method `rotate`
    too, as `RotaryEmbedding` does: linear attention and chunks take it then, and a cache keeps rotated keys.
    """

    argument, method = "position", "scores"
    causal_only = False  # whether it makes sense only where no query sees a key on its right
    logit_factor = 1.0  # the scores before a softmax are multiplied by it
    counts_places = False  # whether it is given places in the row, as windows are, in place of positions
    in_values = False  # whether values carry positions too: then it has a method `mixed`

    def scores(self, query, key, query_positions=None, key_positions=None):
        """Scores float32 `[..., n, m]`.

        Args:
            query: float32 `[..., n, s]`, scaled already. key: float32 `[..., m, s]`.
            query_positions: `[n]` or `[B, n]`; None counts 0 .. n-1.
            key_positions: `[m]` or `[B, m]`; None means the queries' positions.
        """
        raise NotImplementedError(f"{type(self).__name__}.scores")

    def mixed(self, weights, query_places, key_places, width):
        """What positions add to the mixed values, `[..., n, width]` of weights `[..., n, m]`; where `in_values`.

        Args:
            query_places, key_places: int `[n]`, `[m]`, places in the row.
        """
        raise NotImplementedError(f"{type(self).__name__}.mixed")


@options.register_option("rotary")
@keras.saving.register_keras_serializable(package="zoo")
class RotaryEmbedding(Position, keras.layers.Layer):
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

    def __init__(self, base=10000.0, pairing="interleaved", sequence_axis=1, scaling=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if pairing not in ("interleaved", "half_split"):
            raise ValueError(f"pairing={pairing!r}; expected 'interleaved' or 'half_split'")
        self.base, self.pairing, self.sequence_axis = base, pairing, sequence_axis
        self.scaling = options.get(scaling, FrequencyScaling)
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
        return theta / ops.convert_to_tensor(np.asarray(self.scaling.divisors(size, self.base), "float32"))

    def rotate(self, x, positions=None, sequence_axis=1):
        """The rotation alone, float32 whatever the dtype of x."""
        x = ops.cast(x, "float32")
        if positions is None:
            positions = ops.arange(ops.shape(x)[sequence_axis], dtype="int32")
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

    def argument_values(self):
        values = super().argument_values()
        if self.scaling is None:
            del values["scaling"]  # as configs were before there were scalings
        return values


def rotating_position(position, where):
    """A position option that rotates queries and keys on their own, or None.

    Raises:
        ValueError: it scores pairs of tokens, which there are none of.
    """
    position = options.get(position, Position)
    if position is None or hasattr(position, "rotate"):
        return position
    raise ValueError(
        f"position={position!r} scores pairs of tokens, which {where} never forms. Expected None or an option that "
        "rotates queries and keys on their own, such as RotaryEmbedding()"
    )


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


@options.register_option("relative")
class RelativePosition(Position):
    """A fixed vector for each distance, which keys and values carry: q_i · (k_j + r_ij), and Σ_j A_ij (v_j + r_ij).

        r_ij = P[j − i], j − i held within −M .. M,  P[δ]_2m = sin((δ + M) θ_m),  P[δ]_2m+1 = cos((δ + M) θ_m),
        θ_m = 10000^(−2m/s)

    Source: Shaw et al., arXiv 1803.02155. As in NEZHA (arXiv 1909.00204), distances are those of places in the row,
    whatever positions a layer is given.

    Args:
        max_distance: int, M; keys further away look as if they were M away.

    Raises:
        ValueError: max_distance is no whole number of at least 1.
    """

    counts_places = in_values = True

    def __init__(self, max_distance=64):
        if isinstance(max_distance, bool) or not isinstance(max_distance, int) or not 1 <= max_distance <= 2**16:
            raise ValueError(
                f"RelativePosition: max_distance={max_distance!r}; expected a whole number from 1 to 65536"
            )
        self.max_distance = max_distance

    def scores(self, query, key, query_positions=None, key_positions=None):
        """q_i · (k_j + r_ij), float32 `[..., n, m]`; positions are places `[n]` and `[m]`."""
        here = ops.arange(ops.shape(query)[-2], dtype="int32") if query_positions is None else query_positions
        there = here if key_positions is None else key_positions
        vectors = self.vectors(here, there, query.shape[-1])
        heads = "h" if len(query.shape) == 4 else ""
        product = ops.matmul(query, ops.swapaxes(key, -1, -2))
        return product + ops.einsum(f"b{heads}ns,nms->b{heads}nm", query, vectors)

    def mixed(self, weights, query_places, key_places, width):
        heads = "h" if len(weights.shape) == 4 else ""
        vectors = ops.cast(self.vectors(query_places, key_places, width), weights.dtype)
        return ops.einsum(f"b{heads}nm,nme->b{heads}ne", weights, vectors)

    def vectors(self, query_places, key_places, width):
        """r_ij, float32 `[n, m, width]`."""
        distance = ops.cast(ops.expand_dims(key_places, 0) - ops.expand_dims(query_places, 1), "int32")
        rows = ops.clip(distance, -self.max_distance, self.max_distance) + self.max_distance
        return ops.take(ops.convert_to_tensor(_table(self.max_distance, width)), rows, axis=0)


@functools.lru_cache(maxsize=16)
def _table(max_distance, width):
    """P, float32 `[2M + 1, width]`."""
    angles = np.arange(2 * max_distance + 1)[:, None] * 10000.0 ** (-2 * (np.arange(width) // 2) / width)
    return np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles)).astype("float32")
