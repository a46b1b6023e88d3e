"""NTK parametrisation: the same function as a dense layer, with weights of size 1."""

import json

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.layer_checks import check_layer, numpy

from zoo.layers import NTKDense
from zoo.layers.ntk_dense import ntk_kernel, standard_kernel


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 5, 8)).astype("float32")


@pytest.mark.parametrize("gain", [1.0, 2**0.5])
def test_is_a_dense_layer_with_a_rescaled_kernel(x, gain):
    dense, ntk = keras.layers.Dense(6, activation="relu"), NTKDense(6, gain, activation="relu")
    dense.build(x.shape)
    ntk.build(x.shape)
    dense.bias.assign(np.arange(6) / 6)
    ntk.bias.assign(dense.bias)
    ntk.kernel.assign(ntk_kernel(dense.kernel, gain))
    assert_close(ntk(x), dense(x), atol=1e-6)
    assert_close(standard_kernel(ntk.kernel, gain), dense.kernel, atol=1e-6)


def test_second_moments():
    """E w² = 1, E y² = gain² for inputs of second moment 1, at any width; each kernel is drawn apart."""
    rng = np.random.default_rng(0)
    for width in (16, 256):
        x = rng.standard_normal((2000, width)).astype("float32")
        layers = [NTKDense(500, 1.5, use_bias=False) for _ in range(2)]
        out = [numpy(layer(x)) for layer in layers]
        assert (numpy(layers[0].kernel) ** 2).mean() == pytest.approx(1, rel=0.1)
        assert (out[0] ** 2).mean() == pytest.approx(1.5**2, rel=0.1)
        assert np.abs(out[0] - out[1]).max() > 1


def test_a_step_is_as_large_at_every_width():
    """Gradient by a weight of size 1 is 1/sqrt(m) of that by a dense kernel: the function moves by O(1), not O(m)."""
    moved = {}
    for width in (64, 1024):
        x = np.random.default_rng(0).standard_normal((1, width)).astype("float32")
        for kind, layer in (("ntk", NTKDense(1, use_bias=False)), ("dense", keras.layers.Dense(1, use_bias=False))):
            model = keras.Sequential([keras.Input((width,)), layer])
            model.compile(keras.optimizers.SGD(1e-4), lambda y, p: p, jit_compile=False)
            before = model.predict(x, verbose=0)
            model.fit(x, np.zeros((1, 1)), verbose=0)
            moved[kind, width] = float((before - model.predict(x, verbose=0))[0, 0])
    assert moved["ntk", 1024] == pytest.approx(moved["ntk", 64], rel=0.3)
    assert moved["dense", 1024] > 10 * moved["dense", 64]


def test_config(x):
    layer = NTKDense(6, 1.5, activation="gelu", use_bias=False)
    twin = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(layer))))
    assert (twin.units, twin.gain, twin.use_bias) == (6, 1.5, False)
    assert twin.kernel_initializer.stddev == 1


def test_layer_contract(tmp_path, x):
    check_layer(NTKDense(6, 2**0.5, activation="relu"), {"x": x}, tmp_path, 0.03, weights=2)
