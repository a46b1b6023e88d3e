"""The tokenizer against bert4keras' own output, the published algorithm and Rust's BERT pipeline."""

import copy
import json
import pathlib
import pickle
import random
import time
import unicodedata

import numpy as np
import pytest
from support.wordpiece_oracle import ODD, oracle_tokens, oracle_words, random_text
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, normalizers, pre_tokenizers

from zoo.text.text_tokenizer import longest_first
from zoo.text.tokenizer import Tokenizer

pytestmark = pytest.mark.neutral

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ALPHANUMERIC = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
GOLDEN_VOCABULARY = [
    *SPECIAL, *",.!?-:()0123456789", *ALPHANUMERIC[:26], *(f"##{c}" for c in "abcdefghijklmnopqrst"),
    *(f"##{c}" for c in "0123456789"),
    *"the cat un ##able ##ing play rope".split(),
    *"今天气很好我去公园玩中国人民北京大学生不是在有的了和上下来到说", "##好", "##天", "。",
]  # fmt: skip
ROWS = json.loads((pathlib.Path(__file__).parent / "goldens" / "tokenizer.json").read_text(encoding="utf-8"))["rows"]

# Pieces of many scripts, so that odd texts come out as more than unknown words; white space is never part of one.
PIECES = [part for c in ODD for part in unicodedata.normalize("NFD", c) if part.isprintable() and part != " "]
RICH_VOCABULARY = list(
    dict.fromkeys(
        GOLDEN_VOCABULARY
        + [p + part for part in PIECES for p in ("", "##")]
        + ["ab", "##ab", "abz", "##σς", "οδο", "x" * 150, "y" * 201, "\ue000a", "的\u0301"]
    )
)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(GOLDEN_VOCABULARY)


@pytest.fixture(scope="module")
def rich():
    return {lowercase: Tokenizer(RICH_VOCABULARY, lowercase=lowercase) for lowercase in (True, False)}


def popped_lengths(first, second, max_length):
    """The original's truncation, literally: pop from the longer list, of equal ones the first."""
    lengths = [first + 2, second + 2]  # each with cls and sep; the second one's cls is dropped afterwards
    while sum(lengths) > max_length + 1:
        lengths[lengths.index(max(lengths))] -= 1
    return lengths[0] - 2, lengths[1] - 2


# The original's numbers


@pytest.mark.filterwarnings("ignore:.*spelled out like any other word")
@pytest.mark.parametrize("row", ROWS, ids=[ascii(row["text"]) for row in ROWS])
def test_equals_bert4keras(tokenizer, row):
    text, second = row["text"], row["second"]
    assert tokenizer.tokenize(text) == row["tokens"]
    assert tokenizer.encode(text) == (row["token_ids"], row["segment_ids"])
    assert tokenizer.encode(text, second) == (row["pair_token_ids"], row["pair_segment_ids"])
    cut = tokenizer.encode(text, second, max_length=row["maxlen"])
    assert cut == (row["maxlen_token_ids"], row["maxlen_segment_ids"])
    assert tokenizer.encode(text, max_length=6)[0] == row["single_maxlen6"]
    assert tokenizer.rematch(text, row["tokens"]) == row["rematch"]
    assert tokenizer.decode(row["token_ids"]) == row["decode"]
    spans = [(one[0], one[-1] + 1) if one else (0, 0) for one in row["rematch"]]
    assert tokenizer.offsets(text) == spans


def test_a_batch_is_its_rows(tokenizer):
    rows = ROWS * 3
    random.shuffle(rows)
    batch = tokenizer([row["text"] for row in rows], [row["second"] for row in rows], max_length=10)
    assert batch["token_ids"].dtype == batch["segment_ids"].dtype == np.int32
    assert batch["padding_mask"].dtype == bool
    for row, token_ids, segment_ids, mask in zip(rows, *batch.values(), strict=True):
        length = len(row["maxlen_token_ids"])
        assert token_ids[:length].tolist() == row["maxlen_token_ids"]
        assert segment_ids[:length].tolist() == row["maxlen_segment_ids"]
        assert mask.tolist() == [True] * length + [False] * (len(mask) - length)
        assert not token_ids[length:].any() and not segment_ids[length:].any()


# The published algorithm


