"""`layer_attention` of backbones: options for each layer, in configs, presets and exports."""

import json

import numpy as np
import pytest
from support.arrays import assert_close
from support.golden_models import SEGMENT_IDS, TINY, TOKEN_IDS, backbone, batch, load, numpy, tiny
from support.layer_checks import BACKEND

import zoo
from zoo.backend.variables import weights_of
from zoo.layers import (
    KERPLE,
    AlphaResidual,
    AttentionOptions,
    Direction,
    KeyNorm,
    LogN,
    NTKMixed,
    ReRoPE,
    RotaryEmbedding,
    Window,
    hwfa,
)
from zoo.store import PresetError

FAMILIES = sorted(TINY) if BACKEND == "torch" else ["BERT", "GAUAlpha"]  # others compile each of them for seconds
INPUTS = {"token_ids": TOKEN_IDS, "segment_ids": SEGMENT_IDS}


def shared_weights(model, other):
    """`model` with the weights of `other` where it has the same paths."""
    variables = weights_of(other)
    for path, variable in weights_of(model).items():
        variable.assign(variables[path])
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_one_for_all_or_one_for_each(family):
    one = {"product": "key_norm", "visibility": Window(3)}
    if family == "GAUAlpha":
        one["normalization"] = "softmax"
    models = [tiny(family, layer_attention=value) for value in (one, [AttentionOptions(**one)] * 2)]
    plain = tiny(family)
    assert list(weights_of(models[0])) == list(weights_of(plain))
    outputs = [numpy(shared_weights(model, plain)(INPUTS)) for model in models]
    assert_close(outputs[0], outputs[1], atol=0)
    assert np.abs(outputs[0] - numpy(plain(INPUTS))).max() > 1e-4
    twin = type(models[1]).from_config(json.loads(json.dumps(models[1].get_config())))
    assert_close(shared_weights(twin, plain)(INPUTS), outputs[0], atol=0)
    assert twin.get_config() == models[1].get_config()


def test_layers_differ():
    """Only the layer that is asked for changes."""
    plain = tiny("RoFormerV2")
    second = shared_weights(tiny("RoFormerV2", layer_attention=[None, {"position": None}]), plain)
    theirs, ours = plain.hidden_states(INPUTS), second.hidden_states(INPUTS)
    assert_close(ours[1], theirs[1], atol=0)
    assert np.abs(numpy(ours[2]) - numpy(theirs[2])).max() > 1e-4


def test_trained_model_reads_longer_inputs(golden):
    """What needs no training goes over a preset by `from_preset`; up to its window nothing changes."""
    arrays = golden("gau_alpha/golden")
    inputs, expected = batch(arrays, "l12"), arrays["out64/l12/last_hidden_state"]
    for layer_attention, changes in (
        ({"position": ReRoPE(12)}, False),
        ({"position": ReRoPE(4)}, True),
        ({"visibility": Window(12)}, False),
        ({"position": RotaryEmbedding(scaling=NTKMixed(8))}, True),
    ):
        out = numpy(load("gau_alpha", layer_attention=layer_attention)(inputs))
        assert (np.abs(out - expected).max() > 1e-3) == changes
        if not changes:
            assert_close(out, expected, atol=2e-5)


def test_presets_keep_it(tmp_path):
    model = tiny("GAUAlpha", attention_mask="causal", layer_attention=hwfa(2, 16))
    expected = numpy(model(INPUTS))
    model.save_to_preset(tmp_path)
    again = zoo.Backbone.from_preset(tmp_path)
    assert again.layer_attention == model.layer_attention
    assert_close(again(INPUTS), expected, atol=1e-6)
    plain = zoo.Backbone.from_preset(tmp_path, layer_attention=None)
    assert plain.layer_attention is None


def test_trained_options_are_weights_of_the_preset(tmp_path):
    model = tiny("RoFormerV2", layer_attention={"score_bias": KERPLE(), "query_key_bias": True})
    names = {path for path in weights_of(model) if path.split("/")[-1].startswith(("kerple", "query_bias", "key_bias"))}
    assert len(names) == 8
    assert "layer_1/attention/kerple_r1" in names
    for path in names:
        weights_of(model)[path].assign(np.random.default_rng(0).normal(size=weights_of(model)[path].shape))
    model.save_to_preset(tmp_path)
    assert_close(zoo.Backbone.from_preset(tmp_path)(INPUTS), model(INPUTS), atol=1e-6)
    with pytest.raises(zoo.store.PresetError, match="kerple"):
        zoo.Backbone.from_preset(tmp_path, layer_attention=None)


