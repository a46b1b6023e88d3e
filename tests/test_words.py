"""Words of a text, against the published rules written anew in wordpiece_oracle.py."""

import random
import sys
import unicodedata

import pytest
from support.wordpiece_oracle import oracle_words, random_text

import zoo.text.basic_tokenizer
from zoo.text.basic_tokenizer import WordSplitter, is_ideograph, is_punctuation

pytestmark = pytest.mark.neutral


@pytest.mark.parametrize("lowercase", [True, False])
def test_equals_the_published_rules_on_odd_texts(lowercase):
    rng = random.Random(5)
    splitter = WordSplitter(lowercase)
    for _ in range(10_000):
        text = random_text(rng)
        assert splitter.words(text) == oracle_words(text, lowercase), ascii(text)


@pytest.mark.slow
@pytest.mark.parametrize("lowercase", [True, False])
def test_equals_the_published_rules_on_every_character(lowercase):
    splitter = WordSplitter(lowercase)
    for code_point in range(sys.maxunicode + 1):
        text = f"Σ{chr(code_point)}b"
        assert splitter.words(text) == oracle_words(text, lowercase), hex(code_point)


@pytest.mark.parametrize("lowercase", [True, False])
def test_traced_words_are_the_words(lowercase):
    """Tracking sources gives the words of the fast way, and every source folds to its part of the word."""
    rng = random.Random(6)
    splitter = WordSplitter(lowercase)
    for _ in range(3_000):
        text = random_text(rng)
        traced = splitter.group(splitter.characters(text))
        assert ["".join(c for c, _ in word) for word in traced] == splitter.words(text), ascii(text)
        for word in traced:
            for character, index in word:
                source = text[index]
                folded = unicodedata.normalize("NFD", source.lower()) if lowercase else source
                assert character.replace("ς", "σ") in folded.replace("ς", "σ"), ascii(text)


@pytest.mark.parametrize(
    "text, words",
    [
        ("Ünïcode Ａｂ１", ["unicode", "ａｂ１"]),
        ("价格：￥5.00元", ["价", "格", "：", "￥5", ".", "00", "元"]),
        ("ΌΔΟΣ ΌΔΟΣ!", ["οδος", "οδος", "!"]),
        ("don't", ["don", "'", "t"]),
        ("a\x00b\x0bc\u200bd\ufffde", ["abcde"]),
        ("a\u2028b\u3000c\td", ["a", "b", "c", "d"]),
        ("\ue000x", ["\ue000x"]),
        ("", []),
        (" \n\u3000", []),
    ],
)
def test_words_by_hand(text, words):
    assert WordSplitter(lowercase=True).words(text) == words


def test_cased_splitter_changes_no_letter():
    assert WordSplitter(lowercase=False).words("Été İstanbul") == ["Été", "İstanbul"]


def test_characters_of_their_own():
    assert [c for c in "中𠀀豈あ〇a，" if is_ideograph(c)] == ["中", "𠀀", "豈"]
    assert [c for c in "$。…_€1a 中" if is_punctuation(c)] == ["$", "。", "…", "_"]


def test_long_runs_of_marks_are_ordered_in_linear_time(monkeypatch):
    """No mark is decomposed twice and no run is handed to NFD whole, whose insertion sort is quadratic."""
    sizes, decomposed = [], zoo.text.basic_tokenizer.decomposed

    def counting(text):
        sizes.append(len(text))
        return decomposed(text)

    monkeypatch.setattr(zoo.text.basic_tokenizer, "decomposed", counting)
    text = "a" + "\u0301\u0323\u302e" * 30_000
    assert WordSplitter(lowercase=True).words(text) == ["a" + "\u302e" * 30_000]
    assert max(sizes) == 1 and sum(sizes) <= len(text) + 10
