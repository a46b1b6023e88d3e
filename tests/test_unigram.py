"""The Unigram tokenizer against transformers, the Rust library, and the best segmentation by dynamic programming."""

import base64
import copy
import json
import pickle

import numpy as np
import pytest
import tokenizers
from support.unigram import CHARSMAP, LETTERS, SPECIAL, TEXTS, best_pieces, content

from zoo.text.unigram import UnigramTokenizer

pytestmark = pytest.mark.neutral


@pytest.fixture(scope="module")
def tokenizer():
    return UnigramTokenizer(content())


def rust(tokenizer):
    return tokenizers.Tokenizer.from_str(tokenizer.vocabulary_text)


@pytest.mark.parametrize("normalizer", ["charsmap", "nfkc", None])
def test_equals_the_rust_library_on_what_it_stores(normalizer):
    tokenizer = UnigramTokenizer(content(normalizer))
    original = tokenizers.Tokenizer.from_str(json.dumps(content(normalizer)))
    for library in (original, rust(tokenizer)):
        for text in TEXTS:
            expected = library.encode(text)
            assert tokenizer.encode(text) == (expected.ids, expected.type_ids)
            assert tokenizer.tokenize(text) == expected.tokens
            assert tokenizer.offsets(text) == expected.offsets


def test_equals_transformers(tmp_path):
    from transformers import XLMRobertaTokenizer

    tokenizer = UnigramTokenizer(content())
    (tmp_path / "tokenizer.json").write_text(tokenizer.vocabulary_text, encoding="utf-8")
    theirs = XLMRobertaTokenizer.from_pretrained(tmp_path)
    texts = TEXTS[:10]
    for seconds in (None, texts[::-1]):
        for length in (6, 512):
            expected = theirs(texts, seconds, padding=True, truncation=True, max_length=length)
            batch = tokenizer(texts, seconds, max_length=length)
            np.testing.assert_array_equal(batch["token_ids"], expected["input_ids"])
            np.testing.assert_array_equal(batch["padding_mask"], expected["attention_mask"])
            assert not batch["segment_ids"].any()


def test_the_most_probable_pieces_are_taken():
    pieces = content()["model"]["vocab"]
    tokenizer = UnigramTokenizer(content(None))
    rng = np.random.default_rng(1)
    for _ in range(200):
        word = "".join(rng.choice([*"今天气很好密码howthepassworder龘", *LETTERS], rng.integers(1, 12)))
        assert tokenizer.encode(word)[0][1:-1] == best_pieces(f"▁{word}", pieces), word


@pytest.mark.parametrize(("separators", "segment"), [(1, 0), (2, 0), (1, 1), (2, 1)])
def test_a_batch_is_its_rows(separators, segment):
    tokenizer = UnigramTokenizer(content(separators=separators, segment=segment))
    library = rust(tokenizer)
    seconds = TEXTS[::-1]
    for length in (separators + 2, 7, None):
        batch = tokenizer(TEXTS, seconds, max_length=length)
        for row, (text, second) in enumerate(zip(TEXTS, seconds, strict=True)):
            ids, segments = tokenizer.encode(text, second, max_length=length)
            if length is None:
                expected = library.encode(text, second)
                assert (ids, segments) == (expected.ids, expected.type_ids)
            real = batch["padding_mask"][row]
            assert real.sum() == len(ids) <= (length or 10**6)
            assert batch["token_ids"][row][real].tolist() == ids
            assert batch["segment_ids"][row][real].tolist() == segments
            assert (batch["token_ids"][row][~real] == tokenizer.pad_token_id).all()


def test_special_tokens_in_a_text_are_ordinary_characters(tokenizer):
    tokenizer = UnigramTokenizer(tokenizer.content)
    with pytest.warns(UserWarning, match="holds <mask>, which is spelled out"):
        ids, _ = tokenizer.encode("</s> <s><mask><pad>今天<unk>")
    special = {tokenizer.token_to_id(token) for token in [*SPECIAL[:3], "<mask>"]}
    assert not special & set(ids[1:-1])
    assert tokenizer.tokenize("</s>")[1:-1] == ["▁", "<", "/", "s", ">"]


def test_ids_by_role(tokenizer):
    ids = [tokenizer.cls_token_id, tokenizer.pad_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id]
    assert ids == [0, 1, 2, 3]
    assert tokenizer.mask_token_id == tokenizer.vocabulary_size - 1 == len(content()["model"]["vocab"])
    with pytest.raises(ValueError, match="no mask token"):
        assert UnigramTokenizer(content(mask=None)).mask_token_id


def test_half_a_character_is_no_error(tokenizer):
    assert tokenizer.encode("今\ud800天") == tokenizer.encode("今\ufffd天")
    assert tokenizer.offsets("今\ud800天")[-2] == (2, 3)


def test_decode_gives_the_text_back(tokenizer):
    for text in ("今天天气很好", "how the pass", "change the password"):
        assert tokenizer.decode(tokenizer.encode(text)[0]) == text


def test_keep_cuts_the_vocabulary(tokenizer):
    ids = [2, 0, tokenizer.mask_token_id, 3, 1, *range(4, 60, 2), *range(61, tokenizer.vocabulary_size - 1)]
    kept = tokenizer.keep(ids)
    assert kept.vocabulary == [tokenizer.vocabulary[one] for one in ids]
    assert (kept.sep_token_id, kept.cls_token_id, kept.mask_token_id, kept.unk_token_id) == (0, 1, 2, 3)
    library = rust(kept)
    for text in TEXTS:
        assert kept.encode(text)[0] == library.encode(text).ids
    known = [one for one in tokenizer.encode("天气")[0] if one in ids]
    assert [kept.vocabulary[one] for one in kept.encode("天气")[0] if one in range(4)][:1] == [
        tokenizer.vocabulary[known[0]]
    ]
    with pytest.raises(ValueError, match="lack those of <unk>"):
        tokenizer.keep([one for one in ids if one != 3])
    with pytest.raises(ValueError, match="id 4 is kept 2 times"):
        tokenizer.keep([*ids, 4])


