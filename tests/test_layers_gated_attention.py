"""Gated attention unit: the original's numbers, and the layers that it becomes in its limits."""

import math

import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import built, call, check_layer, gradients, numpy

from zoo.layers import GatedAttentionUnit, MultiHeadAttention, SquaredReLU, causal_mask

GOLDENS = {  # name in layers.npz -> arguments, has a padding mask, call arguments
    "default": ({}, True, {}),
    "default_rotary": ({"position": "rotary"}, True, {}),
    "alpha": ({"position": "rotary", "normalization": "softmax_plus", "use_bias": False}, True, {}),
    "alpha_nomask": ({"position": "rotary", "normalization": "softmax_plus", "use_bias": False}, False, {}),
    "alpha_lm": (
        {"position": "rotary", "normalization": "softmax_plus", "use_bias": False},
        True,
        {"attention_mask": "bool_bias"},
    ),
    "softmax_noscale": (
        {"position": "rotary", "normalization": "softmax", "score_scale": 1.0},
        True,
        {"attention_bias": "float_bias"},
    ),
    "relu_floatbias": ({"activation": "relu"}, False, {"attention_bias": "float_bias"}),
    "cross": ({"position": "rotary", "cross_attention": True}, True, {"key": "cross_k", "value": "cross_v"}),
}
PARTS = {
    "i_dense": "input_dense",
    "o_dense": "output_dense",
    "q_scaleoffset": "query_scale",
    "k_scaleoffset": "key_scale",
    "uq_dense": "gate_query",
    "k_dense": "key_dense",
    "v_dense": "value_dense",
}


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 6, 8)).astype("float32")


def unit(x, **options):
    return built(GatedAttentionUnit(10, 4, **options), {"query": x})


def silu(x):
    return x / (1 + np.exp(-x))


@pytest.mark.parametrize("name", GOLDENS)
def test_equals_bert4keras(golden, name):
    arrays = golden("layers")
    options, masked, extra = GOLDENS[name]
    layer = GatedAttentionUnit(20, 12, **options)
    layer.build(*[arrays["gau/x"].shape] * 3)
    stored = [key for key in arrays.files if key.startswith(f"gau/{name}/weights/")]
    assert len(stored) == len(layer.weights)
    for key in stored:
        *_, part, weight = key.split("/")
        getattr(getattr(layer, PARTS[part]), weight).assign(arrays[key])
    extra = {argument: ops.convert_to_tensor(arrays[f"gau/{value}"]) for argument, value in extra.items()}
    out = layer(arrays["gau/x"], padding_mask=arrays["gau/mask"] if masked else None, **extra)
    assert_close(out, arrays[f"gau/{name}/out"], atol=2e-5)


def test_equals_the_loop(x):
    """Query by query in float64, with the relu² of the post: relu(q·k / sqrt(s))² / l."""
    layer = unit(x)
    mask = np.arange(6) < np.array([[6], [4]])
    hidden = silu(x @ numpy(layer.input_dense.kernel) + numpy(layer.input_dense.bias))
    u, v, z = hidden[..., :10], hidden[..., 10:20], hidden[..., 20:]
    q, k = (z * numpy(part.gamma) + numpy(part.beta) for part in (layer.query_scale, layer.key_scale))
    mixed = np.zeros_like(u)
    for b, i in np.ndindex(2, 6):
        for j in np.flatnonzero(mask[b]):
            mixed[b, i] += max(q[b, i] @ k[b, j] / math.sqrt(4), 0) ** 2 / mask[b].sum() * v[b, j]
    expected = (u * mixed) @ numpy(layer.output_dense.kernel) + numpy(layer.output_dense.bias)
    assert_close(layer(x, padding_mask=mask), expected, atol=2e-5)


def test_is_a_gated_linear_unit_where_tokens_see_themselves_only(x):
    """A = I: (φ(x W_u) ⊙ φ(x W_v)) W_o."""
    layer = unit(x, normalization="softmax", position="rotary")
    hidden = silu(x @ numpy(layer.input_dense.kernel) + numpy(layer.input_dense.bias))
    expected = (hidden[..., :10] * hidden[..., 10:20]) @ numpy(layer.output_dense.kernel)
    out = layer(x, attention_mask=ops.eye(6, dtype="bool"))
    assert_close(out, expected + numpy(layer.output_dense.bias), atol=1e-5)


