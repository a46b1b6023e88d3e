"""The threshold of a matcher: fitted on labelled pairs, stored with where it comes from, used by `classify`."""

import json
import warnings
from collections.abc import Callable

import numpy as np

from zoo.data import as_pairs
from zoo.metrics import best_threshold
from zoo.metrics.pairs import pair_metrics
from zoo.training.records import is_records, refuse_with_records


def fit_decision(labels, scores, metric, data_hash):
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
        "pairs": len(labels),
        "sha256": data_hash,
    }


def has_both_labels(pairs):
    """Whether the labels of pairs are 0 and 1, both of them there, so that they say where to cut."""
    return set(np.unique(pairs.labels)) == {0, 1}


# Options of from_preset after which a pair has the score it had, texts apart that are now cut elsewhere.
_KEEPING = {"decision", "dropout", "attention_dropout", "max_length", "max_sequence_length", "num_classes"}


class PairScores:
    """What follows from `score(pairs)`: predict, metrics, the threshold and decisions by it. For text matchers."""

    decision = None
    _dropped = None  # the threshold that is void
    _why_dropped = "was fitted before the last fit changed the weights"
    score: Callable  # of the matcher: pairs -> float `[N]`
    task_config: Callable  # of the matcher

    def predict(self, x, batch_size=64, verbose="auto", **kwargs):
        """Scores of pairs of raw strings; for arrays and datasets Keras' own predict."""
        if not is_records(x):
            return super().predict(x, batch_size=batch_size, verbose=verbose, **kwargs)
        refuse_with_records("predict", None, kwargs)
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
        self._decide(pairs, self.score(pairs, batch_size, verbose), metric)
        return self.decision

    def _decide(self, pairs, scores, metric):
        self.decision, self._dropped = fit_decision(pairs.labels, scores, metric, pairs.sha256), None

    def drop_decision(self, why):
        """Forget the threshold; `why` is what `classify` then says of it, "the threshold 0.5 ..."."""
        if self.decision is not None:
            self._dropped, self._why_dropped, self.decision = self.decision, why, None

    def classify(self, pairs, batch_size=64, verbose="auto"):
        """Decisions int64 `[N]`: 1 where score >= threshold.

        Raises:
            ValueError: no threshold has been fitted, or none to the weights and options as they are.
        """
        if self.decision is None:
            why = "no threshold yet"
            if self._dropped is not None:
                why = f"the threshold {self._dropped['threshold']:.4g} {self._why_dropped}"
            raise ValueError(
                f"{why}: call fit_threshold(labelled_pairs), or fit with validation_data that has both labels, 0 and 1"
            )
        return (np.asarray(self.score(pairs, batch_size, verbose), "float64") >= self.decision["threshold"]).astype(
            "int64"
        )

    def loaded_with(self, changes):
        if "decision" not in changes and (others := [words for name, words in changes.items() if name not in _KEEPING]):
            self.drop_decision(f"was fitted to the stored matcher, and this one was loaded with {', '.join(others)}")

    def check_validation(self, records):
        if len(found := np.unique(records.labels)) < 2:
            warnings.warn(
                f"validation_data: all {len(records):,} labels are {found[0]:g}, so there is no val_spearman, no "
                "val_pearson and no threshold; expected pairs of different labels",
                stacklevel=4,
            )

    def scored_by(self):
        """Class and options that the scores come from, as JSON: the threshold fits no others."""
        options = {name: value for name, value in self.task_config().items() if name != "decision"}
        return json.dumps({"class": type(self).__name__, **options}, sort_keys=True)

    def weights_changed(self):
        self.drop_decision(PairScores._why_dropped)

    def after_fit(self, validation):
        if has_both_labels(validation):  # once more: the weights may be those of a better epoch by now
            self.fit_threshold(validation, self._metric(), verbose=0)

    def validate(self, pairs):
        scores, more = self.judged(pairs, batch_size=64, verbose=0)
        if has_both_labels(pairs):
            self._decide(pairs, scores, self._metric())
        metrics = {**pair_metrics(pairs.labels, scores, self.decision), **more}
        if len(np.unique(pairs.labels)) < 2:  # not there to be watched: their NaN is no failure of the training
            del metrics["spearman"], metrics["pearson"]
        return metrics

    def _metric(self):
        before = self.decision or self._dropped
        return before["metric"] if before else "accuracy"

    def judged(self, pairs, batch_size, verbose):
        """Scores float `[N]` of labelled pairs, and metrics by other outputs than these."""
        return self.score(pairs, batch_size, verbose), {}

    def evaluate_records(self, pairs, batch_size=64, verbose="auto"):
        scores, more = self.judged(pairs, batch_size, verbose)
        return {**pair_metrics(pairs.labels, scores, self.decision), **more}
