"""Forms of LowRank: each step is what its formula says, in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.low_rank_problem import INPUTS, MATRICES, START, Stepper, as_float64, gradient, kernels, train

from zoo.optimizers import AdditiveLoRA, GaLore, LoRA, LowRank, RandomProjection

optimizers = keras.optimizers


def path_of_kernels(optimizer, gradients):
    """Float64 kernels `[n, m]` of "first" before and after each of the given gradients of it."""
    variables = kernels()
    stepper = Stepper(optimizer, variables)
    kernel, weights = variables[0], [as_float64(variables[0])]
    for g in gradients:
        stepper.step([g, *(np.zeros(v.shape) for v in variables[1:])])
        weights.append(as_float64(kernel))
    return weights


def test_lora_step_in_closed_form():
    """Plain SGD: ΔW = -η s² (G Bᵀ B + A Aᵀ G) + η² s³ G Bᵀ Aᵀ G, here with s = 2."""
    form = LoRA(alpha=6, b_initializer="glorot_uniform")
    optimizer = LowRank(optimizers.SGD(0.01), rank=3, form=form)
    g = gradient("first", START["first"], 0)
    before, after = path_of_kernels(optimizer, [g])
    twin = LowRank(optimizers.SGD(0.01), rank=3, form=form)
    twin.build(kernels())
    a, b = (as_float64(v) for v in twin.variables if v.path in ("first/low_rank/kernel_a", "first/low_rank/kernel_b"))
    expected = -0.01 * 4 * (g @ b.T @ b + a @ a.T @ g) + 1e-4 * 8 * g @ b.T @ a.T @ g
    assert_close(after - before, expected, atol=1e-6)


def test_additive_sums_columns_and_rows():
    """Three steps of SGD by loops over indices; r = 4 divides neither 6 nor 7."""
    (n, m), rate, r = MATRICES["first"], 0.02, 4
    gradients = [gradient("first", START["first"], step) for step in range(3)]
    optimizer = LowRank(optimizers.SGD(rate), rank=r, form=AdditiveLoRA())
    weights = path_of_kernels(optimizer, gradients)
    for g, before, after in zip(gradients, weights, weights[1:]):
        expected = np.zeros((n, m))
        for i in range(n):
            for j in range(m):
                expected[i, j] -= rate * sum(g[i, k] for k in range(m) if k % r == j % r)
                expected[i, j] -= rate * sum(g[k, j] for k in range(n) if k % r == i % r)
        assert_close(after - before, expected, atol=1e-6)
    a, b = optimizer.extract().factors["first/kernel"]
    assert_close(a @ b, weights[-1] - weights[0], atol=1e-6)


def test_random_projection_has_mean_2_g():
    """Each step has rank 2 at r = 1, and their mean over fresh projections is twice the gradient."""
    g = gradient("first", START["first"], 0)
    weights = path_of_kernels(LowRank(optimizers.SGD(1e-3), rank=1, form=RandomProjection()), [g] * 600)
    assert np.linalg.matrix_rank(weights[1] - weights[0], tol=1e-6) == 2
    mean = (weights[0] - weights[-1]) / 1e-3 / 600
    assert np.linalg.norm(mean - 2 * g) < 0.4 * np.linalg.norm(g)
    assert np.linalg.matrix_rank(weights[-1] - weights[0], tol=1e-3) == 6


def test_random_projections_are_kept_for_some_steps():
    """Steps from one gradient are equal until the projection changes; accumulation never mixes two."""
    g = gradient("first", START["first"], 0)
    weights = path_of_kernels(LowRank(optimizers.SGD(0.01), rank=2, form=RandomProjection(3)), [g] * 7)
    steps = [after - before for before, after in zip(weights, weights[1:])]
    same = [np.abs(a - b).max() < 1e-6 for a, b in zip(steps, steps[1:])]
    assert same == [True, True, False, True, True, False]
    inner = optimizers.SGD(0.01, gradient_accumulation_steps=2)
    weights = path_of_kernels(LowRank(inner, rank=2, form=RandomProjection(1)), [g] * 4)
    steps = [after - before for before, after in zip(weights, weights[1:])]
    assert not steps[0].any() and not steps[2].any() and np.linalg.matrix_rank(steps[1], tol=1e-6) == 4
    assert np.abs(steps[1] - steps[3]).max() > 1e-3


@pytest.mark.parametrize("name", MATRICES)
def test_galore_is_adam_on_the_projected_gradient(name):
    """Directions of the first gradient's SVD; Adam's step there, and back with the factor s."""
    (n, m), rate, scale = (MATRICES[name] if name == "first" else (9, 4)), 0.01, 0.25
    rng = np.random.default_rng(1)
    gradients = [rng.normal(size=(n, m)) for _ in range(5)]
    u, _, vt = np.linalg.svd(gradients[0])
    left, right = (u[:, :3].T, np.eye(m)) if n <= m else (np.eye(n), vt[:3].T)
    moment = second = 0.0
    expected = np.zeros((n, m))
    for t, g in enumerate(gradients, start=1):
        projected = left @ g @ right
        moment = 0.9 * moment + 0.1 * projected
        second = 0.999 * second + 0.001 * projected**2
        step = moment / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-7)
        expected -= scale * rate * left.T @ step @ right.T
    with keras.name_scope(name):
        kernel = keras.Variable(np.zeros((n, m)), dtype="float32", name="kernel")
    stepper = Stepper(LowRank(optimizers.Adam(rate), rank=3, form=GaLore()), [kernel])
    for g in gradients:
        stepper.step([g])
    assert_close(as_float64(kernel), expected, atol=2e-6)


def test_galore_follows_the_gradient():
    """Fresh directions at each step: what SGD takes away is the best approximation of the gradient of rank r."""
    gradients = [gradient("first", START["first"], step) for step in range(4)]
    form = GaLore(scale=1.0, refresh_every=1)
    weights = path_of_kernels(LowRank(optimizers.SGD(0.01), rank=3, form=form), gradients)
    for g, before, after in zip(gradients, weights, weights[1:]):
        u, s, vt = np.linalg.svd(g)
        assert_close(before - after, 0.01 * (u[:, :3] * s[:3]) @ vt[:3], atol=1e-6)


def test_galore_loses_nothing_of_a_gradient_of_low_rank():
    """Three rows give a gradient of rank 3: the same as SGD. At full rank nothing is projected: the same as Adam."""
    x = INPUTS["first"][:3]
    g = x.T @ (x @ START["first"])
    form = GaLore(scale=1.0, refresh_every=1)
    before, after = path_of_kernels(LowRank(optimizers.SGD(0.01), rank=3, form=form), [g])
    assert_close(before - after, 0.01 * g, atol=1e-6)
    trained, plain = train(LowRank(optimizers.Adam(0.01), rank=8, form=form)), train(optimizers.Adam(0.01))
    for path in ("first/kernel", "second/kernel"):
        assert_close(as_float64(trained[path]), as_float64(plain[path]), atol=1e-6)


def test_decay_starts_again_with_each_projection():
    """Where coordinates mean something else, there is nothing left of the old ones to decay."""
    g = gradient("first", START["first"], 0)
    inner = optimizers.SGD(0.1, weight_decay=1.0)
    weights = path_of_kernels(LowRank(inner, rank=3, form=GaLore(scale=1.0, refresh_every=2)), [g, 0 * g, 0 * g])
    first, second, third = (after - before for before, after in zip(weights, weights[1:]))
    assert_close(second, -0.1 * first, atol=1e-6)
    assert not third.any()


@pytest.mark.parametrize(
    "form", [LoRA(alpha=2), AdditiveLoRA(), RandomProjection(5), GaLore(0.5, 10)], ids=lambda form: type(form).__name__
)
def test_config_round_trip(form):
    optimizer = LowRank("adam", form=form)
    twin = optimizers.deserialize(optimizers.serialize(optimizer))
    assert type(twin.form) is type(form) and twin.form.get_config() == form.get_config()


def test_what_cannot_be_extracted():
    for form in (RandomProjection(), GaLore()):
        optimizer = LowRank("sgd", rank=3, form=form)
        optimizer.build(kernels())
        with pytest.raises(ValueError, match=f"{type(form).__name__} add up to no matrix of low rank"):
            optimizer.extract()
    with pytest.raises(ValueError, match="refresh_every=0"):
        GaLore(refresh_every=0)


def test_seeds_differ_from_kernel_to_kernel_and_run_to_run():
    def factors(seed):
        optimizer = LowRank("sgd", rank=3, seed=seed)
        optimizer.build(kernels())
        return [as_float64(v)[:6] for v in optimizer.variables if v.path.endswith("kernel_a")]

    first, again, other = factors(1), factors(1), factors(2)
    assert all((a == b).all() for a, b in zip(first, again))
    assert np.abs(first[0] - first[1]).max() > 0.1 and np.abs(first[0] - other[0]).max() > 0.1
    assert ops.max(ops.abs(first[0])) < 1.01  # he_uniform of 6 rows