@pytest.mark.parametrize("position", [None, "rotary"])
@pytest.mark.parametrize("normalization", ["softmax", "softmax_plus", "squared_relu"])
def test_is_attention_where_the_gate_is_one(x, position, normalization):
    """u ≡ 1 and φ linear: single-head attention whose query and key kernels are W_z γ."""
    options = {"position": position, "normalization": normalization}
    layer = unit(x, activation="linear", **options)
    kernel, bias = numpy(layer.input_dense.kernel), numpy(layer.input_dense.bias)
    kernel[:, :10], bias[:10] = 0, 1
    layer.input_dense.kernel.assign(kernel)
    layer.input_dense.bias.assign(bias)
    attention = built(MultiHeadAttention(1, 10, key_dim=4, **options), {"query": x})
    for dense, scale in ((attention.query_dense, layer.query_scale), (attention.key_dense, layer.key_scale)):
        gamma, beta = numpy(scale.gamma), numpy(scale.beta)
        dense.kernel.assign(kernel[:, 20:] * gamma)
        dense.bias.assign(bias[20:] * gamma + beta)
    attention.value_dense.kernel.assign(kernel[:, 10:20])
    attention.value_dense.bias.assign(bias[10:20])
    for weight in ("kernel", "bias"):
        getattr(attention.output_dense, weight).assign(getattr(layer.output_dense, weight))
    mask = np.arange(6) < np.array([[6], [3]])
    assert_close(layer(x, padding_mask=mask), attention(x, padding_mask=mask), atol=2e-5)


def test_order_of_gate_and_value_matters(x):
    """[u, v, z], in this order: with u and v exchanged the numbers change (they would not if A were I)."""
    layer = unit(x, normalization="softmax")
    before = numpy(layer(x))
    for weight in (layer.input_dense.kernel, layer.input_dense.bias):
        u, v, z = np.split(numpy(weight), [10, 20], axis=-1)
        weight.assign(np.concatenate([v, u, z], axis=-1))
    difference = np.abs(numpy(layer(x)) - before).max()
    assert difference > 0.02


def test_untrained_scores_are_symmetric(x):
    """γ = 1 and β = 0 make query and key the same vector."""
    layer = GatedAttentionUnit(10, 4)
    layer(x)
    _, _, q, k = layer.project(ops.convert_to_tensor(x), None, None)
    assert_close(q, k, atol=0)


def test_is_permutation_equivariant_without_positions(x):
    order = [3, 0, 5, 1, 4, 2]
    plain, rotary = unit(x), unit(x, position="rotary")
    assert_close(plain(x[:, order]), numpy(plain(x))[:, order], atol=1e-5)
    assert_close(rotary(x[:, order], positions=np.array(order)), numpy(rotary(x))[:, order], atol=1e-5)
    assert np.abs(numpy(rotary(x[:, order])) - numpy(rotary(x))[:, order]).max() > 0.01


@pytest.mark.parametrize("normalization", ["softmax", "softmax_plus", "squared_relu", SquaredReLU(length=512)])
def test_padding_changes_nothing(x, normalization):
    layer = unit(x, position="rotary", normalization=normalization)
    mask = np.arange(6) < np.array([[6], [3]])
    padded, wide = np.pad(x, [(0, 0), (0, 20), (0, 0)], constant_values=9), np.pad(mask, [(0, 0), (0, 20)])
    out = numpy(layer(x, padding_mask=mask))
    assert_close(numpy(layer(padded, padding_mask=wide))[wide], out[mask], atol=1e-5)


def test_shifted_positions_change_nothing(x):
    layer = unit(x, position="rotary")
    assert_close(layer(x, positions=np.arange(6) + 250.5), layer(x), atol=1e-4)


def test_three_conventions_of_squared_relu(x):
    """Divided by the visible keys, by a fixed length, or by their square with unscaled scores (the paper)."""
    bare = {"use_bias": False, "activation": "linear"}
    ours, fixed, paper = (
        unit(x, normalization=SquaredReLU(**options), score_scale=scale, **bare)
        for options, scale in (({}, None), ({"length": 512}, None), ({"squared_length": True}, 1.0))
    )
    assert_close(512 * numpy(fixed(x)), 6 * numpy(ours(x)), atol=1e-4)
    assert_close(6**2 * numpy(paper(x)), 4 * 6 * numpy(ours(x)), atol=1e-4)


