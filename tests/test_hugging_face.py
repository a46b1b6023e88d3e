"""Hugging Face folders against transformers' own models, and against the original where it has no model."""

import json
import os
import pathlib
import re

import numpy as np
import pytest
import torch
import transformers
from support.arrays import assert_close
from support.golden_models import HUGGING_FACE_SIZES

import zoo
from zoo.formats import tokenizer_files
from zoo.formats.tensorflow.checkpoint import TFCheckpoint
from zoo.models.preset import read
from zoo.store import Folder, PresetError, safetensors_bytes

GOLDENS = pathlib.Path(__file__).parent / "goldens"
BERT, ROFORMER = HUGGING_FACE_SIZES, HUGGING_FACE_SIZES | {"embedding_size": 8}
TEXTS = ["怎么修改密码？", "Wie heißt Café, naïve ABC-def 12.5%", "a" * 120, "、，。", "𠀀\u3000x\ty"]


@pytest.fixture
def batch():
    ids = np.random.default_rng(3).integers(1, 50, (3, 11)).astype("int32")
    mask = np.arange(11) < np.array([[11], [7], [1]])
    segments = ((np.arange(11) > 4) & mask).astype("int32")
    return {"token_ids": ids * mask, "segment_ids": segments, "padding_mask": mask}


def shaken(model):
    """The torch model with no weight left at 0 or 1, so that a swapped bias or gain shows."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "embed_positions" not in name:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def torch_output(model, batch):
    inputs = {
        "input_ids": torch.tensor(batch["token_ids"]),
        "token_type_ids": torch.tensor(batch["segment_ids"]),
        "attention_mask": torch.tensor(batch["padding_mask"]).int(),
    }
    with torch.no_grad():
        return model(**inputs)


def at_tokens(array, batch):
    return np.asarray(array)[batch["padding_mask"]]


def numpy_output(model, batch):
    import keras

    return keras.ops.convert_to_numpy(model(batch))


def rewritten(folder, change=None, **config):
    """The folder with changed tensors or config fields."""
    tensors = dict(Folder(folder).safetensors("model.safetensors"))
    if change:
        change(tensors)
    (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    document = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def weights_of(model):
    import keras

    from zoo.backend.variables import weights_of

    return {path: keras.ops.convert_to_numpy(v.value) for path, v in weights_of(model).items()}


# Reading


@pytest.mark.parametrize(
    ("cls", "config"),
    [
        (transformers.BertModel, BERT),
        (transformers.BertForPreTraining, BERT | {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5}),
        (transformers.BertForSequenceClassification, BERT | {"hidden_act": "relu", "type_vocab_size": 3}),
        (transformers.RoFormerModel, ROFORMER | {"embedding_size": 16}),
        (transformers.RoFormerForMaskedLM, ROFORMER),
    ],
)
def test_hidden_states_equal_transformers(cls, config, batch, tmp_path):
    theirs = shaken(cls(cls.config_class(**config)))
    theirs.save_pretrained(tmp_path)
    encoder = getattr(theirs, theirs.base_model_prefix, theirs)
    expected = torch_output(encoder, batch).last_hidden_state
    family = zoo.BERT if "Bert" in cls.__name__ else zoo.RoFormer
    ours = family.from_preset(tmp_path)
    assert_close(at_tokens(numpy_output(ours, batch), batch), at_tokens(expected, batch), atol=2e-5)


def test_an_output_matrix_of_its_own_is_refused(batch, tmp_path):
    """transformers computes with it, whatever the config says of tying; the copy of a tied one is read."""
    from safetensors.numpy import load_file, save_file

    shaken(transformers.BertForMaskedLM(transformers.BertConfig(**BERT))).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    table, name = weights["bert.embeddings.word_embeddings.weight"], "cls.predictions.decoder.weight"
    save_file(weights | {name: table}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    zoo.MaskedLM.from_preset(tmp_path)
    save_file(weights | {name: table + np.float32(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    zoo.BERT.from_preset(tmp_path)  # an encoder reads no output matrix
    with pytest.raises(PresetError, match=f"{name} differ from the embedding"):
        zoo.MaskedLM.from_preset(tmp_path)


@pytest.mark.parametrize(
    ("cls", "config"), [(transformers.BertForMaskedLM, BERT), (transformers.RoFormerForMaskedLM, ROFORMER)]
)
def test_masked_lm_logits_equal_transformers(cls, config, batch, tmp_path):
    theirs = shaken(cls(cls.config_class(**config)))
    theirs.save_pretrained(tmp_path)
    ours = zoo.MaskedLM.from_preset(tmp_path)
    expected = torch_output(theirs, batch).logits
    assert_close(at_tokens(numpy_output(ours, batch), batch), at_tokens(expected, batch), atol=5e-5)


def test_next_sentence_logits_equal_transformers(batch, tmp_path):
    theirs = shaken(transformers.BertForPreTraining(transformers.BertConfig(**BERT)))
    theirs.save_pretrained(tmp_path)
    ours = zoo.NextSentence.from_preset(tmp_path)
    expected = torch_output(theirs, batch).seq_relationship_logits
    assert_close(numpy_output(ours, batch), expected, atol=2e-5)


def junnyu_name(name, model):
    """JunnYu's name of a variable of the original; written out apart from zoo's rule."""
    name = name.replace("bert/embeddings/", f"{model}/embeddings/").replace("bert/encoder/", f"{model}/encoder/")
    name = name.replace("GAU_alpha/", f"{model}/").replace("/", ".")
    for layer in range(4):
        name = name.replace(f"layer_{layer}.", f"layer.{layer}.")
    name = name.replace("gamma", "weight").replace("kernel", "weight")
    return name + ".weight" if name.endswith("_embeddings") else name


JUNNYU = {
    "roformer_v2": {"model_type": "roformer", "norm_type": "rms_norm", "use_bias": False},
    "gau_alpha": {
        "model_type": "gau_alpha",
        "normalization": "softmax_plus",
        "attention_scale": True,
        "use_bias": False,
    },
}


@pytest.mark.parametrize("name", JUNNYU)
def test_junnyu_folder_equals_the_original(name, golden, tmp_path):
    """The original's checkpoint under JunnYu's names gives the original's outputs."""
    stored = TFCheckpoint(Folder(GOLDENS / name))
    tensors = {}
    for key in stored:
        array = np.asarray(stored[key])
        tensors[junnyu_name(key, name.removesuffix("_v2"))] = array.T if key.endswith("kernel") else array
    tensors["cls.predictions.decoder.weight"] = np.asarray(stored["bert/embeddings/word_embeddings"])
    document = json.loads((GOLDENS / name / "bert_config.json").read_text())
    # the port's own ε is 1e-12
    (tmp_path / "config.json").write_text(json.dumps(document | JUNNYU[name] | {"layer_norm_eps": 1e-7}))
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    model = zoo.Backbone.from_preset(tmp_path)
    assert type(model) is {"roformer_v2": zoo.RoFormerV2, "gau_alpha": zoo.GAUAlpha}[name]
    arrays = golden(f"{name}/golden")
    for case in ("l12", "odd"):
        inputs = {part: arrays[f"in/{case}/{part}"] for part in ("token_ids", "segment_ids")}
        assert_close(numpy_output(model, inputs), arrays[f"out64/{case}/last_hidden_state"], atol=2e-5)