def test_formats_of_others_refuse_it(tmp_path):
    model = tiny("RoFormer", layer_attention={"product": KeyNorm()})
    for format, message in (("bert4keras", "no field for layer_attention"), ("hugging_face", "no layer_attention=")):
        with pytest.raises(ValueError, match=message):
            model.save_to_preset(tmp_path / format, format=format)


@pytest.mark.parametrize(
    "family, options, message",
    [
        ("RoFormerV2", {"position": ReRoPE(3)}, "position={'class': 'ReRoPE'"),
        ("RoFormerV2", {"normalization": "softmax_plus"}, "normalization={'class': 'SoftmaxPlus'"),
        ("RoFormer", {"norm_epsilon": 1e-5}, "bert_config.json has no field for norm_epsilon=1e-05"),
    ],
)
def test_the_original_would_build_another_model(tmp_path, family, options, message):
    with pytest.raises(ValueError, match=message):
        tiny(family, **options).save_to_preset(tmp_path, format="bert4keras")
    tiny(family).save_to_preset(tmp_path, format="bert4keras")


def test_configs_of_before_are_read():
    """A config.json that has no `layer_attention`."""
    config = backbone("gau_alpha").get_config()
    assert config.pop("layer_attention") is None
    assert zoo.GAUAlpha.from_config(config).layer_attention is None


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layer_attention": [None]}, "layer_attention has 1 entries, the model 2 layers"),
        ({"layer_attention": {"position": ReRoPE(3, causal=True)}}, "is for causal attention"),
        ({"layer_attention": [None, {"position": "xpos"}]}, "is for causal attention"),
        ({"position": ReRoPE(3, causal=True)}, "is for causal attention"),
        ({"position": ReRoPE(3, causal=True), "attention_mask": "unilm"}, "attention_mask='unilm' add Direction"),
        ({"layer_attention": {"visibility": Direction("mixed")}, "attention_mask": "causal"}, "looks left only"),
        ({"layer_attention": {"visibility": Direction("right")}, "attention_mask": "unilm"}, "looks left only"),
        ({"layer_attention": {"windows": 3}}, "attention options .*windows"),
        ({"layer_attention": {"log_n": LogN(8)}, "normalization": "softmax_plus"}, "keep one"),
        ({"position": "softmax"}, "unknown attention option 'softmax' for position"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        tiny("RoFormerV2", **options)


def test_options_with_weights_are_not_for_a_trained_preset(tmp_path):
    """They are trained with the model: its own preset has them, another's says so."""
    tiny("RoFormerV2").save_to_preset(tmp_path / "plain")
    load = lambda folder, **options: zoo.RoFormerV2.from_preset(tmp_path / folder, **options)
    for options, says in (
        ({"layer_attention": {"score_bias": "kerple"}}, "KERPLE has trained weights .kerple_r1, kerple_r2."),
        ({"layer_attention": [None, {"score_bias": KERPLE()}]}, "KERPLE has trained weights"),
        (
            {"layer_attention": {"query_key_bias": True}},
            "query_key_bias=True has trained weights .key_bias, query_bias.",
        ),
        ({"residual": AlphaResidual()}, "AlphaResidual has trained weights .alpha."),
    ):
        with pytest.raises(PresetError, match=f"{says}.*, which a preset of a model trained without them cannot give"):
            load("plain", **options)
    load("plain", layer_attention={"score_bias": "alibi"})
    tiny("RoFormerV2", layer_attention={"score_bias": "kerple"}).save_to_preset(tmp_path / "kerple")
    load("kerple")
    with pytest.raises(PresetError, match="the weights do not fit a RoFormerV2 with num_layers=3"):
        load("kerple", num_layers=3, layer_attention={"score_bias": "kerple"})


def test_causal_positions_fit_where_nothing_is_seen_on_the_right():
    tiny("RoFormerV2", position=ReRoPE(3, causal=True), attention_mask="causal")
    for mask in ("bidirectional", "unilm"):
        tiny("RoFormerV2", layer_attention={"position": "xpos", "visibility": Direction("left")}, attention_mask=mask)
