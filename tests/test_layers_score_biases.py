"""Additive biases: loops, limits, and Sandwich as biases of query and key before the rotation."""

import json
import math

import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.attention_oracle import bias
from support.layer_checks import built, call, gradients, numpy

from zoo.backend.arguments import described
from zoo.layers import (
    KERPLE,
    ALiBi,
    GatedAttentionUnit,
    MultiHeadAttention,
    RotaryEmbedding,
    Sandwich,
    ScoreBias,
    options,
)

BIASES = [
    ALiBi(),
    ALiBi([1.0, 0.5, 0.1, 0.0]),
    KERPLE(),
    KERPLE("logarithmic", 0.5, 3.0),
    KERPLE("power", 0.5, 0.7),
    Sandwich(0.2, size=16),
]
every = pytest.mark.parametrize("option", BIASES, ids=repr)


@every
def test_equals_the_loop(option):
    rng = np.random.default_rng(0)
    trained = {
        name: rng.normal(start, 1, shape).astype("float32") for name, (shape, start) in option.trained(4, 8).items()
    }
    here = np.array([[0, 3, 1.5, 40], [7, 7, 2, 0]], "float32")
    there = np.array([[0, 1, 2, 3, 90], [7, 0, 0.5, 1, 1]], "float32")
    expected = np.zeros((2, 4, 4, 5))
    for b, h, i, j in np.ndindex(expected.shape):
        expected[b, h, i, j] = bias(option, abs(float(here[b, i]) - float(there[b, j])), h, 4, trained)
    found = numpy(option.bias(ops.convert_to_tensor(here), ops.convert_to_tensor(there), 4, trained))
    assert_close(np.broadcast_to(found, expected.shape), expected, atol=1e-4, rtol=1e-6)


@every
def test_is_a_toeplitz_matrix_that_falls_with_the_distance(option):
    trained = {name: np.full(shape, start, "float32") for name, (shape, start) in option.trained(4, 8).items()}
    line = np.arange(30, dtype="float32")[None]
    matrix = numpy(option.bias(line, line, 4, trained))
    assert_close(matrix[..., 1:, 1:], matrix[..., :-1, :-1], atol=1e-4)
    assert_close(matrix, np.swapaxes(matrix, -1, -2), atol=1e-4)
    first = matrix[0, 0, 0]
    assert first[0] == first.max()
    assert first[:5].mean() > first[5:15].mean() > first[15:].mean()


def test_slopes_of_alibi():
    """1/2, 1/4, ... 1/256 for 8 heads; 1/256 for the single one of a gated unit."""
    line = np.arange(2, dtype="float32")[None]
    assert_close(ALiBi().bias(line, line, 8, {})[0, :, 1, 0], [-(2.0**-h) for h in range(1, 9)], atol=1e-7)
    assert_close(ALiBi().bias(line, line, 1, {})[0, :, 1, 0], [-(2.0**-8)], atol=1e-7)


def test_steep_alibi_looks_at_itself_only():
    """λ → ∞: A = I."""
    x = np.random.default_rng(0).standard_normal((2, 6, 8)).astype("float32")
    steep = built(MultiHeadAttention(2, 4, attention_options={"score_bias": ALiBi([1e6, 1e6])}), {"query": x})
    plain = built(MultiHeadAttention(2, 4), {"query": x})
    assert_close(steep(x), plain(x, attention_mask=np.eye(6, dtype=bool)), atol=1e-5)


@pytest.mark.parametrize("kind, r1, r2", [("logarithmic", 0.3, 2.0), ("power", 0.3, 1.5), ("power", 2.0, 0.1)])
def test_kerple_starts_where_it_is_told(kind, r1, r2):
    option = KERPLE(kind, r1, r2)
    trained = {name: np.full(shape, start, "float32") for name, (shape, start) in option.trained(2, 8).items()}
    line = np.arange(5, dtype="float32")[None]
    growth = [gap**r2 if kind == "power" else math.log(1 + r2 * gap) for gap in range(5)]
    assert_close(option.bias(line, line, 2, trained)[0, 1, :, 0], [-r1 * g for g in growth], atol=1e-5)


@pytest.mark.parametrize("kind", ["logarithmic", "power"])
def test_kerple_is_trained_head_by_head(kind):
    """Finite gradients, at the distance 0 too, and not the same for all heads."""
    x = np.random.default_rng(0).standard_normal((2, 6, 8)).astype("float32")
    layer = built(MultiHeadAttention(2, 4, attention_options={"score_bias": KERPLE(kind)}), {"query": x})
    assert [v.path.split("/")[-1] for v in layer.weights][:2] == ["kerple_r1", "kerple_r2"]
    for gradient in gradients(layer, {"query": x}, x)[:2]:
        gradient = numpy(gradient)
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).min() > 1e-6
        assert gradient[0] != gradient[1]


def test_sandwich_is_a_bias_of_query_and_key_before_the_rotation():
    """a = b = sqrt(λ) (1, 0, 1, 0, ...) adds λ Σ cos((i − j) θ) to the scores of zero queries and keys."""
    strength, size = 0.3, 16
    x = np.random.default_rng(0).standard_normal((2, 7, 8)).astype("float32")
    options = {"normalization": "softmax", "score_scale": 1.0, "use_bias": False, "position": "rotary"}
    biased = built(GatedAttentionUnit(10, size, attention_options={"query_key_bias": True}, **options), {"query": x})
    sandwich = built(
        GatedAttentionUnit(10, size, attention_options={"score_bias": Sandwich(strength, size)}, **options),
        {"query": x},
    )
    vector = np.tile([math.sqrt(strength), 0], size // 2)[None]
    for weight in (biased.trained_options["query_bias"], biased.trained_options["key_bias"]):
        weight.assign(vector)
    for layer in (biased, sandwich):
        for scale in (layer.query_scale, layer.key_scale):
            scale.gamma.assign(np.zeros(size))
    for name in ("input_dense", "output_dense"):
        getattr(sandwich, name).kernel.assign(getattr(biased, name).kernel)
    assert_close(sandwich(x), biased(x), atol=1e-5)
    line = np.arange(7, dtype="float32")
    turned = RotaryEmbedding().scores(np.tile(vector, (7, 1))[None], np.tile(vector, (7, 1))[None], line)
    assert_close(Sandwich(strength, size).bias(line[None], line[None], 1, {})[:, 0], turned, atol=1e-5)


@every
def test_config_comes_back(option):
    assert options.get(json.loads(json.dumps(described(option))), ScoreBias) == option


def test_biases_follow_given_positions():
    x = np.random.default_rng(0).standard_normal((2, 6, 8)).astype("float32")
    layer = built(MultiHeadAttention(2, 4, attention_options={"score_bias": "alibi"}), {"query": x})
    order = [3, 0, 5, 1, 4, 2]
    out = call(layer, {"query": x[:, order], "positions": np.tile(np.array(order, "float32"), (2, 1))})
    assert_close(out, numpy(layer(x))[:, order], atol=1e-5)


def test_errors():
    with pytest.raises(ValueError, match="ALiBi has 3 slopes, the attention 2 heads"):
        MultiHeadAttention(2, 4, attention_options={"score_bias": ALiBi([1, 2, 3])})
    with pytest.raises(ValueError, match="kind='cubic'; expected 'logarithmic' or 'power'"):
        KERPLE("cubic")
    with pytest.raises(ValueError, match="r2=2; expected r1 > 0, r2 > 0, and r2 < 2 in the power form"):
        KERPLE("power", r2=2)
    with pytest.raises(ValueError, match="size=7; expected an even number"):
        Sandwich(size=7)
