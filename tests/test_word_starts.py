"""Word starts of tokens: by the cutter, whatever the tokenizer folds, drops or splits."""

import sys

import numpy as np
import pytest
from support.tiny_models import tokenizer

import zoo
from zoo.data.corpus import ids_and_word_starts, word_cutter

pytestmark = pytest.mark.neutral

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"今天气很好我去公园玩i1。，",
    *(f"##{c}" for c in "phone5"),
]


@pytest.fixture(scope="module")
def tok():
    return zoo.Tokenizer(VOCABULARY)


def shown(tok, text, cut):
    """The tokens with a bar before each word."""
    ids, starts = ids_and_word_starts(text, tok, cut)
    assert ids.tolist() == tok.encode(text)[0][1:-1] and len(starts) == len(ids)
    return "".join("|" * int(start) + tok.id_to_token(one) for one, start in zip(ids, starts))


def test_words_of_the_cutter(tok):
    words = {"今天天气很好": ["今天", "天气", "很好"], "我去公园玩": ["我", "去", "公园", "玩"]}
    assert shown(tok, "今天天气很好", words.get) == "|今天|天气|很好"
    assert shown(tok, "我去公园玩", words.get) == "|我|去|公园|玩"


def test_latin_words_and_numbers_are_words_whatever_the_cutter_says(tok):
    """Blanks between them do not reach the cutter; what it joins stays apart, what it cuts stays whole."""
    assert shown(tok, "我 iPhone 15 好", lambda text: [text]) == "|我|i##p##h##o##n##e|1##5|好"
    assert shown(tok, "iphone好好", list) == "|i##p##h##o##n##e|好|好"


def test_folding_and_dropped_characters_do_not_shift_words(tok):
    assert shown(tok, "今\u200b天\x00  天Í气", lambda text: [text[:2], text[2:]]) == "|今天|天i气"


def test_nothing_to_cut(tok):
    ids, starts = ids_and_word_starts(" \t", tok, lambda text: 1 / 0)
    assert len(ids) == len(starts) == 0


def test_a_cutter_that_loses_characters(tok):
    with pytest.raises(ValueError, match="words of 1 characters cut from the 2"):
        ids_and_word_starts("今天", tok, lambda text: ["今"])


def test_rjieba(tok):
    cut = word_cutter()
    assert "".join(cut("今天天气很好，我去公园玩。")) == "今天天气很好，我去公园玩。"
    assert shown(tok, "今天天气很好，我去公园玩。", cut) == "|今天天气|很|好|，|我|去|公园|玩|。"


def test_without_rjieba(monkeypatch):
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(ImportError, match=r"keras-zoo\[words\]"):
        word_cutter()


def test_words_of_the_tokenizer_are_its_ids():
    """On text of every kind: the pieces of `words` joined are `encode` without special tokens."""
    tok = tokenizer()
    for text in ("今天, the cat PLAYING rope2022!", "", " ", "中国\u2028人民", "naïve"):
        words = tok.words(text)
        assert [one for _, ids in words for one in ids] == tok.encode(text)[0][1:-1]
    assert [word for word, _ in tok.words("The  cat。")] == ["the", "cat", "。"]
    with pytest.raises(TypeError, match="expected a str"):
        tok.words(None)
    assert np.all([isinstance(ids, tuple) for _, ids in words])
