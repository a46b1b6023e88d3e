"""The tokenizer.json that presets carry: Hugging Face's `tokenizers` gives zoo's ids for every character and odd text."""

import json
import random
import unicodedata

import pytest
import tokenizers
from support import unicode_runs as maker
from support.tiny_models import TEXTS, backbone
from support.wordpiece_oracle import ODD, random_text

import zoo
from zoo.formats import catalogue
from zoo.store import Folder
from zoo.text import unicode_classes, unicode_runs, wordpiece_fields
from zoo.text.basic_tokenizer import WordSplitter, fold

pytestmark = pytest.mark.neutral

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
FOLDINGS = [(True, None), (False, None), (True, False), (False, True)]


@pytest.fixture(scope="module")
def pieces():
    """Every character that some other one folds to, alone and inside of words, so that ids show how each is folded."""
    odd = [one for one in CHARACTERS if one.lower() != one or unicodedata.decomposition(one)]
    changed = {part for one in odd for lowered in unicode_classes.lower(one) for part in fold(lowered)}
    changed = {one for one in changed if not one.isspace()}
    changed |= {part for one in ODD for part in unicodedata.normalize("NFD", one) if part.isprintable() and part != " "}
    changed -= set("\u1715\U0001193d\U00016ff0\U00016ff1")  # which the library's older NFD sorts otherwise
    changed = sorted(changed | set("ab"))
    return [*SPECIAL, "ab", *changed, *(f"##{one}" for one in changed), "\ue000a", "的\u0301"]


def library(tokenizer):
    return tokenizers.Tokenizer.from_str(wordpiece_fields.json_bytes(tokenizer).decode())


def check_equal(tokenizer, texts):
    theirs = library(tokenizer).encode_batch_fast(texts, add_special_tokens=False)
    wrong = [text for text, ids, one in zip(texts, tokenizer.content_ids(texts), theirs) if ids != one.ids]
    assert not wrong, [ascii(text[:80]) for text in wrong[:3]]


@pytest.mark.slow
@pytest.mark.parametrize(("lowercase", "strip_accents"), FOLDINGS)
def test_every_character_alone_and_inside_of_a_word(pieces, lowercase, strip_accents):
    rows = [CHARACTERS[start : start + 64] for start in range(0, len(CHARACTERS), 64)]
    texts = [" ".join(f"{one} a{one}b" for one in row) for row in rows]
    check_equal(zoo.Tokenizer(pieces, lowercase=lowercase, strip_accents=strip_accents), texts)


@pytest.mark.parametrize(("lowercase", "strip_accents"), FOLDINGS)
def test_characters_that_are_folded_dropped_or_set_apart(pieces, lowercase, strip_accents):
    """All of Unicode 14 but letters without case, private characters and unassigned ones, of which a sample."""
    plain = ("Lo", "Co", "Cn")
    chosen = [one for i, one in enumerate(CHARACTERS) if unicodedata.category(one) not in plain or i % 997 == 0]
    texts = [" ".join(f"{one} a{one}b" for one in chosen[start : start + 64]) for start in range(0, len(chosen), 64)]
    check_equal(zoo.Tokenizer(pieces, lowercase=lowercase, strip_accents=strip_accents), texts)


@pytest.mark.parametrize(("lowercase", "strip_accents"), FOLDINGS)
def test_hostile_texts(pieces, lowercase, strip_accents):
    rng = random.Random(7)
    texts = [random_text(rng).encode("utf-8", "ignore").decode() for _ in range(3000)]
    texts += ["".join(rng.choices("ΣσςaΑ.\u0301\u00ad ’ʰ今", k=rng.randrange(9))) for _ in range(2000)]
    texts += ["a" * 199 + "b", "a" * 201, "Σ" * 500, "aΣ" + "\u0301" * 500, "[MASK] [CLS]", "\0\ufffd\ufeff"]
    check_equal(zoo.Tokenizer(pieces, lowercase=lowercase, strip_accents=strip_accents), texts)


def test_a_vocabulary_with_unassigned_and_private_characters():
    odd = ["\u0378", "\uf8ff", "\uf8fe", "\U000e0fff"]
    tokenizer = zoo.Tokenizer([*SPECIAL, *odd, *(f"##{one}" for one in odd), "a", "##a"])
    check_equal(
        tokenizer, ["".join(random.Random(seed).choices([*odd, "a", "\u0379", "\uf8fd"], k=4)) for seed in range(200)]
    )


def test_added_tokens_and_repeated_ones():
    vocabulary = [*SPECIAL, "a", "##b", "a", "order", "[ID]", "b"]
    tokenizer = zoo.Tokenizer(vocabulary, added_tokens=["order", {"content": "[ID]", "lstrip": True}])
    check_equal(tokenizer, ["ab order a", "orderab [ID] b", "a[ID]orderΣ", "ORDER", ""])


def test_cls_sep_and_segments_of_whole_texts():
    tokenizer = zoo.Tokenizer([*SPECIAL, "a", "b"])
    theirs = library(tokenizer)
    for pair in (("a",), ("a b", "b"), ("", "")):
        found = theirs.encode(*pair)
        assert (found.ids, found.type_ids) == tokenizer.encode(*pair)


