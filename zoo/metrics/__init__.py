"""Metrics over whole sets, in NumPy and float64: no batch averages, no dependence on the order of rows."""

from zoo.metrics.calibration import (
    PlattScaling,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)
from zoo.metrics.concentration import attention_concentration
from zoo.metrics.correlation import pearson, spearman
from zoo.metrics.decision import accuracy, classification_report, f1, macro_f1
from zoo.metrics.pairs import pair_metrics
from zoo.metrics.ranking import average_precision, roc_auc
from zoo.metrics.retrieval import mrr, ndcg, recall_at_k
from zoo.metrics.threshold import best_threshold, fit_decision

__all__ = [
    "PlattScaling",
    "accuracy",
    "attention_concentration",
    "average_precision",
    "best_threshold",
    "brier_score",
    "classification_report",
    "expected_calibration_error",
    "f1",
    "macro_f1",
    "fit_decision",
    "mrr",
    "ndcg",
    "negative_log_likelihood",
    "pair_metrics",
    "pearson",
    "recall_at_k",
    "reliability_curve",
    "roc_auc",
    "spearman",
]
