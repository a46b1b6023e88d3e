"""Attention maps: against the float64 oracle from queries and keys, whatever the options, masks and model."""

import numpy as np
import pytest
from support import tiny_models
from support.attention_oracle import attention_weights
from support.layer_checks import numpy, randomise

import zoo
from zoo.analysis import attention_maps, attention_report
from zoo.layers import CosA, Direction, LogN, ReRoPE, Window
from zoo.layers.attention import AttentionLayer

TEXTS = tiny_models.TEXTS[:5]
MODELS = {
    "BERT": {"family": "BERT"},
    "RoFormerV2": {"family": "RoFormerV2"},
    "GAUAlpha": {"family": "GAUAlpha"},
    "causal": {"family": "RoFormerV2", "attention_mask": "causal"},
    "unilm": {"family": "RoFormer", "attention_mask": "unilm"},
    "squared": {"family": "RoFormerV2", "normalization": "squared_relu"},
    "window": {"family": "RoFormerV2", "layer_attention": {"visibility": [Window(3), Direction("left")]}},
    "scaled": {"family": "RoFormer", "layer_attention": {"position": ReRoPE(3), "log_n": LogN(4)}},
    "cosines": {"family": "RoFormer", "layer_attention": {"product": CosA(8), "score_bias": "alibi"}},
}


def model(name="RoFormerV2", **arguments):
    return randomise(tiny_models.backbone(**{"num_layers": 2, **MODELS[name], **arguments}), seed=3)


def attention_layers(backbone):
    layers = [layer for layer in backbone._flatten_layers() if isinstance(layer, AttentionLayer)]
    return sorted(layers, key=lambda layer: layer.query_dense.path if hasattr(layer, "query_dense") else layer.path)


@pytest.mark.parametrize("name", list(MODELS))
def test_weights_are_those_of_the_oracle(name):
    """Queries and keys from the layer's own projections, weights pair by pair in float64."""
    backbone = model(name)
    maps = attention_maps(backbone, TEXTS)
    inputs = backbone.tokenizer(TEXTS)
    real = inputs["padding_mask"]
    inputs = {key: array for key, array in inputs.items() if key in backbone.input}
    states = backbone.hidden_states(inputs)
    n = real.shape[1]
    count = getattr(backbone, "num_heads", 1)
    assert maps.weights.shape == maps.visible.shape == (2, len(TEXTS), count, n, n)
    for index, block in enumerate(backbone.blocks):
        (layer,) = (part for part in block._flatten_layers() if isinstance(part, AttentionLayer))
        if name == "GAUAlpha":
            query, key = (part[:, None] for part in map(numpy, layer.project(states[index], None, None)[2:]))
        else:
            query, key = map(numpy, layer.project(states[index], states[index], states[index])[:2])
        visible = np.broadcast_to(real[:, None, None, :], maps.weights[index].shape).copy()
        if name in ("causal", "unilm"):  # single texts have segment 0 alone, which sees itself on both sides in UniLM
            visible &= np.tril(np.ones((n, n), bool)) if name == "causal" else True
        places = np.tile(np.arange(n), (len(TEXTS), 1))
        expected = attention_weights(layer.options, query, key, {}, visible, places, places)
        expected = np.where(real[:, None, :, None], expected, 0)
        np.testing.assert_allclose(maps.weights[index], expected, atol=2e-5)
        assert not maps.weights[index][~maps.visible[index]].any()
        if name not in ("squared",):
            assert ((expected > 0) <= maps.visible[index]).all()
            np.testing.assert_allclose(maps.weights[index].sum(-1)[..., :3], 1, atol=1e-5)


def test_visible_keys():
    maps = attention_maps(model("window"), TEXTS[:1])
    n = maps.weights.shape[-1]
    i, j = np.indices((n, n))
    np.testing.assert_array_equal(maps.visible[0, 0, 0], (j <= i) & (i - j < 3))


def test_batches_and_padding_change_nothing():
    backbone = model()
    together, alone = attention_maps(backbone, TEXTS), attention_maps(backbone, TEXTS, batch_size=2)
    np.testing.assert_allclose(together.weights, alone.weights, atol=1e-6)
    first = attention_maps(backbone, TEXTS[:1])
    n = first.weights.shape[-1]
    np.testing.assert_allclose(together.weights[:, :1, :, :n, :n], first.weights, atol=1e-6)


