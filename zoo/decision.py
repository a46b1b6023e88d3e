"""The threshold of a matcher: fitted on labelled pairs, stored with where it comes from, used by `classify`."""

import math
from collections.abc import Callable

import keras
import numpy as np

from zoo.data import as_pairs
from zoo.pair_metrics import pair_metrics


def fit_decision(labels, scores, metric, data_hash):
    """The threshold that is best on labelled pairs, and what it reached there.

    Args:
        labels: 0/1 `[N]`. scores: float `[N]`.
        metric: `"accuracy"` or `"f1"`.
        data_hash: str, sha256 of the pairs.

    Returns:
        dict of threshold, metric, value, pairs, sha256: the form in which it is stored.
    """
    from zoo.metrics import best_threshold

    threshold, value = best_threshold(labels, scores, metric)
    return {
        "threshold": float(threshold),
        "metric": metric,
        "value": float(value),
        "pairs": len(labels),
        "sha256": data_hash,
    }


def check_decision(decision):
    """Refuse a stored threshold that has been damaged: it would classify silently wrong."""
    if decision is None:
        return None
    if not isinstance(decision, dict) or set(decision) != {"threshold", "metric", "value", "pairs", "sha256"}:
        raise ValueError(f"decision={str(decision)[:100]!r}; expected threshold, metric, value, pairs and sha256")
    threshold = decision["threshold"]
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
        raise ValueError(f"decision: threshold={threshold!r}; expected a finite number")
    if decision["metric"] not in ("accuracy", "f1"):
        raise ValueError(f"decision: metric={decision['metric']!r}; expected 'accuracy' or 'f1'")
    return dict(decision)


class PairScores:
    """What follows from `score(pairs)`: predict, metrics, the threshold and decisions by it. For text matchers."""

    decision = None
    _dropped = None  # the threshold that training has made void
    score: Callable  # of the matcher: pairs -> float `[N]`

    def predict(self, x, batch_size=64, verbose="auto", **kwargs):
        """Scores of pairs of raw strings; for arrays and datasets Keras' own predict."""
        if isinstance(x, dict | np.ndarray | keras.utils.PyDataset):
            return super().predict(x, batch_size=batch_size, verbose=verbose, **kwargs)
        return self.score(x, batch_size, verbose)

    def fit_threshold(self, pairs, metric="accuracy", batch_size=64, verbose="auto"):
        """Fit the threshold of `classify` on labelled pairs (0/1) and keep it with the model and its preset.

        Args:
            pairs: labelled pairs, development data that training has not seen.
            metric: `"accuracy"` or `"f1"`, what the threshold makes best; exact, ties included.

        Returns:
            dict of threshold, metric, value (what applying it to these pairs gives), pairs and sha256.
        """
        pairs = as_pairs(pairs, labelled=True)
        self.decision = fit_decision(pairs.labels, self.score(pairs, batch_size, verbose), metric, pairs.sha256)
        self._dropped = None
        return self.decision

    def classify(self, pairs, batch_size=64, verbose="auto"):
        """Decisions int64 `[N]`: 1 where score >= threshold.

        Raises:
            ValueError: no threshold has been fitted, or none since the weights were trained.
        """
        if self.decision is None:
            why = "no threshold yet"
            if self._dropped is not None:
                why = (
                    f"the threshold {self._dropped['threshold']:.4g} was fitted before the last fit changed the weights"
                )
            raise ValueError(
                f"{why}: call fit_threshold(labelled_pairs), or fit with validation_data that has both labels, 0 and 1"
            )
        return (np.asarray(self.score(pairs, batch_size, verbose), "float64") >= self.decision["threshold"]).astype(
            "int64"
        )

    def before_fit(self):
        self._dropped, self.decision = self.decision or self._dropped, None

    def after_fit(self, validation):
        if set(np.unique(validation.labels)) == {0, 1}:
            before = self.decision or self._dropped
            self.fit_threshold(validation, before["metric"] if before else "accuracy", verbose=0)

    def evaluate_records(self, pairs, batch_size=64, verbose="auto"):
        return pair_metrics(pairs.labels, self.score(pairs, batch_size, verbose), self.decision)
