"""Folders of sentence-transformers: pooling and length are those of the files, everything unknown is refused by name."""

import json

import numpy as np
import pytest
import torch
import transformers
from support.arrays import assert_close
from support.tiny_models import TEXTS, VOCABULARY

import zoo
from zoo.formats.sentence_transformers import matcher_options
from zoo.store import Folder, PresetError

pytestmark = pytest.mark.neutral

MODULES = ["models.Transformer", "models.Pooling", "models.Normalize"]
PATHS = ["", "1_Pooling", "2_Normalize"]
MEAN = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


def write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def modules(kinds=MODULES, paths=PATHS):
    return [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths))
    ]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A Hugging Face folder of a random BERT, and transformers' own model."""
    torch.manual_seed(4)
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY.splitlines()), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=20, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = transformers.BertModel(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    folder = tmp_path_factory.mktemp("encoder")
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text(VOCABULARY, encoding="utf-8")
    return folder, model


@pytest.fixture
def folder(encoder):
    """The folder with files of sentence-transformers: mean of at most 8 tokens."""
    folder, _ = encoder
    write(folder / "modules.json", modules())
    write(folder / "1_Pooling" / "config.json", MEAN)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 8, "do_lower_case": False})
    yield folder
    for name in ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "tokenizer_config.json",
                 "config_sentence_transformers.json"):  # fmt: skip
        (folder / name).unlink(missing_ok=True)


def pooled(model, tokenizer, text, mode, max_length):
    """One text through transformers, without padding; the pooling in float64."""
    token_ids, _ = tokenizer.encode(text, max_length=max_length)
    with torch.no_grad():
        hidden = model(torch.tensor([token_ids])).last_hidden_state[0].numpy().astype("float64")
    return {"mean": hidden.mean(axis=0), "cls": hidden[0], "max": hidden.max(axis=0)}[mode]


@pytest.mark.parametrize(
    ("mode", "config"),
    [
        ("mean", MEAN),
        ("mean", {"word_embedding_dimension": 16}),
        ("cls", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}),
        ("max", {"embedding_dimension": 16, "pooling_mode": "max"}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*lose their ends")
def test_embeddings_are_pooled_and_cut_as_the_files_say(mode, config, encoder, folder):
    write(folder / "1_Pooling" / "config.json", config)
    matcher = zoo.RepresentationMatcher.from_preset(folder)
    assert (matcher.pooling, matcher.max_length) == (mode, 8)
    expected = [pooled(encoder[1], matcher.tokenizer, text, mode, 8) for text in TEXTS]
    assert_close(matcher.encode(TEXTS, normalize=False), expected, atol=1e-5)


def test_arguments_go_before_files(folder):
    matcher = zoo.RepresentationMatcher.from_preset(folder, pooling="max", max_length=5)
    assert (matcher.pooling, matcher.max_length) == ("max", 5)


def test_names_of_later_versions(folder):
    package = "sentence_transformers.sentence_transformer.modules"
    kinds = ["sentence_transformers.base.modules.transformer.Transformer", f"{package}.pooling.Pooling"]
    write(folder / "modules.json", [{"path": path, "type": kind} for path, kind in zip(PATHS, kinds)])
    assert matcher_options(Folder(folder)) == {"pooling": "mean", "max_length": 8, "lowercase": False}


@pytest.mark.parametrize(
    ("limit", "tokenizer_limit", "expected"), [(None, None, 20), (None, 12, 12), (None, 10**30, 20), (64, 12, 20)]
)
def test_the_least_limit_counts(limit, tokenizer_limit, expected, folder):
    """20 positions are all that the encoder has; the tokenizer's limit counts where the module states none."""
    write(folder / "sentence_bert_config.json", {"max_seq_length": limit})
    if tokenizer_limit is not None:
        write(folder / "tokenizer_config.json", {"model_max_length": tokenizer_limit})
    assert matcher_options(Folder(folder))["max_length"] == expected


def test_other_folders_state_nothing(encoder):
    assert matcher_options(Folder(encoder[0])) == {}
    assert zoo.RepresentationMatcher.from_preset(encoder[0]).max_length == 20


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("modules.json", modules([*MODULES[:2], "models.Dense"]), r"module 2 is 'sentence_transformers.models.Dense'"),
        ("modules.json", [*modules()[:2], {"type": "os.system", "path": ""}], r"module 2 is 'os.system'"),
        ("modules.json", [*modules()[:2], "Normalize"], "module 2 is 'None'"),
        ("modules.json", modules()[:1], "modules Transformer; zoo reads"),
        ("modules.json", modules(MODULES[::-1]), "in this order"),
        ("modules.json", {}, "modules none"),
        ("modules.json", modules(paths=["0_Transformer", *PATHS[1:]]), "lies in '0_Transformer'"),
        ("modules.json", modules(paths=["", "../x", ""]), "folder name"),
        ("modules.json", modules(paths=["", "3_Pooling", ""]), "'3_Pooling' of the pooling"),
        ("1_Pooling/config.json", {"pooling_mode_weightedmean_tokens": True}, "weightedmean.*one of cls, mean, max"),
        ("1_Pooling/config.json", MEAN | {"pooling_mode_cls_token": True}, "'cls', 'mean'"),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "max"]}, "'mean', 'max'"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": 1}, "pooling_mode_mean_tokens is 1"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length is 0"),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "default_prompt_name='query'"),
    ],
)
def test_what_the_matcher_has_not_is_named(name, content, words, folder):
    write(folder / name, content)
    with pytest.raises(PresetError, match=words):
        zoo.RepresentationMatcher.from_preset(folder)
    assert zoo.Backbone.from_preset(folder).num_layers == 2, "the encoder alone is none of these files' business"


def test_prompts_that_nobody_puts_before_texts_are_told(folder):
    write(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "", "document": ""}, "default_prompt_name": None},
    )
    zoo.RepresentationMatcher.from_preset(folder)  # warnings are errors here
    write(folder / "config_sentence_transformers.json", {"prompts": {"query": "query: ", "document": ""}})
    with pytest.warns(UserWarning, match="prompts .query: 'query: '. are put before no text by zoo"):
        zoo.RepresentationMatcher.from_preset(folder)


def test_a_cased_vocabulary_is_not_lowercased(folder):
    write(folder / "sentence_bert_config.json", {"max_seq_length": 8, "do_lower_case": True})
    assert zoo.RepresentationMatcher.from_preset(folder).max_length == 8, "an uncased vocabulary lowercases anyway"
    write(folder / "tokenizer_config.json", {"do_lower_case": False})
    with pytest.raises(PresetError, match="do_lower_case is true, the vocabulary is cased"):
        zoo.RepresentationMatcher.from_preset(folder)


def test_vectors_are_finite_without_any_word(folder):
    with pytest.warns(UserWarning, match="hold nothing but unknown tokens"):
        vectors = zoo.RepresentationMatcher.from_preset(folder).encode(["", "鑫"])
    assert np.isfinite(vectors).all()
