"""Backbones: the original's numbers from the original's checkpoints, and what inputs may and may not change."""

import json

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.golden_models import CASES, FAMILIES, SEGMENT_IDS, TINY, TOKEN_IDS, backbone, batch, load, numpy, tiny

import zoo
from zoo.backend.variables import weights_of
from zoo.formats.families import by_layer

ROTARY = ("roformer_v2", "gau_alpha", "roformer")
ONE_EACH = (*ROTARY, "bert")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FAMILIES)
def test_equals_bert4keras(golden, name, case):
    arrays = golden(f"{name}/golden")
    assert_close(backbone(name)(batch(arrays, case)), arrays[f"out64/{case}/last_hidden_state"], atol=2e-5)


@pytest.mark.parametrize("name", ONE_EACH)
def test_compiled_equals_bert4keras(golden, name):
    """`predict` under XLA; torch stays eager, where compiling takes a minute."""
    arrays, model = golden(f"{name}/golden"), load(name)
    model.compile(jit_compile=keras.backend.backend() != "torch")
    out = model.predict(batch(arrays, "l7_padded_to_16"), verbose=0)
    assert_close(out, arrays["out64/l7_padded_to_16/last_hidden_state"], atol=2e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_all_hidden_states_equal_bert4keras(golden, name):
    arrays, model = golden(f"{name}/golden"), backbone(name)
    states = model.hidden_states(batch(arrays, "l12"))
    assert len(states) == model.num_layers + 1
    for ours, theirs in zip(states, arrays["out/l12/all_hidden_states"]):
        assert_close(ours, theirs, atol=2e-5)
    first, last = model.first_and_last(batch(arrays, "l12"))
    assert_close(first, states[0], atol=0)
    assert_close(last, states[-1], atol=0)


@pytest.mark.parametrize("name", ["roformer_v2", "roformer_v2_mlm", "gau_alpha", "roformer"])
def test_custom_positions_equal_bert4keras(golden, name):
    arrays, model = golden(f"{name}/golden"), load(name, custom_position_ids=True)
    inputs = {**batch(arrays, "l12"), "position_ids": arrays["in/custom_position/position_ids"]}
    expected = arrays["out_custom_position/last_hidden_state/l12"]
    assert_close(model(inputs), expected, atol=2e-5)
    assert np.abs(expected - arrays["out64/l12/last_hidden_state"]).max() > 1e-2


@pytest.mark.parametrize("name", FAMILIES)
def test_kept_tokens_equal_bert4keras(golden, name):
    arrays = golden(f"{name}/golden")
    model = load(name, keep_tokens=arrays["in/keep_tokens/keep_tokens"].tolist())
    assert model.vocabulary_size == len(arrays["in/keep_tokens/keep_tokens"]) == model.token_embedding.input_dim
    out = model(batch(arrays, "keep_tokens"))
    assert_close(out, arrays["out_keep_tokens/last_hidden_state/l7"], atol=2e-5)


@pytest.mark.parametrize("name", ONE_EACH)
def test_what_may_be_left_out(golden, name):
    """Segments are 0, the mask is `ids != 0`, token ids may come without a dict."""
    ids, model = batch(golden(f"{name}/golden"), "l12")["token_ids"], backbone(name)
    expected = numpy(model(ids))
    zeros, mask = np.zeros_like(ids), ids != 0
    for inputs in (
        {"token_ids": ids},
        {"token_ids": ids, "segment_ids": zeros},
        {"token_ids": ids, "padding_mask": mask},
        {"token_ids": ids, "segment_ids": zeros, "padding_mask": mask.astype("int32")},
        {"token_ids": ids, "segment_ids": None, "padding_mask": None},
    ):
        assert_close(model(inputs), expected, atol=1e-6)
    if name == "bert":  # the way through the trainer, once
        assert_close(model.predict({"token_ids": ids}, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("name", ONE_EACH)
def test_given_mask_counts_and_padded_ids_do_not(golden, name):
    """Under an explicit mask it does not matter which ids stand at padding."""
    arrays, model = golden(f"{name}/golden"), backbone(name)
    inputs = batch(arrays, "l12")
    mask = inputs["token_ids"] != 0
    garbage = np.where(mask, inputs["token_ids"], 77).astype("int32")
    out = numpy(model({**inputs, "token_ids": garbage, "padding_mask": mask}))
    assert not mask.all()
    assert_close(out[mask], arrays["out64/l12/last_hidden_state"][mask], atol=2e-5)
    unmasked = numpy(model({**inputs, "token_ids": garbage}))
    assert np.abs(unmasked[mask] - out[mask]).max() > 1e-2


@pytest.mark.parametrize("name", ONE_EACH)
def test_padding_changes_nothing(golden, name):
    arrays, model = golden(f"{name}/golden"), backbone(name)
    inputs = batch(arrays, "l7")
    longer = {key: np.pad(ids, [(0, 0), (0, 33)]) for key, ids in inputs.items()}
    real = longer["token_ids"] != 0
    assert_close(numpy(model(longer))[real], numpy(model(inputs))[inputs["token_ids"] != 0], atol=1e-5)


@pytest.mark.parametrize("name", ROTARY)
def test_rotary_models_see_distances_only(golden, name):
    arrays, model = golden(f"{name}/golden"), load(name, custom_position_ids=True)
    inputs = batch(arrays, "l12")
    positions = np.tile(np.arange(12, dtype="float32"), (4, 1))
    expected = arrays["out64/l12/last_hidden_state"]
    for shifted in (positions, positions + 7, positions + 0.5):
        assert_close(model({**inputs, "position_ids": shifted}), expected, atol=1e-4)
    stretched, whole = (numpy(model({**inputs, "position_ids": p})) for p in (positions * 1.5, positions * 1.5 // 1))
    assert np.abs(stretched - expected).max() > 1e-2
    assert np.abs(stretched - whole).max() > 1e-2  # fractions are not cut off


def test_bert_positions_are_rows_of_its_table(golden):
    arrays, model = golden("bert/golden"), load("bert", custom_position_ids=True)
    inputs = batch(arrays, "l12")
    positions = np.tile(np.arange(12), (4, 1))
    assert_close(model({**inputs, "position_ids": positions}), arrays["out64/l12/last_hidden_state"], atol=2e-5)
    # text and positions permuted together are the same set of tokens
    order = np.random.default_rng(0).permutation(12)
    permuted = {key: ids[:, order] for key, ids in inputs.items()}
    out = model({**permuted, "position_ids": positions[:, order], "padding_mask": permuted["token_ids"] != 0})
    assert_close(out, arrays["out64/l12/last_hidden_state"][:, order], atol=2e-5)


@pytest.mark.parametrize("name", ["roformer_v2", "gau_alpha"])
def test_root_mean_square_of_every_token_is_one(golden, name):
    out = numpy(backbone(name)(batch(golden(f"{name}/golden"), "l40")))
    assert_close((out**2).mean(-1), np.ones(out.shape[:2]), atol=1e-4)


# Sizes of the published models. Weights are counted at one layer and ten tokens, which fits any memory, and then
# multiplied: a model is its tables and L equal blocks.
V2 = {"vocabulary_size": 12000, "num_segments": 2}
PUBLISHED = {
    "roformer_v2_small": ("RoFormerV2", 6, {"num_heads": 6, "hidden_dim": 384, "intermediate_dim": 1536}, 15_225_600),
    "roformer_v2_base": ("RoFormerV2", 12, {"num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072}, 94_152_192),
    "roformer_v2_large": (
        "RoFormerV2",
        24,
        {"num_heads": 16, "hidden_dim": 1024, "intermediate_dim": 4096},
        314_279_936,
    ),
    "gau_alpha_base": ("GAUAlpha", 24, {"hidden_dim": 768, "expanded_dim": 1536, "key_dim": 128}, 96_517_632),
}


@pytest.fixture
def zeros(monkeypatch):
    """Millions of random numbers are not needed for counting."""
    for family in (zoo.BERT, zoo.RoFormerV2):
        monkeypatch.setattr(family, "kernel_initializer", lambda self: "zeros")
        monkeypatch.setattr(family, "embedding_initializer", lambda self: "zeros")


@pytest.mark.usefixtures("zeros")
@pytest.mark.parametrize("name", PUBLISHED)
def test_number_of_parameters_of_published_models(name):
    family, num_layers, config, expected = PUBLISHED[name]
    model = getattr(zoo, family)(vocabulary_size=10, num_layers=1, **config)
    block = sum(np.prod(v.shape) for path, v in weights_of(model).items() if path.startswith("layer_0/"))
    total = model.count_params() + (12000 - 10) * config["hidden_dim"] + (num_layers - 1) * block
    assert total == expected


@pytest.mark.usefixtures("zeros")
@pytest.mark.parametrize("name, expected", [("bert-base", 109_482_240), ("bert-base-chinese", 102_267_648)])
def test_number_of_parameters_of_published_bert(name, expected):
    """With the pooler, as its authors count."""
    vocabulary_size = {"bert-base": 30522, "bert-base-chinese": 21128}[name]
    model = zoo.BERT(10, num_layers=1, num_heads=12, hidden_dim=768, intermediate_dim=3072)
    block = sum(np.prod(v.shape) for path, v in weights_of(model).items() if path.startswith("layer_0/"))
    assert model.count_params() + (vocabulary_size - 10) * 768 + 11 * block + 768 * 769 == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_names_map_every_weight_and_no_two_to_one(golden, name):
    model = backbone(name)
    table = type(model).tf_weight_map()
    names = {path: by_layer(table, path) for path in weights_of(model)}
    assert all(names.values()) and len(set(names.values())) == len(names)
    assert len(set(table.values())) == len(table)


def test_version_two_has_no_biases_and_gains():
    for family in ("RoFormerV2", "GAUAlpha"):
        assert not [path for path in weights_of(tiny(family)) if path.endswith(("bias", "beta"))]
    assert not [path for path in weights_of(tiny("RoFormerV2")) if path.endswith("gamma")]


def test_dropout_masks_of_no_two_layers_are_drawn_alike():
    for family in TINY:
        layers = [layer for layer in tiny(family)._flatten_layers() if isinstance(layer, keras.layers.Dropout)]
        seeds = {tuple(numpy(layer.seed_generator.state).tolist()) for layer in layers}
        assert len(seeds) == len(layers) > (2 if family == "ALBERT" else 4)  # which has one block


@pytest.mark.parametrize("family", TINY)
def test_dropout_acts_in_training_only(family):
    for options in ({"dropout": 0.5, "attention_dropout": 0.0}, {"dropout": 0.0, "attention_dropout": 0.5}):
        model = tiny(family, **options)
        assert_close(model(TOKEN_IDS, training=False), model(TOKEN_IDS), atol=0)
        difference = np.abs(numpy(model(TOKEN_IDS, training=True)) - numpy(model(TOKEN_IDS, training=True))).max()
        assert difference > 1e-3


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"embedding_dim": 24, "attention_mask": "unilm", "num_segments": 3, "dropout": 0.0, "name": "mine"},
        {"custom_position_ids": True, "normalization": "squared_relu", "position": None, "attention_mask": "causal"},
        {"dtype": "mixed_bfloat16", "normalization": {"class": "SoftmaxPlus", "config": {"base": 128, "floor": 2}}},
    ],
    ids=["default", "embedding_dim", "custom_positions", "mixed"],
)
def test_config_round_trip(family, options):
    """Through JSON, as class and config, and as a nested config; equal numbers from equal weights."""
    model = tiny(family, **options)
    config = json.loads(json.dumps(model.get_config()))
    inputs = {"token_ids": TOKEN_IDS, "segment_ids": SEGMENT_IDS}
    if model.custom_position_ids:
        inputs["position_ids"] = np.tile(np.arange(7, dtype="float32") * 2, (4, 1))
    expected = numpy(model(inputs))
    for twin in (type(model).from_config(config), keras.saving.deserialize_keras_object(serialized(model))):
        assert twin.get_config() == model.get_config()
        assert twin.dtype_policy == model.dtype_policy
        weights = weights_of(twin)
        assert list(weights) == list(weights_of(model))
        for path, variable in weights_of(model).items():
            weights[path].assign(variable)
        assert_close(twin(inputs), expected, atol=0)


def serialized(model):
    return json.loads(json.dumps(keras.saving.serialize_keras_object(model)))


def test_embedding_is_mapped_to_another_width():
    """RoFormerV2 maps without a bias, after its norm; the numbers are those of the dense layer."""
    model = tiny("RoFormerV2", embedding_dim=24)
    weights = weights_of(model)
    assert tuple(weights["token_embedding/embeddings"].shape) == (120, 24)
    assert tuple(weights["embedding_mapping/kernel"].shape) == (24, 32)
    assert "embedding_mapping/bias" not in weights
    assert "embedding_mapping/bias" in weights_of(tiny("BERT", embedding_dim=24))
    x = numpy(weights["token_embedding/embeddings"])[TOKEN_IDS] + numpy(weights["segment_embedding/embeddings"])[0]
    x = x / np.sqrt((x.astype("float64") ** 2).mean(-1, keepdims=True) + model.norm_epsilon)
    first = model.hidden_states(TOKEN_IDS)[0]
    assert_close(first, x @ numpy(weights["embedding_mapping/kernel"]), atol=1e-5)


def test_no_segments():
    model = tiny("RoFormerV2", num_segments=0)
    assert not [path for path in weights_of(model) if "segment" in path]
    out = numpy(model({"token_ids": TOKEN_IDS, "segment_ids": SEGMENT_IDS}))
    assert (out == numpy(model(TOKEN_IDS))).all()


@pytest.mark.parametrize("attention_mask", ["causal", "unilm"])
@pytest.mark.parametrize("family", ["BERT", "RoFormerV2", "GAUAlpha"])
def test_attention_masks_hide_what_comes_later(family, attention_mask):
    """A changed last token changes no earlier one; a changed source token (segment 0) changes all."""
    model, inputs = tiny(family, attention_mask=attention_mask), {"segment_ids": SEGMENT_IDS}
    before, last, source = TOKEN_IDS, TOKEN_IDS.copy(), TOKEN_IDS.copy()
    last[0, 6], source[0, 1] = 20, 20
    before, last, source = (numpy(model({"token_ids": ids, **inputs}))[0] for ids in (before, last, source))
    assert_close(last[:6], before[:6], atol=1e-6)
    moved = np.abs(source - before).max(-1) > 1e-4
    assert moved.tolist() == [attention_mask == "unilm"] + [True] * 6


@pytest.mark.parametrize(
    "family, options, message",
    [
        ("BERT", {"hidden_dim": 33}, "hidden_dim=33 is not a multiple of num_heads=4; give head_dim"),
        ("BERT", {"num_layers": 0}, "num_layers=0; expected a whole number of at least 1"),
        ("RoFormer", {"vocabulary_size": 2.5}, "RoFormer: vocabulary_size=2.5"),
        ("RoFormerV2", {"intermediate_dim": "64"}, "RoFormerV2: intermediate_dim='64'"),
        ("BERT", {"num_heads": True}, "num_heads=True"),
        ("BERT", {"dropout": 1.0}, r"BERT: dropout=1.0; expected a number in \[0, 1\)"),
        ("GAUAlpha", {"attention_dropout": -0.1}, "attention_dropout=-0.1"),
        ("GAUAlpha", {"key_dim": 0}, "GAUAlpha: key_dim=0"),
        ("BERT", {"activation": "gleu"}, "gleu"),
        ("BERT", {"normalization": "entmax"}, "unknown attention option 'entmax'"),
        ("RoFormerV2", {"attention_mask": "prefix"}, "attention_mask='prefix'; expected 'bidirectional'"),
    ],
)
def test_wrong_arguments_are_errors(family, options, message):
    with pytest.raises(ValueError, match=message):
        tiny(family, **options)


def test_unknown_argument_is_an_error():
    with pytest.raises(TypeError, match="hidden_size"):
        tiny("BERT", hidden_size=8)
    with pytest.raises(TypeError, match="num_heads"):
        tiny("GAUAlpha", num_heads=4)


@pytest.mark.parametrize(
    "inputs", [{"token_ids": 1, "input_ids": 1}, {"segment_ids": 1}, {"token_ids": 1, "position_ids": 1}]
)
def test_unknown_inputs_are_errors(inputs):
    ids = np.ones((1, 3), "int32")
    with pytest.raises(ValueError, match="BERT got inputs .*; expected token_ids and optionally .*padding_mask"):
        backbone("bert")(dict.fromkeys(inputs, ids))


def test_rotary_key_size_must_be_even():
    """Features turn in pairs."""
    with pytest.raises(ValueError, match="even feature size, got 3"):
        tiny("RoFormerV2", key_dim=3)


def test_bert_refuses_texts_longer_than_its_positions():
    with pytest.raises(ValueError, match="the input has 65 positions, the model was built for 64"):
        backbone("bert")(np.ones((1, 65), "int32"))
