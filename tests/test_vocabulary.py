"""vocab.txt content: an id is a line number, whatever the file went through."""

import pytest

from zoo.text.tokenizer import Tokenizer
from zoo.text.vocabulary import dump_vocabulary, is_redundant, load_vocabulary, tokens_by_id

pytestmark = pytest.mark.neutral

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##a", "今", "\u2028", "\u3000", "\u00a0", " ", "\t", "b"]
TEXT = "".join(f"{token}\n" for token in TOKENS)


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT.removesuffix("\n"),
        TEXT + "\n\n",
        TEXT.replace("\n", "\r\n"),
        "\ufeff" + TEXT,
        ("\ufeff" + TEXT.replace("\n", "\r\n")).encode(),
        TEXT.encode(),
        memoryview(TEXT.encode()),
    ],
    ids=["plain", "no last line end", "blank end", "CRLF", "BOM", "Windows bytes", "bytes", "memory"],
)
def test_ids_are_line_numbers(content):
    assert load_vocabulary(content) == TOKENS


def test_blank_lines_and_repeats_hold_their_ids():
    assert load_vocabulary("a\n\nb\na\n\nc\n") == ["a", "", "b", "a", "", "c"]


def test_first_column_counts():
    assert load_vocabulary("[PAD]\t0\n的\t1\nof 3\n") == ["[PAD]", "的", "of"]


def test_round_trip():
    assert load_vocabulary(dump_vocabulary(TOKENS)) == TOKENS
    assert dump_vocabulary(load_vocabulary(TEXT)) == TEXT


@pytest.mark.parametrize(
    "tokens, message",
    [
        (["new york"], r"id 13 is 'new york'.*would give back 'new'"),
        ([" x"], r"id 13 is ' x'.*would give back 'x'"),
        (["x\u3000", "b"], r"id 13 is .*would give back 'x'"),
        (["x", ""], r"id 14, the last one, is ''"),
    ],
)
def test_a_tokenizer_takes_only_tokens_that_its_file_gives_back(tokens, message):
    assert load_vocabulary(dump_vocabulary(TOKENS + tokens)) != TOKENS + tokens
    with pytest.raises(ValueError, match=message):
        Tokenizer(TOKENS + tokens, mask_token=None)
    with pytest.raises(ValueError, match="id 0 starts with a byte order mark"):
        Tokenizer(["\ufeff", *TOKENS], mask_token=None)
    blank = load_vocabulary(f"{TEXT}\n\nc\n\n")
    assert Tokenizer(blank, mask_token=None).vocabulary == blank, "blank lines hold their ids"


def test_only_line_feeds_end_lines():
    """U+0085, U+2029 and the form feed end lines for `str.splitlines`, which would shift all ids behind."""
    assert load_vocabulary("a\n\u0085\n\x0c\n\u2029\nb") == ["a", "\u0085", "\x0c", "\u2029", "b"]


@pytest.mark.parametrize(
    "content, message",
    [
        ("a\rb\rc", r"line 1 .*line end"),
        ("a\nb\ud800\n", r"line 2 .*surrogate"),
        (b"a\nb\n\xb5\xc4\n", r"line 3 is not UTF-8 \(byte 0xb5\)"),
    ],
)
def test_unreadable_content_names_the_line(content, message):
    with pytest.raises(ValueError, match=message):
        load_vocabulary(content)


def test_tokens_by_id():
    assert tokens_by_id({"b": 1, "a": 0}) == ["a", "b"]
    for wrong in ({"a": 0, "b": 2}, {"a": 0, "b": 0}, {"a": 1}):
        with pytest.raises(ValueError, match="each once"):
            tokens_by_id(wrong)
    with pytest.raises(TypeError, match="from_vocabulary_text"):
        tokens_by_id("vocab.txt")


def test_redundant_tokens():
    assert [t for t in ["[unused1]", "今天", "##今", "##，", "...", "--"] if not is_redundant(t)] == []
    assert [t for t in ["今", "，", "#", "ing", "##ing", "##1", "2022", ""] if is_redundant(t)] == []
