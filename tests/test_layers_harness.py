"""Keras' own harness for layers, on every public layer: config, build, symbolic and real output, a training step."""

import keras
import pytest
from keras.src.testing import TestCase
from support.layer_checks import BACKEND

import zoo.layers

X = (2, 5, 8)
IDS = {"input_dtype": "int32"}
ATTENTION = {"position": "rotary", "dropout": 0.1}
CASES = {  # name -> arguments, shapes, what else the harness has to know
    "AlphaResidual": ({"trainable": True}, {"x_shape": X, "branch_shape": X}, {}),
    "AttentionMask": ({"kind": "causal"}, (2, 5), IDS),
    "ConditionalLayerNorm": ({"hidden_dim": 3}, {"x_shape": X, "condition_shape": (2, 4)}, {}),
    "Dense": ({"units": 4}, X, {}),
    "Dropout": ({"rate": 0.1}, X, {}),
    "FLASHBlock": ({"expanded_dim": 12, "key_dim": 4, "chunk_length": 3, "position": "rotary"}, X, {}),
    "FeedForward": ({"intermediate_dim": 12, "gate_activation": "linear"}, X, {}),
    "GAUBlock": ({"expanded_dim": 12, "key_dim": 4, "residual": "deep", "attention_dropout": 0.1}, X, {}),
    "GatedAttentionUnit": ({"expanded_dim": 12, "key_dim": 4, **ATTENTION}, X, {}),
    "LayerNorm": ({}, X, {}),
    "LinearAttention": ({"num_heads": 2, "head_dim": 4, "causal": True, "chunk_length": 3}, X, {}),
    "MixedChunkAttention": ({"expanded_dim": 12, "key_dim": 4, "chunk_length": 3, **ATTENTION}, X, {}),
    "MultiHeadAttention": ({"num_heads": 2, "head_dim": 4, **ATTENTION}, X, {}),
    "NTKDense": ({"units": 4, "gain": 2.0}, X, {}),
    "PaddingMask": ({}, (2, 5), IDS),
    "ParallelRNN": ({"cell": keras.layers.SimpleRNNCell(4, dtype="float32")}, X, {}),
    "Pooling": ({"kind": "attention"}, X, {}),
    "PositionEmbedding": ({"max_sequence_length": 6}, X, {}),
    "RMSNorm": ({}, X, {}),
    "RotaryEmbedding": ({"pairing": "half_split"}, X, {}),
    "ScaleOffset": ({}, X, {}),
    "SegmentEmbedding": ({"num_segments": 2}, X, {}),
    "TokenEmbedding": ({"input_dim": 7, "output_dim": 4}, (2, 5), IDS),
    "TransformerBlock": ({"num_heads": 2, "head_dim": 4, "intermediate_dim": 12, "residual": "alpha"}, X, {}),
}
RESIDUALS = {"deep": zoo.layers.DeepNorm(2.0), "alpha": zoo.layers.AlphaResidual(0.5)}
# XLA on the CPU lacks some float16 products with float32 sums.
NO_HALF = ("Attention", "Block") if BACKEND == "jax" else ()


def test_every_public_layer_has_a_case():
    public = {name: getattr(zoo.layers, name) for name in zoo.layers.__all__}
    layers = {name for name, it in public.items() if isinstance(it, type) and issubclass(it, keras.layers.Layer)}
    assert layers == set(CASES)


@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed")  # the harness' own fit of a generator
@pytest.mark.parametrize("name", CASES)
def test_run_layer_test(name):
    arguments, shape, more = CASES[name]
    arguments = {key: RESIDUALS.get(value, value) if key == "residual" else value for key, value in arguments.items()}
    layer = getattr(zoo.layers, name)(**arguments)
    trains = not isinstance(shape, dict) and name not in ("AttentionMask", "Dropout", "PaddingMask", "RMSNorm")
    TestCase().run_layer_test(
        type(layer),
        arguments,
        input_shape=shape,
        run_training_check=trains and name != "RotaryEmbedding",
        run_mixed_precision_check=name != "ParallelRNN" and not any(part in name for part in NO_HALF),
        **more,
    )


@pytest.mark.parametrize("kind", ["cls", "mean", "max", "first_last_mean", "attention", "comparison"])
def test_run_layer_test_of_poolings(kind):
    shapes = {"hidden_states_shape": X}
    if kind == "first_last_mean":
        shapes["first_hidden_states_shape"] = X
    if kind == "comparison":
        shapes["second_text_shape"] = (2, 5)
    width = 16 if kind == "comparison" else 8
    TestCase().run_layer_test(
        zoo.layers.Pooling,
        {"kind": kind},
        input_shape=shapes,
        expected_output_shape=(2, width),
        expected_output_dtype="float32",
        run_training_check=False,
    )