def test_causal_mask_hides_the_future(x):
    layer = unit(x, position="rotary", normalization="softmax_plus")
    changed = x.copy()
    changed[:, 4] += 5
    before, after = (numpy(layer(a, attention_mask=causal_mask(6))) for a in (x, changed))
    assert_close(after[:, :4], before[:, :4], atol=1e-6)


@pytest.mark.parametrize("normalization", ["softmax_plus", "squared_relu"])
def test_query_that_sees_nothing_gets_the_output_bias(x, normalization):
    layer = unit(x, normalization=normalization)
    inputs = {"query": x, "padding_mask": np.array([[True] * 6, [False] * 6])}
    bias = np.broadcast_to(numpy(layer.output_dense.bias), (6, 8))
    assert_close(numpy(call(layer, inputs))[1], bias, atol=0)
    for gradient in gradients(layer, inputs, np.ones_like(x)):
        assert np.isfinite(numpy(gradient)).all()


def test_cross_form_takes_other_lengths_and_widths(x):
    rng = np.random.default_rng(1)
    key, value = (
        rng.standard_normal((2, 9, 5)).astype("float32"),
        rng.standard_normal((2, 9, 3)).astype("float32"),
    )
    mask = np.arange(9) < np.array([[9], [2]])
    inputs = {"query": x, "key": key, "value": value, "padding_mask": mask}
    layer = built(GatedAttentionUnit(10, 4, normalization="softmax", cross_attention=True), inputs)
    project = lambda a, dense: silu(a @ numpy(dense.kernel) + numpy(dense.bias))
    u, q = np.split(project(x, layer.gate_query), [10], axis=-1)
    scores = np.einsum("bns,bms->bnm", q, project(key, layer.key_dense)) / 2
    weights = np.exp(scores) * mask[:, None]
    mixed = weights / weights.sum(-1, keepdims=True) @ project(value, layer.value_dense)
    expected = (u * mixed) @ numpy(layer.output_dense.kernel) + numpy(layer.output_dense.bias)
    assert_close(call(layer, inputs), expected, atol=2e-5)


def test_number_of_weights(x):
    """d (2e + s) + 2s + e d without biases; without biases the affine maps have no offset either."""
    assert unit(x, use_bias=False).count_params() == 8 * (2 * 10 + 4) + 2 * 4 + 10 * 8
    assert unit(x).count_params() == 8 * (2 * 10 + 4) + 4 * 4 + 10 * 8 + 24 + 8


def test_dropout_acts_in_training_only(x):
    layer = unit(x, normalization="softmax", dropout=0.5)
    assert_close(layer(x, training=False), layer(x), atol=0)
    difference = np.abs(numpy(layer(x, training=True)) - numpy(layer(x, training=True))).max()
    assert difference > 0.01


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_squared_scores_do_not_overflow_half_precision(x, policy):
    """Scores about 1000, whose squares are infinite in float16, over a length that makes them small again."""
    layer = GatedAttentionUnit(
        10,
        4,
        normalization=SquaredReLU(length=1e6),
        score_scale=1000.0,
        kernel_initializer="ones",
        dtype=policy,
    )
    out = numpy(layer(np.abs(x) / 8))
    assert np.isfinite(out).all()
    assert np.abs(out).max() > 0.1


@pytest.mark.parametrize(
    "options, weights",
    [
        ({"position": "rotary", "use_bias": False, "normalization": "softmax_plus"}, 4),
        ({"normalization": SquaredReLU(length=7), "score_scale": 0.7, "dropout": 0.3}, 8),
        ({"cross_attention": True, "normalization": "softmax"}, 8),
    ],
)
def test_layer_contract(tmp_path, x, options, weights):
    inputs = {"query": x}
    if options.get("cross_attention"):
        inputs |= {"key": x[:, ::-1].copy(), "value": x[:, :, :5].copy()}
    else:
        inputs["attention_mask"] = np.tril(np.ones((2, 6, 6), bool))
        inputs["positions"] = np.tile(np.arange(6, dtype="float32"), (2, 1))
    inputs["padding_mask"] = np.arange(6) < np.array([[6], [3]])
    check_layer(GatedAttentionUnit(10, 4, **options), inputs, tmp_path, 0.05, weights=weights)
