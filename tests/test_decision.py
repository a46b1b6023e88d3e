"""The stored threshold gives what is reported, on ties, constant scores and sets of one class too."""

import json

import numpy as np
import pytest

from zoo.metrics import pair_metrics
from zoo.metrics.threshold import check_decision
from zoo.tasks.threshold import ThresholdMixin

pytestmark = pytest.mark.neutral


class Scored(ThresholdMixin):
    """A matcher whose scores are given by hand: pair number i is ("i", "i", label)."""

    def __init__(self, scores):
        self.scores = np.asarray(scores, "float32")

    def score(self, pairs, batch_size=64, verbose="auto"):
        return self.scores[[int(pair[0]) for pair in pairs]]


def scored(scores, labels):
    return Scored(scores), [(str(i), str(i), int(label)) for i, label in enumerate(labels)]


def f1_by_hand(labels, decided):
    hits = sum(a and b for a, b in zip(labels, decided))
    return 2 * hits / (sum(labels) + sum(decided))


@pytest.mark.filterwarnings("ignore:the threshold .* calls")
def test_D09_what_is_reported_is_what_classify_gives():
    """Small sets of few distinct scores: ties, constants and one class come up all the time."""
    rng = np.random.default_rng(3)
    for _ in range(400):
        size = rng.integers(1, 9)
        labels, scores = rng.integers(0, 2, size), rng.choice([-0.5, 0.1, 0.1000001, 0.5, 0.9], size)
        for metric in ("accuracy", "f1") if len(set(labels)) == 2 else ():
            matcher, pairs = scored(scores, labels)
            decision = matcher.fit_threshold(pairs, metric)
            decided = matcher.classify(pairs)
            expected = {"accuracy": np.mean(decided == labels), "f1": f1_by_hand(labels.tolist(), decided.tolist())}
            assert decision["value"] == pytest.approx(expected[metric], abs=1e-15)
            reported = matcher.evaluate_records(_pairs(pairs))
            assert {name: reported[name] for name in expected} == pytest.approx(expected, abs=1e-15)
            # No other threshold on these pairs does better.
            for threshold in [*np.unique(matcher.scores).astype("float64"), 2.0]:
                other = (matcher.scores >= threshold).astype(int)
                value = np.mean(other == labels) if metric == "accuracy" else f1_by_hand(labels, other)
                assert value <= decision["value"] + 1e-15


def _pairs(pairs):
    from zoo.data import as_pairs

    return as_pairs(pairs)


def test_the_example_that_a_peer_gets_wrong():
    """Scores .9 .5 .5 .1 with labels 1 1 0 0: 0.75 is the best that a threshold can do."""
    matcher, pairs = scored([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])
    assert matcher.fit_threshold(pairs)["value"] == 0.75 == np.mean(matcher.classify(pairs) == [1, 1, 0, 0])


def test_constant_scores_and_one_class():
    matcher, pairs = scored([0.5, 0.5, 0.5], [1, 1, 1])
    with pytest.raises(ValueError, match="all 3 labels are 1, which says nothing about where to cut"):
        matcher.fit_threshold(pairs)
    matcher.threshold = 0.5
    reported = matcher.evaluate_records(_pairs(pairs))
    assert reported["accuracy"] == reported["f1"] == 1.0
    assert np.isnan(reported["spearman"]) and "auc" not in reported
    matcher, pairs = scored([0.5, 0.5, 0.7], [0, 0, 0])
    matcher.threshold = 0.8
    assert matcher.evaluate_records(_pairs(pairs))["accuracy"] == 1.0 and not matcher.classify(pairs).any()
    matcher, pairs = scored([0.5, 0.5], [0, 1])
    assert matcher.fit_threshold(pairs)["value"] == 0.5


@pytest.mark.parametrize("given", [0.45, np.float32(0.5), {"threshold": np.float64(0.45)}, 0])
def test_a_threshold_set_by_hand(given):
    matcher, pairs = scored([0.1, 0.6], [0, 1])
    matcher.decision = given
    threshold = float(given["threshold"] if isinstance(given, dict) else given)
    assert matcher.decision == json.loads(json.dumps(matcher.decision)) == {"threshold": threshold, "metric": "manual"}
    assert matcher.threshold == threshold
    assert matcher.classify(pairs).tolist() == [int(0.1 >= threshold), 1]
    matcher.after_fit({None: _pairs(pairs)})
    assert matcher.decision["metric"] == "accuracy", "a later fit goes on as if nothing had been set"
    matcher.threshold = None
    assert matcher.decision is None
    for wrong in ("0.5", True, float("nan"), {"cut": 0.5}, [0.5]):
        with pytest.raises(ValueError, match="decision"):
            matcher.threshold = wrong


def test_graded_labels_have_no_threshold():
    reported = pair_metrics([0, 1, 2, 3], [0.1, 0.2, 0.2, 0.9])
    assert set(reported) == {"spearman", "pearson"}
    with pytest.raises(ValueError, match="0 or 1"):
        matcher, _ = scored([0.1, 0.2], [0, 1])
        matcher.fit_threshold([("0", "0", 2), ("1", "1", 0)])


def test_classify_needs_a_threshold():
    matcher, pairs = scored([0.1], [1])
    with pytest.raises(ValueError, match="fit_threshold"):
        matcher.classify(pairs)


def test_after_fit_keeps_the_metric_and_passes_over_what_it_cannot_fit():
    matcher, pairs = scored([0.1, 0.6, 0.4], [0, 1, 1])
    matcher.after_fit({None: _pairs(pairs)})
    assert matcher.decision["metric"] == "accuracy" and matcher.decision["pairs"] == 3
    matcher.fit_threshold(pairs, "f1")
    matcher.after_fit({None: _pairs(pairs)})
    assert matcher.decision["metric"] == "f1"
    matcher, pairs = scored([0.1, 0.6], [1, 1])
    matcher.after_fit({None: _pairs(pairs)})
    assert matcher.decision is None, "a set of one class says nothing about where to cut"


def test_decision_says_which_pairs_it_comes_from():
    matcher, pairs = scored([0.1, 0.6], [0, 1])
    first = matcher.fit_threshold(pairs)["sha256"]
    assert first == matcher.fit_threshold(pairs)["sha256"] != matcher.fit_threshold(pairs[::-1])["sha256"]


GOOD = {"threshold": 0.5, "metric": "f1", "value": 0.9, "pairs": 10, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "damage",
    [
        {"threshold": float("nan")},
        {"threshold": float("inf")},
        {"threshold": "0.5"},
        {"threshold": None},
        {"threshold": True},
        {"metric": "auc"},
        {"extra": 1},
    ],
)
def test_damaged_decision(damage):
    with pytest.raises(ValueError, match="decision"):
        check_decision({**GOOD, **damage})
    assert check_decision(GOOD) == GOOD
    with pytest.raises(ValueError, match="decision"):
        check_decision({k: v for k, v in GOOD.items() if k != "pairs"})
