"""Whole-set metrics against brute force, closed forms, SciPy and scikit-learn."""

import itertools

import numpy as np
import pytest
import scipy.stats
import sklearn.calibration
import sklearn.metrics

from zoo import metrics

pytestmark = pytest.mark.neutral


def small_case(rng, largest=9):
    """Labels 0/1 and scores with many ties; now and then float32, huge, tiny, constant or one class."""
    n = rng.integers(1, largest)
    y = rng.integers(0, 2, n) if rng.random() < 0.8 else np.full(n, rng.integers(0, 2))
    scores = rng.integers(0, rng.integers(1, 6), n).astype("float64")
    kind = rng.integers(0, 6)
    if kind == 0:
        scores = rng.normal(size=n)
    elif kind == 1:
        scores = rng.normal(size=n).astype("float32")
    elif kind == 2:
        scores = (np.float32(0.3) + scores * np.spacing(np.float32(0.3))).astype("float32")  # neighbours in float32
    elif kind == 3:
        scores = 0.3 + scores * np.spacing(0.3)  # neighbours in float64
    elif kind == 4:
        scores = (scores - 2) * 8e307
    return y, scores


def brute_force(y, scores, metric):
    """Best value over all n + 1 cuts, by a plain confusion matrix each."""
    predicted = scores >= np.append(scores, np.nextafter(scores.max(), np.inf))[:, None]  # [n + 1, n]
    hits, wrong = (predicted & (y == 1)).sum(1), (predicted != (y == 1)).sum(1)
    return np.max(1 - wrong / len(y) if metric == "accuracy" else 2 * hits / (2 * hits + wrong))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_D09_best_threshold_is_the_best_and_gives_what_it_promises(metric, seed):
    """10^4 small cases: nothing is better; applying the threshold gives the value, in float64 and float32."""
    rng = np.random.default_rng(seed)
    compute = {"accuracy": metrics.accuracy, "f1": metrics.f1}[metric]
    for _ in range(2_500):
        y, scores = small_case(rng)
        if metric == "f1" and not y.any():
            continue
        threshold, value = metrics.best_threshold(y, scores, metric)
        assert type(threshold) is float and type(value) is float and np.isfinite(threshold)
        assert value == compute(y, scores.astype("float64") >= threshold), (y, scores)
        assert value == pytest.approx(brute_force(y, scores.astype("float64"), metric), abs=1e-15), (
            y,
            scores,
        )
        # A Python number is compared with a float32 array in float32.
        assert value == compute(y, scores >= threshold), (y, scores)


def test_best_threshold_ignores_the_order_of_rows():
    rng = np.random.default_rng(8)
    for _ in range(200):
        y, scores = small_case(rng, 40)
        order = rng.permutation(len(y))
        assert metrics.best_threshold(y, scores) == metrics.best_threshold(y[order], scores[order])


def test_D09_best_threshold_on_the_cases_a_leading_library_gets_wrong():
    threshold, value = metrics.best_threshold([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.1])
    assert value == 0.75 == metrics.accuracy([1, 1, 0, 0], np.array([0.9, 0.5, 0.5, 0.1]) >= threshold)
    assert metrics.best_threshold([1, 1, 1], [0.2, 0.4, 0.9]) == (0.2, 1.0)


def test_best_threshold_at_the_edges():
    assert metrics.best_threshold([1], [0.25]) == (0.25, 1.0)
    threshold, value = metrics.best_threshold([0], [0.25])
    assert value == 1.0 and 0.25 < threshold < 0.2500001
    threshold, value = metrics.best_threshold([0, 1, 0, 0], np.full(4, 5.0))  # constant: predict none
    assert value == 0.75 and threshold > 5
    assert metrics.best_threshold([0, 1, 1, 1], np.full(4, 5.0)) == (5.0, 0.75)
    assert metrics.best_threshold([0, 1], [-300.0, 500.0]) == (100.0, 1.0)  # scores need not be cosines
    assert metrics.best_threshold([0, 1], [0.0, 1.7e308], "f1")[1] == 1.0


