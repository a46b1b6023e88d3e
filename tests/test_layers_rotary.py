"""Rotary embedding: a rotation of feature pairs whose products see distances only."""

import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import BACKEND, call, check_layer, numpy

from zoo.backend import value_and_gradient
from zoo.layers import MultiHeadAttention, RotaryEmbedding, interleaved_to_half_split


def complex_rotation(x, positions, base=10000.0):
    """(x_2i + i x_2i+1) e^{i p θ_i} in float64; x `[B, n, s]`, positions `[B, n]`."""
    size = x.shape[-1]
    theta = base ** (-2.0 * np.arange(size // 2) / size)
    z = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * positions[..., None] * theta)
    return np.stack([z.real, z.imag], axis=-1).reshape(x.shape)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("which", ["q", "k"])
@pytest.mark.parametrize("rank", ["3d", "4d"])
def test_equals_bert4keras(golden, rank, which):
    """Also at negative, large and unordered positions."""
    ops_golden = golden("ops")
    x = ops_golden[f"rope/{rank}/{which}"]
    out = RotaryEmbedding()(x, ops_golden["rope/positions"])
    assert_close(out, ops_golden[f"rope/{rank}/{which}_out"], atol=2e-5)


def test_default_positions_equal_bert4keras(golden):
    assert_close(RotaryEmbedding()(golden("ops")["rope/3d/q"]), golden("ops")["rope/default_positions_out"], atol=2e-5)


@pytest.mark.parametrize("size", [8, 64])
def test_sinusoidal_table_equals_bert4keras(golden, size):
    """The pair (0, 1) turns into (-sin, cos): the original's table with the signs of its sines changed."""
    table = golden("ops")[f"sinusoidal/dim{size}"]
    unit = np.tile(np.array([0, 1], "float32"), (*table.shape[:2], size // 2))
    rotated = numpy(RotaryEmbedding()(unit))
    assert_close(-rotated[..., 0::2], table[..., 0::2], atol=2e-5)
    assert_close(rotated[..., 1::2], table[..., 1::2], atol=2e-5)


@pytest.mark.parametrize("base", [10000.0, 500.0])
def test_is_multiplication_by_a_complex_phase(rng, base):
    x = rng.standard_normal((2, 6, 10)).astype("float32")
    positions = rng.uniform(-30, 500, (2, 6)).astype("float32")
    assert_close(RotaryEmbedding(base=base)(x, positions), complex_rotation(x, positions, base), atol=2e-4)


def test_gradient_turns_back(rng):
    """The gradient of u · R x is Rᵀ u, the rotation by the negative positions; also where XLA compiles it."""
    x, upstream = (rng.standard_normal((2, 6, 10)).astype("float32") for _ in range(2))
    positions = rng.uniform(-30, 30, (2, 6)).astype("float32")
    through = lambda x: ops.sum(RotaryEmbedding()(x, positions) * ops.convert_to_tensor(upstream))
    expected = complex_rotation(upstream, -positions)
    assert_close(value_and_gradient(through, x)[1], expected, atol=2e-5)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(lambda x: tf.gradients(through(x), x)[0], jit_compile=True, autograph=False)
        assert_close(compiled(tf.constant(x)), expected, atol=2e-5)


def test_preserves_norm_and_is_identity_at_zero(rng):
    x = rng.standard_normal((2, 5, 8)).astype("float32")
    out = numpy(RotaryEmbedding()(x, np.array([0, 3, 77, 500, 1])))
    assert_close(np.linalg.norm(out, axis=-1), np.linalg.norm(x, axis=-1), atol=1e-5)
    assert_close(out[:, 0], x[:, 0], atol=0)


@pytest.mark.parametrize("pairing", ["interleaved", "half_split"])
def test_scores_depend_on_distance_only(rng, pairing):
    q, k = (rng.standard_normal((2, 3, 9, 8)).astype("float32") for _ in "qk")
    rotary = RotaryEmbedding(pairing=pairing)
    near, far = (numpy(rotary.scores(q, k, np.arange(9) + shift)) for shift in (0, 40))
    assert_close(far, near, atol=1e-4)
    assert np.abs(near - numpy(rotary.scores(q, k, 2 * np.arange(9)))).max() > 0.1


def test_scores_are_products_of_the_rotated(rng):
    """`scores` `[B, H, n, s]` agrees with the layer `[B, n, H, s]`; keys have positions of their own."""
    q, k = (rng.standard_normal((2, n, 3, 8)).astype("float32") for n in (5, 7))
    here, there = np.arange(5) + 2, np.arange(7) * 3
    rotary = RotaryEmbedding()
    expected = np.einsum("bnhs,bmhs->bhnm", numpy(rotary(q, here)), numpy(rotary(k, there)))
    assert_close(rotary.scores(q.swapaxes(1, 2), k.swapaxes(1, 2), here, there), expected, atol=1e-5)


def test_positions_may_be_fractions(rng):
    """Twice half a step is one step; positions `[n]` and `[B, n]` mean the same."""
    x = rng.standard_normal((2, 4, 8)).astype("float32")
    rotary = RotaryEmbedding()
    half = np.full((2, 4), 0.5, "float32")
    assert_close(rotary(rotary(x, half), half), rotary(x, np.ones(4, "int32")), atol=1e-6)


def test_half_split_is_interleaved_with_permuted_columns(rng):
    """The same attention from converted query and key projections, kernels and biases."""
    x = rng.standard_normal((2, 6, 12)).astype("float32")
    ours, theirs = (
        MultiHeadAttention(3, 4, position=RotaryEmbedding(pairing=p)) for p in ("interleaved", "half_split")
    )
    ours(x), theirs(x)
    for old, new in zip(ours.weights, theirs.weights):
        value = rng.standard_normal(old.shape).astype("float32")
        old.assign(value)
        turn = old.path.split("/")[-2] in ("query", "key")
        new.assign(interleaved_to_half_split(value, 3) if turn else value)
    assert_close(theirs(x), ours(x), atol=2e-5)
    assert numpy(interleaved_to_half_split(np.arange(8.0), 2)).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_positions_are_exact_in_half_precision(rng):
    """Positions 300 and 301 are one number in bfloat16; the rotation must not see them so."""
    x = ops.cast(rng.standard_normal((1, 2, 8)).astype("float32"), "bfloat16")
    positions = np.array([[300.0, 301.0]], "float32")
    out = RotaryEmbedding(dtype="mixed_bfloat16")(x, ops.convert_to_tensor(positions))
    assert_close(out, complex_rotation(numpy(x), positions), atol=0.03)


def test_layer_contract(tmp_path, rng):
    inputs = {
        "x": rng.standard_normal((2, 5, 8)).astype("float32"),
        "positions": np.tile(np.arange(5.0), (2, 1)),
    }
    inputs["positions"] = inputs["positions"].astype("float32") + 0.25
    check_layer(
        RotaryEmbedding(base=100.0, pairing="half_split"),
        inputs,
        tmp_path,
        output_dtype="float32",
        weights=0,
    )


def test_errors():
    with pytest.raises(ValueError, match="pairing='llama'.*'interleaved' or 'half_split'"):
        RotaryEmbedding(pairing="llama")
    with pytest.raises(ValueError, match="even feature size, got 7"):
        call(RotaryEmbedding(), {"x": np.zeros((1, 2, 7), "float32")})


@pytest.mark.parametrize("cut", [slice(0, 6), slice(1, 7)])
def test_rotates_any_cut_of_a_tensor(cut):
    """torch turns pairs as complex numbers, which a cut at an odd place or with odd steps does not hold."""
    x = np.random.default_rng(3).normal(size=(2, 5, 9)).astype("float32")
    rotary = RotaryEmbedding()
    assert_close(rotary(ops.convert_to_tensor(x)[..., cut]), rotary(x[..., cut].copy()), atol=1e-6)
