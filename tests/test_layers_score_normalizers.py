"""Score normalisers: softmax, squared ReLU in its three conventions, entropy-invariant softmax."""

import math

import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import numpy

from zoo.backend import value_and_gradient
from zoo.backend.arguments import described
from zoo.layers import RotaryEmbedding, Softmax, SoftmaxPlus, SquaredReLU, options
from zoo.layers.masks import align, visible_keys

ALL = [Softmax(), SoftmaxPlus(), SquaredReLU(), SquaredReLU(length=512), SquaredReLU(squared_length=True)]
INPUTS = {  # name in ops.npz -> padding mask, boolean mask, float bias given
    "a3_mask": (True, False, False),
    "a3_nomask": (False, False, False),
    "a3_mask_boolbias": (True, True, False),
    "a3_boolbias": (False, True, False),
    "a3_mask_floatbias": (True, False, True),
    "a3_floatbias": (False, False, True),
    "a4_mask": (True, False, False),
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("method", ["softmax", "softmax_plus", "squared_relu"])
@pytest.mark.parametrize("case", INPUTS)
def test_equals_bert4keras(golden, method, case):
    arrays = golden("ops")
    if f"attn_norm/{method}/{case}" not in arrays.files:
        assert (method, case) == ("softmax", "a4_mask")  # the only pair that the original was not asked for
        return
    padding, mask, bias = INPUTS[case]
    scores = arrays[f"attn_norm/{case[:2]}"]
    if bias:
        scores = scores + numpy(align(arrays["attn_norm/float_bias"], scores.ndim)).astype("float32")
    visible = visible_keys(
        arrays["attn_norm/mask"] if padding else None,
        ops.convert_to_tensor(arrays["attn_norm/bool_bias"]) if mask else None,
        scores.ndim,
    )
    out = options.get(method)(ops.convert_to_tensor(scores), visible)
    assert_close(out, arrays[f"attn_norm/{method}/{case}"], atol=2e-5)


@pytest.mark.parametrize("length", [2, 15, 16, 17])
def test_softmax_of_rows_of_every_length(length, rng):
    """Values and gradients in float64, on both sides of the sixteen numbers that torch's kernel takes at once."""
    scores, upstream = (rng.normal(0, 5, (3, 2, length)).astype("float32") for _ in range(2))
    visible = np.ones((3, 1, length), "bool")
    visible[0, :, length // 2 :], visible[1] = False, False
    exps = np.exp(scores.astype("float64")) * visible
    weights = exps / np.maximum(exps.sum(-1, keepdims=True), 1e-300)
    assert_close(Softmax()(ops.convert_to_tensor(scores), ops.convert_to_tensor(visible)), weights, atol=1e-6)
    through = lambda x: ops.sum(Softmax()(x, ops.convert_to_tensor(visible)) * ops.convert_to_tensor(upstream))
    expected = weights * (upstream - (weights * upstream).sum(-1, keepdims=True))
    assert_close(value_and_gradient(through, scores)[1], expected, atol=1e-5)


def by_hand(scores, visible, name):
    """float64, one row at a time."""
    out = np.zeros(scores.shape)
    for index in np.ndindex(scores.shape[:-1]):
        keys = np.flatnonzero(visible[index])
        l, a = len(keys), scores[index][keys].astype("float64")
        if l == 0:
            continue
        if name == "softmax_plus":
            a = a * math.log(max(l, 16)) / math.log(512)
        weights = np.exp(a - a.max()) if name.startswith("softmax") else np.maximum(a, 0) ** 2
        out[index][keys] = weights / {"squared_relu": l, "length": 512, "squared_length": l**2}.get(name, weights.sum())
    return out


@pytest.mark.parametrize(
    "normalizer, name", zip(ALL, ["softmax", "softmax_plus", "squared_relu", "length", "squared_length"])
)
def test_equals_the_formula_row_by_row(rng, normalizer, name):
    """With rows of every number of visible keys from none to all."""
    scores = rng.normal(0, 3, (2, 3, 41, 40)).astype("float32")
    visible = np.broadcast_to(np.arange(40) < np.arange(41)[:, None], scores.shape)
    visible = rng.permuted(visible, axis=-1)
    out = normalizer(ops.convert_to_tensor(scores), ops.convert_to_tensor(visible))
    assert_close(out, by_hand(scores, visible, name), atol=1e-5)


@pytest.mark.parametrize("normalizer", ALL, ids=repr)
def test_masked_rows_give_zero_and_no_nan(rng, normalizer):
    """Also at scores that overflow float16, and beside them."""
    scores = np.stack([rng.standard_normal((4, 4)), np.full((4, 4), 6e4), np.full((4, 4), -6e4)]).astype("float32")
    visible = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]], bool)
    out = numpy(normalizer(ops.convert_to_tensor(scores), ops.convert_to_tensor(visible)))
    assert np.isfinite(out).all()
    assert not out[:, ~visible].any()
    if not isinstance(normalizer, SquaredReLU):
        assert_close(out.sum(-1), np.broadcast_to([0, 1, 1, 1], (3, 4)), atol=1e-6)


