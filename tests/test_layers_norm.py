"""Norms: RMS norm, LayerNorm, conditional LayerNorm."""

import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import built, call, check_layer, numpy, randomise

from zoo.layers import ConditionalLayerNorm, LayerNorm, RMSNorm, ScaleOffset


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(0.5, 2, (3, 5, 12)).astype("float32")


def normalized(x, epsilon):
    x = np.asarray(x, "float64")
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)


def test_rms_norm_equals_bert4keras(golden):
    """On rows whose sizes differ by 10⁴, where the epsilon shows; the original's default is ours."""
    arrays = golden("ops")
    assert RMSNorm().epsilon == arrays["norm/default_epsilon"]
    assert_close(RMSNorm()(arrays["norm/x"]), arrays["norm/rms_no_params_default_eps"], atol=2e-5)


def test_rms_norm_with_gain_equals_bert4keras(golden):
    arrays = golden("ops")
    gain = ScaleOffset(use_offset=False)
    gain.build((12,))
    gain.gamma.assign(arrays["norm/rms_gamma_only/gamma"])
    assert_close(gain(RMSNorm()(arrays["norm/x"])), arrays["norm/rms_gamma_only"], atol=2e-5)


@pytest.mark.parametrize("name, epsilon", [("ln_default_eps", 1e-7), ("ln_eps1e-12", 1e-12)])
def test_layer_norm_equals_bert4keras(golden, name, epsilon):
    arrays = golden("ops")
    norm = LayerNorm(epsilon=epsilon)
    norm.build((12,))
    norm.gamma.assign(arrays[f"norm/{name}/gamma"])
    norm.beta.assign(arrays[f"norm/{name}/beta"])
    assert_close(norm(arrays["norm/x"]), arrays[f"norm/{name}"], atol=2e-5)


@pytest.mark.parametrize("epsilon", [1e-12, 1e-7, 1e-2])
def test_equals_the_formula(x, epsilon):
    root_mean_square = np.sqrt((x.astype("float64") ** 2).mean(-1, keepdims=True) + epsilon)
    assert_close(RMSNorm(epsilon)(x), x / root_mean_square, atol=1e-6)
    assert_close(LayerNorm(epsilon)(x), normalized(x, epsilon), atol=2e-6)


def test_rms_norm_has_no_weights_and_length_sqrt_d(x):
    norm = RMSNorm()
    out = numpy(norm(1000 * x))
    assert norm.weights == []
    assert_close(np.linalg.norm(out, axis=-1), np.full((3, 5), 12**0.5), atol=1e-5)
    assert_close(out, norm(x), atol=1e-6)  # size does not count


def test_zero_and_constant_rows():
    """No NaN where the variance is 0."""
    zeros, ones = np.zeros((1, 2, 8), "float32"), np.full((1, 2, 8), 7, "float32")
    assert_close(RMSNorm()(zeros), zeros, atol=0)
    assert_close(LayerNorm()(zeros), zeros, atol=0)
    assert_close(LayerNorm()(ones), zeros, atol=0)


@pytest.mark.parametrize("layer", [RMSNorm, LayerNorm])
@pytest.mark.parametrize("dtype, size", [("bfloat16", 1e18), ("float16", 3e4), ("float16", 1e-5)])
def test_half_precision_is_float32_inside(x, layer, dtype, size):
    """The only error is the rounding of the output, even where squares do not fit the dtype."""
    narrow = ops.cast(x / np.abs(x).max() * size, dtype)
    epsilon = 1e-30
    expected = numpy(layer(epsilon, dtype="float32")(ops.cast(narrow, "float32")))
    out = layer(epsilon, dtype=f"mixed_{dtype}")(narrow)
    assert_close(out, expected, atol=0, rtol={"bfloat16": 2**-8, "float16": 2**-11}[dtype] * 1.01)


@pytest.mark.parametrize("condition_shape", [(3, 6), (3, 1, 6), (3, 5, 6)])
def test_conditional_layer_norm(x, condition_shape):
    """It starts as a LayerNorm; trained, γ and β move linearly with the condition."""
    condition = np.random.default_rng(1).standard_normal(condition_shape).astype("float32")
    norm = ConditionalLayerNorm()
    assert_close(norm(x, condition), LayerNorm()(x), atol=0)
    randomise(norm)
    gamma, beta = numpy(norm.gamma), numpy(norm.beta)
    wide = condition.reshape(3, -1, 6)
    gamma = gamma + wide @ numpy(norm.gamma_dense.kernel)
    beta = beta + wide @ numpy(norm.beta_dense.kernel)
    assert_close(norm(x, condition), normalized(x, 1e-12) * gamma + beta, atol=2e-5)


def test_conditional_layer_norm_with_hidden_layer(x):
    condition = np.random.default_rng(1).standard_normal((3, 6)).astype("float32")
    norm = ConditionalLayerNorm(hidden_dim=4, hidden_activation="tanh")
    assert_close(norm(x, condition), LayerNorm()(x), atol=0)
    randomise(norm)
    hidden = np.tanh(condition @ numpy(norm.hidden.kernel))[:, None]
    gamma = numpy(norm.gamma) + hidden @ numpy(norm.gamma_dense.kernel)
    beta = numpy(norm.beta) + hidden @ numpy(norm.beta_dense.kernel)
    assert_close(norm(x, condition), normalized(x, 1e-12) * gamma + beta, atol=2e-5)


def test_scale_offset_is_affine_per_feature(x):
    layer = built(ScaleOffset(), {"x": x})
    assert_close(layer(x), x * numpy(layer.gamma) + numpy(layer.beta), atol=1e-6)
    assert [v.name for v in built(ScaleOffset(use_offset=False), {"x": x}).weights] == ["gamma"]
    assert_close(call(ScaleOffset(), {"x": x}), x, atol=0)


@pytest.mark.parametrize(
    "layer, weights",
    [
        (lambda: RMSNorm(1e-5), 0),
        (lambda: LayerNorm(1e-5), 2),
        (lambda: ConditionalLayerNorm(hidden_dim=4), 5),
        (lambda: ScaleOffset(use_offset=False), 1),
    ],
    ids=["RMSNorm", "LayerNorm", "ConditionalLayerNorm", "ScaleOffset"],
)
def test_layer_contract(tmp_path, x, layer, weights):
    inputs = {"x": x}
    if isinstance(layer(), ConditionalLayerNorm):
        inputs["condition"] = x[:, 0, :6]
    check_layer(layer(), inputs, tmp_path, weights=weights)
