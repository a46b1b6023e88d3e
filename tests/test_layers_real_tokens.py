"""Computing without the padding: the same numbers at real tokens as with it, for every layer, option and family."""

import sys

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.tiny_models import backbone, matcher, scatter_weights, to_numpy

import zoo
import zoo.tasks.text_task
from zoo.backend import padding_is_left_out
from zoo.layers import (
    ALiBi,
    AttentionOptions,
    FLASHBlock,
    KeyNorm,
    LogN,
    ReRoPE,
    RotaryEmbedding,
    TransformerBlock,
    Window,
)
from zoo.layers.real_tokens import RealTokens

SHAPES_COST_NOTHING = keras.backend.backend() != "jax"  # that are not compiled


def batch(rows=5, length=9, seed=0):
    """token_ids, segment_ids and a padding mask: rows of all lengths, padding on the left, in the middle, everywhere."""
    rng = np.random.default_rng(seed)
    mask = np.arange(length) < rng.integers(1, length, rows)[:, None]
    mask[0], mask[1], mask[2] = np.arange(length) >= 4, np.arange(length) % 3 == 0, False
    token_ids = rng.integers(5, 100, (rows, length)).astype("int32")
    segments = np.cumsum(rng.integers(0, 2, (rows, length)) * (np.arange(length) > 4), 1).clip(0, 1).astype("int32")
    return {"token_ids": token_ids, "segment_ids": segments, "padding_mask": mask}


def tensors(inputs):
    return {name: ops.convert_to_tensor(x) for name, x in inputs.items()}


def test_flat_and_padded_are_a_selection_and_its_transpose():
    mask = batch()["padding_mask"]
    computed = mask.copy()
    computed[:, 0] = True  # "cls" reads it
    x = np.random.default_rng(1).normal(size=(*mask.shape, 4)).astype("float32")
    tokens = RealTokens(ops.convert_to_tensor(mask))
    flat = to_numpy(tokens.flat(ops.convert_to_tensor(x)))
    assert_close(flat[0], x[computed], atol=0)
    assert_close(tokens.padded(ops.convert_to_tensor(flat.astype("float32"))), x * computed[..., None], atol=0)
    ids = np.arange(mask.size, dtype="int32").reshape(mask.shape)
    assert to_numpy(tokens.flat(ops.convert_to_tensor(ids))).tolist() == [ids[computed].tolist()]


LAYERS = {
    "rotary": {},
    "softmax_plus": {"normalization": "softmax_plus"},
    "log-n": {"attention_options": AttentionOptions(log_n=LogN(8))},
    "key norm": {"attention_options": AttentionOptions(product=KeyNorm())},
    "window": {"attention_options": AttentionOptions(visibility=[Window(3)])},
    "ReRoPE": {"attention_options": AttentionOptions(position=ReRoPE(4, causal=False))},
    "ALiBi": {"attention_options": AttentionOptions(position=None, score_bias=ALiBi())},
}


@pytest.mark.parametrize("name", [*LAYERS, "FLASH"])
def test_blocks(name):
    if name == "FLASH":
        block = FLASHBlock(24, 8, chunk_length=4, position=RotaryEmbedding())
    else:
        options = {"position": RotaryEmbedding(), **LAYERS[name]}
        block = TransformerBlock(2, 8, 24, residual=zoo.layers.DeepNorm(1.5), **options)
    mask = ops.convert_to_tensor(batch()["padding_mask"])
    x = ops.convert_to_tensor(np.random.default_rng(2).normal(size=(5, 9, 16)).astype("float32"))
    block.build(x.shape)
    scatter_weights(block)
    tokens = RealTokens(mask)
    flat = block(tokens.flat(x), padding_mask=tokens)
    assert_close(flat, tokens.flat(block(x, padding_mask=mask)), atol=1e-5)


FAMILIES = [
    ("BERT", {"attention_mask": "bidirectional"}),
    ("BERT", {"custom_position_ids": True}),
    ("RoFormer", {"attention_mask": "causal"}),
    ("RoFormerV2", {"attention_mask": "unilm"}),
    ("RoFormerV2", {"custom_position_ids": True, "embedding_dim": 8}),
    ("RoFormerV2", {"layer_attention": [{"log_n": LogN(8)}, {"visibility": [Window(2)], "position": None}]}),
    ("GAUAlpha", {}),
    ("GAUAlpha", {"attention_mask": "unilm", "normalization": "squared_relu"}),
]


@pytest.mark.parametrize(
    ("family", "options", "dtype"),
    [(*case, "float32") for case in FAMILIES] + [(*case, "mixed_bfloat16") for case in FAMILIES[::3]],
)
def test_hidden_states_of_backbones(family, options, dtype):
    model = scatter_weights(backbone(family, num_layers=2, dtype=dtype, **options))
    inputs = batch()
    if "custom_position_ids" in options:
        inputs["position_ids"] = np.random.default_rng(3).integers(0, 16, inputs["token_ids"].shape).astype("float32")
    assert model.blocks_have("takes_real_tokens")
    states, tokens = model.flat_states(tensors(inputs))
    expected = model.hidden_states(tensors(inputs))
    assert len(states) == len(expected) == 3
    for found, whole in zip(states, expected):
        assert keras.backend.standardize_dtype(found.dtype) == model.compute_dtype
        atol = 2e-5 if dtype == "float32" else 0.05 * float(np.abs(to_numpy(whole)).max())
        assert_close(found, tokens.flat(whole), atol=atol)


