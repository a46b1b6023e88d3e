"""Dropout: how many elements stay, how large, which ones; that only training drops."""

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers import Dropout

DTYPES = ["float32", "mixed_bfloat16"]


def run(layer, x, **options):
    return np.asarray(ops.convert_to_numpy(ops.cast(layer(x, **options), "float32")), "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_share_and_size(rate, dtype):
    keras.utils.set_random_seed(0)
    x = np.ones((101, 499), "float32")  # no multiple of four
    y = run(Dropout(rate, dtype=dtype), x, training=True)
    kept = y > 0
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / x.size)
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-6 if dtype == "float32" else 4e-3)


def test_elements_are_independent():
    """Neighbours, rows and calls: each pair of elements is dropped together as often as independence says."""
    keras.utils.set_random_seed(1)
    layer, x = Dropout(0.25), np.ones((400, 256), "float32")
    first, second = (run(layer, x, training=True) == 0 for _ in range(2))
    deviation = np.sqrt(0.0625 * 0.9375 / x.size)
    for shift in (1, 2, 3, 4, 8, 256):
        assert abs((first.ravel()[shift:] & first.ravel()[:-shift]).mean() - 0.0625) < 5 * deviation, shift
    assert abs((first & second).mean() - 0.0625) < 5 * deviation


def test_seed_decides():
    x = np.ones((8, 8), "float32")

    def draw():
        keras.utils.set_random_seed(2)
        return run(Dropout(0.5), x, training=True)

    np.testing.assert_array_equal(draw(), draw())


def test_only_training_drops():
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    np.testing.assert_array_equal(run(Dropout(0.5), x), x.astype("float64"))
    np.testing.assert_array_equal(run(Dropout(0.0), x, training=True), x.astype("float64"))
    assert (run(Dropout(1.0), x, training=True) == 0).all()


def test_gradient_goes_through_what_is_kept():
    """A step of SGD moves the scale of a kept element, and of no other."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((64,))
    dropped = Dropout(0.5)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(dropped))
    model.compile(keras.optimizers.SGD(1.0), lambda y, p: ops.sum(p))
    model.train_on_batch(np.ones((1, 64), "float32"), np.zeros((1, 1), "float32"))
    moved = model.get_weights()[0].ravel()
    assert set(np.round(moved, 6)) == {0.0, -2.0} and 16 < (moved == 0).sum() < 48


def test_rows_share_noise():
    y = run(Dropout(0.5, noise_shape=(None, 1)), np.ones((64, 7), "float32"), training=True)
    assert (y == y[:, :1]).all() and 10 < (y[:, 0] == 0).sum() < 54


def test_config():
    layer = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Dropout(0.3, seed=5)))
    assert (type(layer), layer.rate, layer.seed) == (Dropout, 0.3, 5)
