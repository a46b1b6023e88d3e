"""Tokenizer files of other libraries: the ids of the library that wrote them, or an error by file, field and value."""

import dataclasses
import json
import os
import random

import pytest
import tokenizers
import transformers
from support.unigram import content as unigram_content

import zoo
from zoo.formats import tokenizer_files
from zoo.store import Folder, PresetError
from zoo.text import wordpiece_fields
from zoo.text.added_tokens import FLAGS, AddedToken

pytestmark = pytest.mark.neutral

ROLES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *ROLES,
    *"[]<>:/#@今天气x",
    "order",
    "id",
    "##s",
    "where",
    "is",
    "url",
    "##url",
    "cafe",
    "café",
    "A",
    "a",
    "##a",
    "##A",
]
PIECES = [
    "[ORDER_ID]",
    "<url>",
    "url",
    "URL",
    "今天",
    "café",
    "Caf",
    " ",
    "  ",
    "x",
    "is",
    "a",
    "A",
    "天",
    "\t",
    "order",
    "1",
    "é",
]


def texts(count=300, seed=0):
    """Strings of tokens and words in any order and case, with and without blanks between them."""
    choose = random.Random(seed)
    return ["".join(choose.choices(PIECES, k=choose.randrange(1, 9))) for _ in range(count)]


def written(folder, *added, vocabulary=WORDS, **options):
    """A tokenizer of transformers with added tokens, and its folder."""
    theirs = transformers.BertTokenizer({token: index for index, token in enumerate(vocabulary)}, **options)
    theirs.add_tokens(list(added))
    theirs.save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def read(folder):
    """zoo's tokenizer of a folder."""
    found = tokenizer_files.read(Folder(folder))
    return zoo.Tokenizer.from_config(found["tokenizer_options"], found["vocabulary"])


def check_equal(ours, theirs):
    for text in texts():
        assert ours.encode(text)[0] == theirs(text)["input_ids"], text
    assert ours(texts())["token_ids"].tolist() == theirs(texts(), padding=True)["input_ids"]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize(
    "flags", [(), *((flag,) for flag in FLAGS), ("single_word", "normalized"), ("lstrip", "rstrip", "special")]
)
def test_added_tokens_have_their_ids(flags, lowercase, tmp_path):
    added = [
        tokenizers.AddedToken(one, **{flag: flag in flags for flag in FLAGS})
        for one in ("[ORDER_ID]", "Url", "is", "<url>", "今天")
    ]
    theirs = written(tmp_path, *added, do_lower_case=lowercase)
    ours = read(tmp_path)
    assert ours.vocabulary_size == len(theirs) == len(WORDS) + 4, "is is a piece as well"
    check_equal(ours, theirs)
    again = zoo.Tokenizer.from_config(json.loads(json.dumps(ours.get_config())), ours.vocabulary)
    assert again(texts())["token_ids"].tolist() == ours(texts())["token_ids"].tolist()


def test_tokens_offsets_and_text_of_added_tokens(tmp_path):
    written(
        tmp_path,
        tokenizers.AddedToken("[ORDER_ID]", special=True),
        tokenizers.AddedToken("Url", lstrip=True, normalized=True),
    )
    ours, text = read(tmp_path), "where is  URL [ORDER_ID]"
    tokens = ours.tokenize(text)
    assert tokens == ["[CLS]", "where", "is", "Url", "[ORDER_ID]", "[SEP]"]
    assert [text[start:end] for start, end in ours.offsets(text)[1:-1]] == ["where", "is", "  URL", "[ORDER_ID]"]
    assert [[text[index] for index in one] for one in ours.rematch(text, tokens)][3:5] == [
        list("URL"),
        list("[ORDER_ID]"),
    ]
    assert ours.decode(ours.encode(text)[0]) == "where is Url", "special ones are left out"
    kept = ours.keep(ours.simplified_ids())
    assert kept.tokenize(text) == tokens and kept.vocabulary_size < ours.vocabulary_size + 1


def test_special_tokens_in_a_text_stay_characters_unless_they_are_added():
    plain, finding = zoo.Tokenizer(WORDS), zoo.Tokenizer(WORDS, added_tokens=["[MASK]"])
    assert finding.encode("今[MASK]气")[0] == [2, WORDS.index("今"), 4, WORDS.index("气"), 3]
    assert 4 not in plain.encode("今[CLS]气")[0]