def test_best_threshold_takes_the_widest_gap_then_the_highest():
    assert metrics.best_threshold([0, 1, 0, 1], [1.0, 2.0, 5.0, 7.0]) == (6.0, 0.75)
    assert metrics.best_threshold([0, 1, 0, 1], [1.0, 4.0, 5.0, 6.0]) == (2.5, 0.75)
    assert metrics.best_threshold([0, 1, 0, 1], [1.0, 2.0, 3.0, 4.0]) == (3.5, 0.75)


def test_best_value_does_not_change_under_an_increasing_map():
    rng = np.random.default_rng(9)
    y, scores = rng.integers(0, 2, 300), rng.integers(0, 50, 300) / 10
    for metric in ("accuracy", "f1"):
        assert metrics.best_threshold(y, scores, metric)[1] == metrics.best_threshold(y, np.exp(scores), metric)[1]


@pytest.mark.slow
def test_best_threshold_of_a_million_scores():
    rng = np.random.default_rng(10)
    scores = rng.normal(size=1_000_000).astype("float32")
    y = scores + rng.normal(size=len(scores)) > 0
    threshold, value = metrics.best_threshold(y, scores)
    assert value == metrics.accuracy(y, scores >= threshold) and abs(threshold) < 0.02


@pytest.mark.parametrize(
    "y, scores, metric, message",
    [
        ([0, 1], [0.1, np.nan], "accuracy", r"scores\[1\] is nan"),
        ([0, 1], [np.inf, 0.1], "accuracy", r"scores\[0\] is inf"),
        ([], [], "accuracy", "at least one"),
        ([0, 1, 1], [0.1, 0.2], "accuracy", "3 elements, scores has 2"),
        ([0, 2], [0.1, 0.2], "accuracy", r"y_true\[1\] is 2, expected 0 or 1"),
        ([0, 0.5], [0.1, 0.2], "accuracy", "expected 0 or 1"),
        ([0, 0], [0.1, 0.2], "f1", "F1 needs a positive label"),
        ([0, 1], [0.1, 0.2], "auc", "expected 'accuracy' or 'f1'"),
        ([[0], [1]], [0.1, 0.2], "f1", "shape"),
    ],
)
def test_best_threshold_refuses(y, scores, metric, message):
    with pytest.raises(ValueError, match=message):
        metrics.best_threshold(y, scores, metric)


@pytest.mark.parametrize("ties", [False, True])
def test_D10_correlations_equal_scipys(ties):
    rng = np.random.default_rng(11)
    for _ in range(200):
        n = rng.integers(3, 200)
        x, y = rng.normal(size=n), rng.normal(size=n)
        if ties:
            x, y = np.round(x), np.round(y)
            if np.ptp(x) == 0 or np.ptp(y) == 0:
                continue
        assert metrics.spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
        assert metrics.pearson(x, y) == pytest.approx(scipy.stats.pearsonr(x, y).statistic, abs=1e-12)


def test_correlations_at_the_edges():
    assert metrics.pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0, abs=1e-15)
    assert metrics.pearson([1, 2, 3], [1e308, 0.0, -1e308]) == pytest.approx(-1.0, abs=1e-15)
    assert metrics.spearman([1, 2, 3], [0.1, 1e300, 1e301]) == pytest.approx(1.0, abs=1e-15)
    assert np.isnan(metrics.spearman([1, 2, 3], [0.1, 0.1, 0.1]))  # as SciPy: undefined
    assert np.isnan(metrics.pearson(np.full(7, 0.1), np.arange(7)))
    for metric in (metrics.pearson, metrics.spearman):
        with pytest.raises(ValueError, match="at least two"):
            metric([1], [1])
        with pytest.raises(ValueError, match="nan"):
            metric([1, 2], [1, np.nan])
        with pytest.raises(ValueError, match="2 elements, scores has 3"):
            metric([1, 2], [1, 2, 3])


