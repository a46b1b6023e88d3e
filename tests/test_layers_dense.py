"""Projections: the numbers of a product and a sum, gradients, adapters of Keras on top."""

import warnings

import keras
import numpy as np
import pytest
from scipy.special import erf
from support.arrays import assert_close
from support.layer_checks import built, call, check_layer, gradients, numpy
from support.tiny_models import backbone, scatter_weights

from zoo.layers import Dense, NTKDense


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", [None, "gelu"])
def test_equals_float64(x, use_bias, activation):
    layer = built(Dense(6, activation=activation, use_bias=use_bias), {"x": x})
    expected = x.astype("float64") @ numpy(layer.kernel) + (numpy(layer.bias) if use_bias else 0)
    if activation:
        expected *= 0.5 * (1 + erf(expected / np.sqrt(2)))
    assert_close(
        call(layer, {"x": x}), expected, atol=1e-5 if activation is None else 2e-3
    )  # Keras' gelu has tanh in it


def test_rows_and_single_vectors(x):
    layer = built(Dense(6), {"x": x})
    assert_close(layer(x[0]), numpy(layer(x))[0], atol=1e-6)
    assert_close(layer(x[0, :1])[0], numpy(layer(x))[0, 0], atol=1e-6)


def test_gradients(x):
    layer = built(Dense(6), {"x": x})
    upstream = np.random.default_rng(1).normal(size=(3, 5, 6)).astype("float32")
    kernel, bias = gradients(layer, {"x": x}, upstream)
    assert_close(kernel, np.einsum("bnm,bnk->mk", x, upstream), atol=1e-4)
    assert_close(bias, upstream.sum((0, 1)), atol=1e-4)


def test_adapters_of_keras_still_act(x):
    """`enable_lora` puts the kernel together anew: the product has to ask for it each time."""
    layer = built(Dense(6), {"x": x})
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(np.ones((2, 6)))
    delta = numpy(layer.lora_kernel_a) @ np.ones((2, 6))
    assert np.abs(delta).max() > 1e-3
    expected = x @ (numpy(layer._kernel) + delta) + numpy(layer.bias)
    assert_close(layer(x), expected, atol=1e-5)


def test_quantization_of_keras():
    """`quantize` of a backbone reaches every projection: int8 kernels, outputs near those of before, adapters on top."""
    model = scatter_weights(backbone(num_layers=2))
    token_ids = np.random.default_rng(0).integers(5, 100, (4, 9)).astype("int32")
    before = numpy(model(token_ids))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of each layer that has no product
        model.quantize("int8")
    projections = [layer for layer in model._flatten_layers() if isinstance(layer, Dense)]
    assert len(projections) == 12
    for layer in projections:
        assert layer.quantization_mode == "int8" and keras.backend.standardize_dtype(layer._kernel.dtype) == "int8"
    after = numpy(model(token_ids))
    assert 0 < np.abs(after - before).max() < 0.1 * np.abs(before).max()
    assert len(projections[0].weights) == 2  # int8 kernel and its scales
    projections[0].enable_lora(2)
    projections[0].lora_kernel_b.assign(np.ones(projections[0].lora_kernel_b.shape))
    assert np.abs(numpy(model(token_ids)) - after).max() > 1e-3


def test_subclasses_are_refused_as_by_keras(x):
    layer = built(NTKDense(6), {"x": x})
    with pytest.raises(NotImplementedError, match="NTKDense"):
        layer.quantize("int8")


def test_layer_contract(tmp_path, x):
    check_layer(Dense(6, activation="relu"), {"x": x}, tmp_path, 0.03, weights=2)
