"""Weights of several tasks' gradients: closed forms, the conditions of an optimum, and SciPy's solvers."""

import numpy as np
import pytest
import scipy.optimize

from zoo.training import min_norm_weights, primary_task_weights

pytestmark = pytest.mark.neutral


def random_gradients(rng):
    """[n, d], n = 2 ... 8: of full rank or not, alike, opposite, repeated, zero, of very different lengths."""
    n = int(rng.integers(2, 9))
    gradients = rng.normal(size=(n, int(rng.integers(1, 12)))) + rng.choice([0.0, 0.5, 2.0])
    kind = rng.integers(0, 6)
    if kind == 0:
        gradients[-1] = gradients[0]
    elif kind == 1:
        gradients[-1] = -2 * gradients[0]
    elif kind == 2:
        gradients[-1] = 3 * gradients[0]
    elif kind == 3:
        gradients[rng.integers(n)] = 0
    elif kind == 4:
        gradients *= 10.0 ** rng.integers(-3, 4, (n, 1))
    return gradients


def test_min_norm_weights_fulfil_the_conditions_of_the_optimum():
    """10,000 Gram matrices: on the simplex, ⟨g_i, u⟩ >= |u|², with equality where the weight is not 0."""
    rng = np.random.default_rng(0)
    for _ in range(10_000):
        gradients = random_gradients(rng)
        gram = gradients @ gradients.T
        weights = min_norm_weights(gram)
        assert (weights >= 0).all() and weights.sum() == pytest.approx(1, abs=1e-12)
        slopes, scale = gram @ weights, gram.diagonal().max()
        square = weights @ slopes
        assert (slopes >= square - 1e-6 * scale).all()
        assert np.abs(weights * (slopes - square)).max() <= 1e-6 * scale


def test_min_norm_weights_are_those_of_a_quadratic_programme():
    rng = np.random.default_rng(1)
    for _ in range(40):
        gradients = random_gradients(rng)
        gradients /= np.abs(gradients).max()
        gram = gradients @ gradients.T
        found = scipy.optimize.minimize(
            lambda w, gram=gram: w @ gram @ w / 2, np.full(len(gram), 1 / len(gram)), jac=lambda w, gram=gram: gram @ w,
            bounds=[(0, 1)] * len(gram), constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        ours = min_norm_weights(gram)
        assert ours @ gram @ ours <= found.x @ gram @ found.x + 1e-8
        assert np.abs((ours - found.x) @ gradients).max() < 1e-3  # the combined gradient is unique, weights may not be


def test_min_norm_weights_in_closed_form():
    assert min_norm_weights(np.eye(2)).tolist() == [0.5, 0.5]
    assert min_norm_weights(np.diag([4.0, 1.0])) == pytest.approx([0.2, 0.8], abs=1e-15)
    assert min_norm_weights([[1.0, 2.0], [2.0, 4.0]]).tolist() == [1, 0]  # parallel: the shorter one
    assert min_norm_weights([[1.0, -2.0], [-2.0, 4.0]]) == pytest.approx([2 / 3, 1 / 3])  # opposite: nothing is left
    assert min_norm_weights(np.ones((2, 2))).sum() == 1
    assert min_norm_weights(np.zeros((3, 3))) == pytest.approx([1 / 3] * 3)
    assert min_norm_weights([[7.0]]) == [1]
    assert min_norm_weights(np.diag([1.0, 2.0, 4.0])) == pytest.approx(np.array([4, 2, 1]) / 7)  # orthogonal: 1 / |g|²


def test_primary_task_weights_equal_scipys_and_fulfil_their_conditions():
    rng = np.random.default_rng(2)
    for _ in range(10_000):
        gradients = random_gradients(rng)
        n, lengths = len(gradients), np.linalg.norm(gradients, axis=1)
        primary = int(rng.integers(n))
        weights = primary_task_weights(gradients @ gradients.T, primary)
        assert weights[primary] == 1 and (weights >= 0).all()
        combined, others = weights @ gradients, np.delete(np.arange(n), primary)
        slopes = gradients[others] @ combined
        scale = 1e-6 * (lengths[others] + 1e-300) * (lengths[primary] + 1e-300)
        assert (slopes >= -scale).all()
        assert np.abs(weights[others] * slopes).max() <= 1e-6 * max(lengths[primary], 1e-300) ** 2
        rest, distance = scipy.optimize.nnls(gradients[others].T, -gradients[primary])
        assert np.linalg.norm(combined) == pytest.approx(distance, abs=1e-6 * lengths[primary] + 1e-12)


def test_primary_task_weights_in_closed_form():
    assert primary_task_weights([[1.0, 0.5], [0.5, 1.0]]).tolist() == [1, 0]  # they agree: the primary's alone
    assert primary_task_weights([[1.0, -0.5], [-0.5, 4.0]]) == pytest.approx([1, 0.125])  # relu(-⟨g, g_0⟩) / |g|²
    assert primary_task_weights([[4.0, -0.5], [-0.5, 1.0]], primary=1) == pytest.approx([0.125, 1])
    assert primary_task_weights([[1.0, 0.0], [0.0, 0.0]]).tolist() == [1, 0]  # a gradient of 0
    assert primary_task_weights([[0.0, 0.0], [0.0, 1.0]]).tolist() == [1, 0]


def test_scale_of_a_loss_changes_nothing_but_its_weight():
    rng = np.random.default_rng(3)
    gradients = rng.normal(size=(4, 3))
    scaled = gradients * np.array([1, 1e3, 1, 1e-3])[:, None]
    one, other = (primary_task_weights(g @ g.T) @ g for g in (gradients, scaled))
    assert one == pytest.approx(other, abs=1e-9)


def test_sixteen_tasks():
    rng = np.random.default_rng(4)
    for rank in (3, 16, 40):
        gradients = rng.normal(size=(16, rank)) + 0.3
        gram = gradients @ gradients.T
        weights = min_norm_weights(gram)
        assert (gram @ weights >= weights @ gram @ weights - 1e-6 * gram.max()).all()


@pytest.mark.parametrize(
    "gram, message",
    [
        (np.ones((2, 3)), r"shape \(2, 3\)"),
        ([[1.0, np.nan], [0.0, 1.0]], "finite"),
        ([[1.0, 0.5], [0.1, 1.0]], "symmetric"),
        (-np.eye(2), "squared lengths"),
    ],
)
def test_other_matrices_are_refused(gram, message):
    for function in (min_norm_weights, primary_task_weights):
        with pytest.raises(ValueError, match=message):
            function(gram)
    with pytest.raises(ValueError, match="a task from 0 to 1"):
        primary_task_weights(np.eye(2), primary=2)
