"""ALBERT, NEZHA and ELECTRA: the original's numbers from the original's checkpoints, transformers' numbers, and back into both.

Goldens of bert4keras 0.11.5 on tf_keras 2.21.0, seed 20220601; see tests/goldens/README.md.
"""

import json

import keras
import numpy as np
import pytest
import transformers
from conftest import GOLDENS
from support.arrays import assert_close
from support.golden_models import HUGGING_FACE_SIZES, LINEAGE, TOKEN_IDS, batch, load, numpy, tiny
from test_hugging_face import at_tokens, numpy_output, rewritten, scattered, shaken, torch_output

import zoo
from zoo.backend.variables import to_numpy, weights_of
from zoo.formats.families import by_layer
from zoo.formats.tensorflow.checkpoint import TFCheckpoint, write_tf_checkpoint
from zoo.layers import Window
from zoo.models.preset import read
from zoo.store import Folder, PresetError, safetensors_bytes

CASES = ("l7", "l12", "odd")
SIZES = HUGGING_FACE_SIZES | {"embedding_size": 8}


@pytest.fixture(scope="module")
def model():
    loaded = {}
    return lambda name: loaded[name] if name in loaded else loaded.setdefault(name, load(name))


@pytest.fixture
def inputs():
    """Three rows with 11, 7 and 1 tokens."""
    ids = np.random.default_rng(3).integers(1, 50, (3, 11)).astype("int32")
    mask = np.arange(11) < np.array([[11], [7], [1]])
    return {"token_ids": ids * mask, "segment_ids": ((np.arange(11) > 4) & mask).astype("int32"), "padding_mask": mask}


# The original


