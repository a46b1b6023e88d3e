"""Options together: sampled combinations against a loop in float64, in layers, with padding, with a cache."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.attention_oracle import attention_weights
from support.layer_checks import BACKEND, HALF_POLICIES, built, check_layer, gradients, numpy, rebuilt

from zoo.layers import (
    KERPLE,
    XPOS,
    ALiBi,
    AttentionOptions,
    CosA,
    Direction,
    GatedAttentionUnit,
    GAUBlock,
    KeyNorm,
    LeakyReRoPE,
    LogN,
    MultiHeadAttention,
    NTKMixed,
    QueryNorm,
    ReRoPE,
    RotaryEmbedding,
    Sandwich,
    Softmax,
    SoftmaxPlus,
    SquaredReLU,
    TransformerBlock,
    Window,
    YaRN,
    causal_mask,
)

FIELDS = {
    "query_key_bias": [False, True],
    "product": [None, KeyNorm(), QueryNorm(), CosA(4), CosA()],
    "log_n": [None, LogN(3)],
    "position": [
        None,
        RotaryEmbedding(),
        RotaryEmbedding(pairing="half_split", scaling=NTKMixed(4)),
        RotaryEmbedding(scaling=YaRN(2, 16)),
        ReRoPE(3),
        LeakyReRoPE(2, 4),
        XPOS(scale_base=8),
    ],
    "score_scale": [None, 0.7],
    "score_bias": [None, ALiBi(), KERPLE(), KERPLE("power"), Sandwich(0.1, 8)],
    "visibility": [[], [Window(3)], [Direction("left")], [Direction("mixed")], [Window(4), Direction("right")]],
    "normalization": [Softmax(), SoftmaxPlus(base=8, floor=2), SquaredReLU()],
}


def clashes(given):
    """Whether two options of a combination scale the same thing; stated apart from the library's own check."""
    by_length = (given["product"] == CosA()) + (given["log_n"] is not None)
    by_length += isinstance(given["normalization"], SoftmaxPlus)
    yarn = isinstance(given["position"], RotaryEmbedding) and given["position"].scaling == YaRN(2, 16)
    return (
        by_length > 1
        or ((by_length or yarn) and isinstance(given["normalization"], SquaredReLU))
        or (given["score_scale"] is not None and given["product"] is not None)
    )


def sampled(count, seed):
    """Combinations in which every value of a field is as frequent as the others."""
    rng = np.random.default_rng(seed)
    columns = {
        name: [values[i % len(values)] for i in rng.permutation(max(count, len(values)))[:count]]
        for name, values in FIELDS.items()
    }
    return [{name: column[i] for name, column in columns.items()} for i in range(count)]


COMBINATIONS = sampled(60, seed=11)  # of these the good ones have every value, see the first test
GOOD = [given for given in COMBINATIONS if not clashes(given)]
FEW = GOOD if BACKEND == "torch" else GOOD[:14]  # others compile every operation
good = pytest.mark.parametrize("given", FEW, ids=range(len(FEW)))
layers = pytest.mark.parametrize(
    "kind, given",
    [(kind, given) for kind in ("attention", "gau") for given in (FEW if BACKEND == "torch" else FEW[:5])],
)
CASES = {  # layer -> from options; neither has biases, so that query_key_bias has a place
    "attention": lambda given, **rest: MultiHeadAttention(4, 6, 8, use_bias=False, attention_options=given, **rest),
    "gau": lambda given, **rest: GatedAttentionUnit(10, 8, use_bias=False, attention_options=given, **rest),
}


def layer_for(kind, given):
    """A layer of a kind; single heads cannot be mixed and look left instead."""
    if kind == "gau" and Direction("mixed") in given["visibility"]:
        given = {**given, "visibility": [Direction("left")]}
    return CASES[kind](given)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x(rng):
    return rng.standard_normal((2, 7, 12)).astype("float32")


def test_sample_has_every_value():
    for name, values in FIELDS.items():
        for value in values:
            assert any(given[name] == value for given in FEW), (name, value)
    assert len(COMBINATIONS) - len(GOOD) > 10


def test_clashing_options_are_errors():
    for given in COMBINATIONS:
        if clashes(given):
            with pytest.raises(ValueError, match=r"keep one|relu² is homogeneous|sets the scale itself"):
                CASES["attention"](given)