@pytest.mark.parametrize("lowercase", [True, False])
def test_D06_equals_the_published_algorithm_on_odd_texts(rich, lowercase):
    rng, known = random.Random(7), set(RICH_VOCABULARY)
    for _ in range(10_000):
        text = random_text(rng)
        assert rich[lowercase].tokenize(text) == oracle_tokens(text, known, lowercase), ascii(text)


@pytest.mark.parametrize(
    "text",
    ["x" * 150, "x" * 200, "x" * 201, "a" * 200, "a" * 201, "y" * 201, "é" * 201, "a" * 100_000 + " b"],
)
def test_long_words(rich, text):
    """A word over 200 characters is one token: unknown, or itself where the vocabulary has it."""
    tokens = oracle_tokens(text, set(RICH_VOCABULARY), True)
    assert rich[True].tokenize(text) == tokens
    assert rich[True].encode(text)[0] == [rich[True].token_to_id(token) for token in tokens]


def test_equals_rust_bert_on_everyday_text(rich):
    """Where both know all characters, ids are those of `BertTokenizerFast`."""
    ids = {token: index for index, token in enumerate(RICH_VOCABULARY)}
    rust = RustTokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=200))
    rust.normalizer, rust.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    rng = random.Random(8)
    everyday = [c for c in ODD if ord(c) < 0x250 or 0x3000 <= ord(c) < 0xD800 or 0xFF00 <= ord(c) < 0xFFF0]
    for _ in range(3_000):
        text = "".join(rng.choices(everyday, k=20))
        assert rich[True].encode(text)[0][1:-1] == rust.encode(text).ids, ascii(text)


def test_D05_a_text_is_read_once(rich, monkeypatch):
    """Linear time in the text: the pieces asked for are no longer together than the text itself."""
    seen = []
    missing = type(rich[True]._pieces).__missing__
    monkeypatch.setattr(
        type(rich[True]._pieces), "__missing__", lambda self, w: seen.append(len(w)) or missing(self, w)
    )
    text = "".join(random.Random(9).choices("abc今天é, \u0301", k=1_000_000))
    assert len(Tokenizer(RICH_VOCABULARY).encode(text, max_length=128)[0]) == 128
    assert sum(seen) <= len(text)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["今天 a1b2 é", "a", "\u0301\u0323", "\u302e\U0001d165", "ab, "])
def test_D05_time_grows_linearly(unit):
    tokenizer = Tokenizer(RICH_VOCABULARY)

    def seconds(length):
        text, best = (unit * length)[:length], float("inf")
        for _ in range(5):
            start = time.process_time()
            tokenizer.encode(text)
            tokenizer.offsets(text)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(400_000) / seconds(100_000) < 2.5**2


# Offsets


@pytest.mark.parametrize("lowercase", [True, False])
def test_D06_offsets_point_at_the_source(rich, lowercase):
    rng = random.Random(10)
    tokenizer = rich[lowercase]

    def fold(text):
        text = unicodedata.normalize("NFD", text.lower()) if lowercase else text
        return "".join(oracle_words(text, lowercase)).replace("ς", "σ")

    for _ in range(5_000):
        text = random_text(rng)
        tokens, spans = tokenizer.tokenize(text), tokenizer.offsets(text)
        assert len(tokens) == len(spans) and spans[0] == spans[-1] == (0, 0)
        if any(c in text for c in "\u302e\u302f\U0001d165\U0001d16d\u1b44\U00016ff0"):
            continue  # marks that change places fold to another order alone than in the text
        spans = spans[1:-1]
        for index, (token, (start, end)) in enumerate(zip(tokens[1:-1], spans, strict=True)):
            before, after = ([(0, 0)] + spans)[index], (spans + [(len(text), 0)])[index + 1]
            assert before[0] <= start < end
            stem = token.removeprefix("##").replace("ς", "σ")
            # Tokens share a character that folds to several: a Hangul syllable is behind each of its letters.
            shared = before[1] > start or end > after[0]
            assert stem in fold(text[start:end]) if shared else stem == fold(text[start:end]), ascii(text)


def test_rematch_finds_cut_and_skips_special(tokenizer):
    text = "Play rope 今天"
    assert tokenizer.rematch(text, ["[CLS]", "play", "天", "[MASK]"]) == [[], [0, 1, 2, 3], [11], []]
    with pytest.raises(ValueError, match="'rope' is not in the text after"):
        tokenizer.rematch(text, ["天", "rope"])


