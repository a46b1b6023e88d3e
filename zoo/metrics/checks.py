"""What every metric asks of its arrays."""

import numpy as np
from numpy.typing import ArrayLike


def finite(x: ArrayLike, name: str, ndim: int = 1) -> np.ndarray:
    """`x` as a float64 array of `ndim` axes, neither empty nor with NaN or infinity.

    Raises:
        ValueError: it is none of these.
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != ndim or x.size == 0:
        shape = "(n,)" if ndim == 1 else "(queries, candidates)"
        raise ValueError(f"{name} has shape {x.shape}, expected {shape} with at least one element.")
    wrong = np.argwhere(~np.isfinite(x))
    if len(wrong):
        at = ", ".join(map(str, wrong[0]))
        raise ValueError(f"{name}[{at}] is {x[tuple(wrong[0])]}, expected finite numbers ({len(wrong)} are not).")
    return x


def binary(x: ArrayLike, name: str = "y_true") -> np.ndarray:
    """Labels 0/1 as a boolean array `[n]`.

    Raises:
        ValueError: there are others.
    """
    x = finite(x, name)
    wrong = np.flatnonzero((x != 0) & (x != 1))
    if len(wrong):
        raise ValueError(f"{name}[{wrong[0]}] is {x[wrong[0]]:g}, expected 0 or 1 ({len(wrong)} labels are neither).")
    return x == 1


def same_length(a: np.ndarray, b: np.ndarray, names: str) -> None:
    if len(a) != len(b):
        raise ValueError(f"{names[0]} has {len(a)} elements, {names[1]} has {len(b)}; there must be as many.")


def labels_and_scores(y_true: ArrayLike, scores: ArrayLike, name: str = "scores") -> tuple[np.ndarray, np.ndarray]:
    """Labels 0/1 as booleans `[n]` and finite scores, float64 `[n]`."""
    y_true, scores = binary(y_true), finite(scores, name)
    same_length(y_true, scores, ("y_true", name))
    return y_true, scores


def both_classes(y_true: np.ndarray, metric: str) -> tuple[int, int]:
    """Counts of positives and negatives, of which `metric` needs at least one each."""
    positives = int(np.sum(y_true))
    if positives in (0, len(y_true)):
        raise ValueError(
            f"{metric} compares the two classes, but all {len(y_true)} labels are {int(bool(positives))}. "
            f"Is the set sorted by label, or a part of one?"
        )
    return positives, len(y_true) - positives