def test_round_trips(tokenizer):
    stored = json.loads(tokenizer.vocabulary_text)
    for other in (
        UnigramTokenizer.from_config(tokenizer.get_config(), stored),
        pickle.loads(pickle.dumps(tokenizer)),  # noqa: S301
        copy.deepcopy(tokenizer),
    ):
        assert other.vocabulary_text == tokenizer.vocabulary_text
        assert all(other.encode(text) == tokenizer.encode(text) for text in TEXTS)


def changed(*path, value):
    """The content with the value at a path replaced."""
    changed = part = content()
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["surprise"], 1, "unknown field 'surprise'"),
        (["version"], "2.0", "version is '2.0'"),
        (["model", "type"], "BPE", "type is 'BPE'"),
        (["model", "byte_fallback"], True, "byte_fallback is True"),
        (["model", "unk_id"], None, "unk_id is None"),
        (["model", "unk_id"], 10**6, "unk_id is 1000000"),
        (["model", "vocab"], {"a": 1}, "vocab is"),
        (["model", "vocab", 7], ["▁", -1.0], "stands there twice"),
        (["model", "vocab", 7], ["a"], r"vocab\[7\]"),
        (["model", "vocab", 7, 1], "x", "log probability"),
        (["model", "vocab", 7, 1], float("nan"), "log probability"),
        (["added_tokens", 0, "special"], "no", "special is 'no'"),
        (["added_tokens", 0, "content"], "<t>", "id 0 is '<t>'"),
        (["added_tokens", 4, "id"], 500, "comes next"),
        (["added_tokens", 4, "content"], "今天", "two ids"),
        (["normalizer"], {"type": "Bert"}, "normalizer 'Bert'"),
        (["normalizer"], {"type": "Replace", "pattern": {"Regex": "(a+)+b"}, "content": ""}, "pattern is"),
        (["normalizer", "precompiled_charsmap"], "!!", "no table of SentencePiece"),
        (["pre_tokenizer"], {"type": "ByteLevel"}, "pre_tokenizer 'ByteLevel'"),
        (["pre_tokenizer"], None, "needs a Metaspace"),
        (["pre_tokenizer", "pretokenizers", 1, "replacement"], "_", "replacement is '_'"),
        (["decoder"], {"type": "Fuse"}, "type is 'Fuse'"),
        (["post_processor"], None, "post_processor is None"),
        (["post_processor", "single", 1], {"SpecialToken": {"id": "<s>", "type_id": 0}}, "post_processor.single"),
        (["post_processor", "pair", 4, "Sequence", "type_id"], 1, "post_processor.pair"),
        (["post_processor", "special_tokens", "</s>", "ids"], [0], "has the ids"),
        (["truncation"], {"direction": "Left"}, "direction is 'Left'"),
        (["padding"], {"direction": "Left"}, "direction is 'Left'"),
    ],
)
def test_what_it_cannot_honour_is_refused_by_name(path, value, message):
    with pytest.raises(ValueError, match=message):
        UnigramTokenizer(changed(*path, value=value))


def damaged(where, value):
    """The charsmap with four of its bytes replaced."""
    raw = bytearray(base64.b64decode(CHARSMAP))
    raw[where : where + 4] = value.to_bytes(4, "little")
    return base64.b64encode(raw).decode()


def test_a_damaged_charsmap_never_reaches_the_rust_library():
    """Every unit of the trie made to point far away is either refused, or no text comes by it."""
    refused = 0
    for place in range(4, 4 + 1024, 4):
        for value in (0x7FFFFFFF, 0xFFFFFFFF, 0x00000700):
            try:
                tokenizer = UnigramTokenizer(changed("normalizer", "precompiled_charsmap", value=damaged(place, value)))
            except ValueError as error:
                assert "damaged" in str(error)
                refused += 1
            else:
                for text in TEXTS:
                    tokenizer.encode(text)
    assert refused > 256
    with pytest.raises(ValueError, match="damaged"):
        UnigramTokenizer(changed("normalizer", "precompiled_charsmap", value=damaged(0, 2**31)))


def test_options_of_a_configuration_are_checked_against_the_content(tokenizer):
    stated = {
        "class": "UnigramTokenizer",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
    }
    assert UnigramTokenizer.from_config(stated, content()).get_config() == tokenizer.get_config()
    with pytest.raises(ValueError, match="sep_token='<s>', in the tokenizer.json it is '</s>'"):
        UnigramTokenizer.from_config({**stated, "sep_token": "<s>"}, content())


def test_misuse_is_refused(tokenizer):
    with pytest.raises(TypeError, match="from_json takes its text"):
        UnigramTokenizer(json.dumps(content()))
    with pytest.raises(ValueError, match="mask_token='<m>' is not among"):
        UnigramTokenizer(content(), mask_token="<m>")
    with pytest.raises(ValueError, match="unknown options"):
        UnigramTokenizer.from_config({"lowercase": True}, content())
    with pytest.raises(TypeError, match=r"texts\[1\] is None"):
        tokenizer(["a", None])
    with pytest.raises(ValueError, match="special tokens alone take 4"):
        tokenizer(["a"], ["b"], max_length=3)
    with pytest.raises(ValueError, match="id 99999"):
        tokenizer.id_to_token(99999)
