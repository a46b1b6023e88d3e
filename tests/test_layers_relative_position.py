"""Relative positions in keys and values, against a loop in float64."""

import math

import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import built, check_layer, numpy

from zoo.layers import GatedAttentionUnit, MultiHeadAttention, RelativePosition, causal_mask, options

MASK = np.arange(7) < np.array([[7], [4]])


def vector(distance, most, width):
    """The row of a clipped distance, number by number."""
    place = min(max(distance, -most), most) + most
    angle = lambda i: place / 10000 ** (2 * (i // 2) / width)
    return np.array([math.cos(angle(i)) if i % 2 else math.sin(angle(i)) for i in range(width)])


def mixed(query, key, value, most, seen, first_query=0):
    """Weights times values, both with their vectors: `[n, s]`, `[m, s]`, `[m, e]` -> `[n, e]`."""
    out = np.zeros((len(query), value.shape[1]))
    for i, q in enumerate(query):
        places = [j for j in range(len(key)) if seen[i, j]]
        gap = lambda j, width, i=i: vector(j - i - first_query, most, width)
        scores = np.array([q @ (key[j] + gap(j, len(q))) / math.sqrt(len(q)) for j in places])
        weights = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        out[i] = sum(w * (value[j] + gap(j, value.shape[1])) for w, j in zip(weights, places))
    return out


@pytest.fixture
def x(rng):
    return rng.standard_normal((2, 7, 12)).astype("float32")


@pytest.mark.parametrize("most", [2, 64])
def test_attention_equals_the_loop(x, most):
    """Value heads are narrower than key heads; the second row has three places of padding."""
    layer = built(MultiHeadAttention(2, 6, 8, position=RelativePosition(most)), {"query": x})
    q, k, v = layer.project(*[ops.convert_to_tensor(x)] * 3)
    expected = np.stack([
        [
            mixed(*(numpy(a)[b, h].astype("float64") for a in (q, k, v)), most, np.tile(MASK[b], (7, 1)))
            for h in range(2)
        ]
        for b in range(2)
    ])  # fmt: skip
    joined = layer.join_heads(ops.convert_to_tensor(expected.astype("float32")))
    assert_close(layer(x, padding_mask=MASK), joined, atol=2e-5)
    given = np.tile(np.arange(7) * 3.0, (2, 1))
    assert_close(layer(x, padding_mask=MASK, positions=given), joined, atol=2e-5)  # places count, not positions
    first = layer.first(ops.convert_to_tensor(x[:, :1]), ops.convert_to_tensor(x), MASK)
    assert_close(first, numpy(joined)[:, :1], atol=2e-5)


def test_gated_unit_equals_the_loop(x):
    layer = built(GatedAttentionUnit(10, 8, position="relative", normalization="softmax"), {"query": x})
    rng = np.random.default_rng(1)
    q, k, v = (rng.standard_normal((2, 7, width)).astype("float32") for width in (8, 8, 10))
    out = layer.mix(*map(ops.convert_to_tensor, (q, k, v)), 1, attention_mask=np.tril(np.ones((7, 7), bool)))
    for b in range(2):
        assert_close(numpy(out)[b], mixed(q[b], k[b], v[b], 64, np.tril(np.ones((7, 7)))), atol=2e-5)
    assert layer.options.position == RelativePosition()


def test_layer_contract(x, tmp_path):
    """Compiled, saved, in half precision."""
    layer = MultiHeadAttention(2, 6, 8, position=RelativePosition(3))
    check_layer(layer, {"query": x, "padding_mask": MASK}, tmp_path, half_tolerance=0.05, weights=8)


def test_padding_changes_nothing_and_cached_equals_uncached(rng, x):
    layer = built(MultiHeadAttention(2, 6, 8, position=RelativePosition(3)), {"query": x})
    padded = np.concatenate([x, 50 * rng.standard_normal((2, 4, 12))], axis=1).astype("float32")
    wide = np.pad(MASK, [(0, 0), (0, 4)])
    assert_close(numpy(layer(padded, padding_mask=wide))[wide], numpy(layer(x, padding_mask=MASK))[MASK], atol=2e-5)
    expected, cache, start = numpy(layer(x, attention_mask=causal_mask(7))), layer.empty_cache(2, 9), 0
    for length in (3, 1, 1, 2):
        new = ops.convert_to_tensor(x[:, start : start + length])
        out, cache = layer.step(new, cache, start)
        assert_close(out, expected[:, start : start + length], atol=2e-5)
        start += length


def test_errors_and_config(x):
    assert options.get(RelativePosition(5).described()) == RelativePosition(5)
    for wrong in (0, 1.5, True, None):
        with pytest.raises(ValueError, match="max_distance=.*expected a whole number"):
            RelativePosition(wrong)
    layer = built(MultiHeadAttention(2, 6, position="relative"), {"query": x})
    with pytest.raises(ValueError, match="RelativePosition.*in cross attention"):
        layer(x, np.ones((2, 3, 12), "float32"))
