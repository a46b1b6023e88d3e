"""ReRoPE and Leaky ReRoPE: distances bend at the window, on both sides, in both forms."""

import json

import numpy as np
import pytest
from support.arrays import assert_close
from support.attention_oracle import effective_distance, product
from support.layer_checks import numpy

from zoo.backend.arguments import described
from zoo.layers import LeakyReRoPE, MultiHeadAttention, Position, ReRoPE, RotaryEmbedding, options

BENT = [ReRoPE(4), LeakyReRoPE(4, 8), LeakyReRoPE(2.5, 3, pairing="half_split"), ReRoPE(3, base=100.0)]
every = pytest.mark.parametrize("position", BENT, ids=repr)


@pytest.fixture
def qk():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((2, 3, 12, 8)).astype("float32") for _ in "qk"]


def by_hand(position, q, k, here, there):
    out = np.zeros((*q.shape[:3], k.shape[2]))
    for b, h, i, j in np.ndindex(out.shape):
        out[b, h, i, j] = product(position, q[b, h, i].astype("float64"), k[b, h, j], here[b, i], there[b, j])
    return out


@every
def test_equals_the_loop_on_both_sides(qk, position):
    """Also at positions of each row's own, fractions too."""
    counted = np.tile(np.arange(12.0), (2, 1))
    own = np.stack([np.arange(12) * 1.5 + 3, np.arange(12) ** 1.3])
    assert_close(position.scores(*qk), by_hand(position, *qk, counted, counted), atol=2e-5)
    assert_close(position.scores(*qk, own), by_hand(position, *qk, own, own), atol=2e-5)
    q, k = (a[:, 0] for a in qk)  # one head, no axis for it
    assert_close(position.scores(q, k, own), by_hand(position, *qk, own, own)[:, 0], atol=2e-5)


@every
def test_one_query_equals_its_row(qk, position):
    """The form for decoding, which rotates the keys alone."""
    q, k = qk
    rows = numpy(position.scores(q, k))
    for i in (0, 5, 11):
        one = position.scores(q[:, :, i : i + 1], k, np.array([i]), np.arange(12))
        assert_close(one, rows[:, :, i : i + 1], atol=2e-5)
        batched = position.scores(q[:, :, i : i + 1], k, np.full((2, 1), i), np.tile(np.arange(12), (2, 1)))
        assert_close(batched, rows[:, :, i : i + 1], atol=2e-5)


def test_limits(qk):
    """w >= n and k = 1 are RoPE; k → ∞ is ReRoPE; both formulas of a distance agree at the window."""
    rotary = numpy(RotaryEmbedding().scores(*qk))
    for position in (ReRoPE(12), LeakyReRoPE(12, 5), LeakyReRoPE(3, 1)):
        assert_close(position.scores(*qk), rotary, atol=2e-5)
    assert_close(LeakyReRoPE(4, 1e9).scores(*qk), ReRoPE(4).scores(*qk), atol=2e-5)
    assert np.abs(numpy(ReRoPE(4).scores(*qk)) - rotary).max() > 0.1
    for position in BENT:
        w = position.window
        assert effective_distance(position, w) == pytest.approx(effective_distance(position, w - 1e-9), abs=1e-6)


def test_effective_distances():
    distances = np.arange(-9.0, 10)
    for position in BENT:
        assert_close(position.effective(distances), [effective_distance(position, d) for d in distances], atol=1e-6)


@every
def test_causal_form_leaves_out_the_right_side_only(qk, position):
    config = {**position.get_config(), "causal": True}
    causal, both = numpy(type(position)(**config).scores(*qk)), numpy(position.scores(*qk))
    left = np.tril(np.ones((12, 12), bool))
    assert_close(causal[..., left], both[..., left], atol=0)
    assert np.abs(causal - both).max() > 0.1


@every
def test_shifted_positions_change_nothing(qk, position):
    assert_close(position.scores(*qk, np.arange(12) + 100), position.scores(*qk), atol=1e-4)


def test_far_tokens_are_one_distance_apart():
    """With equal keys all weights beyond the window are equal, on either side."""
    q, key = np.random.default_rng(0).standard_normal((2, 1, 1, 8)).astype("float32")
    scores = numpy(ReRoPE(3).scores(np.repeat(q[None], 12, axis=2), np.repeat(key[None], 12, axis=2)))[0, 0]
    assert_close(scores[9, :7], np.full(7, scores[9, 0]), atol=1e-5)
    assert_close(scores[2, 5:], np.full(7, scores[2, 5]), atol=1e-5)
    assert abs(scores[9, 0] - scores[2, 5]) > 0.01


@every
def test_config_comes_back(position):
    twin = options.get(json.loads(json.dumps(described(position))), Position)
    assert twin == position
    assert twin.get_config() == position.get_config()


def test_errors():
    for window in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="window=.*; expected a number of positions above 0"):
            ReRoPE(window)
    with pytest.raises(ValueError, match="factor=0.5; expected a number >= 1"):
        LeakyReRoPE(4, 0.5)
    with pytest.raises(ValueError, match="even feature size, got 5"):
        MultiHeadAttention(2, 5, position=ReRoPE(4))
