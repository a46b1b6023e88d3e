"""Multi-head attention: the original's numbers, a loop in float64, and what must not matter."""

import math

import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import BACKEND, built, call, check_layer, gradients, numpy

from zoo.layers import MultiHeadAttention, RotaryEmbedding, causal_mask
from zoo.layers.attention_options import attention_scores

GOLDENS = {  # name in layers.npz -> arguments, call arguments
    "bert": ({}, {}),
    "v2": ({"use_bias": False, "position": "rotary"}, {}),
    "lm": ({"position": "rotary"}, {"attention_mask": "bool_bias"}),
    "softmax_plus": ({"position": "rotary", "normalization": "softmax_plus"}, {}),
    "noscale_floatbias": ({"score_scale": 1.0}, {"attention_bias": "float_bias"}),
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x(rng):
    return rng.standard_normal((2, 6, 8)).astype("float32")


@pytest.mark.parametrize("name", GOLDENS)
def test_equals_bert4keras(golden, name):
    """With a key size (6) that is not the head size (5), and an output size of its own."""
    arrays = golden("layers")
    options, extra = GOLDENS[name]
    layer = MultiHeadAttention(3, 5, key_dim=6, output_dim=16, **options)
    layer.build(arrays["mha/x"].shape)
    parts = {"q_dense": "query", "k_dense": "key", "v_dense": "value", "o_dense": "output"}
    stored = [key for key in arrays.files if key.startswith(f"mha/{name}/weights/")]
    assert len(stored) == len(layer.weights)
    for key in stored:
        *_, part, weight = key.split("/")
        getattr(getattr(layer, f"{parts[part]}_dense"), weight).assign(arrays[key])
    extra = {argument: ops.convert_to_tensor(arrays[f"mha/{value}"]) for argument, value in extra.items()}
    out = layer(arrays["mha/x"], padding_mask=arrays["mha/mask"], **extra)
    assert_close(out, arrays[f"mha/{name}/out"], atol=2e-5)


def by_hand(layer, query, key, value, visible, bias):
    """Head by head, query by query, in float64; visible and bias `[B, H, n, m]`."""
    h, s, w = layer.num_heads, layer.key_dim, layer.head_dim
    q, k, v = (
        x @ numpy(dense.kernel) + numpy(dense.bias)
        for x, dense in ((query, layer.query_dense), (key, layer.key_dense), (value, layer.value_dense))
    )
    out = np.zeros((*q.shape[:2], h * w))
    for b, head, i in np.ndindex(len(q), h, q.shape[1]):
        keys = np.flatnonzero(visible[b, head, i])
        if not len(keys):
            continue
        q_i, k_j = q[b, i, head * s : (head + 1) * s], k[b, keys, head * s : (head + 1) * s]
        a = np.exp(k_j @ q_i / math.sqrt(s) + bias[b, head, i, keys])
        out[b, i, head * w : (head + 1) * w] = a / a.sum() @ v[b, keys, head * w : (head + 1) * w]
    return out @ numpy(layer.output_dense.kernel) + numpy(layer.output_dense.bias)


@pytest.mark.parametrize("mask_rank", [2, 3, 4])
@pytest.mark.parametrize("bias_rank", [2, 3, 4])
def test_cross_attention_equals_the_loop(rng, mask_rank, bias_rank):
    """Other lengths and widths of key and value, masks and biases of every rank, queries that see nothing."""
    query, key, value = (rng.standard_normal(shape).astype("float32") for shape in ((2, 5, 8), (2, 7, 4), (2, 7, 6)))
    layer = built(MultiHeadAttention(3, 4, key_dim=2, output_dim=10), {"query": query, "key": key, "value": value})
    shape = (2, 3, 5, 7)
    mask, bias = (
        rng.random(shape[4 - mask_rank :] if mask_rank != 3 else (2, 5, 7)) < 0.5,
        rng.normal(0, 2, shape),
    )
    bias = bias[0, 0] if bias_rank == 2 else bias[:, 0] if bias_rank == 3 else bias
    padding = np.arange(7) < np.array([[7], [3]])
    mask[..., 2, :] = False
    expand = lambda array: np.broadcast_to(array[:, None] if array.ndim == 3 else array, shape)
    out = call(
        layer,
        {"query": query, "key": key, "value": value, "padding_mask": padding, "attention_mask": mask}
        | {"attention_bias": bias.astype("float32")},
    )
    visible = expand(mask) & padding[:, None, None]
    assert_close(out, by_hand(layer, query, key, value, visible, expand(bias)), atol=2e-5)


def test_value_defaults_to_key_and_key_to_query(rng, x):
    layer = built(MultiHeadAttention(2, 4), {"query": x})
    memory = rng.standard_normal((2, 9, 8)).astype("float32")
    assert_close(layer(x), layer(x, x, x), atol=0)
    assert_close(layer(x, memory), layer(x, memory, memory), atol=0)


def test_is_permutation_equivariant_without_positions(x):
    order = [3, 0, 5, 1, 4, 2]
    plain, rotary = (built(MultiHeadAttention(2, 4, position=p), {"query": x}) for p in (None, "rotary"))
    assert_close(plain(x[:, order]), numpy(plain(x))[:, order], atol=1e-5)
    assert np.abs(numpy(rotary(x[:, order])) - numpy(rotary(x))[:, order]).max() > 0.05
    # ... and with positions that are permuted too
    assert_close(rotary(x[:, order], positions=np.array(order)), numpy(rotary(x))[:, order], atol=1e-5)


@pytest.mark.parametrize("normalization", ["softmax", "softmax_plus", "squared_relu"])
def test_padding_changes_nothing(rng, x, normalization):
    """Neither more of it, nor what stands there."""
    layer = built(MultiHeadAttention(2, 4, position="rotary", normalization=normalization), {"query": x})
    mask = np.arange(6) < np.array([[6], [3]])
    padded = np.concatenate([x, 50 * rng.standard_normal((2, 4, 8))], axis=1).astype("float32")
    padded[1, 3:] = -7
    wide = np.pad(mask, [(0, 0), (0, 4)])
    out, padded_out = numpy(layer(x, padding_mask=mask)), numpy(layer(padded, padding_mask=wide))
    assert_close(padded_out[wide], out[mask], atol=1e-5)


def test_shifted_positions_change_nothing_with_rotary(x):
    layer = built(MultiHeadAttention(2, 4, position=RotaryEmbedding()), {"query": x})
    for positions in (np.arange(6) + 100, np.arange(6) - 0.5, np.tile(np.arange(6) + 7, (2, 1))):
        assert_close(layer(x, positions=positions), layer(x), atol=5e-5)
    assert np.abs(numpy(layer(x, positions=np.arange(6) * 2)) - numpy(layer(x))).max() > 0.05


def test_causal_mask_hides_the_future(x):
    layer = built(MultiHeadAttention(2, 4, position="rotary"), {"query": x})
    changed = x.copy()
    changed[:, 4] += 5
    before, after = (numpy(layer(a, attention_mask=causal_mask(6))) for a in (x, changed))
    assert_close(after[:, :4], before[:, :4], atol=1e-6)
    assert np.abs(after[:, 4:] - before[:, 4:]).max() > 0.1


def test_query_that_sees_nothing_gets_the_output_bias(x):
    """And finite gradients."""
    layer = built(MultiHeadAttention(2, 4), {"query": x})
    inputs = {"query": x, "padding_mask": np.array([[True] * 6, [False] * 6])}
    out = numpy(call(layer, inputs))
    assert_close(out[1], np.broadcast_to(numpy(layer.output_dense.bias), (6, 8)), atol=0)
    for gradient in gradients(layer, inputs, np.ones_like(x)):
        assert np.isfinite(numpy(gradient)).all()


def test_key_bias_cancels_in_softmax_but_not_with_rotary(x):
    """q·(k + b) adds the same number to all scores of a row, unless b turns with the position."""
    for position, cancels in ((None, True), ("rotary", False)):
        layer = built(MultiHeadAttention(2, 4, position=position), {"query": x})
        before = numpy(layer(x))
        layer.key_dense.bias.assign(numpy(layer.key_dense.bias) + 3)
        difference = np.abs(numpy(layer(x)) - before).max()
        assert (difference < 1e-5) if cancels else (difference > 0.05)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_scores_do_not_overflow_half_precision(policy):
    """Products of 10⁶ are infinite in float16; equal keys must still get equal weights."""
    if policy == "mixed_float16" and BACKEND == "jax":
        policy = "mixed_bfloat16"  # float16 on the CPU is not XLA's
    layer = MultiHeadAttention(1, 4, use_bias=False, dtype=policy, kernel_initializer="identity")
    x = np.full((1, 3, 4), 500, "float32")
    x[0, 2] = -500
    assert_close(layer(x)[0, 0], [500.0] * 4, atol=2)
    assert_close(layer(x)[0, 2], [-500.0] * 4, atol=2)


@pytest.mark.parametrize("position", [None, RotaryEmbedding()], ids=["none", "rotary"])
def test_scores_of_half_precision_are_float32_products(rng, position):
    """The rounding of query and key is the only one."""
    q, k = (ops.cast(rng.standard_normal((2, 5, 8)).astype("float32"), "bfloat16") for _ in "qk")
    scores = attention_scores(q, k, position, scale=1 / 3)
    wide = [ops.cast(a, "float32") for a in (q, k)]
    q, k = (numpy(a if position is None else position(a)) for a in wide)
    assert_close(scores, np.einsum("bns,bms->bnm", q, k) / 3, atol=1e-5)


def test_dropout_acts_on_weights_in_training_only(x):
    x = np.repeat(x[:1], 2000, axis=0)
    layer = built(MultiHeadAttention(2, 4, dropout=0.5), {"query": x})
    plain, dropped = numpy(layer(x)), numpy(layer(x, training=True))
    assert_close(layer(x, training=False), plain, atol=0)
    assert dropped.std(0).min() > 0.01
    assert_close(dropped.mean(0), plain[0], atol=0.1)  # dropout keeps the mean


def test_dropout_of_two_layers_differs():
    x = np.ones((1, 16, 8), "float32")
    one, two = (MultiHeadAttention(2, 4, dropout=0.5, kernel_initializer="ones") for _ in range(2))
    assert np.abs(numpy(one(x, training=True)) - numpy(two(x, training=True))).max() > 0


def test_kernels_are_drawn_one_by_one(x):
    import keras

    layer = MultiHeadAttention(2, 4, kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02))
    layer(x)
    q, k, v, o = (numpy(w) for w in layer.weights if w.name == "kernel")
    for one, two in ((q, k), (q, v), (k, v), (v, o)):
        assert np.abs(one - two).max() > 1e-3


@pytest.mark.parametrize(
    "options, weights",
    [
        ({"position": "rotary", "use_bias": False, "normalization": "softmax_plus"}, 4),
        ({"key_dim": 6, "output_dim": 5, "dropout": 0.3, "score_scale": 0.7}, 8),
    ],
)
def test_layer_contract(tmp_path, x, options, weights):
    inputs = {
        "query": x,
        "padding_mask": np.arange(6) < np.array([[6], [3]]),
        "attention_mask": np.tril(np.ones((2, 6, 6), bool)),
        "positions": np.tile(np.arange(6, dtype="float32"), (2, 1)),
    }
    check_layer(MultiHeadAttention(2, 4, **options), inputs, tmp_path, weights=weights)


def test_errors(x):
    with pytest.raises(ValueError, match="unknown attention option 'sparsemax'"):
        MultiHeadAttention(2, 4, normalization="sparsemax")
    with pytest.raises(ValueError, match=r"expected \[n, m\], \[B, n, m\] or \[B, H, n, m\]"):
        call(MultiHeadAttention(2, 4), {"query": x, "attention_bias": np.zeros(6, "float32")})
    with pytest.raises(ValueError, match="even feature size"):
        MultiHeadAttention(2, 4, key_dim=3, position="rotary")(x)