def test_auc_counts_pairs():
    """Share of (positive, negative) pairs in the right order, equal ones half."""
    rng = np.random.default_rng(12)
    for _ in range(500):
        y, scores = small_case(rng, 20)
        if y.min() == y.max():
            with pytest.raises(ValueError, match="two classes"):
                metrics.roc_auc(y, scores)
            continue
        pairs = np.asarray(scores, "float64")
        above = (pairs[y == 1][:, None] > pairs[y == 0]).mean() + 0.5 * (pairs[y == 1][:, None] == pairs[y == 0]).mean()
        assert metrics.roc_auc(y, scores) == pytest.approx(above, abs=1e-12)


def test_auc_and_average_precision_equal_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(13)
    for _ in range(100):
        y, scores = small_case(rng, 30)
        if y.min() < y.max() and np.abs(scores).max() < 1e30:  # scikit-learn overflows beyond
            assert metrics.roc_auc(y, scores) == pytest.approx(sklearn.roc_auc_score(y, scores), abs=1e-12)
            assert metrics.average_precision(y, scores) == pytest.approx(
                sklearn.average_precision_score(y, scores), abs=1e-12
            )
    with pytest.raises(ValueError, match="needs a positive"):
        metrics.average_precision([0, 0], [1, 2])


def test_average_precision_of_a_known_list():
    assert metrics.average_precision([1, 0, 1, 0], [4, 3, 2, 1]) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.average_precision([1, 0, 1, 0], [0, 0, 0, 0]) == 0.5  # constant scores: the share of positives


def test_ndcg_equals_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(14)
    for k in (None, 1, 3, 50):
        relevance, scores = rng.integers(0, 4, (20, 12)), rng.integers(0, 6, (20, 12))
        relevance[:, 0] = 1
        assert metrics.ndcg(relevance, scores, k) == pytest.approx(
            sklearn.ndcg_score(relevance, scores, k=k), abs=1e-12
        )


def test_retrieval_metrics_are_means_over_the_orders_of_ties():
    """Against every order of six candidates that agrees with the scores."""
    rng = np.random.default_rng(15)
    discount = 1 / np.log2(np.arange(6) + 2)
    for _ in range(15):
        relevance, scores, k = rng.integers(0, 3, 6), rng.integers(0, 3, 6), int(rng.integers(1, 7))
        relevance[rng.integers(6)] = 2
        rows = [relevance[list(p)] for p in itertools.permutations(range(6)) if np.all(np.diff(scores[list(p)]) <= 0)]
        ideal = np.sum(np.sort(relevance)[::-1][:k] * discount[:k])
        expected = {
            "mrr": np.mean([1 / (1 + np.argmax(row > 0)) for row in rows]),
            "recall": np.mean([np.sum(row[:k] > 0) / np.sum(row > 0) for row in rows]),
            "ndcg": np.mean([np.sum(row[:k] * discount[:k]) / ideal for row in rows]),
        }
        assert metrics.mrr([relevance], [scores]) == pytest.approx(expected["mrr"], abs=1e-12)
        assert metrics.recall_at_k([relevance], [scores], k) == pytest.approx(expected["recall"], abs=1e-12)
        assert metrics.ndcg([relevance], [scores], k) == pytest.approx(expected["ndcg"], abs=1e-12)


