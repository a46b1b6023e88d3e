"""Linear attention against its weights, written down pair by pair."""

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import built, call, check_layer, gradients, numpy

from zoo.layers import LinearAttention
from zoo.layers.linear_attention import elu_plus_one

N, D, H, S, W = 11, 8, 2, 4, 3
FEATURES = {
    "elu_plus_one": lambda x: np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))),
    "relu": lambda x: np.maximum(x, 0),
    "softplus": lambda x: np.log1p(np.exp(x)),
}


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, N, D)).astype("float32")


@pytest.fixture
def mask():
    return np.arange(N) < np.array([[N], [6]])


def layer_of(x, **options):
    return built(LinearAttention(H, W, key_dim=S, chunk_length=4, **options), {"x": x})


def rotate(x, positions):
    angles = positions[:, None] * 10000.0 ** (-np.arange(0, S, 2) / S)
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def brute_force(layer, x, mask, causal, feature_map="elu_plus_one", rotary=False):
    project = lambda dense: x.astype("float64") @ numpy(dense.kernel) + numpy(dense.bias)
    heads = lambda dense, width: project(dense).reshape(*x.shape[:2], H, width).swapaxes(1, 2)
    q, k = (FEATURES[feature_map](heads(dense, S)) for dense in (layer.query_dense, layer.key_dense))
    v = heads(layer.value_dense, W)
    weights = q @ k.swapaxes(-1, -2)  # [B, H, n, n]
    visible = mask[:, None, None] & (np.tril(np.ones((N, N), bool)) if causal else np.ones((N, N), bool))
    total = (weights * visible).sum(-1, keepdims=True)
    if rotary:
        weights = rotate(q, np.arange(N)) @ rotate(k, np.arange(N)).swapaxes(-1, -2)
    out = (weights * visible) @ v / np.where(total > 0, total, 1)
    out = out.swapaxes(1, 2).reshape(*x.shape[:2], H * W)
    return out @ numpy(layer.output_dense.kernel) + numpy(layer.output_dense.bias)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("feature_map", FEATURES)
def test_equals_the_weights(x, mask, causal, feature_map):
    layer = layer_of(x, causal=causal, feature_map=feature_map)
    for padding_mask in (mask, None):
        real = np.ones_like(mask) if padding_mask is None else mask
        expected = brute_force(layer, x, real, causal, feature_map)
        assert_close(layer(x, padding_mask=padding_mask), expected, atol=3e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_rotary_turns_the_numerator_alone(x, mask, causal):
    layer = layer_of(x, causal=causal, position="rotary")
    assert_close(layer(x, padding_mask=mask), brute_force(layer, x, mask, causal, rotary=True), atol=3e-5)
    assert_close(layer(x, positions=np.arange(N) + 100.5), layer(x), atol=1e-4)


@pytest.mark.parametrize("size", [1, 5, 64])
def test_chunks_do_not_decide(x, mask, size):
    layer = built(LinearAttention(H, W, key_dim=S, causal=True, chunk_length=size), {"x": x})
    assert_close(layer(x, padding_mask=mask), brute_force(layer, x, mask, True), atol=3e-5)


@pytest.mark.parametrize("token", [3, 4])
def test_causal_hides_the_future(x, token):
    layer = layer_of(x, causal=True, position="rotary")
    changed = x.copy()
    changed[:, token] += 1e4
    before, after = numpy(layer(x)), numpy(layer(changed))
    assert_close(after[:, :token], before[:, :token], atol=0)
    assert (np.abs(after - before)[:, token:].max(-1) > 1e-3).all()


@pytest.mark.parametrize("causal", [False, True])
def test_padding_changes_nothing(x, mask, causal):
    layer = layer_of(x, causal=causal)
    padded, wide = np.pad(x, [(0, 0), (0, 9), (0, 0)], constant_values=9), np.pad(mask, [(0, 0), (0, 9)])
    out = numpy(layer(x, padding_mask=mask))
    assert_close(numpy(layer(padded, padding_mask=wide))[wide], out[mask], atol=1e-5)


def test_a_row_of_padding_gets_the_output_bias(x):
    """With ReLU features, whose weights can all be 0 without padding too."""
    layer = layer_of(x, feature_map="relu", causal=True)
    inputs = {"x": x, "padding_mask": np.array([[True] * N, [False] * N])}
    assert_close(numpy(call(layer, inputs))[1], np.broadcast_to(numpy(layer.output_dense.bias), (N, D)), atol=0)
    for gradient in gradients(layer, inputs, np.ones_like(x)):
        assert np.isfinite(numpy(gradient)).all()


def test_equal_keys_average_the_values(x):
    """Without key kernel every weight is the same: the causal output is the running mean of the values."""
    layer = layer_of(x, causal=True)
    layer.key_dense.kernel.assign(np.zeros((D, H * S)))
    values = x.astype("float64") @ numpy(layer.value_dense.kernel) + numpy(layer.value_dense.bias)
    means = np.cumsum(values, axis=1) / np.arange(1, N + 1)[:, None]
    expected = means @ numpy(layer.output_dense.kernel) + numpy(layer.output_dense.bias)
    assert_close(layer(x), expected, atol=2e-5)


def test_small_features_keep_their_digits():
    """elu(-30) + 1 would be 0 in float32."""
    x = np.array([-30.0, -1.0, 0.0, 2.0], "float32")
    assert_close(numpy(elu_plus_one(ops.convert_to_tensor(x))) / FEATURES["elu_plus_one"](x), np.ones(4), atol=1e-5)


def test_refuses_what_it_cannot_do(x):
    with pytest.raises(ValueError, match="identity"):
        LinearAttention(H, W, feature_map="identity")
    with pytest.raises(ValueError, match="chunk_length"):
        LinearAttention(H, W, chunk_length=0)
    with pytest.raises(ValueError, match="causal=True or False"):
        layer_of(x)(x, attention_mask=ops.ones((N, N), "bool"))


def test_one_graph_reads_every_length(x):
    """Compiled with free n: below and above the chunk length. Causal, so that a shorter input gives the same start."""
    layer = LinearAttention(H, W, causal=True, chunk_length=4)
    inputs = keras.Input((None, D))
    model = keras.Model(inputs, layer(inputs))
    model.compile(jit_compile=False)
    expected = numpy(layer(x))
    for length in (3, 9):
        assert_close(model.predict(x[:, :length], verbose=0), expected[:, :length], atol=1e-5)


@pytest.mark.parametrize(
    "options, weights", [({"use_bias": False, "output_dim": 5}, 4), ({"causal": True, "position": "rotary"}, 8)]
)
def test_layer_contract(tmp_path, x, mask, options, weights):
    inputs = {"x": x, "padding_mask": mask, "positions": np.tile(np.arange(N, dtype="float32"), (2, 1))}
    layer = LinearAttention(H, W, key_dim=S, chunk_length=4, **options)
    check_layer(layer, inputs, tmp_path, 0.05, weights=weights)
