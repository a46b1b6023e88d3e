"""CoSENT against the original's numbers, a float64 oracle over all pairs, closed forms and laws."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close

from zoo.backend import value_and_gradient
from zoo.losses import CoSENT, cosine_similarity

CASES = [
    "distinct",
    "binary_ties",
    "graded_ties",
    "all_tied",
    "two_pairs",
    "one_pair",
    "zero_vector",
    "cosine_one",
]


def oracle(labels, scores, scale=20.0, weights=None):
    """Value and gradient in float64 from the B x B matrix of all pairs."""
    labels, x = np.asarray(labels), scale * np.asarray(scores, "float64")
    weights = np.ones(len(x)) if weights is None else np.asarray(weights, "float64")
    counts = np.outer(weights, weights) * (labels[:, None] > labels[None, :])
    exponents = np.where(counts > 0, x[None, :] - x[:, None], -np.inf)
    largest = max(0.0, exponents.max())
    terms = counts * np.exp(exponents - largest)
    total = math.exp(-largest) + terms.sum()
    value = largest + math.log(total) if largest else math.log1p(terms.sum())
    return value, scale * (terms.sum(0) - terms.sum(1)) / total


def loss_and_gradient(labels, scores, scale=20.0, weights=None):
    loss = CoSENT(scale)
    return value_and_gradient(lambda s: loss(labels, s, sample_weight=weights), np.asarray(scores, "float32"))


def batch(kind, size, rng):
    labels = {
        "distinct": lambda: rng.permutation(size),
        "binary": lambda: rng.integers(0, 2, size),
        "graded": lambda: rng.integers(0, 6, size) / 5,
        "equal": lambda: np.ones(size, "int32"),
    }[kind]()
    return labels, rng.uniform(-1, 1, size).astype("float32")


@pytest.mark.parametrize("case", CASES)
def test_equals_the_original(golden, case):
    """Value and gradient by the embeddings, rows 2i and 2i + 1 being a pair, of bojone/CoSENT."""
    arrays = golden("cosent")
    embeddings, labels = arrays[f"{case}/y_pred"], arrays[f"{case}/y_true"][::2]
    loss = CoSENT()
    value, gradient = value_and_gradient(lambda x: loss(labels, cosine_similarity(x[::2], x[1::2])), embeddings)
    expected = arrays[f"{case}/grad64"]
    assert_close(value, arrays[f"{case}/loss64"], atol=1e-6, rtol=1e-6)
    # The zero vector's gradient is of the order 1e4: its norm is taken for 1e-6.
    assert_close(gradient, expected, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 40, 300])
@pytest.mark.parametrize("kind", ["distinct", "binary", "graded", "equal"])
def test_equals_the_sum_over_all_pairs(kind, size):
    labels, scores = batch(kind, size, np.random.default_rng(size))
    value, gradient = loss_and_gradient(labels, scores)
    expected, expected_gradient = oracle(labels, scores)
    assert_close(value, expected, atol=1e-6, rtol=1e-6)
    # 20 times a cosine near 1 is known to 1e-6 in float32, and so is the logarithm of a gradient.
    assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-5)
    assert gradient.sum() == pytest.approx(0.0, abs=1e-4)  # a shift of all scores changes nothing


def test_known_values():
    assert float(CoSENT()([1, 0, 1], [0.9, 0.5, 0.7])) == pytest.approx(0.0184793026, abs=1e-8)
    assert float(CoSENT()([2, 1, 0], [0.5, 0.6, 0.7])) == pytest.approx(2 * math.log1p(math.exp(2)), abs=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("labels, scores", [([1], [0.3]), ([2, 2, 2], [0.1, 0.5, 0.9])])
def test_D12_nothing_to_order_gives_zero_and_no_gradient(labels, scores, dtype):
    value, gradient = value_and_gradient(lambda s: CoSENT()(labels, ops.cast(s, dtype)), np.asarray(scores, "float32"))
    assert value == 0.0 and not gradient.any()


def test_equal_scores_everywhere():
    """A model that has collapsed: every term is 1, and autodiff of a maximum would pick one of the equals."""
    labels = np.arange(40) % 4
    value, gradient = loss_and_gradient(labels, np.full(40, 0.5))
    expected, expected_gradient = oracle(labels, np.full(40, 0.5))
    assert value == pytest.approx(math.log(1 + 600), abs=1e-5) == expected
    assert_close(gradient, expected_gradient, atol=1e-5)


@pytest.mark.parametrize("magnitude", [1e-3, 30.0, 1e4])
def test_free_scores_of_any_size(magnitude):
    """Scores of an interaction model, scale 1: small and huge ones mixed, in and out of order."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 300)
    scores = (rng.normal(size=300) * magnitude ** rng.uniform(0, 1, 300)).astype("float32")
    expected, expected_gradient = oracle(labels, scores, 1.0)
    value, gradient = loss_and_gradient(labels, scores, 1.0)
    # Differences of scores near 1e4 are known to 1e-3 in float32, whoever computes them.
    assert_close(value, expected, atol=1e-6, rtol=1e-6)
    assert_close(gradient, expected_gradient, atol=2e-3 if magnitude == 1e4 else 1e-5)