@good
def test_weights_equal_the_loop(rng, given):
    """Padding, a mask of the caller and positions of each row's own."""
    options = AttentionOptions(**given)
    q, k = (rng.standard_normal((2, 4, n, 8)).astype("float32") for n in (5, 7))
    trained = {
        name: rng.normal(start, 0.3, shape).astype("float32") for name, (shape, start) in options.trained(4, 8).items()
    }
    padding, mask = np.arange(7) < np.array([[7], [6]]), rng.random((5, 7)) < 0.8
    there = np.stack([np.arange(7.0), np.arange(7) * 1.5 + 1]).astype("float32")
    here = there[:, 1:6]
    visible = np.broadcast_to(padding[:, None, None] & mask, (2, 4, 5, 7))
    expected = attention_weights(options, q, k, trained, visible, here, there, first_query=1)
    found = options.attention_weights(
        *(ops.convert_to_tensor(a) for a in (q, k)), 4, trained, padding, mask, None, here, there, first_query=1
    )
    assert_close(found, expected, atol=5e-5)


@layers
def test_padding_changes_nothing(rng, x, kind, given):
    layer = built(layer_for(kind, given), {"query": x})
    mask = np.arange(7) < np.array([[7], [4]])
    padded = np.concatenate([x, 50 * rng.standard_normal((2, 4, 12))], axis=1).astype("float32")
    padded[1, 4:] = -7
    wide = np.pad(mask, [(0, 0), (0, 4)])
    out, padded_out = numpy(layer(x, padding_mask=mask)), numpy(layer(padded, padding_mask=wide))
    assert np.isfinite(padded_out).all()
    assert_close(padded_out[wide], out[mask], atol=2e-5 * max(1, np.abs(out).max()))


@layers
def test_layer_comes_back_from_its_config(x, kind, given):
    layer = built(layer_for(kind, given), {"query": x})
    assert_close(rebuilt(layer, {"query": x})(x), layer(x), atol=0)


@layers
def test_half_precision_is_near(x, kind, given):
    layer = built(layer_for(kind, given), {"query": x})
    expected = numpy(layer(x))
    for policy in HALF_POLICIES:
        out = numpy(rebuilt(layer, {"query": x}, policy)(x))
        assert_close(out, expected, atol=0.06 * max(1, np.abs(expected).max()))


@layers
def test_cached_equals_uncached(x, kind, given):
    """Three tokens at once, then one by one, in a cache with room to spare; rows padded on the left."""
    layer = built(layer_for(kind, given), {"query": x})
    padding = np.arange(7) >= np.array([[0], [2]])
    wide = np.pad(padding, [(0, 0), (0, 2)])
    if {"right", "mixed"} & {getattr(rule, "side", "") for rule in layer.options.visibility}:
        with pytest.raises(ValueError, match="looks left only"):
            layer.step(x[:, :3], layer.empty_cache(2, 9), 0)
        return
    expected = numpy(layer(x, padding_mask=padding, attention_mask=causal_mask(7)))
    cache, start, parts = layer.empty_cache(2, 9), 0, []
    for length in (3, 1, 1, 1, 1):
        out, cache = layer.step(ops.convert_to_tensor(x[:, start : start + length]), cache, start, padding_mask=wide)
        parts.append(numpy(out))
        start += length
    out = np.concatenate(parts, axis=1)
    assert_close(out[padding], expected[padding], atol=2e-5 * max(1, np.abs(expected).max()))


OPTIONS = {
    "query_key_bias": True,
    "position": ReRoPE(3),
    "score_bias": KERPLE(),
    "product": KeyNorm(),
    "log_n": LogN(3),
    "visibility": [Window(4), Direction("left")],
    "normalization": "softmax",
}


@pytest.mark.parametrize("kind", CASES)
def test_layer_contract(tmp_path, x, kind):
    """Compiled, saved, in half precision; with positions."""
    inputs = {"query": x, "padding_mask": np.arange(7) < np.array([[7], [4]])}
    inputs["positions"] = np.tile(np.arange(7, dtype="float32") * 1.5, (2, 1))
    weights = {"attention": 4, "gau": 4}[kind] + 4
    check_layer(CASES[kind](OPTIONS), inputs, tmp_path, half_tolerance=0.05, weights=weights)


@pytest.mark.parametrize("kind", CASES)
def test_gradients_are_finite(x, kind):
    """Also where a row sees no key, and at vectors of norm 0."""
    x = np.concatenate([x[:1], np.zeros_like(x[:1])])
    inputs = {"query": x, "padding_mask": np.array([[True] * 7, [False] * 7])}
    layer = built(CASES[kind](OPTIONS), inputs)
    for gradient in gradients(layer, inputs, np.ones_like(x)):
        assert np.isfinite(numpy(gradient)).all()


