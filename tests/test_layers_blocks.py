"""Residual blocks: Norm(x + F(x)), and nothing else."""

import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import built, call, check_layer, numpy

from zoo.layers import AlphaResidual, DeepNorm, GAUBlock, TransformerBlock

BLOCKS = {
    "bert": lambda **options: TransformerBlock(2, 4, 12, **options),
    "roformer_v2": lambda **options: TransformerBlock(
        2, 4, 12, activation="relu", use_bias=False, norm="rms_norm", position="rotary", **options
    ),
    "gau": lambda **options: GAUBlock(16, 4, position="rotary", **options),
}


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((2, 6, 8)).astype("float32"),
        "padding_mask": np.arange(6) < np.array([[6], [3]]),
        "attention_mask": np.tril(np.ones((2, 6, 6), bool)),
        "positions": np.tile(np.arange(6, dtype="float32") * 1.5, (2, 1)),
    }


@pytest.mark.parametrize("name", ["bert", "roformer_v2"])
def test_transformer_block_is_its_two_halves(inputs, name):
    block = built(BLOCKS[name](), inputs)
    x, options = ops.convert_to_tensor(inputs["x"]), {k: v for k, v in inputs.items() if k != "x"}
    y = block.attention_norm(x + block.attention(x, **options))
    assert_close(call(block, inputs), block.feedforward_norm(y + block.feedforward(y)), atol=1e-6)


def test_gau_block_is_one_unit(inputs):
    block = built(BLOCKS["gau"](), inputs)
    x, options = ops.convert_to_tensor(inputs["x"]), {k: v for k, v in inputs.items() if k != "x"}
    assert_close(call(block, inputs), block.gau_norm(x + block.gau(x, **options)), atol=1e-6)


@pytest.mark.parametrize("name", BLOCKS)
def test_block_with_zero_branches_is_its_norm(inputs, name):
    """All kernels and biases 0: only the residual is left, and norming it again changes nothing."""
    block = BLOCKS[name]()
    built(block, inputs)
    for variable in block.weights:
        if variable.name in ("kernel", "bias", "beta"):
            variable.assign(np.zeros(variable.shape))
        elif "norm" in variable.path:
            variable.assign(np.ones(variable.shape))
    x = inputs["x"].astype("float64")
    if name == "bert":
        x = x - x.mean(-1, keepdims=True)
    assert_close(call(block, inputs), x / np.sqrt((x**2).mean(-1, keepdims=True)), atol=1e-5)


def test_names_of_weights(inputs):
    """The names by which checkpoints are mapped; RMS norms and units of the V2 line have no bias and no gain."""
    names = {
        name: [v.path.split("/", 1)[1] for v in built(block(name="b"), inputs).weights]
        for name, block in BLOCKS.items()
    }
    projections = ("query", "key", "value", "output")
    kernels = [f"attention/{p}/kernel" for p in projections] + ["feedforward/inner/kernel", "feedforward/outer/kernel"]
    assert names["roformer_v2"] == kernels
    norms = [f"{half}_norm/{weight}" for half in ("attention", "feedforward") for weight in ("gamma", "beta")]
    assert set(names["bert"]) == {*kernels, *(k.replace("kernel", "bias") for k in kernels), *norms}
    units = ["gau/input/kernel", "gau/query_scale/gamma", "gau/key_scale/gamma", "gau/output/kernel"]
    assert names["gau"] == units


@pytest.mark.parametrize("name", BLOCKS)
def test_dropout_acts_in_training_only(inputs, name):
    """On the branches, and on the attention weights."""
    x = inputs["x"]
    for options in ({"dropout": 0.5}, {"attention_dropout": 0.5}):
        block = built(BLOCKS[name](**options), {"x": x})
        assert_close(block(x, training=False), block(x), atol=0)
        difference = np.abs(numpy(block(x, training=True)) - numpy(block(x))).max()
        assert difference > 1e-3


@pytest.mark.parametrize("name, weights", [("bert", 16), ("roformer_v2", 6), ("gau", 4)])
def test_layer_contract(tmp_path, inputs, name, weights):
    check_layer(BLOCKS[name](dropout=0.1), inputs, tmp_path, half_tolerance=0.05, weights=weights)


def test_errors():
    with pytest.raises(ValueError, match="norm='batch_norm'; expected 'layer_norm' or 'rms_norm'"):
        GAUBlock(16, 4, norm="batch_norm")
    with pytest.raises(ValueError, match="unknown attention option 'alibi'"):
        TransformerBlock(2, 4, 12, position="alibi")


@pytest.mark.parametrize("residual", [DeepNorm(2.5), AlphaResidual(0.25)])
def test_residual_options_replace_the_sum(inputs, residual):
    """α x + F(x), or x + α F(x), in every branch; of trained α each branch has its own."""
    weigh = (lambda x, y: 2.5 * x + y) if isinstance(residual, DeepNorm) else (lambda x, y: x + 0.25 * y)
    x, options = ops.convert_to_tensor(inputs["x"]), {k: v for k, v in inputs.items() if k != "x"}
    unit, block = (built(BLOCKS[name](residual=residual), inputs) for name in ("gau", "bert"))
    for variable in (*unit.weights, *block.weights):
        if variable.name == "alpha":
            variable.assign(0.25)
    assert_close(call(unit, inputs), unit.gau_norm(weigh(x, unit.gau(x, **options))), atol=1e-6)
    y = block.attention_norm(weigh(x, block.attention(x, **options)))
    assert_close(call(block, inputs), block.feedforward_norm(weigh(y, block.feedforward(y))), atol=1e-6)
    twin = TransformerBlock.from_config(block.get_config())
    assert twin.get_config() == block.get_config()
    own = [variable.path.split("/")[-2] for variable in block.weights if variable.name == "alpha"]
    assert own == ([] if isinstance(residual, DeepNorm) else ["attention_residual", "feedforward_residual"])


def test_unknown_residual_is_refused():
    with pytest.raises(ValueError, match="unknown attention option 'sum' for residual"):
        GAUBlock(16, 4, residual="sum")
