"""AdaFactor against bert4keras' formula in float64, and what Keras' own lacks."""

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.known_gradients import gradients, made, split, start, train
from support.layer_checks import BACKEND

from zoo.optimizers import Bert4KerasAdaFactor

ROWS = gradients(12)
JIT = BACKEND == "jax"


def replay(rate=0.05, beta_1=0.0, beta_2=None, clip=1.0, scale=True, smallest=3):
    """Every weight by itself; matrices with sides of at least `smallest` through their row and column means."""
    weights = [weight.astype("float64") for weight in start()]
    slots = [{"m": 0.0, "v": 0.0, "r": 0.0, "c": 0.0} for _ in weights]
    for t, row in enumerate(ROWS, 1):
        b2 = 1 - t**-0.8 if beta_2 is None else beta_2
        for i, g in enumerate(split(row)):
            s, g2 = slots[i], g * g + 1e-30
            if g.ndim == 2 and min(g.shape) >= smallest:
                s["r"] = b2 * s["r"] + (1 - b2) * g2.mean(axis=1)
                s["c"] = b2 * s["c"] + (1 - b2) * g2.mean(axis=0)
                v = np.outer(s["r"], s["c"]) / s["r"].mean()
            else:
                v = s["v"] = b2 * s["v"] + (1 - b2) * g2
            u = g / np.sqrt(v + 1e-30)
            u = u / max(1, np.sqrt((u * u).mean()) / clip)
            if beta_1:
                u = s["m"] = beta_1 * s["m"] + (1 - beta_1) * u
            rms = max(np.sqrt((weights[i] ** 2).mean()), 1e-3) if scale else 1
            weights[i] = weights[i] - rate * rms * u
    return weights


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"min_dim_size_to_factor": 2}, {"smallest": 2}),
        (
            {"beta_1": 0.7, "beta_2": 0.9, "clip_threshold": 0.5},
            {"beta_1": 0.7, "beta_2": 0.9, "clip": 0.5, "smallest": 9},
        ),
        ({"parameter_scale": False, "min_dim_size_to_factor": 2}, {"scale": False, "smallest": 2}),
    ],
)
def test_equals_its_formula(options, expected):
    optimizer = Bert4KerasAdaFactor.from_config(Bert4KerasAdaFactor(0.05, **options).get_config())
    for weight, value in zip(train(made(optimizer, jit_compile=JIT), ROWS)[-1], replay(**expected)):
        assert_close(weight, value, atol=3e-6)


def test_state_of_a_matrix_is_its_rows_and_columns():
    """n + m numbers, which Keras' Adafactor adds to n · m instead of replacing them."""
    matrix = keras.Variable(np.ones((300, 200), "float32"), name="kernel")

    def size(optimizer):
        optimizer.build([matrix])
        return sum(int(np.prod(variable.shape)) for variable in optimizer.variables)

    assert size(Bert4KerasAdaFactor()) == 300 + 200 + 2
    assert size(keras.optimizers.Adafactor()) >= 300 * 200
    assert size(Bert4KerasAdaFactor(min_dim_size_to_factor=201)) == 300 * 200 + 2


def test_the_two_longest_axes_are_factored():
    optimizer = Bert4KerasAdaFactor(min_dim_size_to_factor=4)
    assert optimizer.factored_axes((4, 2, 5)) == (0, 2) and optimizer.factored_axes((7, 3)) is None
    assert optimizer.factored_axes((9,)) is None and optimizer.factored_axes((4, 4)) == (0, 1)


def test_three_axes():
    """A stack of matrices with a short axis between: as bert4keras, the means run over the long axes."""
    gradient = np.random.default_rng(0).normal(0, 1, (4, 2, 5))
    weight = keras.Variable(np.ones((4, 2, 5), "float32"), name="kernel")
    optimizer = Bert4KerasAdaFactor(0.1, min_dim_size_to_factor=4)
    optimizer.apply([keras.ops.convert_to_tensor(gradient.astype("float32"))], [weight])
    squares = gradient**2
    rows, columns = squares.mean(axis=2, keepdims=True), squares.mean(axis=0, keepdims=True)
    step = gradient / np.sqrt(rows * columns / rows.mean(axis=0, keepdims=True))
    step /= max(1, np.sqrt((step**2).mean()))
    assert_close(weight, 1 - 0.1 * step, atol=1e-5)
