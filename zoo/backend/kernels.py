"""Formulas of layers that a backend has a kernel for, or computes a gradient of that training cannot use."""

import keras
import numpy as np
from keras import ops


def dense_lookup(table, ids):
    """Rows of a table, with a dense gradient on every backend.

    TensorFlow's own gather gives a sparse gradient whose repeated rows Keras' Adam, AdamW and
    `global_clipnorm` do not add up, so that repeated ids are trained with wrong numbers there.

    Args:
        table: float `[V, d]`, a variable or tensor.
        ids: int `[...]`.

    Returns:
        float `[..., d]`.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.take(table, ids, axis=0)
    import tensorflow as tf

    @tf.custom_gradient
    def lookup(rows):
        def gradient(upstream):
            flat = tf.reshape(upstream, [-1, rows.shape[-1]])
            return tf.math.unsorted_segment_sum(flat, tf.reshape(ids, [-1]), rows.shape[0])

        return tf.gather(rows, ids), gradient

    return lookup(tf.convert_to_tensor(table))


def layer_norm(x, gamma, beta, epsilon):
    """(x − mean) / sqrt(var + ε) · γ + β over the last axis, in float32, in the dtype of x.

    torch has one kernel for it. Elsewhere Keras' formula, x / std − mean / std, loses digits where the mean is large,
    and the compilers fuse the plain one.

    Args:
        x: float `[..., d]`. gamma, beta: float `[d]`, or None for 1 and 0.
    """
    if keras.backend.backend() == "torch":
        import torch

        x = ops.convert_to_tensor(x)
        if x.device.type == "cpu":  # its kernel reads half and writes half, and computes in float32 with float32 gains
            gamma, beta = (None if part is None else ops.convert_to_tensor(part) for part in (gamma, beta))
            return torch.nn.functional.layer_norm(x, x.shape[-1:], gamma, beta, epsilon)
        return ops.layer_normalization(x, gamma, beta, epsilon=epsilon)
    wide = ops.cast(x, "float32")
    wide = wide - ops.mean(wide, axis=-1, keepdims=True)
    normal = wide * ops.rsqrt(ops.mean(ops.square(wide), axis=-1, keepdims=True) + epsilon)
    if gamma is not None:
        normal = normal * ops.cast(gamma, "float32") + ops.cast(beta, "float32")
    return ops.cast(normal, x.dtype)


def dropout(x, rate, noise_shape, seed):
    """Dropout in training; in TensorFlow and on torch's CPU each element costs 16 random bits and not a number of its own.

    torch draws one after the other on one core, which was a tenth of a training step. Here its global generator gives the
    seed of NumPy's fastest one, which draws 64 bits in 1.6 ns (torch's: 2.8); `seed` is that of the other backends.

    Args:
        x: float. rate: float in (0, 1), there a multiple of 1/65,536. noise_shape: tuple or None, see
            `keras.layers.Dropout`. seed: `keras.random.SeedGenerator`.
    """
    x, threshold = ops.convert_to_tensor(x), round(rate * 2**16) - 2**15  # of whole numbers from -2^15 on
    if noise_shape is None and rate < 1 and keras.backend.backend() == "torch":
        import torch

        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            draw = np.random.Generator(np.random.SFC64(int(torch.randint(2**63 - 1, ()))))
            bits = draw.integers(-(2**63), 2**63, (x.numel() + 3) // 4, dtype=np.int64)
            bits = torch.from_numpy(bits).view(torch.int16)
            kept = (bits[: x.numel()] >= threshold).view(x.shape)
            return x * kept.to(x.dtype).mul_(1 / (1 - rate))
    if noise_shape is None and rate < 1 and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        size = tf.size(x)
        bits = tf.random.stateless_uniform([(size + 3) // 4], tf.cast(seed.next(), tf.int64), None, None, tf.int64)
        kept = tf.reshape(tf.bitcast(bits, tf.int16), [-1])[:size] >= threshold
        return x * (tf.cast(tf.reshape(kept, tf.shape(x)), x.dtype) * (1 / (1 - rate)))
    return keras.random.dropout(x, rate, noise_shape=noise_shape, seed=seed)


def softmax(scores):
    """exp(s) / Σ exp(s) over the last axis.

    torch's CPU kernel takes rows of at least 16 numbers at once and shorter ones number by number, ten times as long: the
    attention of texts of a dozen tokens.

    Args:
        scores: float32 `[..., m]`.
    """
    if keras.backend.backend() == "torch" and scores.shape[-1] < 16 and scores.device.type == "cpu":
        import torch

        count = scores.shape[-1]
        scores = torch.nn.functional.pad(scores, (0, 16 - count), value=-torch.inf)
        return ops.softmax(scores, axis=-1)[..., :count]
    return ops.softmax(scores, axis=-1)


def rotate_pairs(x, cos, sin):
    """Features 2i, 2i+1 turned by the angle i: a product of complex numbers, one pass on torch; JAX fuses the plain form.

    Args:
        x: float32 `[..., s]`. cos, sin: float32 `[..., s/2]`, broadcastable to the pairs.
    """
    if keras.backend.backend() == "torch":
        import torch

        if any(step % 2 for step in (*x.stride()[:-1], x.storage_offset())) or x.stride(-1) != 1:
            x = x.contiguous()  # a cut at odd places holds no complex numbers
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2)
    if keras.backend.backend() == "tensorflow":
        sin = ops.stack([-sin, sin], axis=-1)
        return x * ops.repeat(cos, 2, axis=-1) + _swap_pairs(x) * ops.reshape(sin, (*ops.shape(sin)[:-2], -1))
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = ops.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1)  # [..., s/2, 2]
    return ops.reshape(rotated, ops.shape(x))


def _swap_pairs(x):
    """Features 2i and 2i+1 in each other's places, for TensorFlow, whose slices of every second one take ten times as long.

    A pair is one number of 64 bits, whose halves change places. It would be one complex number too, but not under XLA.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def swap(x):
        pairs, half = tf.bitcast(tf.reshape(x, (*ops.shape(x)[:-1], -1, 2)), tf.uint64), tf.constant(32, tf.uint64)
        pairs = tf.bitwise.bitwise_or(tf.bitwise.left_shift(pairs, half), tf.bitwise.right_shift(pairs, half))
        return tf.reshape(tf.bitcast(pairs, tf.float32), tf.shape(x)), swap

    return swap(x)