# Truncation and batches


def test_longest_first_is_popping_one_by_one():
    for first in range(9):
        for second in range(9):
            for max_length in range(3, 24):
                kept = longest_first(first, second, max_length - 3)
                assert tuple(kept) == popped_lengths(first, second, max_length), (first, second, max_length)


def test_pad_to(tokenizer):
    texts = ["今天", "the cat is unable"]  # 4 and 8 tokens
    assert tokenizer(texts)["token_ids"].shape == (2, 8)
    assert tokenizer(texts, pad_to=12)["token_ids"].shape == (2, 12)
    assert tokenizer(texts, pad_to=[32, 8, 16])["token_ids"].shape == (2, 8)
    assert tokenizer(texts, max_length=7, pad_to=[32, 8, 16])["padding_mask"].sum(axis=1).tolist() == [4, 7]
    with pytest.raises(ValueError, match=r"row 1 has 8 tokens, more than pad_to=\[4, 6\]"):
        tokenizer(texts, pad_to=[4, 6])
    assert tokenizer([], pad_to=[16])["token_ids"].shape == (0, 16)
    assert tokenizer([], [])["padding_mask"].shape == (0, 2)


def test_zero_segments(tokenizer):
    pairs = tokenizer(["今天", "天"], ["好", "很好"])
    zeros = tokenizer(["今天", "天"], ["好", "很好"], segment_ids="zeros")
    assert pairs["segment_ids"].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert not zeros["segment_ids"].any() and np.array_equal(zeros["token_ids"], pairs["token_ids"])


def test_no_limit(tokenizer):
    assert tokenizer(["今" * 700], max_length=None)["token_ids"].shape == (1, 702)
    assert tokenizer(["今" * 700], ["天"], max_length=None)["token_ids"].shape == (1, 704)
    assert tokenizer(["今" * 700])["token_ids"].shape == (1, 512)


@pytest.mark.parametrize("text", ["", " \t\u3000", "\x00\x07\u200b", "€£", "\ud800", "\U0001f600\u200d\U0001f600"])
def test_texts_of_nothing_known(tokenizer, text):
    token_ids = tokenizer([text, "今"])["token_ids"]
    assert token_ids[0, 0] == tokenizer.cls_token_id and tokenizer.sep_token_id in token_ids[0]
    assert set(tokenizer.encode(text)[0][1:-1]) <= {tokenizer.unk_token_id}


@pytest.mark.parametrize("wrong", [None, 3, float("nan"), b"bytes", ["list"]])
def test_a_wrong_text_is_named(tokenizer, wrong):
    with pytest.raises(TypeError, match=r"texts\[2\] is .*expected a str"):
        tokenizer(["a", "b", wrong])
    with pytest.raises(TypeError, match=r"text_pairs\[0\] is "):
        tokenizer(["a"], [wrong])
    with pytest.raises(TypeError, match="text is "):
        tokenizer.encode(wrong)


def test_the_argument_of_second_texts_keeps_its_old_name(tokenizer):
    new, old = tokenizer(["a", "b"], text_pairs=["c", "d e"]), tokenizer(["a", "b"], seconds=["c", "d e"])
    assert new["segment_ids"].any()
    assert all((new[name] == old[name]).all() for name in new)
    with pytest.raises(TypeError, match="text_pairs and seconds are the same argument"):
        tokenizer(["a"], ["b"], seconds=["b"])


def test_misuse_is_refused(tokenizer):
    with pytest.raises(TypeError, match="texts is one str"):
        tokenizer("今天")
    with pytest.raises(ValueError, match="2 texts but 1 text_pairs"):
        tokenizer(["a", "b"], ["c"])
    with pytest.raises(ValueError, match="max_length is 2, but the special tokens alone take 3"):
        tokenizer(["a"], ["b"], max_length=2)
    with pytest.raises(ValueError, match="max_length is 1"):
        tokenizer.encode("a", max_length=1)
    with pytest.raises(ValueError, match="segment_ids is 'ones'"):
        tokenizer(["a"], segment_ids="ones")
    with pytest.raises(ValueError, match=r"id 120 is not among 0 \.\. 119"):
        tokenizer.decode([120])
    with pytest.raises(ValueError, match="id -1 is not among"):
        tokenizer.id_to_token(-1)