def test_tokens():
    maps = attention_maps(model(), ["北京", "the cat"])
    assert maps.tokens[0] == ["[CLS]", "北", "京", "[SEP]"] and maps.tokens[1][0] == "[CLS]"
    assert len(maps.tokens[1]) == maps.visible[0, 1, 0].any(-1).sum()


def test_of_a_task_and_of_pairs():
    """A matcher gives its backbone's maps, cut at its own length; pairs are one row with two segments."""
    backbone = model()
    matcher = zoo.RepresentationMatcher(backbone, max_length=6)
    assert attention_maps(matcher, TEXTS).weights.shape[-1] == 6
    pair = attention_maps(backbone, [("北京", "大学")])
    assert pair.tokens == [["[CLS]", "北", "京", "[SEP]", "大", "学", "[SEP]"]]


def test_watching_leaves_no_trace():
    backbone = model()
    inputs = {key: array for key, array in backbone.tokenizer(TEXTS).items() if key in backbone.input}
    before = numpy(backbone(inputs))
    attention_maps(backbone, TEXTS)
    np.testing.assert_array_equal(numpy(backbone(inputs)), before)
    assert all(layer.options.watch is None for layer in attention_layers(backbone))


def test_an_error_leaves_no_trace(monkeypatch):
    backbone = model()
    monkeypatch.setattr(type(backbone.blocks[1]), "call", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        attention_maps(backbone, TEXTS)
    assert all(layer.options.watch is None for layer in attention_layers(backbone))


def test_mixed_precision():
    single = model()
    half = model(dtype="mixed_bfloat16")
    found = attention_maps(half, TEXTS)
    assert found.weights.dtype == np.float32
    np.testing.assert_allclose(found.weights, attention_maps(single, TEXTS).weights, atol=0.05)


@pytest.mark.parametrize("name", ["RoFormerV2", "causal", "GAUAlpha", "squared"])
def test_report_is_the_mean_over_queries(name):
    """Every number again, row by row of the maps."""
    backbone = model(name)
    found, maps = attention_report(backbone, TEXTS, batch_size=2), attention_maps(backbone, TEXTS)
    layers, _, heads = maps.weights.shape[:3]
    assert found.entropy.shape == (layers, heads)
    for layer, head in np.ndindex(layers, heads):
        rows = []
        for text in range(len(TEXTS)):
            for weights, visible in zip(maps.weights[layer, text, head], maps.visible[layer, text, head]):
                a = weights[visible].astype("float64")
                if len(a) < 2 or not a.sum():
                    continue
                w = a[a > 0] / a.sum()
                entropy = -(w * np.log(w)).sum()
                rows.append([a.mean() / np.sqrt((a**2).mean()), entropy, entropy / np.log(len(a)), 1 / (w**2).sum()])
        numbers = [found.concentration, found.entropy, found.entropy_share, found.keys]
        np.testing.assert_allclose([x[layer, head] for x in numbers], np.mean(rows, axis=0), rtol=1e-5)


def test_report_of_uniform_attention():
    """A model whose queries are 0 looks everywhere alike."""
    backbone = model("causal")
    for weight in backbone.weights:
        if "/query/" in weight.path:
            weight.assign(np.zeros(weight.shape))
    report = attention_report(backbone, TEXTS)
    np.testing.assert_allclose(report.concentration, 1, rtol=1e-5)
    np.testing.assert_allclose(report.entropy_share, 1, rtol=1e-5)


def test_report_as_text_and_picture(tmp_path):
    report = attention_report(model(), TEXTS)
    assert len(str(report).splitlines()) == 1 + 2 * 2
    report.figure("maps").savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 5_000


def test_refuses_what_has_no_maps():
    import keras

    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    dense.tokenizer = tiny_models.tokenizer()
    with pytest.raises(ValueError, match="no attention layers of zoo"):
        attention_maps(dense, TEXTS)
    with pytest.raises(ValueError, match="0 texts"):
        attention_maps(model(), [])
    bare = model()
    bare.tokenizer = None
    with pytest.raises(ValueError, match="tokenizer None"):
        attention_maps(bare, TEXTS)
