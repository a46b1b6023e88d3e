"""The numbers reported for a matcher, each over the whole set of pairs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from zoo.metrics.correlation import pearson, spearman
from zoo.metrics.decision import accuracy, f1
from zoo.metrics.ranking import average_precision, roc_auc
from zoo.metrics.threshold import best_threshold


def pair_metrics(labels: ArrayLike, scores: ArrayLike, decision: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Metrics of scores against labels.

    Args:
        labels: numbers `[N]`, 0/1 or graded.
        scores: float `[N]`.
        decision: stored threshold or None.

    Returns:
        dict of floats: spearman and pearson (nan where labels or scores are constant); for labels 0/1 also auc and
        average_precision (where there are both labels), best_accuracy (at the threshold that is best on these very
        pairs: optimistic), and with a stored threshold accuracy and f1 (where a label is 1), which are what `classify`
        gives.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, "float64")
    constant = len(np.unique(labels)) < 2 or len(np.unique(scores)) < 2
    result = {
        "spearman": float("nan") if constant else spearman(labels, scores),
        "pearson": float("nan") if constant else pearson(labels, scores),
    }
    found = set(np.unique(labels))
    if found == {0, 1}:
        result["auc"] = roc_auc(labels, scores)
        result["average_precision"] = average_precision(labels, scores)
    if found <= {0, 1}:
        result["best_accuracy"] = best_threshold(labels, scores, "accuracy")[1]
        if decision is not None:
            decided = scores >= decision["threshold"]
            result["accuracy"] = accuracy(labels, decided)
            if 1 in found:
                result["f1"] = f1(labels, decided)
    return {name: float(value) for name, value in result.items()}
