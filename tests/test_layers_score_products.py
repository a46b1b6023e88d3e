"""KeyNorm, QueryNorm, CosA and the log-n scale: what rescaling a vector or adding keys may and may not change."""

import json
import math

import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import numpy

from zoo.backend.arguments import described
from zoo.layers import CosA, KeyNorm, LogN, QueryNorm, Softmax, SoftmaxPlus, options
from zoo.layers.attention_options import AttentionOptions

PRODUCTS = [KeyNorm(), QueryNorm(), CosA(256), CosA()]


@pytest.fixture
def qk():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((2, 3, n, 8)).astype("float32") for n in (5, 9)]


def weights(q, k, position=None, **options):
    options = AttentionOptions(position=position, **options)
    return numpy(options.attention_weights(ops.convert_to_tensor(q), ops.convert_to_tensor(k), 3))


@pytest.mark.parametrize("position", [None, "rotary"])
@pytest.mark.parametrize("product", PRODUCTS, ids=repr)
def test_rescaling_changes_nothing_where_it_is_normed(qk, product, position):
    """Any key under KeyNorm, any query under QueryNorm, both under CosA; the others count."""
    q, k = qk
    rng = np.random.default_rng(1)
    stretch = lambda a: a * rng.uniform(0.1, 10, (*a.shape[:-1], 1)).astype("float32")
    before = weights(q, k, position, product=product)
    for name, changed in (("QueryNorm", (stretch(q), k)), ("KeyNorm", (q, stretch(k)))):
        difference = np.abs(weights(*changed, position, product=product) - before).max()
        assert (difference < 1e-5) == (type(product).__name__ in (name, "CosA"))


@pytest.mark.parametrize("product, lengths", [(KeyNorm(), (None, 8**0.5)), (QueryNorm(), (8**0.5, None))])
def test_is_the_scaled_product_of_vectors_of_length_sqrt_s(qk, product, lengths):
    q, k = (
        a if length is None else a / np.linalg.norm(a, axis=-1, keepdims=True) * length
        for a, length in zip(qk, lengths)
    )
    assert_close(weights(q, k, "rotary", product=product), weights(q, k, "rotary"), atol=1e-5)


def test_cos_a_is_softmax_of_four_ln_n_cosines(qk):
    q, k = (a / np.linalg.norm(a, axis=-1, keepdims=True) for a in qk)
    for product, n in ((CosA(256), 256), (CosA(), 9)):
        expected = np.exp(4 * math.log(n) * np.einsum("bhis,bhjs->bhij", q, k))
        assert_close(weights(*qk, product=product), expected / expected.sum(-1, keepdims=True), atol=2e-5)


def test_zero_vectors_are_finite(qk):
    q, k = (np.zeros_like(a) for a in qk)
    for product in PRODUCTS:
        assert np.abs(weights(q, k, product=product) - 1 / 9).max() < 1e-6


def test_log_n_is_plain_up_to_the_training_length_and_softmax_plus_beyond(qk):
    """Beyond it max(1, ln n / ln L) is the trained scale with base L; below, the trained one flattens."""
    q, k = qk
    assert_close(weights(q, k, log_n=LogN(9)), weights(q, k), atol=0)
    assert_close(weights(q, k, log_n=LogN(500)), weights(q, k), atol=0)
    for length in (2, 8):
        trained = weights(q, k, normalization=SoftmaxPlus(base=length, floor=1))
        assert_close(weights(q, k, log_n=LogN(length)), trained, atol=1e-5)
        assert np.abs(trained - weights(q, k)).max() > 1e-3


def test_log_n_counts_the_keys_that_each_query_sees():
    """Causal: query i has n = i + 1."""
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((1, 3, 9, 8)).astype("float32") for _ in "qk")
    options = AttentionOptions(log_n=LogN(4))
    mask = np.tril(np.ones((9, 9), bool))
    out = numpy(options.attention_weights(ops.convert_to_tensor(q), ops.convert_to_tensor(k), 3, attention_mask=mask))
    scores = np.einsum("bhis,bhjs->bhij", q, k) / math.sqrt(8)
    for i in range(9):
        row = np.exp(scores[0, :, i, : i + 1] * max(1, math.log(i + 1) / math.log(4)))
        assert_close(out[0, :, i, : i + 1], row / row.sum(-1, keepdims=True), atol=1e-5)
    assert (out[..., ~mask] == 0).all()


def test_log_n_slows_the_growth_of_entropy():
    """Scores of independent Gaussians: without the scale entropy grows with ln n, with it a good deal less."""
    rng = np.random.default_rng(0)
    q = (rng.standard_normal((1, 3, 64, 16)) * 2).astype("float32")
    entropy = {}
    for n in (64, 1024):
        k = rng.standard_normal((1, 3, n, 16)).astype("float32")
        for name, own in (("plain", {}), ("log_n", {"log_n": LogN(64)})):
            a = weights(q, k, **own)
            entropy[name, n] = -(a * np.log(a + 1e-30)).sum(-1).mean()
    growth = {name: entropy[name, 1024] - entropy[name, 64] for name in ("plain", "log_n")}
    assert entropy["plain", 64] == pytest.approx(entropy["log_n", 64])
    assert growth["log_n"] < 0.75 * growth["plain"]


@pytest.mark.parametrize("option", [*PRODUCTS, LogN(512)], ids=repr)
def test_config_comes_back(option):
    assert options.get(json.loads(json.dumps(described(option)))) == option


def test_errors():
    with pytest.raises(ValueError, match="length=1; expected None or a number above 1"):
        CosA(1)
    with pytest.raises(ValueError, match="train_length=1; expected the number of tokens in training"):
        LogN(1)
    assert Softmax() != SoftmaxPlus()
