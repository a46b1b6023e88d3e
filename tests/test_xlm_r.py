"""XLM-R and its kin, BERTs with pieces of a Unigram model, against transformers' own models of random weights."""

import json

import keras
import numpy as np
import pytest
import torch
import transformers
from support.arrays import assert_close
from support.unigram import TEXTS, content

import zoo
from zoo.store import PresetError

PIECES = len(content()["model"]["vocab"]) + 1  # and the mask
SIZES = {
    "vocab_size": PIECES + 4,  # published embeddings have rows to spare
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 34,
}
XLM_R = {**SIZES, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}
KINDS = {
    "xlm-roberta": (transformers.XLMRobertaModel, XLM_R),
    "e5": (transformers.BertModel, {**SIZES, "pad_token_id": 0}),
    "with a head": (transformers.XLMRobertaForMaskedLM, XLM_R),
}


def written(folder, kind, separators=2):
    """transformers' model and tokenizer in a folder, no weight left at 0 or 1."""
    cls, config = KINDS[kind]
    generator = torch.Generator().manual_seed(5)
    model = cls(cls.config_class(**config)).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(content(separators=separators)), encoding="utf-8")
    tokenizer = transformers.XLMRobertaTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


def hidden(model, batch):
    encoder = getattr(model, model.base_model_prefix, model)
    with torch.no_grad():
        return encoder(**batch).last_hidden_state.numpy()


@pytest.mark.parametrize("kind", list(KINDS))
def test_texts_and_pairs_give_the_hidden_states_of_transformers(kind, tmp_path):
    model, tokenizer = written(tmp_path, kind)
    ours = zoo.BERT.from_preset(tmp_path)
    assert ours.max_sequence_length == (32 if "roberta" in model.config.model_type else 34)
    texts, seconds = TEXTS[:9], TEXTS[8::-1]
    for second in (None, seconds):
        batch = tokenizer(texts, second, padding=True, truncation=True, max_length=24, return_tensors="pt")
        mine = ours.tokenizer(texts, second, max_length=24)
        np.testing.assert_array_equal(mine["token_ids"], batch["input_ids"])
        real = mine["padding_mask"]
        actual = keras.ops.convert_to_numpy(ours(mine))
        assert_close(actual[real], hidden(model, batch)[real], atol=2e-5)


def test_masked_lm_equals_transformers(tmp_path):
    model, tokenizer = written(tmp_path, "with a head")
    ours = zoo.MaskedLM.from_preset(tmp_path)
    mine = ours.tokenizer(TEXTS[:3])
    with torch.no_grad():
        expected = model(**tokenizer(TEXTS[:3], padding=True, return_tensors="pt")).logits.numpy()
    real = mine["padding_mask"]
    assert_close(keras.ops.convert_to_numpy(ours(mine))[real], expected[real], atol=5e-5)


def test_a_sentence_transformers_folder_gives_its_vectors(tmp_path):
    """Mean of the hidden states, cut at the length that positions allow: XLM-R's first two are no positions."""
    model, tokenizer = written(tmp_path, "xlm-roberta")
    kinds = (("", "models.Transformer"), ("1_Pooling", "models.Pooling"))
    modules = [{"path": path, "type": f"sentence_transformers.{kind}"} for path, kind in kinds]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    matcher = zoo.RepresentationMatcher.from_preset(tmp_path)
    assert (matcher.max_length, matcher.pooling) == (32, "mean")
    texts = TEXTS[:8]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    weights = batch["attention_mask"].numpy()[..., None].astype("float64")
    expected = (hidden(model, batch) * weights).sum(axis=1) / weights.sum(axis=1)
    assert_close(matcher.encode(texts, normalize=False), expected, atol=2e-5)


def test_presets_keep_the_tokenizer(tmp_path):
    written(tmp_path, "e5")
    matcher = zoo.RepresentationMatcher.from_preset(tmp_path, max_length=20)
    for folder, format in (("zoo", "zoo"), ("theirs", "hugging_face")):
        model = matcher if format == "zoo" else matcher.backbone
        model.save_to_preset(tmp_path / folder, format=format)
        names = {path.name for path in (tmp_path / folder).iterdir()}
        assert "tokenizer.json" in names and "vocab.txt" not in names
        again = zoo.RepresentationMatcher.from_preset(tmp_path / folder, max_length=20)
        assert isinstance(again.tokenizer, zoo.UnigramTokenizer)
        assert_close(again.encode(TEXTS[:9]), matcher.encode(TEXTS[:9]), atol=1e-6)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    assert theirs(TEXTS[:9])["input_ids"] == [matcher.tokenizer.encode(text)[0] for text in TEXTS[:9]]


def test_a_smaller_vocabulary_changes_no_vector_of_what_it_holds(tmp_path):
    written(tmp_path, "e5")
    whole = zoo.BERT.from_preset(tmp_path)
    ids = [one for one in range(PIECES) if not 4 <= one < 9 or one % 2]
    texts = [text for text in TEXTS if set(whole.tokenizer.encode(text)[0]) <= set(ids)]
    cut = zoo.BERT.from_preset(tmp_path, keep_tokens=ids)
    assert cut.tokenizer.vocabulary_size == cut.vocabulary_size == len(ids) and len(texts) > 5
    for text in texts:
        actual, expected = (keras.ops.convert_to_numpy(model(model.tokenizer([text]))) for model in (cut, whole))
        assert_close(actual, expected, atol=1e-6)


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("config.json", {"pad_token_id": 0}, "pad_token_id is 0"),
        ("config.json", {"max_position_embeddings": 40}, "position_embeddings.weight has shape"),
        ("config.json", {"max_position_embeddings": 2}, "max_position_embeddings is 2"),
        ("config.json", {"vocab_size": 5}, "word_embeddings.weight has shape"),
        ("tokenizer_config.json", {"cls_token": "[CLS]"}, r"cls_token='\[CLS\]', in the tokenizer.json it is '<s>'"),
        ("tokenizer_config.json", {"mask_token": "[MASK]"}, r"mask_token='\[MASK\]' is not among"),
        ("tokenizer.json", {"normalizer": {"type": "Prepend"}}, "normalizer 'Prepend' is not known"),
        ("tokenizer.json", {"model": {"type": "BPE"}}, "model must be a Unigram"),
    ],
)
def test_what_is_not_read_right_is_refused(file, change, words, tmp_path):
    written(tmp_path, "xlm-roberta")
    stated = json.loads((tmp_path / file).read_text(encoding="utf-8"))
    (tmp_path / file).write_text(json.dumps({**stated, **change}), encoding="utf-8")
    with pytest.raises(PresetError, match=words):
        zoo.BERT.from_preset(tmp_path)


@pytest.mark.neutral
def test_a_preset_of_an_unknown_tokenizer_is_refused(tmp_path):
    written(tmp_path, "e5")
    zoo.BERT.from_preset(tmp_path).save_to_preset(tmp_path / "zoo")
    path = tmp_path / "zoo" / "config.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    stated["tokenizer"]["class"] = "os.system"
    path.write_text(json.dumps(stated), encoding="utf-8")
    zoo.store.seal(tmp_path / "zoo")
    with pytest.raises(PresetError, match="class is 'os.system'; zoo reads only 'Tokenizer', 'UnigramTokenizer'"):
        zoo.BERT.from_preset(tmp_path / "zoo")
    with pytest.raises(ValueError, match="has no vocab.txt"):
        zoo.BERT.from_preset(tmp_path).save_to_preset(tmp_path / "original", format="bert4keras")
