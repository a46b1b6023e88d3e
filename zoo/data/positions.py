"""Positions that are drawn anew in every batch, so that a model learns order instead of distances it will outgrow.

For encoders with rotary positions (kexue.fm/archives/9444; arXiv 2305.16843); not for causal language models, which
would have to know how many tokens follow. Feed them to a backbone made with `custom_position_ids=True`.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def random_position_ids(
    lengths: ArrayLike, rng: np.random.Generator | None = None, limit: int = 2048, width: int | None = None
) -> np.ndarray:
    """Sorted subsets of {0, ..., limit − 1}: training meets every position that longer inputs will have.

    Args:
        lengths: int `[B]`, real tokens of each row.
        rng: `numpy.random.Generator`, or None for evenly spaced positions, which usually serve better in tests.
        limit: int, above the longest input that will ever be read; 2048 in the post.
        width: int or None, n; None means the longest row.

    Returns:
        int32 `[B, n]`, strictly increasing over each row's real tokens; padding repeats the last position.

    Raises:
        ValueError: a row is longer than limit or width, or has no token.
    """
    lengths, width = _checked(lengths, width)
    if limit < lengths.max():
        raise ValueError(f"limit={limit}, a row has {lengths.max()} tokens; expected a limit of at least that")
    positions = np.empty((len(lengths), width), "int32")
    for row, length in zip(positions, lengths):
        if rng is None:
            row[:length] = np.arange(length) * limit // length
        else:
            row[:length] = np.sort(rng.permutation(limit)[:length])
        row[length:] = row[length - 1]
    return positions


def equal_mean_position_ids(
    lengths: ArrayLike,
    rng: np.random.Generator | None = None,
    mean: float | None = None,
    beta: tuple[float, float] | None = None,
    width: int | None = None,
) -> np.ndarray:
    """linspace(0, s, l) with a random end s: distances vary by orders of magnitude, and their mean is that of the test.

    Args:
        lengths: int `[B]`, l, real tokens of each row.
        rng: `numpy.random.Generator`, or None for s = mean in every row: what to read with after training.
        mean: float or None, mean of s; None means l − 1 of each row, at which reading counts 0, 1, 2, ... as usual.
        beta: None for an exponential distribution of s, or (a, b) for that of a beta variable, stretched to the mean.
        width: int or None, n; None means the longest row.

    Returns:
        float32 `[B, n]`; padding goes on at the same distance.

    Raises:
        ValueError: a row has no token or is longer than width, mean or beta is not positive.
    """
    lengths, width = _checked(lengths, width)
    if mean is not None and mean <= 0:
        raise ValueError(f"mean={mean}; expected a number above 0")
    if beta is not None and (len(beta) != 2 or min(beta) <= 0):
        raise ValueError(f"beta={beta}; expected two numbers above 0")
    ends = np.maximum(lengths - 1.0, 1.0) if mean is None else np.full(len(lengths), float(mean))
    if rng is not None and beta is None:
        ends = rng.exponential(ends)
    elif rng is not None and beta is not None:
        ends = ends * rng.beta(*beta, len(lengths)) * (beta[0] + beta[1]) / beta[0]
    steps = ends / np.maximum(lengths - 1, 1)
    return (steps[:, None] * np.arange(width)).astype("float32")


def _checked(lengths: ArrayLike, width: int | None) -> Any:
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or not lengths.size or not np.issubdtype(lengths.dtype, np.integer) or lengths.min() < 1:
        raise ValueError(f"lengths={lengths!r}; expected a row of whole numbers of at least 1")
    width = int(lengths.max()) if width is None else width
    if width < lengths.max():
        raise ValueError(f"width={width}, a row has {lengths.max()} tokens; expected a width of at least that")
    return lengths, width
