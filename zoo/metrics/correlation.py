"""Pearson's and Spearman's correlation."""

import numpy as np
from numpy.typing import ArrayLike

from zoo.metrics.checks import finite, same_length


def pearson(y_true: ArrayLike, scores: ArrayLike) -> float:
    """Pearson's correlation of two lists of numbers; nan where one of them is constant.

    Args:
        y_true, scores: `[n]`, n >= 2, finite.

    Returns:
        float in [-1, 1].

    Raises:
        ValueError: empty, of different lengths, n = 1, or not finite.
    """
    x, y = finite(y_true, "y_true"), finite(scores, "scores")
    same_length(x, y, ("y_true", "scores"))
    if len(x) < 2:
        raise ValueError("a correlation needs at least two pairs of numbers, got one.")
    # Asked of the numbers themselves: the mean of equal numbers may differ from them by a rounding.
    if np.all(x == x[0]) or np.all(y == y[0]):
        return float("nan")
    x, y = centred(x), centred(y)
    return float(np.clip(np.dot(x, y), -1.0, 1.0))


def centred(x: np.ndarray) -> np.ndarray:
    """`x` less its mean, of length 1."""
    # Brought to size 1, or sums of numbers of size 1e308 overflow; by a power of 2, which rounds nothing.
    x = np.ldexp(x, -np.frexp(np.max(np.abs(x)))[1])
    x = x - np.mean(x)
    x = x / np.max(np.abs(x))
    return x / np.linalg.norm(x)


def spearman(y_true: ArrayLike, scores: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, where equal numbers share the mean of their ranks.

    Args:
        y_true, scores: `[n]`, n >= 2, finite.

    Returns:
        float in [-1, 1]; nan where one of them is constant.

    Raises:
        ValueError: as `pearson`.
    """
    return pearson(ranks(finite(y_true, "y_true")), ranks(finite(scores, "scores")))


def ranks(x: np.ndarray) -> np.ndarray:
    """Ranks 1 .. n of `x` `[n]`; equal numbers get their mean rank."""
    _, group, count = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[group]
