"""How sparse or concentrated numbers are (kexue.fm/archives/9595; survey of measures: arXiv 0811.4706)."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

MEASURES = (
    "l1_l2", "hoyer", "norm_ratio", "entropy", "renyi_entropy", "effective_rank", "gini", "share_below",
)  # fmt: skip


def sparsity(
    x: Any,
    measure: str = "l1_l2",
    axis: int = -1,
    p: float = 1.0,
    q: float = 2.0,
    order: float = 2.0,
    epsilon: float = 1e-3,
) -> Any:
    """One number for each vector of x; signs and scale do not matter (scale does for `"share_below"`).

    For a vector of n numbers, the value of one-hot vectors and that of vectors of equal sizes:

      * `"l1_l2"`: mean|x| / sqrt(mean x²); 1/sqrt(n), 1. Small is sparse; copies of the vector behind it change nothing.
      * `"hoyer"`: (sqrt(n) − ‖x‖₁/‖x‖₂) / (sqrt(n) − 1); 1, 0. NaN for n = 1.
      * `"norm_ratio"`: (mean|x|^p)^(1/p) / (mean|x|^q)^(1/q), 0 < p < q; n^(1/q − 1/p), 1. q may be infinity.
      * `"entropy"`: Shannon's, in nats, of |x|^p / Σ|x|^p; 0, ln n.
      * `"renyi_entropy"`: ln Σ w^order / (1 − order) of the same shares w, order > 0, Shannon's at 1; 0, ln n.
      * `"effective_rank"`: (‖x‖₁/‖x‖₂)², exp of the Rényi entropy of order 2 for p = 1; 1, n. Of singular values it is a
        rank, of attention weights a number of keys.
      * `"gini"`: Gini's index; 1 − 1/n, 0.
      * `"share_below"`: share of |x| <= epsilon; no scale is taken out.

    Args:
        x: array or tensor of any backend. Tensors give tensors in float32, through which gradients flow; all else is
            computed in float64 by NumPy.
        measure: one of the names above.
        axis: int, along which the vectors lie.
        p, q: float, powers of the measures that name them. order: float. epsilon: float.

    Returns:
        x without the axis; NaN for vectors of zeros (but for `"share_below"`).

    Raises:
        ValueError: an unknown measure, powers out of range.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure={measure!r}; expected one of {', '.join(MEASURES)}")
    if not (p > 0 and order > 0) or (measure == "norm_ratio" and not p < q):
        raise ValueError(f"p={p}, q={q}, order={order}; expected positive powers, p < q for 'norm_ratio'")
    if keras.ops.is_tensor(x):
        return _measured(ops, ops.abs(ops.cast(x, "float32")), measure, axis, p, q, order, epsilon)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _measured(np, np.abs(np.asarray(x, "float64")), measure, axis, p, q, order, epsilon)


def _measured(m, x, measure, axis, p, q, order, epsilon):
    """The measure of sizes x by the functions of m, NumPy or `keras.ops`."""
    n = x.shape[axis]
    if measure == "share_below":
        return m.mean((x <= epsilon) * m.ones_like(x), axis=axis)
    largest = m.max(x, axis=axis, keepdims=True)
    # Powers of tiny numbers would be 0. The largest counts as a constant: nothing depends on the scale.
    x = x / (largest if m is np else ops.stop_gradient(largest))
    if measure in ("l1_l2", "norm_ratio"):
        p, q = (1.0, 2.0) if measure == "l1_l2" else (p, q)
        return _mean_norm(m, x, p, axis) / _mean_norm(m, x, q, axis)
    if measure == "gini":
        shape = [1] * len(x.shape)
        shape[axis] = n
        rank = np.reshape(1 - 2 * (n - np.arange(n) - 0.5) / n, shape)
        rank = rank if m is np else ops.convert_to_tensor(rank, "float32")
        return m.sum(m.sort(x, axis=axis) * rank, axis=axis) / m.sum(x, axis=axis)
    if measure in ("hoyer", "effective_rank"):
        ratio = m.sum(x, axis=axis) / m.sqrt(m.sum(m.square(x), axis=axis))
        if measure == "effective_rank":
            return m.square(ratio)
        return (math.sqrt(n) - ratio) / (math.sqrt(n) - 1 if n > 1 else math.nan)
    powers = _power(m, x, p)
    shares = powers / m.sum(powers, axis=axis, keepdims=True)
    if measure == "entropy" or order == 1:
        logarithms = m.log(m.where(shares > 0, shares, m.ones_like(shares)))  # a NaN stays one: it is not above 0
        return -m.sum(shares * logarithms, axis=axis)
    return m.log(m.sum(_power(m, shares, order), axis=axis)) / (1 - order)


def _power(m, x, p):
    """x^p, whose gradient at 0 is 0 where p < 1."""
    if p == 1:
        return x
    positive = x > 0
    return m.where(positive, m.where(positive, x, m.ones_like(x)) ** p, x)


def _mean_norm(m, x, p, axis):
    if p == math.inf:
        return m.max(x, axis=axis)
    return m.mean(_power(m, x, p), axis=axis) ** (1 / p)
