"""The exact best threshold, and the form in which one is stored."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from zoo.metrics.checks import labels_and_scores
from zoo.metrics.decision import f1_of_counts
from zoo.metrics.ranking import cuts


def best_threshold(y_true: ArrayLike, scores: ArrayLike, metric: str = "accuracy") -> tuple[float, float]:
    """The threshold that makes a metric of the decision score >= threshold best, and its value there.

    Equal scores cannot be parted, so only the cuts between distinct scores count, and those that predict all
    or none. Of cuts that are equally good the one in the widest gap is taken, then the highest. Applied to
    the same scores, as float64 or as the float32 they came from, the threshold gives exactly the value
    returned. O(n log n).

    Args:
        y_true: `[n]`, 0/1.
        scores: `[n]`, finite, unbounded.
        metric: `"accuracy"` or `"f1"`.

    Returns:
        (threshold, value), floats.

    Raises:
        ValueError: empty, labels other than 0/1, scores not finite, another metric, F1 without a positive
            label.
    """
    if metric not in ("accuracy", "f1"):
        raise ValueError(f"metric is {metric!r}, expected 'accuracy' or 'f1'.")
    y_true, scores = labels_and_scores(y_true, scores)
    positives = int(np.sum(y_true))
    if metric == "f1" and not positives:
        raise ValueError(f"F1 needs a positive label, but all {len(y_true)} labels are 0; use metric='accuracy'.")

    distinct, hits, predicted = cuts(y_true, scores)
    hits, predicted = np.append(0, hits), np.append(0, predicted)  # first of all predict none  [m + 1]
    if metric == "accuracy":
        negatives = len(y_true) - positives
        values = (hits + negatives - (predicted - hits)) / len(y_true)
    else:
        values = f1_of_counts(hits, predicted, positives)
    # Halved before subtracting: the distance of two finite numbers need not be finite.
    gaps = np.concatenate([[0.0], distinct[:-1] / 2 - distinct[1:] / 2, [0.0]])
    best = np.flatnonzero(values == values.max())
    best = best[np.argmax(gaps[best])]
    if best == 0:
        threshold = above(distinct[0])
    elif best == len(distinct):
        threshold = distinct[-1]
    else:
        threshold = between(distinct[best], distinct[best - 1])
    return float(threshold), float(values[best])


def between(lower: Any, upper: Any) -> Any:
    """A number t with lower < t <= upper, the middle where it can be, as float32 where that will do.

    A float32 stays what it is when scores are compared in float32; another number may be rounded onto
    `lower`.
    """
    middle = lower / 2 + upper / 2
    with np.errstate(over="ignore"):
        near = np.float32(middle)
        candidates = (np.float64(near), np.float64(np.nextafter(near, np.float32(np.inf))), middle, upper)
    return next(t for t in candidates if lower < t <= upper)


def above(score: Any) -> Any:
    """The next number above a score, as float32 where that will do."""
    with np.errstate(over="ignore"):
        candidate = np.float64(np.nextafter(np.float32(score), np.float32(np.inf)))
    return candidate if np.isfinite(candidate) else np.nextafter(score, np.inf)


def fit_decision(labels: ArrayLike, scores: ArrayLike, metric: str, data_hash: str) -> dict[str, Any]:
    """The threshold that is best on labelled pairs, and what it reached there.

    Args:
        labels: 0/1 `[N]`. scores: float `[N]`.
        metric: `"accuracy"` or `"f1"`.
        data_hash: str, sha256 of the pairs.

    Returns:
        dict of threshold, metric, value, pairs, sha256: the form in which it is stored.
    """
    threshold, value = best_threshold(labels, scores, metric)
    return {
        "threshold": float(threshold),
        "metric": metric,
        "value": float(value),
        "pairs": len(np.asarray(labels)),
        "sha256": data_hash,
    }


_FITTED = {"threshold", "metric", "value", "pairs", "sha256"}
_BY_HAND = "manual"  # the metric of a threshold that was set and not fitted


def check_decision(decision: Mapping[str, Any] | float | None) -> dict[str, Any] | None:
    """A threshold in the form in which it is stored, JSON; a damaged one is refused, as it would classify silently wrong.

    Args:
        decision: what `fit_decision` gives; a number, set by hand, which becomes {"threshold": number, "metric": "manual"};
            or None.

    Raises:
        ValueError: none of these, or the threshold is no finite number.
    """
    if decision is None:
        return None
    found = dict(decision) if isinstance(decision, Mapping) else {"threshold": decision, "metric": _BY_HAND}
    found = {name: value.item() if isinstance(value, np.generic) else value for name, value in found.items()}
    by_hand = set(found) == {"threshold", "metric"} and found["metric"] == _BY_HAND
    if set(found) != _FITTED and not by_hand:
        raise ValueError(
            f"decision={str(decision)[:100]!r}; expected a number, or threshold, metric, value, pairs and sha256"
        )
    threshold = found["threshold"]
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
        raise ValueError(f"decision: threshold={threshold!r:.60}; expected a finite number")
    if not by_hand and found["metric"] not in ("accuracy", "f1"):
        raise ValueError(f"decision: metric={found['metric']!r}; expected 'accuracy' or 'f1'")
    return found