# Vocabularies


def test_a_mask_typed_into_a_text_is_told_once():
    tokenizer = Tokenizer([*SPECIAL, "a"])
    with pytest.warns(UserWarning, match=r"holds \[MASK\], which is spelled out.*zoo.MaskedLM.*added_tokens") as told:
        for _ in range(3):
            tokenizer(["a", "a [MASK] a"])
    assert len(told) == 1
    finding = Tokenizer([*SPECIAL, "a"], added_tokens=["[MASK]"])  # warnings are errors here
    assert finding.encode("a[MASK]a")[0][2] == finding.mask_token_id


def test_special_tokens_by_name():
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "a"]
    names = {
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "mask_token": None,
    }
    tokenizer = Tokenizer(vocabulary, **names)
    assert tokenizer(["a", "b a"])["token_ids"].tolist() == [[0, 4, 2, 1], [0, 3, 4, 2]]
    with pytest.raises(ValueError, match="no mask token"):
        _ = tokenizer.mask_token_id
    with pytest.raises(ValueError, match=r"lacks pad_token='\[PAD\]', cls_token='\[CLS\]'"):
        Tokenizer(vocabulary, unk_token="<unk>", sep_token="</s>")
    with pytest.raises(ValueError, match="5 tokens .* lacks"):
        Tokenizer.from_vocabulary_text("a\nb\nc\nd\ne")


def test_special_token_ids(tokenizer):
    ids = [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id]
    assert [*ids, tokenizer.mask_token_id] == [0, 1, 2, 3, 4]
    assert tokenizer.token_to_id("玩") == 95 and tokenizer.token_to_id("鱻") == 1 and tokenizer.id_to_token(95) == "玩"
    assert tokenizer.vocabulary_size == 120


def test_repeated_tokens_keep_their_ids():
    """Ids after the repeated line stay line numbers (bert4keras would shift them); text maps to the last."""
    tokenizer = Tokenizer.from_vocabulary_text("\n".join([*SPECIAL, "a", "", "b", "a", "", "c"]))
    assert tokenizer.encode("a b c")[0] == [2, 8, 7, 10, 3]
    assert tokenizer.vocabulary_size == 11
    assert tokenizer.decode([5, 8]) == "a a"


def test_line_ends_change_no_id():
    text = "\n".join(GOLDEN_VOCABULARY) + "\n"
    expected = Tokenizer(GOLDEN_VOCABULARY).encode("The cat 今天")
    for content in (text, "\ufeff" + text.replace("\n", "\r\n"), text.encode()):
        assert Tokenizer.from_vocabulary_text(content).encode("The cat 今天") == expected
    assert Tokenizer({token: i for i, token in enumerate(GOLDEN_VOCABULARY)}).vocabulary == GOLDEN_VOCABULARY
    assert Tokenizer(GOLDEN_VOCABULARY).vocabulary_text == text


def test_unwritable_vocabularies_are_refused():
    with pytest.raises(ValueError, match=r"id 5\) holds a line end"):
        Tokenizer([*SPECIAL, "a\nb"])
    with pytest.raises(ValueError, match=r"id 5\) holds a lone surrogate"):
        Tokenizer([*SPECIAL, "\udc80"])
    with pytest.raises(TypeError, match="id 5 is 5"):
        Tokenizer([*SPECIAL, 5])
    with pytest.raises(TypeError, match="expected a list of tokens"):
        Tokenizer("vocab.txt")


def test_keep(tokenizer):
    kept = [0, 1, 2, 3, 4, 87, 86, 30]
    small = tokenizer.keep(kept)
    assert small.encode("今天h")[0] == [2, 6, 5, 7, 3]
    assert [kept[i] for i in small.encode("今天h")[0]] == tokenizer.encode("今天h")[0]
    with pytest.raises(ValueError, match="id 5 is kept 2 times"):
        tokenizer.keep([0, 1, 2, 3, 4, 5, 5])
    with pytest.raises(ValueError, match=r"lacks mask_token='\[MASK\]'"):
        tokenizer.keep([0, 1, 2, 3])


