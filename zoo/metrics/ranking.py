"""How well scores separate two classes, over all thresholds at once."""

import numpy as np
from numpy.typing import ArrayLike

from zoo.metrics.checks import both_classes, labels_and_scores
from zoo.metrics.correlation import ranks


def roc_auc(y_true: ArrayLike, scores: ArrayLike) -> float:
    """Chance that a random positive scores above a random negative; equal scores count one half.

    Args:
        y_true: `[n]`, 0/1, both classes present.
        scores: `[n]`, finite.

    Raises:
        ValueError: empty, other labels, one class only, scores not finite.
    """
    y_true, scores = labels_and_scores(y_true, scores)
    positives, negatives = both_classes(y_true, "ROC AUC")
    # Mann and Whitney: the positives' rank sum, less the least it can be.
    wins = np.sum(ranks(scores)[y_true]) - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def average_precision(y_true: ArrayLike, scores: ArrayLike) -> float:
    """Sum over thresholds of (step in recall) * precision; equal scores fall together.

    Args:
        y_true: `[n]`, 0/1, with a positive.
        scores: `[n]`, finite.

    Raises:
        ValueError: empty, other labels, no positive, scores not finite.
    """
    y_true, scores = labels_and_scores(y_true, scores)
    if not np.any(y_true):
        raise ValueError(f"average precision needs a positive label, but all {len(y_true)} labels are 0.")
    _, hits, predicted = cuts(y_true, scores)
    return float(np.sum(np.diff(hits, prepend=0) * hits / predicted) / hits[-1])


def cuts(y_true: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is predicted at each distinct score, from the highest down.

    Args:
        y_true: bool `[n]`.
        scores: float64 `[n]`.

    Returns:
        distinct scores, float64 `[m]`; hits and predictions, int64 `[m]`, of the rule score >= distinct
        score.
    """
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    last = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    return scores[last], np.cumsum(y_true[order])[last], last + 1
