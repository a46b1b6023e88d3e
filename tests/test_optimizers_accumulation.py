"""Keras' gradient accumulation: what is exact, and what counts batches instead of updates.

zoo adds no accumulation of its own, since with dense gradients, which zoo's embeddings give, Keras' is exact.
"""

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.known_gradients import gradients, made, start, train
from support.layer_checks import BACKEND
from support.tiny_models import backbone

import zoo
from zoo.optimizers import ExponentialMovingAverage, LayerAdaptation, PiecewiseLinear, averaged_weights

JIT = BACKEND == "jax"
PARTS = 3
ROWS = gradients(4 * PARTS)
MEANS = ROWS.reshape(4, PARTS, -1).mean(axis=1)
OPTIMIZERS = {
    "decay and global norm": lambda **more: keras.optimizers.AdamW(
        0.02, weight_decay=0.1, epsilon=1e-5, global_clipnorm=0.3, **more
    ),
    "norm of each": lambda **more: keras.optimizers.Adam(0.02, epsilon=1e-5, clipnorm=0.1, **more),
    "wrapped": lambda **more: LayerAdaptation(keras.optimizers.AdamW(0.02, weight_decay=0.1, epsilon=1e-5, **more)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parts_equal_their_mean(name):
    """Clipping acts on the mean, decay and moments once an update; between updates nothing moves."""
    parts = train(made(OPTIMIZERS[name](gradient_accumulation_steps=PARTS), jit_compile=JIT), ROWS)
    whole = train(made(OPTIMIZERS[name](), jit_compile=JIT), MEANS)
    for number, weights in enumerate(parts, 1):
        expected = start() if number < PARTS else whole[number // PARTS - 1]
        for weight, value in zip(weights, expected):
            assert_close(weight, value, atol=1e-6)


def test_schedules_count_batches():
    """The update at batches 3, 6, ... takes the rate of steps 2, 5, ...: a schedule is to be given in batches."""
    schedule = PiecewiseLinear(1.0, {0: 0, 11: 1.1})
    optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=PARTS)
    weights, expected = train(made(optimizer, jit_compile=JIT), ROWS)[-1], start()[0].astype("float64")
    for update, mean in enumerate(MEANS.astype("float64")):
        expected -= 0.1 * (PARTS * update + PARTS - 1) * mean[:8].reshape(4, 2)
    assert_close(weights[0], expected, atol=1e-6)


def test_averages_count_updates():
    """Ours takes one weight an update. Keras' `use_ema` moves PARTS times as often, and starts after the first update."""
    model = made(
        ExponentialMovingAverage(OPTIMIZERS["norm of each"](gradient_accumulation_steps=PARTS), 0.8), jit_compile=JIT
    )
    history = train(model, ROWS)
    expected = start()[0].astype("float64")
    for weights in history[PARTS - 1 :: PARTS]:
        expected = 0.8 * expected + 0.2 * weights[0]
    with averaged_weights(model):
        assert_close(model.get_weights()[0], expected, atol=2e-6)

    keras_own = OPTIMIZERS["norm of each"](gradient_accumulation_steps=PARTS, use_ema=True, ema_momentum=0.8)
    train(made(keras_own, jit_compile=JIT), ROWS)
    average, kept = keras_own._model_variables_moving_average[0], start()[0].astype("float64")
    for number, weights in enumerate(history, 1):
        momentum = 0.8 if number > PARTS else 0.0
        kept = momentum * kept + (1 - momentum) * weights[0]
    assert np.abs(keras.ops.convert_to_numpy(average) - expected).max() > 1e-3
    assert_close(average, kept, atol=2e-6)


def test_repeated_tokens():
    """A model of zoo, whose batches repeat ids: two halves give the step of the whole batch (TensorFlow's trap)."""
    ids = np.array([[2, 5, 5, 9, 5, 3], [2, 9, 9, 5, 9, 3], [2, 7, 5, 5, 8, 3], [2, 9, 5, 9, 9, 3]], "int32")
    x, y = {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids > 0}, np.array([0, 1, 1, 0], "int32")

    def trained(batches, **options):
        keras.utils.set_random_seed(1)
        model = zoo.TextClassifier(backbone(), num_classes=2, dropout=0.0)
        model.compile(keras.optimizers.Adam(0.01, epsilon=1e-4, **options))
        for _ in range(2):
            for rows in batches:
                model.train_on_batch({name: array[rows] for name, array in x.items()}, y[rows])
        return model.get_weights()

    whole = trained([slice(0, 4)])
    halves = trained([slice(0, 2), slice(2, 4)], gradient_accumulation_steps=2)
    for one, other in zip(whole, halves, strict=True):
        assert_close(one, other, atol=2e-5)