@pytest.mark.filterwarnings("ignore:.*spelled out like any other word")
def test_simplified_ids():
    """What is left out never comes out of text, so ids stay the same up to renumbering."""
    vocabulary = ["[unused1]", *GOLDEN_VOCABULARY, "今天", "...", "##，", "。"]
    tokenizer = Tokenizer(vocabulary)
    kept = tokenizer.simplified_ids()
    assert kept[:5] == [1, 2, 3, 4, 5]
    left_out = {vocabulary[i] for i in range(len(vocabulary)) if i not in kept}
    # The first of the two "。" (id 120) goes too: text maps to the last.
    assert left_out == {"[unused1]", "##好", "##天", "今天", "...", "##，", "。"} and 124 in kept
    small = tokenizer.keep(kept)
    for row in ROWS:
        ids = small.encode(row["text"], row["second"])[0]
        assert [kept[i] for i in ids] == tokenizer.encode(row["text"], row["second"])[0]
    assert tokenizer.simplified_ids(first=["[PAD]", "a"])[:2] == [1, 24]
    with pytest.raises(ValueError, match="no .'nowhere'."):
        tokenizer.simplified_ids(first=["nowhere"])


# Whole words, configuration, memory


def by_blank_or_pair(text):
    """A stand-in for jieba: cuts Chinese text into pairs of characters, keeps the rest."""
    return [text[i : i + 2] for i in range(0, len(text), 2)]


def test_pre_tokenize_keeps_known_words_whole():
    tokenizer = Tokenizer([*GOLDEN_VOCABULARY, "今天", "天气"], pre_tokenize=by_blank_or_pair)
    assert tokenizer.tokenize("今天天气很好A1") == ["[CLS]", "今天", "天气", "很", "好", "a", "##1", "[SEP]"]
    assert tokenizer.offsets("今天天气很好A1") == [
        (0, 0),
        (0, 2),
        (2, 4),
        (4, 5),
        (5, 6),
        (6, 7),
        (7, 8),
        (0, 0),
    ]
    assert tokenizer.keep(range(120)).tokenize("今天") == ["[CLS]", "今", "天", "[SEP]"]
    config = tokenizer.get_config()
    with pytest.raises(ValueError, match="pre_tokenize=function"):
        Tokenizer.from_config(config, tokenizer.vocabulary)
    again = Tokenizer.from_config(config, tokenizer.vocabulary, pre_tokenize=by_blank_or_pair)
    assert again.encode("今天天气很好") == tokenizer.encode("今天天气很好")


@pytest.mark.parametrize("options", [{}, {"lowercase": False, "word_max_length": 3, "mask_token": "[UNK]"}])
def test_round_trips(options):
    tokenizer = Tokenizer(GOLDEN_VOCABULARY, **options)
    config = json.loads(json.dumps(tokenizer.get_config()))
    for again in (
        Tokenizer.from_config(config, tokenizer.vocabulary),
        pickle.loads(pickle.dumps(tokenizer)),  # noqa: S301
        copy.deepcopy(tokenizer),
    ):
        assert again.get_config() == tokenizer.get_config() and again.vocabulary == tokenizer.vocabulary
        assert again.encode("The cat Ünable") == tokenizer.encode("The cat Ünable")


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match=r"unknown options \['do_lower_case'\]; known are"):
        Tokenizer.from_config({"do_lower_case": True}, GOLDEN_VOCABULARY)
    with pytest.raises(TypeError, match="lowercase is 1"):
        Tokenizer(GOLDEN_VOCABULARY, lowercase=1)
    with pytest.raises(ValueError, match="word_max_length is 0"):
        Tokenizer(GOLDEN_VOCABULARY, word_max_length=0)


def test_memory_of_words_has_a_bound(monkeypatch):
    tokenizer = Tokenizer(GOLDEN_VOCABULARY)
    monkeypatch.setattr(type(tokenizer._pieces), "LARGEST", 10)
    words = [f"{a}{b}" for a in "abc" for b in ALPHANUMERIC] + ["a" * 150]
    fresh = Tokenizer(GOLDEN_VOCABULARY)
    assert [tokenizer.encode(w) for w in words] == [fresh.encode(w) for w in words]
    assert len(tokenizer._pieces) == 10 and "a" * 150 not in fresh._pieces