def test_small_differences_of_huge_scores_are_kept():
    """Near 1e4 float32 steps by 1e-3; no sum may round the scores once more."""
    labels = np.arange(40) % 3
    scores = np.float32(1e4) + np.arange(40, dtype="float32")[::-1] * np.float32(2**-6)
    expected, expected_gradient = oracle(labels, scores, 1.0)
    value, gradient = loss_and_gradient(labels, scores, 1.0)
    assert_close(value, expected, atol=1e-5)
    assert_close(gradient, expected_gradient, atol=1e-6)


def test_well_ordered_batches_give_a_small_exact_loss():
    """ln(1 + x) where x is far below float32's step at 1."""
    value, gradient = loss_and_gradient([1, 0], [0.6, -0.6])
    assert value == pytest.approx(math.exp(-24), rel=1e-4)
    assert gradient == pytest.approx(20 * math.exp(-24) * np.array([-1, 1]), rel=1e-4)


def test_is_invariant_to_increasing_relabelling_shift_and_permutation():
    rng = np.random.default_rng(4)
    labels, scores = batch("graded", 40, rng)
    value, gradient = loss_and_gradient(labels, scores)
    assert loss_and_gradient(np.exp(3 * labels) - 7, scores)[0] == value
    assert loss_and_gradient((labels * 5).astype("int64") * 10**8, scores)[0] == value
    assert loss_and_gradient(labels, scores + 0.25)[0] == pytest.approx(value, abs=1e-5)
    order = rng.permutation(40)
    shuffled, shuffled_gradient = loss_and_gradient(labels[order], scores[order])
    assert shuffled == pytest.approx(value, abs=1e-5)
    assert_close(shuffled_gradient, gradient[order], atol=1e-5)