def test_older_files_say_the_same(tmp_path):
    """added_tokens.json and special_tokens_map.json, as transformers 4 wrote them beside a vocab.txt."""
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    size = len(WORDS)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"Url": size + 1, "[ORDER_ID]": size}))
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"cls_token": "[CLS]", "additional_special_tokens": ["[ORDER_ID]", "order"]})
    )
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path)
    ours = read(tmp_path)
    assert ours.encode("my [ORDER_ID] url")[0][-3:] == [size, size + 1, 3]
    check_equal(ours, theirs)


def test_added_tokens_of_a_unigram_model(tmp_path):
    content = unigram_content()
    added = [
        ("URL", {"normalized": True}),
        ("<id>", {"special": True}),
        ("今天", {"single_word": True, "lstrip": True}),
    ]
    first = len(content["model"]["vocab"])
    pieces = {piece: index for index, (piece, _) in enumerate(content["model"]["vocab"])}
    for token, flags in added:
        first += token not in pieces
        entry = {"id": pieces.get(token, first), "content": token, **dict.fromkeys(FLAGS, False), **flags}
        content["added_tokens"].append(entry)
    library = tokenizers.Tokenizer.from_str(json.dumps(content))
    ours = zoo.UnigramTokenizer(content)
    for again in (ours, zoo.UnigramTokenizer(json.loads(ours.vocabulary_text))):
        for text in texts() + ["今天<id>URL how", "今天 URL", "xURL<id>"]:
            expected = library.encode(text)
            assert (
                again.encode(text)[0] == again(["", text])["token_ids"][1][: len(expected.ids)].tolist() == expected.ids
            )
            assert again.tokenize(text) == expected.tokens and again.offsets(text) == expected.offsets
    assert ours.decode(ours.encode("how<id>URL")[0]) == "howURL"
    kept = ours.keep([one for one in range(ours.vocabulary_size) if ours.vocabulary[one] != "how"])
    assert kept.tokenize("今天<id>URL") == ours.tokenize("今天<id>URL")


OWN = wordpiece_fields.to_content(zoo.Tokenizer(WORDS))
JSON = {  # with the parts of BERT
    **OWN,
    "added_tokens": [AddedToken(role, special=True).entry(index) for index, role in enumerate(ROLES)],
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
}


def changed(path, value):
    content = json.loads(json.dumps(JSON))
    part = content
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return content