def test_shards_and_old_norm_names_are_the_same_checkpoint(tmp_path):
    theirs = shaken(transformers.BertForMaskedLM(transformers.BertConfig(**BERT)))
    theirs.save_pretrained(tmp_path / "one")
    theirs.save_pretrained(tmp_path / "many", max_shard_size="8KB")
    assert len([name for name in os.listdir(tmp_path / "many") if name.endswith(".safetensors")]) > 2
    theirs.save_pretrained(tmp_path / "old")

    def rename(tensors):
        for name in [name for name in tensors if "LayerNorm" in name]:
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[old] = tensors.pop(name)
        tensors["bert.embeddings.position_ids"] = np.arange(20)[None]

    rewritten(tmp_path / "old", rename)
    expected = weights_of(zoo.MaskedLM.from_preset(tmp_path / "one"))
    for kind in ("many", "old"):
        got = weights_of(zoo.MaskedLM.from_preset(tmp_path / kind))
        assert all((got[path] == expected[path]).all() for path in expected) and set(got) == set(expected)


@pytest.mark.neutral
@pytest.mark.parametrize("lowercase", [True, False])
def test_tokenizer_ids_equal_transformers(lowercase, tmp_path):
    tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"怎么修改密码？，。、-.%a",
        "caf",
        "##e",
        "##é",
        "abc",
        "##a",
    ]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    theirs = transformers.BertTokenizer(vocabulary, do_lower_case=lowercase)
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    found = tokenizer_files.read(Folder(tmp_path))
    assert found["vocabulary"] == tokens
    ours = zoo.Tokenizer(found["vocabulary"], **found["tokenizer_options"])
    for text in TEXTS:
        assert ours.encode(text)[0] == theirs(text)["input_ids"], text
    # a vocab.txt alone gives the same vocabulary
    for name in os.listdir(tmp_path):
        os.remove(tmp_path / name)
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    assert tokenizer_files.read(Folder(tmp_path))["vocabulary"] == tokens