# Unicode


def test_tables_are_those_of_their_version():
    if unicodedata.unidata_version == unicode_runs.VERSION:
        for name, belongs in maker.classes().items():
            assert getattr(unicode_runs, name.upper()).split() == maker.runs(belongs).split(), name
    else:  # a later one: what had no meaning then may have one now, and nothing else may have lost its own
        unassigned = unicode_classes.character_class("unassigned")
        assert all(one in unassigned for one in CHARACTERS if unicodedata.category(one) == "Cn")


def test_what_a_later_unicode_knows_is_not_used(monkeypatch):
    """As if E with an acute had come after our version: no case, no decomposition, no mark of its own."""
    later = unicode_classes.CharacterClass(f"{maker.base_36(0xC9)} 1 {maker.base_36(0x300 - 0xCA)} 1")
    original = unicode_classes.character_class
    chosen = lambda name: later if name == "unassigned" else original(name)  # noqa: E731
    monkeypatch.setattr(unicode_classes, "character_class", chosen)
    unicode_classes.lower.cache_clear()
    assert unicode_classes.lower("É") == "É" and unicode_classes.decomposed("É") == "É"
    assert unicode_classes.lower("È") == "è" and unicode_classes.combining("\u0300") == 0
    assert unicode_classes.combining("\u0301") > 0
    monkeypatch.undo()
    unicode_classes.lower.cache_clear()
    assert unicode_classes.lower("É") == "é"


def test_lower_case_is_python_s_own_with_its_final_sigmas():
    rng = random.Random(3)
    splitter = WordSplitter(lowercase=True, strip_accents=False)
    for _ in range(2000):
        text = "".join(rng.choices("ΣσΑa.’ʰ\u0301\u00ad İ今ǅ", k=rng.randrange(12)))
        assert "".join(part for part, _ in splitter.characters(text)) == text.lower(), ascii(text)


# Files


@pytest.mark.parametrize("format", ["zoo", "hugging_face"])
def test_presets_carry_one(format, tmp_path):
    model = backbone("BERT")
    model.save_to_preset(tmp_path, format=format)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in (*TEXTS, "[CLS] Ünï ΑΣ\ue000"):
        assert theirs.encode(text).ids == model.tokenizer.encode(text)[0]
    assert zoo.BERT.from_preset(tmp_path).tokenizer.encode(TEXTS[0]) == model.tokenizer.encode(TEXTS[0])


def test_none_is_written_that_would_give_other_ids(tmp_path):
    model = backbone("BERT")
    early = [*SPECIAL, "[ID]", "a"]
    for tokenizer in (
        zoo.Tokenizer([*SPECIAL, "a"], pre_tokenize=str.split),
        zoo.Tokenizer(early, added_tokens=[{"content": "[ID]", "piece": False}]),
    ):
        assert wordpiece_fields.json_bytes(tokenizer) is None
        model.tokenizer = tokenizer
        model.save_to_preset(tmp_path)
        assert "tokenizer.json" not in Folder(tmp_path).names()


@pytest.mark.parametrize("preset", [one.name for one in catalogue.presets() if one.on_disk])
def test_bundled_presets_carry_one(preset):
    folder = Folder(catalogue.bundled_folder(preset), links=True)
    theirs = tokenizers.Tokenizer.from_str(folder.text("tokenizer.json"))
    ours = zoo.Tokenizer.from_vocabulary_text(folder.text("vocab.txt"))
    texts = [*TEXTS, "怎么修改登录密码？", "Ünïcödé ΑΣ 3.14 [SEP]", "\ue000a\u200bb", "北京大学ABC"]
    assert [one.ids for one in theirs.encode_batch(texts)] == [ours.encode(text)[0] for text in texts]


@pytest.mark.parametrize(("lowercase", "strip_accents"), FOLDINGS)
def test_the_reader_knows_it_and_no_other(lowercase, strip_accents):
    tokenizer = zoo.Tokenizer([*SPECIAL, "a", "σ"], lowercase=lowercase, strip_accents=strip_accents)
    content = json.loads(wordpiece_fields.json_bytes(tokenizer))
    read = wordpiece_fields.read_fields(content).options
    assert (read["lowercase"], read["strip_accents"]) == (tokenizer.lowercase, tokenizer.strip_accents)
    for change in (
        lambda steps: steps.pop(),
        lambda steps: steps.append({"type": "NFKC"}),
        lambda steps: steps[-1].update(content=" "),
    ):
        other = json.loads(json.dumps(content))
        change(other["normalizer"]["normalizers"])
        with pytest.raises(ValueError, match="zoo reads only those of its own tokenizer.json"):
            wordpiece_fields.read_fields(other)
    other = {**content, "pre_tokenizer": {"type": "BertPreTokenizer"}}
    with pytest.raises(ValueError, match="pre_tokenizer"):
        wordpiece_fields.read_fields(other)
