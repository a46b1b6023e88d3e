"""Similarities of embeddings, in float32."""

from keras import ops


def normalize(x):
    """`x` divided by its Euclidean norm over the last axis, in float32.

    The square of the norm is kept above 1e-12, as in the original's `l2_normalize`: the zero vector stays
    zero, with a finite (large) gradient.

    Args:
        x: `[..., d]`, any float dtype.

    Returns:
        float32 `[..., d]`.
    """
    x = ops.cast(x, "float32")
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), 1e-12))


def cosine_similarity(u, v):
    """Cosine of the angle between `u` and `v`, in float32; 0 where one of them is zero.

    Args:
        u, v: `[..., d]`, any float dtype.

    Returns:
        float32 `[...]`.
    """
    return ops.sum(normalize(u) * normalize(v), axis=-1)


def angle_similarity(u, v):
    """|Re(z/w) + Im(z/w)| of AnglE, where u and v are read as complex vectors z and w (real half, imaginary
    half).

    Summed over the vector and divided by |z|/|w|, as in the authors' code, this is the absolute value of
    (<u, v> + <iu, v>) / (|u| |v|), where iu is u turned by a right angle in each complex plane, up to sign.
    It lies in [0, sqrt(2)] and changes when u and v change places.

    Args:
        u, v: `[..., d]`, d even, any float dtype.

    Returns:
        float32 `[...]`.

    Raises:
        ValueError: d is odd.

    Source: Li and Li, AnglE-optimized Text Embeddings (2023), arXiv 2309.12871.
    """
    if u.shape[-1] % 2:
        raise ValueError(f"angle_similarity: embeddings have d = {u.shape[-1]}; halves need an even d.")
    u, v = normalize(u), normalize(v)
    real, imaginary = ops.split(u, 2, axis=-1)
    turned = ops.concatenate([imaginary, -real], axis=-1)
    return ops.abs(ops.sum((u + turned) * v, axis=-1))