# Writing


def scattered(model):
    """The model with random weights and a tokenizer, as one that has been trained."""
    rng = np.random.default_rng(1)
    for variable in model.weights:
        if variable.dtype == "float32":
            variable.assign(rng.normal(0, 0.3, variable.shape))
    model.tokenizer = zoo.Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abc"], lowercase=False)
    return model


@pytest.mark.parametrize(
    ("head", "cls", "output"),
    [
        ("Backbone", transformers.BertModel, "last_hidden_state"),
        ("MaskedLM", transformers.BertForMaskedLM, "logits"),
        ("NextSentence", transformers.BertForNextSentencePrediction, "logits"),
    ],
)
def test_bert_is_written_for_transformers(head, cls, output, batch, tmp_path):
    ours = zoo.BERT(50, 2, 4, 16, 24, max_sequence_length=20, activation="gelu_tanh")
    ours = scattered(ours if head == "Backbone" else getattr(zoo, head)(ours))
    ours.save_to_preset(tmp_path, format="hugging_face")
    theirs, report = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert {name.partition(".")[0] for name in report["missing_keys"]} <= {"pooler"}, "of a bare encoder: not used"
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    expected, got = torch_output(theirs.eval(), batch)[output], numpy_output(ours, batch)
    if head != "NextSentence":
        expected, got = at_tokens(expected, batch), at_tokens(got, batch)
    assert_close(got, expected, 5e-5)
    back = type(ours).from_preset(tmp_path)
    assert all((weights_of(back)[path] == weight).all() for path, weight in weights_of(ours).items())
    assert back.tokenizer.get_config() == ours.tokenizer.get_config()
    assert back.tokenizer.vocabulary == ours.tokenizer.vocabulary


@pytest.mark.parametrize("with_head", [False, True])
def test_roformer_is_written_for_transformers(with_head, batch, tmp_path):
    backbone = zoo.RoFormer(50, 2, 4, 16, 24, embedding_dim=8)
    ours = zoo.MaskedLM(backbone) if with_head else backbone
    ours.save_to_preset(tmp_path, format="hugging_face")
    cls = transformers.RoFormerForMaskedLM if with_head else transformers.RoFormerModel
    theirs, report = cls.from_pretrained(tmp_path, output_loading_info=True)
    # the table of sines is computed, not stored
    assert {name.rpartition("encoder.")[2] for name in report["missing_keys"]} <= {"embed_positions.weight"}
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    expected = torch_output(theirs.eval(), batch)
    expected = expected.logits if with_head else expected.last_hidden_state
    # zoo's head has ε = 1e-12 in its norm, RoFormer's other norms 1e-7, transformers one ε for all
    atol = 1e-3 if with_head else 2e-5
    assert_close(at_tokens(numpy_output(ours, batch), batch), at_tokens(expected, batch), atol)


@pytest.mark.parametrize(
    ("family", "change", "word"),
    [
        ("RoFormerV2", {}, "RoFormerV2: transformers has no such model; only BERT, ALBERT, RoFormer, NEZHA, ELECTRA"),
        ("BERT", {"embedding_dim": 8}, "embedding_dim"),
        ("BERT", {"attention_mask": "causal"}, "attention_mask"),
        ("BERT", {"key_dim": 8}, "key_dim"),
        ("BERT", {"position": "rotary"}, "position"),
        ("BERT", {"num_segments": 0}, "num_segments"),
        ("RoFormer", {"position": {"class": "RotaryEmbedding", "config": {"base": 500.0}}}, "position"),
        ("RoFormer", {"position": None}, "position"),
        ("RoFormer", {"normalization": "softmax_plus"}, "normalization"),
    ],
)
def test_what_transformers_lacks_is_not_written(family, change, word, tmp_path):
    model = getattr(zoo, family)(50, 1, 4, 16, 24, **change)
    with pytest.raises(ValueError, match=word):
        model.save_to_preset(tmp_path / "none", format="hugging_face")
    assert not (tmp_path / "none").exists()


def test_heads_that_transformers_lacks_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="RoFormer: transformers has no such model with next_sentence"):
        zoo.NextSentence(zoo.RoFormer(50, 1, 4, 16, 24)).save_to_preset(tmp_path / "none", format="hugging_face")


# Refusing