def test_lies_within_its_bounds():
    """max(0, v) <= L <= max(0, v) + ln(1 + P), v the worst pair's exponent, P the number of ordered pairs."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        labels, scores = batch("graded", 40, rng)
        ordered = labels[:, None] > labels[None, :]
        worst = max(0.0, 20 * np.max((scores[None, :] - scores[:, None])[ordered]))
        value = float(CoSENT()(labels, scores))
        assert worst - 1e-5 <= value <= worst + math.log(1 + ordered.sum())


def test_rows_of_weight_zero_are_absent():
    """Padding rows of a last short batch, whatever stands in them."""
    labels, scores = batch("graded", 37, np.random.default_rng(6))
    value, gradient = loss_and_gradient(labels, scores)
    for junk in (0.0, 1e30, np.nan):
        padded, padded_gradient = loss_and_gradient(
            np.append(labels, [9, -9, 0.4]),
            np.append(scores, [-junk, junk, junk]),
            weights=np.append(np.ones(37), [0, 0, 0]),
        )
        assert padded == pytest.approx(value, abs=1e-5)
        assert_close(padded_gradient, np.append(gradient, [0, 0, 0]), atol=1e-5)
    # Far from 0, where an absent row could set the scale of the exponents.
    weights = np.append(np.ones(37), [0, 0, 0])
    far, _ = loss_and_gradient(np.append(labels, [9, -9, 0.4]), np.append(scores + 500, [0, 0, 0]), 1.0, weights)
    assert far == pytest.approx(oracle(labels, scores + 500, 1.0)[0], abs=1e-3)
    assert loss_and_gradient(labels, scores, weights=np.zeros(37)) == (0.0, pytest.approx(np.zeros(37)))


def test_a_pair_of_weight_two_counts_twice():
    labels, scores = batch("graded", 40, np.random.default_rng(7))
    weights = np.append(1, np.arange(1, 40) % 3)  # 40 rows again once they are repeated
    value, gradient = loss_and_gradient(labels, scores, weights=weights)
    repeated, repeated_gradient = loss_and_gradient(np.repeat(labels, weights), np.repeat(scores, weights))
    assert value == pytest.approx(repeated, abs=1e-5)
    summed = np.bincount(np.repeat(np.arange(40), weights), repeated_gradient, 40)
    assert_close(gradient, summed, atol=1e-5, rtol=1e-5)
    assert_close(gradient, oracle(labels, scores, weights=weights)[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_computes_in_float32(dtype):
    """float16 similarities at scale 20 lose nothing more than their own rounding."""
    labels, scores = batch("graded", 40, np.random.default_rng(8))
    scores = ops.cast(scores, dtype)
    value = CoSENT()(labels, scores)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert float(value) == pytest.approx(oracle(labels, ops.convert_to_numpy(ops.cast(scores, "float32")))[0], rel=1e-6)


@pytest.mark.slow
def test_65536_pairs_in_closed_form():
    """Labels 0/1 with constant scores a and b: ln(1 + P N exp(20 (b - a))). All pairs would be 17 GB."""
    labels = np.arange(65536) % 4 == 0
    value, gradient = loss_and_gradient(labels, np.where(labels, 0.5, 0.25))
    positives, negatives = 16384, 49152
    surplus = positives * negatives * math.exp(-5)
    assert value == pytest.approx(math.log1p(surplus), rel=1e-6)
    pull = 20 * surplus / (1 + surplus)
    assert_close(gradient, np.where(labels, -pull / positives, pull / negatives), atol=0, rtol=1e-4)


@pytest.mark.slow
def test_memory_grows_with_the_batch_not_its_square():
    """200,000 pairs: all pairs would be 160 GB a matrix."""
    labels, scores = batch("distinct", 200_000, np.random.default_rng(9))
    value, gradient = loss_and_gradient(labels, labels / 200_000)
    assert np.isfinite(gradient).all()
    worst = loss_and_gradient(labels, -labels / 200_000)[0]
    assert 20 * (1 - 1e-4) < worst < 20 + math.log(200_000**2) and value < math.log(200_000**2)


def test_no_array_of_all_pairs_is_made():
    if keras.backend.backend() != "jax":
        return  # only JAX shows the shapes of what it computes; the arithmetic is the same everywhere
    import jax

    size = 1000
    labels, scores = batch("graded", size, np.random.default_rng(10))
    program = jax.make_jaxpr(jax.grad(lambda s: CoSENT()(labels, s)))(scores)
    sizes = [math.prod(v.aval.shape) for v in all_variables(program.jaxpr)]
    assert size <= max(sizes) <= 64 * size


def all_variables(jaxpr):
    for equation in jaxpr.eqns:
        yield from equation.outvars
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from all_variables(inner)


@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_trains_through_fit(jit):
    """Batches of open length where the backend traces, the last one padded; also under XLA."""
    if jit and keras.backend.backend() == "torch":
        return  # torch.compile takes over a minute and changes nothing for a loss
    rng = np.random.default_rng(11)
    x, y = rng.normal(size=(16, 4)).astype("float32"), np.arange(16) % 5
    weights = np.where(np.arange(16) < 13, 1.0, 0.0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1), CoSENT(scale=1.0), jit_compile=jit)
    kernel = model.get_weights()[0].astype("float64")
    model.fit(x, y, batch_size=8, sample_weight=weights, verbose=0, shuffle=False)
    for rows in (slice(0, 8), slice(8, 13)):  # the steps by hand, in float64
        kernel -= 0.1 * x[rows].T @ oracle(y[rows], x[rows] @ kernel[:, 0], 1.0)[1][:, None]
    assert_close(model.get_weights()[0], kernel, atol=1e-5)


def test_takes_columns_and_refuses_other_shapes():
    assert float(CoSENT()([[1], [0]], [[0.1], [0.2]])) == float(CoSENT()([True, False], [0.1, 0.2]))
    with pytest.raises(ValueError, match=r"cosent: y_pred has shape \(2, 2\), expected \(B,\) or \(B, 1\)"):
        CoSENT()([1, 0], [[0.1, 0.2], [0.3, 0.4]])
    with pytest.raises(ValueError, match="y_true has 3 rows, y_pred has 2"):
        CoSENT()([1, 0, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="sample_weight has 1 rows, y_pred has 2"):
        CoSENT()([1, 0], [0.1, 0.2], sample_weight=[1.0])
    with pytest.raises(ValueError, match="scale is -1"):
        CoSENT(scale=-1)


def test_zero_vectors_have_cosine_zero_and_a_finite_gradient():
    u = np.array([[0, 0, 0], [3, 0, 4]], "float32")
    v = np.array([[1, 2, 2], [0, 0, 2]], "float32")
    assert ops.convert_to_numpy(cosine_similarity(u, v)) == pytest.approx([0.0, 0.8], abs=1e-6)
    _, gradient = value_and_gradient(lambda x: ops.sum(cosine_similarity(x, v)), u)
    # d cos / du = (v / |v| - cos u / |u|) / |u|
    assert gradient[1] == pytest.approx([-0.096, 0.0, 0.072], abs=1e-6)
    assert gradient[0] == pytest.approx(np.array([1, 2, 2]) / 3 * 1e6, rel=1e-5)


@pytest.mark.parametrize("kind", ["uint8", "int64", "float16", "float64", "bool"])
def test_labels_of_any_kind_of_number(kind):
    labels, scores = batch("graded", 40, np.random.default_rng(12))
    labels = (labels * 5 > 2).astype(kind) if kind == "bool" else (labels * 5).astype(kind)
    value, gradient = loss_and_gradient(labels, scores)
    expected, expected_gradient = oracle(labels.astype("float64"), scores)
    assert_close(value, expected, atol=1e-6, rtol=1e-6)
    assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spread", [3.9, 4.1, 14.9, 15.1, 40.0])
def test_every_way_of_adding_up_gives_the_same(spread):
    """Scores whose exponentials float32 holds, float64 holds, and none holds: scale 20 times a spread around the bounds."""
    rng = np.random.default_rng(13)
    labels = rng.integers(0, 4, 200)
    scores = (rng.permutation(200) / 199 * spread).astype("float32")
    weights = rng.integers(0, 3, 200)
    value, gradient = loss_and_gradient(labels, scores, weights=weights)
    expected, expected_gradient = oracle(labels, scores, weights=weights)
    assert_close(value, expected, atol=1e-5, rtol=2e-6)
    assert_close(gradient, expected_gradient, atol=2e-5 * max(1, spread / 4), rtol=1e-5)


@pytest.mark.parametrize("kind", ["distinct", "binary", "graded"])
def test_thousands_of_pairs_equal_the_sum_over_all_pairs(kind):
    labels, scores = batch(kind, 3000, np.random.default_rng(14))
    value, gradient = loss_and_gradient(labels, scores)
    expected, expected_gradient = oracle(labels, scores)
    assert_close(value, expected, atol=1e-6, rtol=1e-6)
    assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-5)
