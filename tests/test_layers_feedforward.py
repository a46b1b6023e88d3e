"""Feed-forward, plain and gated, and the activations by name."""

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.layer_checks import built, check_layer, numpy

from zoo.layers import FeedForward, activations

GOLDENS = {  # name in layers.npz -> arguments
    "relu_nobias": {"activation": "relu", "use_bias": False},
    "gelu": {"activation": "gelu"},
    "glu": {"activation": "gelu", "gate_activation": "linear"},
    "swiglu_nobias": {"activation": "swish", "gate_activation": "linear", "use_bias": False},
}


@pytest.mark.parametrize("name", GOLDENS)
def test_equals_bert4keras(golden, name):
    arrays = golden("layers")
    layer = FeedForward(20, **GOLDENS[name])
    layer.build(arrays["ffn/x"].shape)
    parts = {"i0_dense": "inner", "i1_dense": "gate", "o_dense": "outer"}
    stored = [key for key in arrays.files if key.startswith(f"ffn/{name}/weights/")]
    assert len(stored) == len(layer.weights)
    for key in stored:
        *_, part, weight = key.split("/")
        getattr(getattr(layer, parts[part]), weight).assign(arrays[key])
    assert_close(layer(arrays["ffn/x"]), arrays[f"ffn/{name}/out"], atol=2e-5)


@pytest.mark.parametrize("name", ["relu", "gelu", "gelu_erf", "gelu_tanh", "swish", "leaky_relu", "tanh"])
def test_activation_equals_bert4keras(golden, name):
    arrays = golden("ops")
    assert_close(activations.get(name)(keras.ops.convert_to_tensor(arrays["act/x"])), arrays[f"act/{name}"], atol=2e-6)


def test_activation_names():
    """Names of Hugging Face's configs too; functions pass; the tanh form survives a config."""
    assert activations.get("gelu_new") is activations.gelu_tanh is activations.get("gelu_tanh")
    assert activations.get("silu") is activations.get("swish") is keras.activations.silu
    assert activations.get(np.tanh) is np.tanh
    layer = FeedForward.from_config(FeedForward(4, "gelu_new").get_config())
    assert layer.activation is activations.gelu_tanh
    with pytest.raises(ValueError, match="gleu"):
        activations.get("gleu")


def test_gate_is_a_factor():
    """With the gate held at 1 the gated layer is the plain one; held at 0 only the output bias is left."""
    x = np.random.default_rng(0).standard_normal((2, 3, 6)).astype("float32")
    gated = built(FeedForward(10, "gelu", gate_activation="linear"), {"x": x})
    plain = built(FeedForward(10, "gelu"), {"x": x})
    for part in ("inner", "outer"):
        for weight in ("kernel", "bias"):
            getattr(getattr(plain, part), weight).assign(getattr(getattr(gated, part), weight))
    gated.gate.kernel.assign(np.zeros((6, 10)))
    gated.gate.bias.assign(np.ones(10))
    assert_close(gated(x), plain(x), atol=1e-6)
    gated.gate.bias.assign(np.zeros(10))
    assert_close(gated(x), np.broadcast_to(numpy(gated.outer.bias), (2, 3, 6)), atol=0)


def test_is_position_wise():
    x = np.random.default_rng(0).standard_normal((2, 5, 6)).astype("float32")
    layer = built(FeedForward(10), {"x": x})
    assert_close(layer(x[:, ::-1].copy()), numpy(layer(x))[:, ::-1], atol=1e-6)


def test_kernels_are_drawn_one_by_one():
    layer = FeedForward(6, gate_activation="linear", kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02))
    layer.build((None, None, 6))
    inner, gate, outer = (numpy(part.kernel) for part in (layer.inner, layer.gate, layer.outer))
    assert np.abs(inner - gate).max() > 1e-3 and np.abs(inner - outer).max() > 1e-3


@pytest.mark.parametrize("name", ["gelu", "swiglu_nobias"])
def test_layer_contract(tmp_path, name):
    x = np.random.default_rng(0).standard_normal((2, 3, 6)).astype("float32")
    weights = {"gelu": 4, "swiglu_nobias": 3}[name]
    check_layer(FeedForward(10, **GOLDENS[name]), {"x": x}, tmp_path, weights=weights)
