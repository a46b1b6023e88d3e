"""The last layer computed for the first token alone, which is all that "cls" pooling reads: the same vectors and gradients."""

import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.tiny_models import backbone, scatter_weights, to_numpy
from test_layers_real_tokens import FAMILIES, LAYERS, assert_same_training, batch, tensors, trained

import zoo
from zoo.layers import RotaryEmbedding, TransformerBlock
from zoo.layers.real_tokens import RealTokens


def with_pooling(pooling, family="RoFormerV2", dtype=None):
    model = backbone(family, num_layers=2, dtype=dtype)
    return scatter_weights(zoo.RepresentationMatcher(model, max_length=16, pooling=pooling))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_blocks(name, flat):
    block = TransformerBlock(
        2, 8, 24, **{"position": RotaryEmbedding(), "residual": zoo.layers.DeepNorm(1.5), **LAYERS[name]}
    )
    mask = ops.convert_to_tensor(batch()["padding_mask"])
    x = ops.convert_to_tensor(np.random.default_rng(2).normal(size=(5, 9, 16)).astype("float32"))
    block.build(x.shape)
    scatter_weights(block)
    tokens = RealTokens(mask)
    first = block.first(tokens.flat(x), tokens) if flat else block.first(x, mask)
    assert_close(first, block(x, padding_mask=mask)[:, :1], atol=1e-5)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("family", "options"), [case for case in FAMILIES if case[0] != "GAUAlpha"])
def test_backbones(family, options, flat):
    model = scatter_weights(backbone(family, num_layers=2, **options))
    inputs = batch()
    if "custom_position_ids" in options:
        inputs["position_ids"] = np.random.default_rng(3).integers(0, 16, inputs["token_ids"].shape).astype("float32")
    assert model.blocks_have("first")
    assert_close(model.first_state(tensors(inputs), flat), model(tensors(inputs))[:, :1], atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("family", ["RoFormerV2", "GAUAlpha"])
def test_cls_pooling_reads_it(family, dtype, monkeypatch):
    model = with_pooling("cls", family, dtype)
    computed, original = [], zoo.Backbone.first_state
    monkeypatch.setattr(zoo.Backbone, "first_state", lambda *a, **k: computed.append(1) or original(*a, **k))
    inputs = tensors(batch(40))
    found, expected = model.pool(inputs), to_numpy(ops.cast(model.backbone(inputs)[:, 0], "float32"))
    assert bool(computed) == (family == "RoFormerV2"), "gated units compute it for all"
    assert_close(found, expected, atol=2e-5 if dtype == "float32" else 0.05 * float(np.abs(expected).max()))
    computed.clear()
    with_pooling("mean", family, dtype).pool(inputs)
    assert not computed


@pytest.mark.parametrize("jit_compile", [False, "auto"])
def test_training_is_the_same(jit_compile, monkeypatch):
    first_alone = trained(with_pooling("cls"), jit_compile=jit_compile)
    monkeypatch.setattr(zoo.Backbone, "blocks_have", lambda self, name: False)
    assert_same_training(first_alone, trained(with_pooling("cls"), jit_compile=jit_compile))
