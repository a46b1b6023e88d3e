"""Measures of sparsity: closed forms, laws, gradients; and what softmax can say, by optimisation and Monte Carlo."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from scipy.optimize import minimize
from support.input_gradients import gradient_of

from zoo.analysis import softmax_information, softmax_information_figure, softmax_robustness, sparsity
from zoo.analysis.sparsity import MEASURES

ENTROPIES = ("entropy", "renyi_entropy")
every = pytest.mark.parametrize("measure", MEASURES)


def one_hot_and_uniform(measure, n):
    """Values by the table of the docstring, p = 1, q = 2."""
    return {
        "l1_l2": (1 / math.sqrt(n), 1),
        "hoyer": (1, 0),
        "norm_ratio": (n ** (1 / 2 - 1), 1),
        "entropy": (0, math.log(n)),
        "renyi_entropy": (0, math.log(n)),
        "effective_rank": (1, n),
        "gini": (1 - 1 / n, 0),
        "share_below": (1 - 1 / n, 0),
    }[measure]


@every
@pytest.mark.parametrize("n", [2, 7, 64])
@pytest.mark.parametrize("tensor", [False, True])
def test_one_hot_and_uniform(measure, n, tensor):
    x = np.zeros((2, n))
    x[0, 1], x[1] = -3.0, 0.7
    found = sparsity(ops.convert_to_tensor(x.astype("float32")) if tensor else x, measure)
    assert ops.is_tensor(found) == tensor
    np.testing.assert_allclose(np.asarray(ops.convert_to_numpy(found)), one_hot_and_uniform(measure, n), atol=1e-5)


def two_level(n, k, t, measure, p, order):
    """k numbers of size 1, n − k of size t < 1, written out term by term."""
    if measure == "l1_l2":
        return ((k + (n - k) * t) / n) / math.sqrt((k + (n - k) * t * t) / n)
    if measure == "hoyer":
        return (math.sqrt(n) - (k + (n - k) * t) / math.sqrt(k + (n - k) * t * t)) / (math.sqrt(n) - 1)
    if measure == "norm_ratio":
        return ((k + (n - k) * t**p) / n) ** (1 / p) / ((k + (n - k) * t**3) / n) ** (1 / 3)
    if measure == "effective_rank":
        return (k + (n - k) * t) ** 2 / (k + (n - k) * t * t)
    if measure == "share_below":
        return (n - k) / n
    if measure == "gini":  # mean difference of all pairs over twice the mean
        return k * (n - k) * (1 - t) * 2 / (2 * n * n) / ((k + (n - k) * t) / n)
    total = k + (n - k) * t**p
    high, low = 1 / total, t**p / total
    if measure == "entropy":
        return -k * high * math.log(high) - (n - k) * low * math.log(low)
    return math.log(k * high**order + (n - k) * low**order) / (1 - order)


@every
@pytest.mark.parametrize("p, order", [(0.5, 3.0), (2.0, 0.5)])
def test_two_levels(measure, p, order):
    n, k, t = 9, 2, 0.04
    x = np.random.default_rng(0).permutation([1.0] * k + [-t] * (n - k))
    options = {"p": p, "q": 3.0, "order": order, "epsilon": 0.05}
    expected = two_level(n, k, t, measure, p, order)
    assert float(sparsity(x, measure, **options)) == pytest.approx(expected, rel=1e-12)
    tensor = sparsity(ops.convert_to_tensor(x.astype("float32")), measure, **options)
    assert float(ops.convert_to_numpy(tensor)) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("measure", [m for m in MEASURES if m != "share_below"])
@pytest.mark.parametrize("scale", [1e-30, -7.0, 1e30])
def test_scale_and_sign_do_not_matter(measure, scale):
    x = np.random.default_rng(1).normal(size=(3, 11))
    np.testing.assert_allclose(sparsity(scale * x, measure), sparsity(x, measure), rtol=1e-9)


def test_copies_do_not_matter_to_the_normalised_ratio():
    x = np.random.default_rng(2).normal(size=8)
    assert sparsity(np.tile(x, 5)) == pytest.approx(sparsity(x), rel=1e-12)
    assert sparsity(np.tile(x, 5), "norm_ratio", p=0.5, q=math.inf) == pytest.approx(
        sparsity(x, "norm_ratio", p=0.5, q=math.inf), rel=1e-12
    )


def test_links_between_measures():
    x = np.abs(np.random.default_rng(3).normal(size=20))
    assert sparsity(x, "renyi_entropy") == pytest.approx(math.log(sparsity(x, "effective_rank")))
    assert sparsity(x, "renyi_entropy", order=1 + 1e-7) == pytest.approx(sparsity(x, "entropy"), abs=1e-5)
    p, step = 1.7, 1e-5  # d ln‖x‖_p / dp = −H(w) / p²
    slope = (np.log(np.linalg.norm(x, p + step)) - np.log(np.linalg.norm(x, p - step))) / (2 * step)
    assert slope == pytest.approx(-sparsity(x, "entropy", p=p) / p**2, rel=1e-6)


@every
def test_axis(measure):
    x = np.random.default_rng(4).normal(size=(4, 5, 6))
    np.testing.assert_allclose(sparsity(x, measure, axis=1), sparsity(np.moveaxis(x, 1, -1), measure))
    tensor = sparsity(ops.convert_to_tensor(x.astype("float32")), measure, axis=0)
    np.testing.assert_allclose(ops.convert_to_numpy(tensor), sparsity(x, measure, axis=0), rtol=1e-4, atol=1e-5)


@every
def test_zeros(measure):
    for x in (np.zeros(4), ops.zeros(4)):
        found = float(ops.convert_to_numpy(sparsity(x, measure)))
        assert found == 1 if measure == "share_below" else math.isnan(found)


@pytest.mark.parametrize("measure", [m for m in MEASURES if m != "share_below"])
@pytest.mark.parametrize("p", [0.5, 1.0, 2.0])
def test_gradients(measure, p):
    """Against differences of the float64 value; a number that is 0 breaks nothing."""
    x = np.array([0.3, -1.2, 0.8, 2.0, -0.1])
    options = {"p": p, "q": 3.0}
    found = gradient_of(lambda t: sparsity(t, measure, **options), x.astype("float32"))
    step = 1e-6
    expected = [
        (sparsity(x + step * e, measure, **options) - sparsity(x - step * e, measure, **options)) / (2 * step)
        for e in np.eye(5)
    ]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    with_zero = gradient_of(lambda t: sparsity(t, measure, **options), np.array([0.0, 1.0, 2.0], "float32"))
    assert np.isfinite(with_zero).all()


def test_half_precision_is_measured_in_float32():
    x = keras.ops.cast(np.full(3000, 0.01, "float32"), "bfloat16")
    assert float(ops.convert_to_numpy(sparsity(x, "entropy"))) == pytest.approx(math.log(3000), rel=1e-5)


def test_refuses_unknown_measures_and_powers():
    with pytest.raises(ValueError, match="measure='l0'; expected one of l1_l2"):
        sparsity([1.0], "l0")
    for options in ({"p": 0}, {"order": -1}):
        with pytest.raises(ValueError, match="positive powers"):
            sparsity([1.0], "entropy", **options)
    with pytest.raises(ValueError, match="p < q"):
        sparsity([1.0], "norm_ratio", p=2.0, q=1.0)


# Softmax


def fall(scores):
    """ln n − H of softmax, in float64."""
    w = np.exp(scores - scores.max())
    w /= w.sum()
    return math.log(len(w)) + np.sum(w * np.log(np.maximum(w, 1e-300)))


def test_the_constant_of_the_post():
    """At scale 1 the entropy falls by 0.474475 at most, with a part 0.2055 at cosine 1: by one-dimensional search."""
    p = np.linspace(1e-4, 1 - 1e-4, 200001)
    top = p * math.e / (p * math.e + (1 - p) / math.e)
    falls = top * np.log(top / p) + (1 - top) * np.log((1 - top) / (1 - p))
    assert falls.max() == pytest.approx(0.474475, abs=1e-6) and p[falls.argmax()] == pytest.approx(0.2055, abs=1e-4)
    assert softmax_information(1.0) == pytest.approx(falls.max(), abs=1e-9)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5, 20.0])
@pytest.mark.parametrize("count", [2, 5, 9])
def test_no_cosines_beat_it(scale, count):
    """An optimiser from random starts reaches the closed form and does not exceed it."""
    rng = np.random.default_rng(count)
    best = 0
    for _ in range(12):
        start = rng.uniform(-1, 1, count)
        best = max(best, -minimize(lambda c: -fall(scale * c), start, bounds=[(-1, 1)] * count).fun)
    for tops in range(1, count):  # corners, where optimisers may not go
        best = max(best, fall(scale * np.where(np.arange(count) < tops, 1.0, -1.0)))
    assert softmax_information(scale, count) == pytest.approx(best, abs=1e-7)


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_many_scores_reach_the_limit(scale):
    assert softmax_information(scale, 10**6) == pytest.approx(softmax_information(scale), abs=1e-6)


def test_scale_twenty_is_enough_for_thousands():
    assert softmax_information(20.0, 4096) > 0.999 * math.log(4096)
    assert softmax_information(1.0, 4096) < 0.06 * math.log(4096)
    assert softmax_information(1e4, 100) == pytest.approx(math.log(100))


@pytest.mark.parametrize("keys", [400, 1600])
def test_robustness_is_the_monte_carlo_error(keys):
    """Error of attention's output under noise on the scores, of size n^−½."""
    rng = np.random.default_rng(5)
    scores, values = rng.normal(0, 0.5, keys), rng.normal(size=(keys, 64))
    weights = np.exp(scores) / np.exp(scores).sum()
    errors = []
    for _ in range(200):
        noisy = weights * np.exp(rng.normal(0, 0.5, keys))
        errors.append(noisy / noisy.sum() @ values - weights @ values)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(softmax_robustness(weights, 0.5), rel=0.06)
    assert softmax_robustness(np.ones(4 * keys)) == pytest.approx(softmax_robustness(np.ones(keys)) / 2)


def test_figure(tmp_path):
    softmax_information_figure((16, 256), title="softmax").savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_softmax_refuses_what_is_out_of_range():
    with pytest.raises(ValueError, match="scale above 0"):
        softmax_information(0)
    with pytest.raises(ValueError, match="two scores"):
        softmax_information(1.0, 1)
    with pytest.raises(ValueError, match="noise=-1"):
        softmax_robustness([1.0], -1)
