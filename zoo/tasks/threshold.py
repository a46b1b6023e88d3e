"""The threshold of a matcher: fitted on labelled pairs, stored with where it comes from, used by `classify`."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from zoo.data import as_pairs
from zoo.metrics import pair_metrics
from zoo.metrics.threshold import check_decision, fit_decision


def has_both_labels(pairs):
    """Whether the labels of pairs are 0 and 1, both of them there, so that they say where to cut."""
    return set(np.unique(pairs.labels)) == {0, 1}


# Options of from_preset after which a pair has the score it had, texts apart that are now cut elsewhere.
_KEEPING = {"decision", "dropout", "attention_dropout", "max_length", "max_sequence_length", "num_classes"}


class ThresholdMixin:
    """What follows from `score(pairs)`: predict, metrics, the threshold and decisions by it. For text matchers.

    Mixed in before a `zoo.tasks.record_task.RecordTask`.

    Attributes:
        decision: the threshold of `classify` and where it comes from, as `fit_threshold` gives it, or None. May be set, to a
            number of your own too: `matcher.decision = 0.93`, or {"threshold": 0.93}, which goes into presets.
        threshold: float or None, the threshold of `decision`; setting it sets that.
    """

    _decision = None
    validation_metrics = (
        "spearman", "pearson", "auc", "average_precision", "best_accuracy", "accuracy", "f1", "head_accuracy", "loss",
    )  # fmt: skip
    _threshold_metric = None  # what the last fit was told
    _dropped = None  # the threshold that is void
    _why_dropped = "was fitted before the last fit changed the weights"
    check_labels: Callable  # of the matcher, as what follows
    mean_loss: Callable
    targets: Callable
    score: Callable  # of the matcher: pairs -> float `[N]`
    task_config: Callable  # of the matcher

    @property
    def decision(self):
        return self._decision

    @decision.setter
    def decision(self, decision):
        by_hand = isinstance(decision, Mapping) and set(decision) == {"threshold"}
        self._decision = check_decision(decision["threshold"] if by_hand else decision)

    @property
    def threshold(self):
        return None if self.decision is None else self.decision["threshold"]

    @threshold.setter
    def threshold(self, threshold):
        self.decision = threshold

    def predict_records(self, x, batch_size, verbose):
        """Scores of pairs of raw strings."""
        return self.score(x, batch_size, verbose)

    def fit_threshold(
        self, pairs: Sequence, metric: str = "accuracy", batch_size: int = 64, verbose: str | int = "auto"
    ) -> dict[str, Any]:
        """Fit the threshold of `classify` on labelled pairs (0/1) and keep it with the model and its preset.

        Args:
            pairs: labelled pairs, development data that training has not seen.
            metric: `"accuracy"` or `"f1"`, what the threshold makes best; exact, ties included.

        Returns:
            dict of threshold, metric, value (what applying it to these pairs gives), pairs and sha256.

        Raises:
            ValueError: labels other than 0 and 1, or only one of them, which any threshold beyond all scores gets right.
        """
        pairs = as_pairs(pairs, labelled=True)
        if len(found := np.unique(pairs.labels)) == 1 and found[0] in (0, 1):
            raise ValueError(
                f"fit_threshold: all {len(pairs):,} labels are {found[0]:g}, which says nothing about where to cut; expected "
                "pairs of both labels, 0 and 1. A threshold that you know is set by matcher.threshold = 0.8"
            )
        scores = self.score(pairs, batch_size, verbose)
        decision = self._decide(pairs, scores, metric)
        matches = int(np.sum(np.asarray(scores, "float64") >= decision["threshold"]))
        if matches in (0, len(pairs)):
            called, real = "all" if matches else "none", int(np.sum(pairs.labels))
            mend = "" if metric == "f1" else "; metric='f1' weighs matches alone (fit: threshold_metric='f1')"
            warnings.warn(
                f"the threshold {decision['threshold']:.4g}, best for {metric}, calls {called} of {len(pairs):,} pairs a "
                f"match, of which {real:,} are{mend}",
                stacklevel=2,
            )
        return decision

    def _decide(self, pairs, scores, metric):
        self.decision, self._dropped = fit_decision(pairs.labels, scores, metric, pairs.sha256), None
        return self.decision

    def drop_decision(self, why):
        """Forget the threshold; `why` is what `classify` then says of it, "the threshold 0.5 ..."."""
        if self.decision is not None:
            self._dropped, self._why_dropped, self.decision = self.decision, why, None

    def classify(self, pairs: Sequence, batch_size: int = 64, verbose: str | int = "auto") -> np.ndarray:
        """Decisions int64 `[N]`: 1 where score >= threshold.

        Raises:
            ValueError: no threshold has been fitted, or none to the weights and options as they are.
        """
        if self.decision is None:
            why = "no threshold yet"
            if self._dropped is not None:
                why = f"the threshold {self._dropped['threshold']:.4g} {self._why_dropped}"
            raise ValueError(
                f"{why}: call fit_threshold(labelled_pairs), or fit with validation_data that has both labels, 0 and 1; or set "
                "one that you know, matcher.threshold = 0.8"
            )
        return (np.asarray(self.score(pairs, batch_size, verbose), "float64") >= self.decision["threshold"]).astype(
            "int64"
        )

    def on_overrides(self, changes):
        if "decision" not in changes and (others := [words for name, words in changes.items() if name not in _KEEPING]):
            self.drop_decision(f"was fitted to the stored matcher, and this one was loaded with {', '.join(others)}")

    def check_validation(self, records, several=False):
        if len(found := np.unique(records.labels)) < 2:
            same = f"all {len(records):,} labels are {found[0]:g}"
            if several:
                raise ValueError(f"{same}, so no score ranks the pairs better; a set of one label has no val_spearman")
            warnings.warn(
                f"validation_data: {same}, so there is no val_spearman, no val_pearson and no threshold; expected pairs of "
                "different labels",
                stacklevel=5,
            )

    def scored_by(self):
        """Class and options that the scores come from, as JSON: the threshold fits no others."""
        options = {name: value for name, value in self.task_config().items() if name != "decision"}
        return json.dumps({"class": type(self).__name__, **options}, sort_keys=True)

    def weights_changed(self):
        self.drop_decision(ThresholdMixin._why_dropped)

    def after_fit(self, sets):
        for pairs in sets.values():
            if has_both_labels(pairs):  # once more: the weights may be those of a better epoch by now
                self.fit_threshold(pairs, self._metric(), verbose=0)
                break

    def validate(self, sets):
        scored = {name: self.score_labelled(pairs, 64, 0, with_loss=True) for name, pairs in sets.items()}
        for name, pairs in sets.items():
            if has_both_labels(pairs):
                self._decide(pairs, scored[name][0], self._metric())
                break
        found = {}
        for name, (scores, more) in scored.items():
            labels = sets[name].labels
            found[name] = {**pair_metrics(labels, scores, self.decision), **more}
            if len(np.unique(labels)) < 2:  # not there to be watched: their NaN is no failure of the training
                del found[name]["spearman"], found[name]["pearson"]
        return found

    def set_threshold_metric(self, metric):
        if metric not in (None, "accuracy", "f1"):
            raise ValueError(f"fit(threshold_metric={metric!r}): expected 'accuracy', 'f1' or None")
        self._threshold_metric = metric

    def _metric(self):
        if self._threshold_metric is not None:
            return self._threshold_metric
        before = (self.decision or self._dropped or {}).get("metric")
        return before if before in ("accuracy", "f1") else "accuracy"

    def score_labelled(self, pairs, batch_size, verbose, with_loss=False):
        """Scores float `[N]` of labelled pairs, and metrics by other outputs than these; with_loss: `loss` too."""
        scores = self.score(pairs, batch_size, verbose)
        return scores, self.loss_of_pairs(pairs, scores) if with_loss else {}

    def loss_of_pairs(self, pairs, outputs):
        """{"loss": the mean} of labelled pairs, {} where the loss cannot mean their labels, or wants other rows."""
        try:
            self.check_labels(pairs)
            return {"loss": self.mean_loss(self.targets(pairs.labels), outputs)}
        except ValueError:
            return {}

    def evaluate_records(self, pairs, batch_size=64, verbose="auto"):
        scores, more = self.score_labelled(pairs, batch_size, verbose)
        return {**pair_metrics(pairs.labels, scores, self.decision), **more}