def test_derived_inputs_and_too_long_ones():
    model = backbone("BERT")
    token_ids = ops.convert_to_tensor(batch()["token_ids"] * batch()["padding_mask"])
    flat, tokens = model.flat_states({"token_ids": token_ids})
    expected = tokens.flat(model(token_ids))
    np.testing.assert_allclose(to_numpy(flat[-1]), to_numpy(expected), atol=1e-5)
    with pytest.raises(ValueError, match="the input has 17 positions, the model was built for 16"):
        model.flat_states({"token_ids": ops.ones((2, 17), "int32")})


@pytest.fixture
def left_out(monkeypatch):
    """A list that grows whenever a backbone computes without padding."""
    calls, original = [], zoo.Backbone._embedded

    def embedded(self, inputs, flat):
        if flat:
            calls.append(1)
        return original(self, inputs, flat)

    monkeypatch.setattr(zoo.Backbone, "_embedded", embedded)
    return calls


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "first_last_mean", "attention"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_tasks_leave_padding_out_where_shapes_cost_nothing(pooling, dtype, left_out, monkeypatch):
    model = scatter_weights(matcher(pooling=pooling, dtype=dtype))
    inputs = tensors(batch(40))
    found = model.pool(inputs)
    assert bool(left_out) == SHAPES_COST_NOTHING
    left_out.clear()
    full = {**inputs, "padding_mask": ops.ones_like(inputs["padding_mask"])}
    model.pool(full)
    assert not left_out
    monkeypatch.setattr(zoo.tasks.text_task, "padding_is_left_out", lambda *_: False)
    expected = model.pool(inputs)
    assert_close(found, expected, atol=2e-5 if dtype == "float32" else 0.05 * float(np.abs(to_numpy(expected)).max()))


def trained(model, **options):
    """Losses and weights of three steps."""
    model.compile(keras.optimizers.SGD(0.02), **options)
    arrays = {name: np.stack([x, x[::-1]], 1) for name, x in batch(12, 16).items()}
    losses = [float(model.train_on_batch(arrays, np.arange(12) % 2)) for _ in range(3)]
    return losses, model.get_weights()


def assert_same_training(found, expected):
    (losses, weights), (expected_losses, expected_weights) = found, expected
    assert_close(np.array(losses), np.array(expected_losses), atol=1e-5)
    assert losses[0] != losses[-1]
    for weight, wanted in zip(weights, expected_weights):
        assert_close(weight, wanted, atol=1e-5)


@pytest.mark.parametrize("family", ["RoFormerV2", "BERT", "GAUAlpha"])
def test_training_is_the_same(family, monkeypatch, left_out):
    def model():
        return scatter_weights(zoo.RepresentationMatcher(backbone(family), max_length=16))

    found = trained(model())
    assert bool(left_out) == SHAPES_COST_NOTHING
    left_out.clear()
    monkeypatch.setattr(zoo.tasks.text_task, "padding_is_left_out", lambda *_: False)
    assert_same_training(found, trained(model()))
    assert not left_out


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_graphs_for_use_and_compiled_ones_keep_it(jit_compile, left_out):
    """torch computes op by op also for use; TensorFlow leaves padding out in training alone, and nobody under XLA."""
    model = matcher()
    arrays = {name: np.stack([x, x[::-1]], 1) for name, x in batch(12, 16).items()}
    model.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile)
    model.predict_on_batch(arrays)
    assert bool(left_out) == (keras.backend.backend() == "torch" and not jit_compile)
    left_out.clear()
    model.train_on_batch(arrays, np.arange(12) % 2)
    assert bool(left_out) == (SHAPES_COST_NOTHING and not jit_compile)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_from_a_twentieth_of_padding_on(run_eagerly, monkeypatch):
    if keras.backend.backend() == "jax":
        monkeypatch.setitem(sys.modules, "torch", None)  # an installation without it
    model = matcher()
    model.compile(run_eagerly=run_eagerly)
    mask = np.ones((10, 10), "bool")
    mask[0, 6:] = False
    assert not padding_is_left_out(model, ops.convert_to_tensor(mask), training=False)
    mask[0, 4:] = False
    assert padding_is_left_out(model, ops.convert_to_tensor(mask), training=False) == SHAPES_COST_NOTHING


def test_blocks_that_know_no_tokens_are_called_with_padding():
    class Plain(keras.layers.Layer):
        def call(self, x, padding_mask=None, attention_mask=None, positions=None, training=None):
            return x

        def compute_output_spec(self, x, **places):
            return keras.KerasTensor(x.shape, dtype=x.dtype)

    class Family(zoo.RoFormerV2):
        def block(self, index):
            return self.layer(Plain, name=f"layer_{index}")

    assert not Family(120, 1, 2, 16, 32).blocks_have("takes_real_tokens")


def test_blocks_that_compute_something_else_are_called_with_padding(left_out):
    """A subclass of a block inherits how to leave padding out, and its own `call` may not know of it."""

    class Doubled(TransformerBlock):
        def call(self, x, padding_mask=None, **options):
            mask = ops.cast(padding_mask, x.dtype)[..., None]
            return super().call(2 * x * mask, padding_mask=padding_mask, **options)

    class Family(zoo.RoFormerV2):
        def block(self, index):
            return self.layer(Doubled, 2, 8, 32, name=f"layer_{index}")

    model = Family(120, 1, 2, 16, 32)
    assert not model.blocks_have("takes_real_tokens") and not model.blocks_have("first")
    for pooling in ("mean", "cls"):
        zoo.RepresentationMatcher(model, pooling=pooling, max_length=16).pool(tensors(batch(40)))
    assert not left_out