TOKEN = {"content": "[X]", **dict.fromkeys(FLAGS, False)}
CONFIG, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (CONFIG, {"tokenizer_class": "BertJapaneseTokenizer"}, "tokenizer_class is 'BertJapaneseTokenizer'"),
        (CONFIG, {"tokenizer_class": "XLMRobertaTokenizer"}, "tokenizer_class is 'XLM"),
        (CONFIG, {"tokenizer_class": 3}, "tokenizer_class is 3"),
        (CONFIG, {"tokenize_chinese_chars": False}, "tokenize_chinese_chars is False"),
        (CONFIG, {"do_basic_tokenize": False}, "do_basic_tokenize is False"),
        (CONFIG, {"never_split": ["ab"]}, r"never_split is \['ab'\]"),
        (CONFIG, {"word_tokenizer_type": "mecab"}, "word_tokenizer_type is 'mecab'"),
        (CONFIG, {"padding_side": "left"}, "padding_side is 'left'"),
        (CONFIG, {"truncation_side": "left"}, "truncation_side is 'left'"),
        (
            CONFIG,
            {"split_special_tokens": True, "added_tokens_decoder": {str(len(WORDS)): TOKEN | {"special": True}}},
            "split_special_tokens is True",
        ),
        (CONFIG, {"auto_map": {"AutoTokenizer": ["x.Y", None]}}, "auto_map"),
        (CONFIG, {"model_input_names": ["input_ids"]}, r"model_input_names is \['input_ids'\]"),
        (CONFIG, {"additional_special_tokens": ["[NEW]"]}, r"'\[NEW\]' has no id"),
        (CONFIG, {"bos_token": "[BOS]"}, r"'\[BOS\]' has no id"),
        (CONFIG, {"cls_token": ["[CLS]"]}, r"cls_token is \['\[CLS\]'\]"),
        (CONFIG, {"added_tokens_decoder": {"9999": TOKEN}}, "id 9999 .* comes next"),
        (CONFIG, {"added_tokens_decoder": {"9": TOKEN}}, r"id 9 is '\[X\]', in the vocabulary"),
        (CONFIG, {"added_tokens_decoder": {"x": TOKEN}}, "added_tokens_decoder has 'x'"),
        (CONFIG, {"added_tokens_decoder": {str(len(WORDS)): TOKEN | {"strip": True}}}, "unknown field 'strip'"),
        (CONFIG, {"added_tokens_decoder": {"7": {**TOKEN, "content": "order"}}}, "id 7 is 'order'"),
        (MAP, {"surprise": "a"}, "surprise is 'a'"),
        (MAP, {"cls_token": "order"}, "cls_token is 'order'|cls_token is '\\[CLS"),
        (ADDED, {"[X]": 9999}, "id 9999"),
        (ADDED, {"[X]": "7"}, "'7'"),
        ("tokenizer.json", changed(["normalizer"], None), "normalizer is None"),
        ("tokenizer.json", changed(["normalizer", "type"], "NFKC"), "NFKC"),
        ("tokenizer.json", changed(["normalizer", "handle_chinese_chars"], False), "handle_chinese_chars is False"),
        ("tokenizer.json", changed(["normalizer", "clean_text"], False), "clean_text is False"),
        ("tokenizer.json", changed(["normalizer", "surprise"], 1), "unknown field 'surprise'"),
        ("tokenizer.json", changed(["pre_tokenizer"], {"type": "Whitespace"}), "pre_tokenizer is .*Whitespace"),
        ("tokenizer.json", changed(["model", "continuing_subword_prefix"], "@@"), "continuing_subword_prefix is '@@'"),
        ("tokenizer.json", changed(["model", "max_input_chars_per_word"], 0), "max_input_chars_per_word is 0"),
        ("tokenizer.json", changed(["model", "vocab", "order"], 5), "vocab|'order'"),
        ("tokenizer.json", changed(["decoder"], {"type": "BPEDecoder"}), "decoder: type is 'BPEDecoder'"),
        ("tokenizer.json", changed(["post_processor"], {"type": "ByteLevel"}), "post_processor"),
        ("tokenizer.json", changed(["post_processor", "pair", 3, "Sequence", "type_id"], 0), "post_processor.pair"),
        ("tokenizer.json", changed(["added_tokens", 0, "content"], "[PADDING]"), "id 0 is .*PADDING"),
        ("tokenizer.json", changed(["truncation"], {"direction": "Left"}), "direction is 'Left'"),
        ("tokenizer.json", changed(["surprise"], 1), "unknown field 'surprise'"),
    ],
)
def test_what_would_change_ids_is_refused_by_file_field_and_value(name, content, words, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(json.dumps(JSON))
    read(tmp_path)
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(PresetError, match=words) as caught:
        read(tmp_path)
    assert name in str(caught.value)


def test_accents_and_case_are_two_things(tmp_path):
    for options in ({"do_lower_case": True, "strip_accents": False}, {"do_lower_case": False, "strip_accents": True}):
        folder = tmp_path / str(options["strip_accents"])
        check_equal(read_after_save(folder, **options), written(folder, **options))


def read_after_save(folder, **options):
    written(folder, **options)
    return read(folder)


def test_jieba_is_asked_for_where_words_stay_whole(tmp_path):
    (tmp_path / CONFIG).write_text(json.dumps({"tokenizer_class": "RoFormerTokenizer"}))
    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS, "今天"]), encoding="utf-8")
    with pytest.raises(ValueError, match="RoFormerTokenizer"):
        read(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    read(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"lowercase": False},
        {"strip_accents": False},
        {"word_max_length": 150},
        {"pad_token": "@", "cls_token": "#", "sep_token": "/", "unk_token": ":", "mask_token": None},
        {
            "added_tokens": [
                "order",
                {"content": "[MASK]", "special": True},
                {"content": "is", "single_word": True, "piece": True},
            ]
        },
    ],
)
def test_what_is_written_for_transformers_gives_the_same_ids(options, tmp_path):
    ours = zoo.Tokenizer(WORDS, **options)
    for name, content in tokenizer_files.to_files(ours).items():
        (tmp_path / name).write_bytes(content)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    back = read(tmp_path)
    assert back.vocabulary == ours.vocabulary and back.special_tokens == ours.special_tokens
    for text in [*texts(), "a" * 150, "a" * 151]:
        assert ours.encode(text)[0] == back.encode(text)[0]
        assert theirs(text)["input_ids"] == ours.encode(text)[0], text