@pytest.mark.parametrize("kind", ["transformer", "gau"])
def test_step_of_a_block(x, kind):
    """With custom positions and the prefix mask of UniLM: three source tokens see each other, the rest look left."""
    blocks = {
        "transformer": lambda: TransformerBlock(4, 6, 20, key_dim=8, position="rotary"),
        "gau": lambda: GAUBlock(10, 8, position="rotary"),
    }
    block = built(blocks[kind](), {"x": x})
    places = np.arange(7)
    mask = (places[None] <= places[:, None]) | (places[None] < 3)
    positions, all_places = (places * 2 + 1).astype("float32"), (np.arange(9) * 2 + 1).astype("float32")
    expected = numpy(block(x, attention_mask=mask, positions=positions))
    cache = block.empty_cache(2, 9)
    out, cache = block.step(
        ops.convert_to_tensor(x[:, :3]), cache, 0, attention_mask=np.ones((3, 9), bool), positions=positions[:3],
        key_positions=all_places,
    )  # fmt: skip
    assert_close(out, expected[:, :3], atol=2e-5)
    for i in range(3, 7):
        new = ops.convert_to_tensor(x[:, i : i + 1])
        out, cache = block.step(new, cache, i, positions=positions[i : i + 1], key_positions=all_places)
        assert_close(out, expected[:, i : i + 1], atol=2e-5)


def test_step_compiles_once_for_all_places(x):
    """The place may be a tensor: one graph serves a whole generation."""
    from zoo.backend import compiled

    layer = built(CASES["attention"]({**OPTIONS, "visibility": Window(4)}), {"query": x})
    expected = numpy(layer(x, attention_mask=causal_mask(7)))
    traced = []

    def step(token, keys, values, index):
        traced.append(1)
        return layer.step(token, (keys, values), index)

    step, cache = compiled(step), layer.empty_cache(2, 7)
    for i in range(7):
        out, cache = step(ops.convert_to_tensor(x[:, i : i + 1]), *cache, ops.convert_to_tensor(i, dtype="int32"))
        assert_close(out, expected[:, i : i + 1], atol=2e-5)
    assert len(traced) == 1 or BACKEND == "torch"


def test_caches_in_half_precision(x):
    for policy in HALF_POLICIES:
        layer = MultiHeadAttention(4, 6, 8, position="rotary", dtype=policy)
        expected = numpy(layer(x, attention_mask=causal_mask(7)))
        cache = layer.empty_cache(2, 7)
        for i in range(7):
            out, cache = layer.step(ops.convert_to_tensor(x[:, i : i + 1]), cache, i)
            assert_close(out, expected[:, i : i + 1], atol=0.02)
        assert {keras.backend.standardize_dtype(part.dtype) for part in cache} == {layer.compute_dtype}


def test_cross_attention_has_key_positions(rng, x):
    """Keys count from 0 unless they are given positions; only differences count."""
    memory = rng.standard_normal((2, 9, 12)).astype("float32")
    cases = {
        MultiHeadAttention(4, 6, 8, position="rotary"): {},
        GatedAttentionUnit(10, 8, position="rotary", cross_attention=True): {"value": memory},
    }
    for layer, rest in cases.items():
        built(layer, {"query": x, "key": memory, **rest})
        plain = numpy(layer(x, memory, **rest))
        here, there = np.arange(7), np.arange(9)
        assert_close(layer(x, memory, **rest, positions=here), plain, atol=1e-5)
        assert_close(layer(x, memory, **rest, positions=here + 5, key_positions=there + 5), plain, atol=5e-5)
        assert np.abs(numpy(layer(x, memory, **rest, positions=here, key_positions=there * 2)) - plain).max() > 0.01


def test_options_go_over_those_of_the_layer():
    base = AttentionOptions(position="rotary", normalization="softmax_plus")
    options = AttentionOptions(position=None, product="key_norm").with_defaults(base)
    assert options.position is None
    assert options.product == KeyNorm()
    assert options.normalization == SoftmaxPlus()
    assert AttentionOptions().with_defaults(base).get_config() == base.get_config()
    layer = MultiHeadAttention(2, 4, position="rotary", score_scale=1.0, attention_options={"score_scale": None})
    assert layer.options.score_scale is None
    assert layer.options.position.base == 10000.0
    assert layer.get_config()["attention_options"] == {"score_scale": None}


def test_json_form_comes_back():
    for given in GOOD:
        options = AttentionOptions(**given)
        config = json.loads(json.dumps(options.get_config()))
        assert AttentionOptions.get(config).get_config() == options.get_config()
    assert AttentionOptions.get(None).get_config() == {}
    assert AttentionOptions(visibility=None).visibility == ()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"window": 3}, "attention options .*window.*; expected None, AttentionOptions"),
        ([], "attention options"),
        ({"position": "softmax"}, "unknown attention option 'softmax' for position"),
        ({"visibility": [None, KeyNorm()]}, "for visibility"),
        ({"score_scale": "sqrt"}, "score_scale='sqrt'; expected None or a number"),
        ({"normalization": None}, "normalization=None; expected 'softmax'"),
        ({"score_bias": {"class": "Window", "config": {"width": 3}}}, "for score_bias"),
        ({"query_key_bias": True}, "query and key have a bias already"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        MultiHeadAttention(2, 4, attention_options=options)
