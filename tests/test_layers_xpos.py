"""XPOS: rotary products that decay to the left."""

import numpy as np
import pytest
from support.arrays import assert_close
from support.attention_oracle import product
from support.layer_checks import numpy

from zoo.backend.arguments import described
from zoo.layers import XPOS, MultiHeadAttention, RotaryEmbedding, options


@pytest.mark.parametrize("position", [XPOS(), XPOS(scale_base=4, gamma=1.0, pairing="half_split")], ids=repr)
def test_equals_the_loop(position):
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((2, 3, n, 8)).astype("float32") for n in (5, 7))
    here, there = np.arange(5) + 3.5, np.arange(7) * 1.25
    expected = np.zeros((2, 3, 5, 7))
    for b, h, i, j in np.ndindex(expected.shape):
        expected[b, h, i, j] = product(position, q[b, h, i].astype("float64"), k[b, h, j], here[i], there[j])
    assert_close(position.scores(q, k, here, there), expected, atol=5e-5)
    assert_close(position.scores(q[:, 0], k[:, 0], here, there), expected[:, 0], atol=5e-5)
    assert options.get(described(position)) == position


def test_is_rotary_where_nothing_decays():
    q, k = np.random.default_rng(0).standard_normal((2, 1, 9, 8)).astype("float32")
    assert_close(XPOS(scale_base=1e9).scores(q, k), RotaryEmbedding().scores(q, k), atol=1e-5)


def test_long_inputs_stay_finite():
    """ζ^(40000/512) is 1e-43, below float32; the products of near tokens are the same as near the start."""
    q, k = np.random.default_rng(0).standard_normal((2, 1, 4, 8)).astype("float32")
    far = np.array([0, 40000, 40001, 40003])
    scores = numpy(XPOS().scores(q, k, far, far))[0]
    assert np.isfinite(scores[np.tril_indices(4)]).all()
    near = np.array([0, 3, 4, 6])
    assert_close(scores[1:, 1:], numpy(XPOS().scores(q, k, near, near))[0, 1:, 1:], atol=0.05)


def test_errors():
    with pytest.raises(ValueError, match="scale_base=0"):
        XPOS(scale_base=0)
    with pytest.raises(ValueError, match="even feature size, got 3"):
        MultiHeadAttention(2, 4, key_dim=3, position=XPOS())