@pytest.fixture
def folder(tmp_path):
    """A sound folder, to be damaged."""
    path = tmp_path / "bert"
    transformers.BertForMaskedLM(transformers.BertConfig(**BERT)).save_pretrained(path)
    return path


def transposed(tensors):
    name = "bert.encoder.layer.2.intermediate.dense.weight"
    tensors[name] = np.ascontiguousarray(tensors[name].T)


def transposed_inside(tensors):
    name = "bert.encoder.layer.0.output.dense.weight"
    tensors[name] = np.ascontiguousarray(tensors[name].T)


def integers(tensors):
    name = "bert.encoder.layer.1.attention.self.query.weight"
    tensors[name] = tensors[name].astype("int32")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: t.pop("bert.encoder.layer.1.output.dense.bias"),
            "layer.1.output.dense.bias for layer_1/feedforward",
        ),
        (lambda t: t.update({"bert.surprise": np.zeros((2, 3), "float32")}), "bert.surprise (2, 3)"),
        (transposed, "bert.encoder.layer.2.intermediate.dense.weight has shape (16, 24)"),
        (transposed_inside, "bert.encoder.layer.0.output.dense.weight has shape (24, 16)"),
        (integers, "layer.1.attention.self.query.weight has type int32"),
    ],
)
def test_damaged_weights_are_named(change, words, folder):
    rewritten(folder, change)
    with pytest.raises(PresetError, match=re.escape(words)) as caught:
        zoo.BERT.from_preset(folder)
    assert str(folder / "model.safetensors") in str(caught.value)


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", -1),
        ("hidden_size", 0),
        ("hidden_size", 10**12),
        ("hidden_size", "16"),
        ("hidden_size", True),
        ("hidden_size", None),
        ("hidden_size", 32),
        ("num_hidden_layers", 2_000_000_000),
        ("num_hidden_layers", 4),
        ("vocab_size", 2_000_000_000),
        ("intermediate_size", 25),
        ("max_position_embeddings", 21),
        ("num_attention_heads", 5),
        ("type_vocab_size", 1),
        ("hidden_dropout_prob", 1.5),
        ("hidden_dropout_prob", "0.1"),
        ("layer_norm_eps", [1e-12]),
        ("hidden_act", "os.system"),
        ("hidden_act", {"class_name": "Lambda"}),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("add_cross_attention", 1),
        ("tie_word_embeddings", False),
        ("auto_map", {"AutoModel": "modeling.Evil"}),
        ("quantization_config", {"bits": 4}),
    ],
)
def test_config_fields_are_checked_before_anything_is_built(field, value, folder):
    rewritten(folder, **{field: value})
    theirs = {
        "intermediate_size": "intermediate.dense",
        "hidden_size": "hidden_size|word_embeddings",
        "num_hidden_layers": "layers|layer.3",
        "vocab_size": "word_embeddings",
        "max_position_embeddings": "position_embeddings",
        "type_vocab_size": "token_type_embeddings",
    }
    with pytest.raises(PresetError, match=theirs.get(field, field)) as caught:
        read(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.neutral
@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_the_path_of_the_hubs_cache_is_told_from_other_links(link, folder, tmp_path):
    cached, own = tmp_path / "models--org--a--name/snapshots/0123abcd", tmp_path / "own"
    for place in (cached, own):
        place.mkdir(parents=True)
        link(folder / "config.json", place / "config.json")
    with pytest.raises(PresetError, match=r'from_preset\("hf://org/a--name"\)'):
        read(cached)
    with pytest.raises(PresetError, match="link.*copy|copy of the folder"):
        read(own)


@pytest.mark.neutral
def test_half_a_roformer_v2_is_neither(folder):
    rewritten(folder, model_type="roformer", norm_type="rms_norm")
    with pytest.raises(PresetError, match="neither RoFormer"):
        read(folder)


PARTS = {"normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "BertPreTokenizer"}}


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tokenizer.json", {"model": {"type": "BPE", "vocab": {}}}, "WordPiece"),
        ("tokenizer.json", {"model": {"type": "WordPiece", "vocab": {"a": 0, "b": 2}}, **PARTS}, "ids 0 .. 1"),
        ("tokenizer_config.json", {"do_lower_case": "yes"}, "do_lower_case"),
        ("tokenizer_config.json", {"do_lower_case": True, "strip_accents": "no"}, "strip_accents"),
    ],
)
def test_tokenizers_that_zoo_cannot_be_are_refused(name, content, words, folder):
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(PresetError, match=words) as caught:
        read(folder)
    assert name in str(caught.value)