def test_retrieval_metrics_average_queries():
    relevance, scores = [[1, 0, 0], [0, 0, 1]], [[3, 2, 1], [3, 2, 1]]
    assert metrics.mrr(relevance, scores) == pytest.approx((1 + 1 / 3) / 2)
    assert metrics.recall_at_k(relevance, scores, 2) == 0.5
    assert metrics.ndcg(relevance, scores) == pytest.approx((1 + 0.5) / 2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: metrics.mrr([[0, 0]], [[1, 2]]), "query 0 has no relevant"),
        (lambda: metrics.mrr([1, 0], [1, 2]), "shape"),
        (lambda: metrics.ndcg([[1, -1]], [[1, 2]]), "negative grade"),
        (lambda: metrics.ndcg([[1, 1]], [[1, 2]], k=0), "k is 0"),
        (lambda: metrics.recall_at_k([[1, 1]], [[1, 2]], 1.5), "k is 1.5"),
        (lambda: metrics.recall_at_k([[1, 1]], [[1, np.nan]], 1), r"scores\[0, 1\] is nan"),
        (lambda: metrics.ndcg([[1, 1]], [[1, 2, 3]]), "expected equal shapes"),
        (lambda: metrics.accuracy([1, 2], [1]), "shape"),
        (lambda: metrics.accuracy([], []), "n > 0"),
        (lambda: metrics.f1([0, 0], [0, 1]), "needs a positive"),
        (lambda: metrics.f1([0, 1], [0, 2]), r"y_pred\[1\] is 2"),
        (lambda: metrics.reliability_curve([0, 1], [0.2, 1.2]), r"expected \[0, 1\]"),
        (lambda: metrics.reliability_curve([0, 1], [0.2, 0.3], bins=0), "bins is 0"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_accuracy_and_f1():
    assert metrics.accuracy(["yes", "no", "maybe"], ["yes", "no", "no"]) == 2 / 3
    assert metrics.f1([1, 1, 0, 0], [1, 0, 1, 0]) == 0.5
    assert metrics.f1([1, 0], [False, False]) == 0.0


def test_classification_report_counts_and_agrees_with_the_metrics():
    y, scores = np.array([1, 1, 0, 0, 1]), np.array([0.9, 0.4, 0.4, 0.1, 0.2])
    threshold, value = metrics.best_threshold(y, scores, "f1")
    report = metrics.classification_report(y, scores, threshold)
    counts = [report[f"{a}_{b}"] for a in ("true", "false") for b in ("positives", "negatives")]
    assert sum(counts) == report["pairs"] == 5 and report["positives"] == 3
    assert report["f1"] == value == 2 * counts[0] / (2 * counts[0] + counts[2] + counts[3])
    assert report["accuracy"] == (counts[0] + counts[1]) / 5
    assert report["roc_auc"] == metrics.roc_auc(y, scores)
    one_class = metrics.classification_report([0, 0], [0.1, 0.2], 0.5)
    assert one_class["accuracy"] == 1.0
    assert [one_class[name] for name in ("precision", "recall", "f1", "roc_auc", "average_precision")] == [None] * 5


def test_reliability_curve_by_hand():
    curve = metrics.reliability_curve([0, 1, 1, 1], [0.0, 0.5, 0.6, 1.0], bins=2)
    assert curve["count"].tolist() == [1, 3] and curve["lower"].tolist() == [0.0, 0.5]
    assert curve["probability"] == pytest.approx([0.0, 0.7]) and curve["positives"].tolist() == [0.0, 1.0]
    assert metrics.expected_calibration_error([0, 1, 1, 1], [0.0, 0.5, 0.6, 1.0], bins=2) == pytest.approx(0.75 * 0.3)
    assert len(metrics.reliability_curve([0, 1], [0.25, 0.26], bins=10)["count"]) == 1  # empty bins are left out


def test_calibrated_probabilities_have_a_small_calibration_error():
    rng = np.random.default_rng(16)
    probabilities = rng.random(100_000)
    drawn = rng.random(100_000) < probabilities
    assert metrics.expected_calibration_error(drawn, probabilities) < 0.01
    assert metrics.expected_calibration_error(drawn, probabilities**3) > 0.1


def drawn_classes(rng, n=2000, classes=4):
    """Calibrated probabilities [n, C] and labels drawn by them."""
    probabilities = rng.dirichlet(np.full(classes, 0.5), n)
    return (rng.random((n, 1)) > probabilities.cumsum(1)[:, :-1]).sum(1), probabilities


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_bins_of_equal_mass_hold_equally_many_and_average_to_the_definition(bins):
    rng = np.random.default_rng(17)
    probabilities = rng.permutation(rng.beta(0.3, 2, 1000))
    labels = rng.random(1000) < probabilities
    curve = metrics.reliability_curve(labels, probabilities, bins, equal_mass=True)
    assert len(curve["count"]) == bins and np.ptp(curve["count"]) <= 1
    order = np.argsort(probabilities)
    parts = np.split(order, np.cumsum(curve["count"])[:-1])
    assert curve["probability"] == pytest.approx([probabilities[part].mean() for part in parts])
    assert curve["positives"] == pytest.approx([labels[part].mean() for part in parts])
    assert curve["lower"].tolist() == [probabilities[part].min() for part in parts]
    assert curve["upper"].tolist() == [probabilities[part].max() for part in parts]
    error = sum(abs(probabilities[part].sum() - labels[part].sum()) for part in parts) / 1000
    assert metrics.expected_calibration_error(labels, probabilities, bins, equal_mass=True) == pytest.approx(error)


def test_bins_of_equal_mass_are_those_of_scikit_learn():
    rng = np.random.default_rng(18)
    probabilities = rng.random(900)
    labels = rng.random(900) < probabilities**2
    found, mean = sklearn.calibration.calibration_curve(labels, probabilities, n_bins=9, strategy="quantile")
    curve = metrics.reliability_curve(labels, probabilities, 9, equal_mass=True)
    assert curve["positives"] == pytest.approx(found, abs=0.02) and curve["probability"] == pytest.approx(
        mean, abs=2e-3
    )


def test_bins_of_equal_mass_keep_equal_probabilities_together():
    rng = np.random.default_rng(19)
    probabilities = rng.integers(0, 4, 300) / 3
    labels = rng.integers(0, 2, 300)
    curve = metrics.reliability_curve(labels, probabilities, 10, equal_mass=True)
    assert (curve["lower"] == curve["upper"]).all() and curve["lower"].tolist() == [0, 1 / 3, 2 / 3, 1]
    assert curve["positives"] == pytest.approx([labels[probabilities == p].mean() for p in curve["lower"]])
    order = rng.permutation(300)
    again = metrics.reliability_curve(labels[order], probabilities[order], 10, equal_mass=True)
    assert again["count"].tolist() == curve["count"].tolist()
    assert metrics.expected_calibration_error([0, 1], [0.5, 0.5], 10, equal_mass=True) == 0


@pytest.mark.parametrize("equal_mass", [False, True])
def test_calibration_of_classes_is_that_of_the_likeliest(equal_mass):
    labels, probabilities = drawn_classes(np.random.default_rng(20))
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    error = metrics.expected_calibration_error(labels, probabilities, 12, equal_mass)
    assert error == metrics.expected_calibration_error(right, confidence, 12, equal_mass) < 0.04
    sharper = probabilities**3 / (probabilities**3).sum(1, keepdims=True)
    assert metrics.expected_calibration_error(labels, sharper, 12, equal_mass) > 0.1


def test_brier_score_and_likelihood_equal_scikit_learns():
    labels, probabilities = drawn_classes(np.random.default_rng(21))
    expected = np.mean(((np.eye(4)[labels] - probabilities) ** 2).sum(1))
    assert metrics.brier_score(labels, probabilities) == pytest.approx(expected)
    expected = sklearn.metrics.log_loss(labels, probabilities)
    assert metrics.negative_log_likelihood(labels, probabilities) == pytest.approx(expected, rel=1e-9)
    one = probabilities[:, 1]
    assert metrics.brier_score(labels == 1, one) == pytest.approx(sklearn.metrics.brier_score_loss(labels == 1, one))
    both = np.stack([1 - one, one], axis=1)
    assert metrics.brier_score(labels == 1, both) == pytest.approx(2 * metrics.brier_score(labels == 1, one))
    expected = sklearn.metrics.log_loss(labels == 1, one)
    assert metrics.negative_log_likelihood(labels == 1, one) == pytest.approx(expected, rel=1e-9)
    assert metrics.negative_log_likelihood(labels == 1, both) == pytest.approx(expected, rel=1e-9)
    assert metrics.brier_score([0, 1], [0.0, 1.0]) == metrics.negative_log_likelihood([0, 1], [0.0, 1.0]) == 0
    assert metrics.negative_log_likelihood([0, 1], [0.5, 0.0]) == np.inf


@pytest.mark.parametrize("metric", ["brier_score", "negative_log_likelihood", "expected_calibration_error"])
@pytest.mark.parametrize(
    "labels, probabilities, message",
    [
        ([0, 1], [0.2, 1.2], r"expected \[0, 1\]"),
        ([0, 1], [[0.2, 0.2], [0.5, 0.5]], r"probabilities\[0\] sums to 0.4"),
        ([0, 2], [[0.2, 0.8], [0.5, 0.5]], r"y_true\[1\] is 2, expected a class id from 0 to 1"),
        ([0], [[0.2, 0.8], [0.5, 0.5]], "1 elements, probabilities has 2"),
        ([0, 1], [[np.nan, 0.8], [0.5, 0.5]], r"probabilities\[0, 0\] is nan"),
        ([0, 0.5], [0.2, 0.3], "expected 0 or 1"),
    ],
)
def test_calibration_refuses(metric, labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        getattr(metrics, metric)(labels, probabilities)


def platt_targets(y):
    positives, negatives = int(y.sum()), int(len(y) - y.sum())
    return np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def test_platt_scaling_is_where_the_cross_entropy_is_flat():
    """The cross entropy is convex, so its minimum is where both of its derivatives vanish: float64, by hand."""
    rng = np.random.default_rng(12)
    for case in range(300):
        n = int(rng.integers(2, 60))
        y = rng.integers(0, 2, n)
        scores = rng.normal(size=n) * 10.0 ** rng.integers(-3, 4) + rng.choice([0.0, 70.0])
        if case % 3 == 0:
            scores = np.round(scores)  # ties, now and then constant
        if case % 5 == 0:
            scores = np.sort(scores)
            y = np.sort(y)  # parted perfectly
        line = metrics.PlattScaling(y, scores)
        wrong = line(scores) - platt_targets(y)
        spread = np.std(scores)
        unit = (scores - scores.mean()) / (spread if spread > 0 else 1.0)
        assert abs(wrong.mean()) < 1e-9 and abs((wrong * unit).mean()) < 1e-9, (y, scores)


def test_platt_scaling_equals_scikit_learns_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(13)
    scores = rng.normal(size=400)
    y = (rng.uniform(size=400) < 1 / (1 + np.exp(1 - 2 * scores))).astype(int)
    targets = platt_targets(y)
    # A soft target is a positive and a negative with weights that sum to one.
    twice = np.concatenate([scores, scores])[:, None]
    reference = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(
        twice, np.repeat([1, 0], 400), np.concatenate([targets, 1 - targets])
    )
    line = metrics.PlattScaling(y, scores)
    at = np.array([-1e4, -1.0, 0.0, 0.5, 2.0, 1e4])
    np.testing.assert_allclose(line(at), reference.predict_proba(at[:, None])[:, 1], atol=1e-6)
    np.testing.assert_allclose(metrics.PlattScaling(y, 500 * scores + 70)(500 * at + 70), line(at), atol=1e-9)


def test_platt_scaling_of_separable_and_of_constant_scores():
    apart = metrics.PlattScaling([0, 0, 1, 1], [0.0, 0.1, 5.0, 5.1])(np.array([-1e4, 0.0, 5.0, 1e4]))
    assert np.all(np.diff(apart) >= 0) and np.isfinite(apart).all() and 0 < apart[1] < 0.5 < apart[2] < 1
    # Targets 3/4, 3/4 and 1/3: their mean is all that constant scores can say.
    np.testing.assert_allclose(metrics.PlattScaling([0, 1, 1], np.zeros(3))(np.zeros(2)), 11 / 18, atol=1e-9)
    with pytest.raises(ValueError, match="expected 0 or 1"):
        metrics.PlattScaling([0, 2], [0.0, 1.0])
