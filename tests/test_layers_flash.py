"""Mixed-chunk attention against the O(n²) weights that it stands for."""

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import built, call, check_layer, functional, gradients, numpy

from zoo.layers import GatedAttentionUnit, MixedChunkAttention, SquaredReLU, causal_mask

N, D, E, S, C = 11, 8, 10, 4, 4  # three chunks, the last one a token short of full


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, N, D)).astype("float32")


@pytest.fixture
def mask():
    """One whole row, one that ends inside its second chunk: its third is all padding."""
    return np.arange(N) < np.array([[N], [6]])


def unit(x, chunk_length=C, **options):
    return built(MixedChunkAttention(E, S, chunk_length, **options), {"x": x})


def silu(x):
    return x / (1 + np.exp(-x))


def rotate(x, positions):
    angles = positions[:, None] * 10000.0 ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def brute_force(layer, x, mask, size, causal, rotary=False, post=False):
    """Every weight of every pair, in float64."""
    hidden = silu(x.astype("float64") @ numpy(layer.input_dense.kernel) + numpy(layer.input_dense.bias))
    u, v, z = np.split(hidden, [E, 2 * E], axis=-1)
    heads = (layer.query_scale, layer.key_scale, layer.linear_query_scale, layer.linear_key_scale)
    q, k, linear_q, linear_k = (z * numpy(head.gamma) + numpy(head.beta) for head in heads)
    if rotary:
        q, k, linear_q, linear_k = (rotate(part, np.arange(x.shape[1])) for part in (q, k, linear_q, linear_k))
    mixed = np.zeros_like(u)
    for b, i in np.ndindex(x.shape[:2]):
        real = np.flatnonzero(mask[b])
        near = [j for j in real if j // size == i // size and (j <= i or not causal)]
        far = [j for j in real if j // size < i // size or not causal]
        for j in near:
            weight = max(q[b, i] @ k[b, j] / S**0.5, 0) ** 2
            mixed[b, i] += weight / (size if post else len(near)) * v[b, j]
        for j in far:
            mixed[b, i] += linear_q[b, i] @ linear_k[b, j] / len(far) * v[b, j]
    return (u * mixed) @ numpy(layer.output_dense.kernel) + numpy(layer.output_dense.bias)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("options", [{}, {"position": "rotary"}, {"normalization": SquaredReLU(length=C)}], ids=str)
def test_equals_the_loop(x, mask, causal, options):
    layer = unit(x, causal=causal, **options)
    for padding_mask in (mask, None):
        real = np.ones_like(mask) if padding_mask is None else mask
        expected = brute_force(layer, x, real, C, causal, "position" in options, "normalization" in options)
        assert_close(layer(x, padding_mask=padding_mask), expected, atol=3e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", [1, 5, 12])
def test_any_chunk_length(x, mask, causal, size):
    """One token; a last chunk of one token; more than there are tokens."""
    layer = unit(x, chunk_length=size, causal=causal)
    assert_close(layer(x, padding_mask=mask), brute_force(layer, x, mask, size, causal), atol=3e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("normalization", ["squared_relu", "softmax_plus"])
def test_is_a_gated_attention_unit_in_one_chunk(x, mask, causal, normalization):
    """c >= n and linear heads of zero; causal also with linear heads, as no chunk is earlier."""
    options = {"position": "rotary", "normalization": normalization}
    layer, gau = (
        unit(x, chunk_length=16, causal=causal, **options),
        built(GatedAttentionUnit(E, S, **options), {"q": x}),
    )
    weights = {w.path.partition("/")[2]: w for w in layer.weights}
    for weight in gau.weights:  # same names
        weight.assign(weights[weight.path.partition("/")[2]])
    if not causal:
        layer.linear_query_scale.gamma.assign(np.zeros(S))
        layer.linear_query_scale.beta.assign(np.zeros(S))
    visible = causal_mask(N) if causal else None
    assert_close(layer(x, padding_mask=mask), gau(x, padding_mask=mask, attention_mask=visible), atol=2e-5)


@pytest.mark.parametrize("token", [3, 4])
def test_causal_hides_the_future(x, token):
    """Whatever a token is changed to, earlier outputs keep every bit."""
    layer = unit(x, causal=True, position="rotary")
    changed = x.copy()
    changed[:, token] += 1e4
    before, after = numpy(layer(x)), numpy(layer(changed))
    assert_close(after[:, :token], before[:, :token], atol=0)
    assert (np.abs(after - before)[:, token:].max(-1) > 1e-3).all()


@pytest.mark.parametrize("causal", [False, True])
def test_padding_changes_nothing(x, mask, causal):
    layer = unit(x, causal=causal, position="rotary")
    padded, wide = np.pad(x, [(0, 0), (0, 9), (0, 0)], constant_values=9), np.pad(mask, [(0, 0), (0, 9)])
    short = numpy(layer(x[1:, :6]))
    out = numpy(layer(padded, padding_mask=wide))
    assert_close(out[:, :N][mask], numpy(layer(x, padding_mask=mask))[mask], atol=1e-5)
    assert_close(out[1:, :6], short, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_a_row_of_padding_gets_the_output_bias(x, causal):
    layer = unit(x, causal=causal)
    inputs = {"x": x, "padding_mask": np.array([[True] * N, [False] * N])}
    assert_close(numpy(call(layer, inputs))[1], np.broadcast_to(numpy(layer.output_dense.bias), (N, D)), atol=0)
    for gradient in gradients(layer, inputs, np.ones_like(x)):
        assert np.isfinite(numpy(gradient)).all()


def test_linear_part_does_not_grow_with_the_position(x):
    """Averaged over the tokens seen: of equal tokens, the second chunk's linear part equals the last one's."""
    layer = unit(x, causal=True, normalization=SquaredReLU(length=1e12))  # nothing inside chunks
    out = numpy(layer(np.repeat(x[:, :1], 10 * C, axis=1)))
    assert np.abs(out[:, C] - out[:, -1]).max() < 1e-4 * np.abs(out[:, -1]).max()


def test_number_of_weights(x):
    assert unit(x, use_bias=False).count_params() == D * (2 * E + S) + 4 * S + E * D


def test_refuses_what_chunks_cannot_do(x):
    with pytest.raises(ValueError, match="chunk_length=0"):
        MixedChunkAttention(E, S, chunk_length=0)
    with pytest.raises(ValueError, match="causal=True or False"):
        unit(x)(x, attention_mask=ops.ones((N, N), "bool"))


def test_one_graph_reads_every_length(x):
    """Compiled with free n: below and above the chunk length. Causal, so that a shorter input gives the same start."""
    layer = MixedChunkAttention(E, S, C, causal=True, position="rotary")
    inputs = keras.Input((None, D))
    model = keras.Model(inputs, layer(inputs))
    model.compile(jit_compile=False)
    expected = numpy(layer(x))
    for length in (3, 9):
        assert_close(model.predict(x[:, :length], verbose=0), expected[:, :length], atol=1e-5)


@pytest.mark.parametrize("causal, options, weights", [(False, {"use_bias": False}, 6), (True, {"dropout": 0.3}, 12)])
def test_layer_contract(tmp_path, x, mask, causal, options, weights):
    inputs = {"x": x, "padding_mask": mask, "positions": np.tile(np.arange(N, dtype="float32"), (2, 1))}
    layer = MixedChunkAttention(E, S, C, causal=causal, position="rotary", **options)
    check_layer(layer, inputs, tmp_path, 0.05, weights=weights)


def test_trains(x, mask):
    """Gradients reach every weight, and one compiled fit runs."""
    layer = unit(x, causal=True)
    for weight, gradient in zip(layer.trainable_variables, gradients(layer, {"x": x, "padding_mask": mask}, x)):
        assert np.abs(numpy(gradient)).max() > 0, weight.path
    model = functional(layer, {"x": x, "padding_mask": mask})
    model.compile("sgd", "mse", jit_compile=keras.backend.backend() != "torch")
    losses = model.fit({"x": x, "padding_mask": mask}, 0.1 * x, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