@pytest.mark.parametrize("normalizer", ALL, ids=repr)
def test_mask_of_ones_is_no_mask(rng, normalizer):
    scores = ops.convert_to_tensor(rng.standard_normal((2, 5, 30)).astype("float32"))
    visible = ops.ones((2, 1, 30), dtype="bool")
    assert_close(normalizer(scores, visible), normalizer(scores), atol=1e-7)


def test_softmax_plus_is_softmax_at_its_base_length(rng):
    scores = ops.convert_to_tensor(rng.standard_normal((2, 3, 512)).astype("float32"))
    assert_close(SoftmaxPlus()(scores), Softmax()(scores), atol=1e-6)
    assert_close(SoftmaxPlus(base=40, floor=1)(scores[..., :40]), Softmax()(scores[..., :40]), atol=1e-6)


@pytest.mark.parametrize(
    "length, scale", [(1, 0.4444), (16, 0.4444), (64, 0.6667), (128, 0.7778), (256, 0.8889), (1024, 1.1111)]
)
def test_softmax_plus_temperature(length, scale):
    """The factor on score differences, for as many visible keys; 1024 in bfloat16 is counted exactly too."""
    scores = np.zeros((1, 1200), "float32")
    scores[0, 0] = 1
    visible = np.arange(1200)[None] < max(length, 2)
    weights = numpy(SoftmaxPlus()(ops.cast(scores, "bfloat16"), ops.convert_to_tensor(visible)))[0]
    assert math.log(weights[0] / weights[1]) == pytest.approx(scale, abs=1e-4)


def test_number_of_keys_is_exact_in_half_precision():
    """301 ones sum to 300 or 302 in bfloat16."""
    scores = ops.cast(ops.ones((1, 400)), "bfloat16")
    visible = ops.convert_to_tensor(np.arange(400)[None] < 301)
    assert_close(SquaredReLU()(scores, visible)[0, 0], 1 / 301, atol=1e-8)


def test_squared_relu_is_homogeneous_and_softmax_plus_is_not(rng):
    scores = ops.convert_to_tensor(rng.standard_normal((2, 4, 6)).astype("float32"))
    assert_close(SquaredReLU()(3 * scores), 9 * numpy(SquaredReLU()(scores)), atol=1e-5)
    assert np.abs(numpy(SoftmaxPlus()(3 * scores)) - numpy(SoftmaxPlus()(scores))).max() > 0.1


def test_paper_convention_of_squared_relu(rng):
    """relu(q·k / n)² of the paper's appendix: the unscaled products over l²."""
    products = rng.normal(0, 5, (2, 7, 7)).astype("float32")
    out = SquaredReLU(squared_length=True)(ops.convert_to_tensor(products))
    assert_close(out, np.maximum(products / 7, 0) ** 2, atol=1e-5)


@pytest.mark.parametrize("option", [*ALL, SoftmaxPlus(base=128, floor=1), RotaryEmbedding(base=500.0), None], ids=repr)
def test_options_survive_json(option):
    import json

    again = options.get(json.loads(json.dumps(described(option))))
    assert described(again) == described(option)
    if option is not None and not isinstance(option, RotaryEmbedding):
        assert again == option and hash(again) == hash(option)


@pytest.mark.parametrize("option", ["none", "sigmoid", 3, {"class": "os.system", "config": {}}, {"class": "Softmax"}])
def test_unknown_option_is_an_error(option):
    with pytest.raises(ValueError, match="unknown attention option .*squared_relu"):
        options.get(option)
