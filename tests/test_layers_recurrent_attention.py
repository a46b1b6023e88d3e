"""Attention as a recurrence: softmax attention whatever the blocks, and the identities of the recursion."""

import resource

import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import HALF_POLICIES, numpy

from zoo.backend import compiled
from zoo.layers.recurrent_attention import RunningSoftmax, recurrent_attention

N, M, S, E = 7, 9, 4, 3


@pytest.fixture
def qkv():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((2, 2, length, width)).astype("float32") for length, width in ((N, S), (M, S), (M, E))]


@pytest.fixture
def mask():
    return np.arange(M) < np.array([[M], [4]])


def softmax_attention(q, k, v, visible, scale):
    scores = np.where(visible, scale * q.astype("float64") @ k.swapaxes(-1, -2), -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


@pytest.mark.parametrize("blocks", [(1, 3), (2, 4), (100, 5), (7, 9)])
@pytest.mark.parametrize("causal", [False, True])
def test_equals_softmax_attention(qkv, mask, blocks, causal):
    visible = np.tril(np.ones((N, M), bool), M - N) if causal else np.ones((N, M), bool)
    for padding_mask in (None, mask):
        seen = visible if padding_mask is None else visible & mask[:, None, None]
        out = recurrent_attention(*qkv, padding_mask, causal, query_block=blocks[0], key_block=blocks[1])
        assert_close(out, softmax_attention(*qkv, seen, S**-0.5), atol=2e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_compiles(qkv, mask, causal):
    function = compiled(lambda q, k, v: recurrent_attention(q, k, v, mask, causal, 0.7, query_block=3, key_block=4))
    visible = np.tril(np.ones((N, M), bool), M - N) if causal else np.ones((N, M), bool)
    out = function(*(ops.convert_to_tensor(part) for part in qkv))
    assert_close(out, softmax_attention(*qkv, visible & mask[:, None, None], 0.7), atol=2e-6)


def test_is_the_recursion_of_the_post(qkv):
    """o ← o + α (v − o) with α = e^s / Z, key by key; α_t,i = α_ii Π_{j > i} (1 − α_jj)."""
    q, k, v = (part.astype("float64") for part in qkv)
    scores = q @ k.swapaxes(-1, -2) / 2
    z, o = np.zeros((2, 2, N, 1)), np.zeros((2, 2, N, E))
    diagonal = np.zeros((2, 2, N, M))
    for i in range(M):
        z += np.exp(scores[..., i : i + 1])
        diagonal[..., i] = (np.exp(scores[..., i : i + 1]) / z)[..., 0]
        o += diagonal[..., i : i + 1] * (v[..., None, i, :] - o)
    assert_close(recurrent_attention(*qkv, key_block=1), o, atol=2e-6)
    later = np.cumprod((1 - diagonal)[..., ::-1], axis=-1)[..., ::-1]
    weights = diagonal * np.concatenate([later[..., 1:], np.ones_like(later[..., :1])], axis=-1)
    assert_close(weights @ v, o, atol=1e-12)


def test_scores_of_any_size(qkv):
    """Growing scores move the running maximum; e^s alone would overflow."""
    q, k, v = qkv
    visible = np.ones((N, M), bool)
    for scale in (300.0, -300.0):
        out = recurrent_attention(q, k, v, scale=scale, key_block=2)
        assert_close(out, softmax_attention(q, k, v, visible, scale), atol=1e-3)


def test_a_query_without_keys_gets_zero(qkv):
    out = recurrent_attention(*qkv, np.array([[True] * M, [False] * M]), key_block=2)
    assert_close(out[1], np.zeros((2, N, E)), atol=0)


def test_blocks_of_padding_before_and_after(qkv):
    """Whole blocks that nobody sees, at the start, in the middle and at the end."""
    mask = np.array([[False, False, True, False, False, True, True, False, False]] * 2)
    out = recurrent_attention(*qkv, mask, key_block=2)
    assert_close(out, softmax_attention(*qkv, mask[:, None, None], S**-0.5), atol=2e-6)


@pytest.mark.parametrize("policy", HALF_POLICIES)
def test_half_precision_inputs(qkv, policy):
    dtype = policy.removeprefix("mixed_")
    q, k, v = (ops.cast(ops.convert_to_tensor(part), dtype) for part in qkv)
    out = recurrent_attention(q, k, v, key_block=4)
    assert ops.dtype(out) == dtype
    expected = softmax_attention(numpy(q), numpy(k), numpy(v), np.ones((N, M), bool), S**-0.5)
    assert_close(out, expected, atol=0.01)


def test_keys_in_any_order(qkv):
    """A state may be fed block by block by the caller, as a decoder does."""
    q, k, v = (ops.convert_to_tensor(part) for part in qkv)
    scores = ops.matmul(q, ops.swapaxes(k, -1, -2))
    state = RunningSoftmax.start(scores[..., 5:], v[..., 5:, :]).add(scores[..., :5], v[..., :5, :])
    assert_close(state.output(), softmax_attention(*qkv, np.ones((N, M), bool), 1.0), atol=2e-6)


@pytest.mark.parametrize("options, word", [({"causal": True}, "at most as many"), ({"key_block": 0}, "key_block=0")])
def test_errors(qkv, options, word):
    q, k, v = qkv
    with pytest.raises(ValueError, match=word):
        recurrent_attention(k, q, v[..., :N, :], **options)


@pytest.mark.slow
def test_a_very_long_input_in_bounded_memory():
    """32,768 tokens: the scores alone would take 4 GB. Equal values come out as they went in."""
    length = 32768
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((1, length, 8)).astype("float32") for _ in range(2))
    v = np.ones((1, length, 2), "float32")
    q, k, v = (ops.convert_to_tensor(part) for part in (q, k, v))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    out = recurrent_attention(q, k, v, causal=True, query_block=2048, key_block=2048)
    assert_close(out, np.ones((1, length, 2)), atol=1e-5)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 600, f"{grown:.0f} MB"