@pytest.mark.parametrize("name", LINEAGE)
def test_equals_bert4keras(golden, model, name):
    arrays = golden(f"{name}/golden")
    for case in CASES:
        out = model(name)(batch(arrays, case))
        assert_close(out, arrays[f"out64/{case}/last_hidden_state"], atol=2e-5)
    states = model(name).hidden_states(batch(arrays, "l12"))
    expected = arrays["out/l12/all_hidden_states"]  # a state a layer, without the embedding's
    assert len(states) == model(name).num_layers + 1 == len(expected) + 1
    for ours, theirs in zip(states[1:], expected):
        assert_close(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("name", LINEAGE)
def test_compiled_and_padded_equals_bert4keras(golden, name):
    arrays, compiled = golden(f"{name}/golden"), load(name)
    compiled.compile(jit_compile=keras.backend.backend() != "torch")
    inputs, expected = batch(arrays, "l12"), arrays["out64/l12/last_hidden_state"]
    assert_close(compiled.predict(inputs, verbose=0), expected, atol=2e-5)
    longer = {key: np.pad(ids, [(0, 0), (0, 20)]) for key, ids in inputs.items()}
    real = inputs["token_ids"] != 0
    assert_close(numpy(compiled(longer))[:, :12][real], expected[real], atol=2e-5)


@pytest.mark.parametrize("name", LINEAGE)
def test_custom_positions_and_kept_tokens_equal_bert4keras(golden, name):
    arrays = golden(f"{name}/golden")
    placed = load(name, custom_position_ids=True)
    out = placed({**batch(arrays, "l12"), "position_ids": arrays["in/custom_position/position_ids"]})
    assert_close(out, arrays["out_custom_position/last_hidden_state/l12"], atol=2e-5)
    kept = load(name, keep_tokens=arrays["in/keep_tokens/keep_tokens"].tolist())
    assert kept.vocabulary_size == kept.tokenizer.vocabulary_size == 45
    assert_close(kept(batch(arrays, "keep_tokens")), arrays["out_keep_tokens/last_hidden_state/l7"], atol=2e-5)


@pytest.mark.parametrize("name", ["albert", "nezha"])
def test_heads_equal_bert4keras(golden, name):
    """The checkpoint has a pooler and no next-sentence head: the pooler is loaded into one built by hand."""
    arrays = golden(f"{name}/golden")
    masked_lm = load(name, "MaskedLM", family=LINEAGE[name])
    for case in CASES:
        assert_close(masked_lm(batch(arrays, case)), arrays[f"out64/{case}/mlm_logits"], atol=2e-5)
    head = zoo.NextSentence(masked_lm.backbone)
    checkpoint = TFCheckpoint(Folder(str(GOLDENS / name)))
    for weight in ("kernel", "bias"):
        weights_of(head)[f"pooler/{weight}"].assign(np.asarray(checkpoint[f"bert/pooler/dense/{weight}"]))
    assert_close(head.pooled(batch(arrays, "l7")), arrays["out64/l7/pooler"], atol=2e-5)


@pytest.mark.parametrize("name", LINEAGE)
def test_checkpoints_of_the_original_round_trip(name, tmp_path):
    """Every family's tensors come back under the original's names, with the heads; the backbone is told by them."""
    stored = TFCheckpoint(Folder(GOLDENS / name))
    for cls in (zoo.Backbone, *[zoo.MaskedLM] * (name != "electra")):
        ours = cls.from_preset(GOLDENS / name, family=LINEAGE[name])
        assert type(getattr(ours, "backbone", ours)) is getattr(zoo, LINEAGE[name])
        ours.save_to_preset(tmp_path / cls.__name__, format="bert4keras")
        written = TFCheckpoint(Folder(tmp_path / cls.__name__))
        table = type(getattr(ours, "backbone", ours)).tf_weight_map()
        assert set(written) == {by_layer(table, path) for path in weights_of(ours)}
        assert all((np.asarray(written[tensor]) == np.asarray(stored[tensor])).all() for tensor in written)
        config = [
            json.loads((folder / "bert_config.json").read_text())
            for folder in (GOLDENS / name, tmp_path / cls.__name__)
        ]
        assert config[0].items() - config[1].items() <= {("initializer_range", 0.02)}
        again = cls.from_preset(tmp_path / cls.__name__)
        assert all((to_numpy(weights_of(again)[path]) == to_numpy(v)).all() for path, v in weights_of(ours).items())


@pytest.mark.parametrize("name", LINEAGE)
def test_zoo_presets_and_tasks(golden, name, tmp_path):
    """Over a matcher, in int8 and mixed precision too: config, weights and tokenizer come back."""
    ours = zoo.RepresentationMatcher.from_preset(GOLDENS / name, max_length=16, family=LINEAGE[name])
    ours.save_to_preset(tmp_path / "matcher")
    again = zoo.RepresentationMatcher.from_preset(tmp_path / "matcher")
    assert again.backbone.get_config() | {"name": ""} == ours.backbone.get_config() | {"name": ""}
    assert (again.encode(["今天天气"]) == ours.encode(["今天天气"])).all()
    ours.backbone.save_to_preset(tmp_path / "int8", weights_dtype="int8")
    expected = golden(f"{name}/golden")["out64/l12/last_hidden_state"]
    small = zoo.Backbone.from_preset(tmp_path / "int8")
    half = zoo.Backbone.from_preset(tmp_path / "matcher", dtype="mixed_bfloat16")
    for model in (small, half):  # 8 bits of numbers of size 1, through two or three layers
        difference = np.abs(numpy(model(batch(golden(f"{name}/golden"), "l12"))) - expected)
        assert 0 < difference.mean() < 0.04


# transformers


@pytest.mark.parametrize(
    ("cls", "family", "changes"),
    [
        (transformers.ElectraModel, "ELECTRA", {}),
        (transformers.ElectraForPreTraining, "ELECTRA", {"embedding_size": 16, "layer_norm_eps": 1e-5}),
        (transformers.ElectraForMaskedLM, "ELECTRA", {"hidden_act": "relu"}),
        (transformers.AlbertModel, "ALBERT", {}),
        (transformers.AlbertForPreTraining, "ALBERT", {"hidden_act": "relu", "layer_norm_eps": 1e-5}),
        (transformers.AlbertForSequenceClassification, "ALBERT", {"type_vocab_size": 3, "num_hidden_layers": 1}),
    ],
)
def test_hidden_states_equal_transformers(cls, family, changes, inputs, tmp_path):
    theirs = shaken(cls(cls.config_class(**SIZES | changes)))
    theirs.save_pretrained(tmp_path)
    expected = torch_output(getattr(theirs, theirs.base_model_prefix, theirs), inputs).last_hidden_state
    ours = zoo.Backbone.from_preset(tmp_path)
    assert type(ours) is getattr(zoo, family)
    assert_close(at_tokens(numpy_output(ours, inputs), inputs), at_tokens(expected, inputs), atol=2e-5)


def test_heads_of_albert_equal_transformers(inputs, tmp_path):
    theirs = shaken(transformers.AlbertForPreTraining(transformers.AlbertConfig(**SIZES)))
    theirs.save_pretrained(tmp_path)
    expected = torch_output(theirs, inputs)
    masked_lm, order = zoo.MaskedLM.from_preset(tmp_path), zoo.NextSentence.from_preset(tmp_path)
    assert_close(
        at_tokens(numpy_output(masked_lm, inputs), inputs), at_tokens(expected.prediction_logits, inputs), atol=5e-5
    )
    assert_close(numpy_output(order, inputs), expected.sop_logits, atol=2e-5)


def test_what_a_config_of_albert_leaves_out_means_what_it_means_there(tmp_path):
    transformers.AlbertModel(transformers.AlbertConfig(**SIZES | {"embedding_size": 128})).save_pretrained(tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    for field in (
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "hidden_act",
        "embedding_size",
        "num_hidden_groups",
    ):
        del document[field]
    (tmp_path / "config.json").write_text(json.dumps(document))
    ours = zoo.ALBERT.from_preset(tmp_path)
    assert (ours.dropout, ours.attention_dropout, ours.activation, ours.embedding_dim) == (0, 0, "gelu_tanh", 128)


@pytest.mark.parametrize("field", ["num_hidden_groups", "inner_group_num"])
def test_several_groups_of_albert_are_refused(field, tmp_path):
    transformers.AlbertModel(transformers.AlbertConfig(**SIZES)).save_pretrained(tmp_path)
    with pytest.raises(PresetError, match=f"{field}=2.* is neither ALBERT"):
        read(rewritten(tmp_path, **{field: 2}))


@pytest.mark.parametrize(
    ("family", "with_head", "cls"),
    [
        ("ALBERT", False, transformers.AlbertModel),
        ("ALBERT", True, transformers.AlbertForMaskedLM),
        ("ELECTRA", False, transformers.ElectraModel),
    ],
)
def test_written_for_transformers(family, with_head, cls, inputs, tmp_path):
    backbone = getattr(zoo, family)(50, 3, 4, 16, 24, embedding_dim=8, max_sequence_length=20)
    ours = scattered(zoo.MaskedLM(backbone) if with_head else backbone)
    ours.save_to_preset(tmp_path, format="hugging_face")
    theirs, report = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert {name.partition(".")[0] for name in report["missing_keys"]} <= {"pooler"}, "of a bare encoder: not used"
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    expected = torch_output(theirs.eval(), inputs)
    expected = expected.logits if with_head else expected.last_hidden_state
    assert_close(at_tokens(numpy_output(ours, inputs), inputs), at_tokens(expected, inputs), atol=5e-5)
    back = type(ours).from_preset(tmp_path)
    assert all((to_numpy(weights_of(back)[path]) == to_numpy(v)).all() for path, v in weights_of(ours).items())


def test_what_transformers_lacks_is_not_written(tmp_path):
    """Its ALBERT maps the embeddings at every width, the original only where the widths differ."""
    with pytest.raises(ValueError, match="ALBERT: transformers has no embedding_dim=16"):
        zoo.ALBERT(50, 1, 4, 16, 24).save_to_preset(tmp_path / "none", format="hugging_face")
    assert not (tmp_path / "none").exists()


# One block for all layers


def test_albert_has_one_block():
    deep, shallow = (tiny("ALBERT", num_layers=layers) for layers in (5, 1))
    assert list(weights_of(deep)) == list(weights_of(shallow)) and deep.count_params() == shallow.count_params()
    assert len(deep.blocks) == 5 and len({id(block) for block in deep.blocks}) == 1
    for path, variable in weights_of(shallow).items():
        weights_of(deep)[path].assign(variable)
    assert np.abs(numpy(deep(TOKEN_IDS)) - numpy(shallow(TOKEN_IDS))).max() > 1e-2
    x = shallow.hidden_states(TOKEN_IDS)[0]
    for _ in range(5):  # the block by hand, as often as there are layers
        x = shallow.get_layer("layer_0")(x, padding_mask=keras.ops.convert_to_tensor(TOKEN_IDS != 0))
    real = TOKEN_IDS != 0
    assert_close(numpy(deep(TOKEN_IDS))[real], numpy(x)[real], atol=1e-5)


def test_albert_takes_attention_for_all_layers_alone():
    with pytest.raises(ValueError, match="layer_attention differs between layers, which are all one block"):
        tiny("ALBERT", layer_attention=[None, {"visibility": Window(3)}])
    with pytest.raises(ValueError, match="layer_attention has 1 entries, the model 2"):
        tiny("ALBERT", layer_attention=[None])
    with pytest.raises(ValueError, match="num_layers=2147483647; expected at most"):
        tiny("ALBERT", num_layers=2**31 - 1)
    with pytest.raises(ValueError, match="ALBERT has a table of 512 positions"):
        zoo.extend_context(tiny("ALBERT"))


def test_albert_steps_through_its_block_as_often_as_it_has_layers():
    model = tiny("ALBERT", num_layers=3, attention_mask="causal", dropout=0.0)
    expected, cache = numpy(model(TOKEN_IDS))[0], model.empty_cache(1, 7)
    assert len(cache) == 3
    first, cache = model.step(TOKEN_IDS[:1, :4], cache, 0)
    second, cache = model.step(TOKEN_IDS[:1, 4:], cache, 4)
    assert_close(np.concatenate([numpy(first), numpy(second)], 1)[0], expected, atol=1e-5)


# NEZHA


def test_the_config_tells_nezha_from_roformer(tmp_path):
    """Their tensors have the same names. A config without the word is RoFormer's unless the caller says otherwise."""
    folder = GOLDENS / "nezha"
    assert type(zoo.Backbone.from_preset(folder)) is zoo.RoFormer
    for name in ("zoo.NEZHA", "Backbone"):
        loaded = load("nezha") if name == "zoo.NEZHA" else zoo.Backbone.from_preset(folder, family="NEZHA")
        assert type(loaded) is zoo.NEZHA
    loaded.save_to_preset(tmp_path, format="bert4keras")
    assert json.loads((tmp_path / "bert_config.json").read_text())["use_relative_position"] is True
    assert type(zoo.MaskedLM.from_preset(folder, family="NEZHA").backbone) is zoo.NEZHA
    assert type(zoo.Backbone.from_preset(tmp_path)) is zoo.NEZHA
    with pytest.raises(PresetError, match="holds a NEZHA, not a RoFormer"):
        zoo.RoFormer.from_preset(tmp_path)
    with pytest.raises(ValueError, match="family='NEZHAA'; expected one of BERT"):
        zoo.MaskedLM.from_preset(folder, family="NEZHAA")
    with pytest.raises(ValueError, match="family='BERT'; expected NEZHA"):
        zoo.NEZHA.from_preset(folder, family="BERT")


def test_nezha_sees_distances_in_values(golden):
    """A value's vector moves the output even where all tokens, and with them all scores' inputs, are equal."""
    same = np.full((1, 9), 7, "int32")
    states = numpy(tiny("NEZHA").hidden_states(same)[1])[0]
    assert np.abs(states[0] - states[8]).max() > 1e-3
    plain = numpy(tiny("NEZHA", position=None).hidden_states(same)[1])[0]
    assert_close(plain[0], plain[8], atol=1e-5)
    longer = zoo.extend_context(tiny("NEZHA", max_sequence_length=8), "log_n")
    assert longer(np.tile(TOKEN_IDS, (1, 3))).shape == (4, 21, 32)
    with pytest.raises(ValueError, match="positions are RelativePosition.*expected a plain RotaryEmbedding"):
        zoo.extend_context(tiny("NEZHA"))


def nezha_name(name):
    """Hugging Face's name of a variable of the original, written out apart from zoo's rule."""
    for old, new in (("bert/", "nezha."), ("layer_", "layer."), ("/", "."), ("gamma", "weight"), ("beta", "bias")):
        name = name.replace(old, new)
    name = name.replace("kernel", "weight").replace("output_bias", "bias")
    return name + ".weight" if name.endswith("_embeddings") else name


def test_hugging_face_folder_of_nezha(golden, tmp_path):
    """As `NezhaForMaskedLM` of transformers 4.40 wrote it, with its table of sines; and written again."""
    stored = TFCheckpoint(Folder(GOLDENS / "nezha"))
    tensors = {nezha_name(name): np.asarray(stored[name]) for name in stored}
    tensors = {name: np.ascontiguousarray(a.T) if ".weight" in name and a.ndim == 2 and "_embeddings" not in name else a
               for name, a in tensors.items()}  # fmt: skip
    own = dict(tensors)
    tensors["nezha.encoder.layer.0.attention.self.relative_positions_encoding.positions_encoding"] = np.zeros((4, 4, 8))
    config = json.loads((GOLDENS / "nezha" / "bert_config.json").read_text())
    config |= {
        "model_type": "nezha",
        "max_relative_position": 64,
        "use_relative_position": True,
        "layer_norm_eps": 1e-7,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    arrays, ours = golden("nezha/golden"), zoo.MaskedLM.from_preset(tmp_path)
    assert_close(ours(batch(arrays, "l12")), arrays["out64/l12/mlm_logits"], atol=2e-5)
    ours.save_to_preset(tmp_path / "again", format="hugging_face")
    written, said = (
        Folder(tmp_path / "again").safetensors("model.safetensors"),
        json.loads((tmp_path / "again" / "config.json").read_text()),
    )
    assert all((np.asarray(written[name]) == own[name]).all() for name in written)
    assert set(own) - set(written) == {"nezha.pooler.dense.weight", "nezha.pooler.dense.bias"}
    assert said["architectures"] == ["NezhaForMaskedLM"] and config == {
        **{name: said[name] for name in config if name in said},
        "initializer_range": 0.02,
    }
    with pytest.raises(PresetError, match="max_relative_position=32"):
        read(rewritten(tmp_path, max_relative_position=32))


# ELECTRA


def test_electra_leaves_its_heads_and_generator_unread(golden, tmp_path):
    """As google-research/electra's own checkpoints hold them; anything else is an error. No head comes with it."""
    stored = TFCheckpoint(Folder(GOLDENS / "electra"))
    arrays = {name: np.asarray(stored[name]) for name in stored}
    beside = (
        "discriminator_predictions/dense/kernel",
        "discriminator_predictions/dense_1/bias",
        "generator_predictions/output_bias",
    )
    beside += ("generator/encoder/layer_0/output/dense/kernel", "generator_predictions/LayerNorm/gamma", "global_step")
    files = {"bert_config.json": (GOLDENS / "electra" / "bert_config.json").read_bytes()}
    for extra, fits in (
        (dict.fromkeys(beside, np.ones(3, "float32")), True),
        ({"electra/surprise": np.ones(3, "float32")}, False),
    ):
        folder = tmp_path / str(fits)
        folder.mkdir()
        for name, content in (files | write_tf_checkpoint(arrays | extra, "electra.ckpt")).items():
            (folder / name).write_bytes(content)
        if fits:
            out = zoo.ELECTRA.from_preset(folder)(batch(golden("electra/golden"), "l12"))
            assert_close(out, golden("electra/golden")["out64/l12/last_hidden_state"], atol=2e-5)
        else:
            with pytest.raises(PresetError, match="electra/surprise"):
                zoo.ELECTRA.from_preset(folder)
    with pytest.raises(PresetError, match="no name in this format. for mlm_dense/kernel"):
        zoo.MaskedLM.from_preset(GOLDENS / "electra")
    with pytest.raises(ValueError, match="ELECTRA has no pooler"):
        zoo.NextSentence(tiny("ELECTRA"))
    with pytest.raises(ValueError, match="ELECTRA: transformers has no such model with mlm_dense"):
        zoo.MaskedLM(tiny("ELECTRA")).save_to_preset(tmp_path / "none", format="hugging_face")
    with pytest.raises(ValueError, match="ELECTRA has a table of 512 positions"):
        zoo.extend_context(tiny("ELECTRA"))
