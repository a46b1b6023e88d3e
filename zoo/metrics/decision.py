"""Metrics of decisions: accuracy, F1, and a report at a threshold."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from zoo.metrics.checks import binary, labels_and_scores, same_length
from zoo.metrics.ranking import average_precision, roc_auc


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Share of predictions that are the label.

    Args:
        y_true, y_pred: `[n]`, class labels of any kind.

    Raises:
        ValueError: empty, or of different shapes.
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.shape != y_pred.shape or y_true.ndim != 1 or not len(y_true):
        raise ValueError(
            f"accuracy: y_true has shape {y_true.shape}, y_pred {y_pred.shape}; expected (n,) twice, n > 0."
        )
    return int(np.sum(y_true == y_pred)) / len(y_true)


def f1(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Harmonic mean of precision and recall of class 1: 2 TP / (predicted + positives).

    Args:
        y_true, y_pred: `[n]`, 0/1.

    Raises:
        ValueError: labels other than 0/1; no label is 1, so that recall does not exist.
    """
    y_true, y_pred = binary(y_true), binary(y_pred, "y_pred")
    same_length(y_true, y_pred, ("y_true", "y_pred"))
    if not np.any(y_true):
        raise ValueError(f"F1 needs a positive label, but all {len(y_true)} labels are 0.")
    return f1_of_counts(int(np.sum(y_true & y_pred)), int(np.sum(y_pred)), int(np.sum(y_true)))


def macro_f1(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Mean of the F1 of each class that is among the labels or the predictions.

    Args:
        y_true, y_pred: `[n]`, class labels of any kind, n > 0.

    Raises:
        ValueError: empty, or of different shapes.
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    accuracy(y_true, y_pred)  # its refusals
    values = []
    for one in np.union1d(y_true, y_pred):
        real, predicted = y_true == one, y_pred == one
        values.append(f1_of_counts(int(np.sum(real & predicted)), int(np.sum(predicted)), int(np.sum(real))))
    return float(np.mean(values))


def f1_of_counts(hits: Any, predicted: Any, positives: Any) -> Any:
    return 2 * hits / (predicted + positives)


def classification_report(y_true: ArrayLike, scores: ArrayLike, threshold: float) -> dict[str, Any]:
    """What a threshold does on a labelled set.

    Args:
        y_true: `[n]`, 0/1.
        scores: `[n]`, finite.
        threshold: float; the decision is score >= threshold.

    Returns:
        dict: pairs, positives, threshold, true_positives, false_positives, true_negatives, false_negatives
        (ints but for the threshold), accuracy, precision, recall, f1, roc_auc, average_precision (floats;
        None where the set does not define them).

    Raises:
        ValueError: as `best_threshold`.
    """
    y_true, scores = labels_and_scores(y_true, scores)
    y_pred = scores >= threshold
    hits, predicted, positives = int(np.sum(y_true & y_pred)), int(np.sum(y_pred)), int(np.sum(y_true))
    both = 0 < positives < len(y_true)
    return {
        "pairs": len(y_true),
        "positives": positives,
        "threshold": float(threshold),
        "true_positives": hits,
        "false_positives": predicted - hits,
        "true_negatives": len(y_true) - positives - predicted + hits,
        "false_negatives": positives - hits,
        "accuracy": accuracy(y_true, y_pred),
        "precision": hits / predicted if predicted else None,
        "recall": hits / positives if positives else None,
        "f1": f1_of_counts(hits, predicted, positives) if positives else None,
        "roc_auc": roc_auc(y_true, scores) if both else None,
        "average_precision": average_precision(y_true, scores) if positives else None,
    }