def test_what_a_foreign_format_cannot_hold_is_refused(tmp_path):
    sizes = {"vocabulary_size": len(WORDS), "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
    model = zoo.BERT(**sizes, max_sequence_length=8)
    for format, options in [
        ("hugging_face", {"pre_tokenize": str.split}),
        ("bert4keras", {"pre_tokenize": str.split}),
        ("bert4keras", {"lowercase": False}),
        ("bert4keras", {"strip_accents": False}),
        ("bert4keras", {"cls_token": "<"}),
        ("bert4keras", {"word_max_length": 100}),
        ("bert4keras", {"added_tokens": ["order"]}),
    ]:
        model.tokenizer = zoo.Tokenizer(WORDS, **options)
        with pytest.raises(ValueError, match=next(iter(options))):
            model.save_to_preset(tmp_path / "no", format=format)
    assert not (tmp_path / "no").exists()


def test_case_of_a_checkpoint_that_does_not_say_it(tmp_path):
    cased = [*ROLES, "Paris", "paris", "in", "London"]
    sizes = {"vocabulary_size": len(cased), "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
    model = zoo.BERT(**sizes, max_sequence_length=8)
    model.save_to_preset(tmp_path, format="bert4keras")
    os.remove(tmp_path / "manifest.json")
    (tmp_path / "vocab.txt").write_text("\n".join(cased) + "\n")
    with pytest.warns(UserWarning, match="2 of 4 words of the vocabulary have upper case .Paris, London"):
        assert zoo.BERT.from_preset(tmp_path).tokenizer.tokenize("Paris")[1] == "paris"
    assert zoo.BERT.from_preset(tmp_path, lowercase=False).tokenizer.tokenize("Paris")[1] == "Paris"
    assert zoo.Backbone.from_preset(tmp_path, lowercase=True).tokenizer.tokenize("Paris")[1] == "paris"
    (tmp_path / "vocab.txt").write_text("\n".join([*cased[:5], "paris", "in", "london", "a"]) + "\n")
    zoo.BERT.from_preset(tmp_path)  # warnings are errors here


def test_flags_of_added_tokens_are_checked():
    odd = {"content": "order", "x": 1}
    for wrong, error in [(["none such"], "not in the vocabulary"), (["order", "order"], "twice"), ([odd], "flags")]:
        with pytest.raises(ValueError, match=error):
            zoo.Tokenizer(WORDS, added_tokens=wrong)
    alike = [{"content": one, "normalized": True} for one in ("a", "A")]
    with pytest.raises(ValueError, match="'a' and 'A' fold to the same"):
        zoo.Tokenizer(WORDS, added_tokens=alike)
    assert zoo.Tokenizer(WORDS, lowercase=False, added_tokens=alike).tokenize("aA")[1:-1] == ["a", "A"]
    with pytest.raises(TypeError, match="added token"):
        zoo.Tokenizer(WORDS, added_tokens=[3])
    (token,) = zoo.Tokenizer(WORDS, added_tokens=["order"]).added_tokens
    assert {field.name for field in dataclasses.fields(token)} == {"content", "piece", *FLAGS} and token.piece is True


def test_added_tokens_change_no_text_without_them():
    """Private characters, which the library's normaliser drops and the lineage keeps, stand between added tokens too."""
    plain, finding = zoo.Tokenizer([*WORDS, "<tok>"]), zoo.Tokenizer([*WORDS, "<tok>"], added_tokens=["<tok>"])
    for text in ("\ue000order", "\ue000", "a\ue000 url", "\u200border\ue001"):
        assert finding.encode(text) == plain.encode(text)
    first, _ = finding.encode("order<tok>\ue000order")
    assert first[1:3] == [WORDS.index("order"), len(WORDS)]
    assert first[3:-1] == plain.encode("\ue000order")[0][1:-1]


def test_an_added_token_that_folds_to_nothing_is_refused():
    for content in ("\u200b", "\u00ad"):
        with pytest.raises(ValueError, match="folds to nothing"):
            zoo.Tokenizer([*WORDS, content], added_tokens=[{"content": content, "normalized": True}])


@pytest.mark.parametrize(
    ("vocabulary", "words"),
    [({"zz": 10**15}, "no gaps"), ({"zz": "q"}, "whole number from 0"), ({"zz": [1]}, "whole number from 0")],
)
def test_ids_that_would_fill_the_memory_or_are_none(vocabulary, words):
    content = json.loads(tokenizer_files.to_files(zoo.Tokenizer(WORDS))["tokenizer.json"])
    content["model"]["vocab"] |= vocabulary
    with pytest.raises(ValueError, match=words):
        wordpiece_fields.read_fields(content)
