"""Text files to packed rows: nothing lost, nothing twice, another order every epoch."""

import gzip
import lzma

import numpy as np
import pytest
from support.tiny_models import tokenizer

import zoo
from zoo.data.corpus import PackedRows, TokenStream, character_vocabulary, corpus_characters, tokenize_corpus

pytestmark = pytest.mark.neutral

LINES = ["今天天气很好", "the cat", "", "我去公园玩", "中国\u2028人民"]


@pytest.fixture(scope="module")
def tok():
    return tokenizer()


@pytest.fixture
def files(tmp_path):
    """The same text plain, with Windows' line ends, and compressed."""
    text = "\n".join(LINES) + "\n"
    (tmp_path / "plain.txt").write_bytes(text.encode())
    (tmp_path / "windows.txt").write_bytes(text.replace("\n", "\r\n").encode())
    (tmp_path / "a.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "a.xz").write_bytes(lzma.compress(text.encode()))
    (tmp_path / "no_end.txt").write_bytes(text.rstrip("\n").encode())
    return [tmp_path / name for name in ("plain.txt", "windows.txt", "a.gz", "a.xz", "no_end.txt")]


def test_stream_is_each_line_and_its_separator(files, tok):
    expected = [i for line in LINES if line for i in tok.encode(line)[0][1:]]
    for path in files:
        stream = tokenize_corpus([str(path)], tok)
        assert stream.ids.tolist() == expected and stream.word_starts is None, path.name
        assert stream.ids.dtype == np.uint16


def test_words_change_no_id(files, tok):
    """With words the same ids, lines and words beginning where the cutter says."""
    plain = tokenize_corpus([files[0]], tok)
    cut = lambda text: [text[i : i + 2] for i in range(0, len(text), 2)]
    stream = tokenize_corpus([files[0]], tok, cut=cut)
    assert stream.ids.tolist() == plain.ids.tolist() and stream.ids.dtype == np.uint16
    # 今天 天气 很好 [SEP] | the cat [SEP] | 我去 公园 玩 [SEP] | 中国 人民 [SEP]
    assert stream.word_starts.astype(int).tolist() == [1, 0, 1, 0, 1, 0, 1, *[1, 1, 1], 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1]


def test_several_files_and_the_report(files, tok):
    seen = []
    stream = tokenize_corpus([str(files[0]), str(files[2])], tok, lambda path, tokens: seen.append((path, tokens)))
    assert seen == [(str(files[0]), len(stream) // 2), (str(files[2]), len(stream))]


def test_more_lines_than_a_chunk(tmp_path, tok, monkeypatch):
    monkeypatch.setattr("zoo.data.corpus._LINES", 3)
    (tmp_path / "x.txt").write_text("\n".join(["人民", "中国", "北京"] * 3) + "\n上下\n", encoding="utf-8")
    stream = tokenize_corpus([tmp_path / "x.txt"], tok)
    assert (stream.ids == tok.sep_token_id).sum() == 10 and len(stream) == 30


def test_no_text(tmp_path, tok):
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"empty\.txt"):
        tokenize_corpus([tmp_path / "empty.txt"], tok)
    with pytest.raises(ValueError, match="no text"):
        tokenize_corpus([], tok)


def test_characters(tmp_path):
    (tmp_path / "x.txt").write_text("好好b\n😀ab好\n", encoding="utf-8")
    assert corpus_characters([tmp_path / "x.txt"]) == [("好", 3), ("b", 2), ("a", 1), ("😀", 1)]
    assert corpus_characters([tmp_path / "x.txt"], limit=2) == [("好", 3), ("b", 2)]


def test_vocabulary(tmp_path):
    """Special tokens, frequent lower-case characters, pieces of Latin words; numbers are not unknown."""
    (tmp_path / "x.txt").write_text("好好bAA2\n😀ab好2\n", encoding="utf-8")
    vocabulary = character_vocabulary([tmp_path / "x.txt"], 45)
    assert vocabulary[:9] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "好", "2", "b", "a"]
    assert len(vocabulary) == 45 and vocabulary[9:] == [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    assert zoo.Tokenizer(vocabulary).tokenize("B2好") == ["[CLS]", "b", "##2", "好", "[SEP]"]
    assert len(character_vocabulary([tmp_path / "x.txt"], 9000)) == 46
    with pytest.raises(ValueError, match="at least 42"):
        character_vocabulary([tmp_path / "x.txt"], 41)


STREAM = TokenStream(np.arange(100, 131, dtype="uint16"))


def test_an_epoch_is_the_stream_in_another_order():
    rows = PackedRows(STREAM, 8, cls_token_id=2, sep_token_id=3, seed=5)
    assert len(rows) == 31 // 6
    epochs = [np.concatenate([rows.batch(number, 1)[0] for number in range(start, start + 5)]) for start in (0, 5)]
    for epoch in epochs:
        assert epoch.dtype == np.int32 and (epoch[:, 0] == 2).all() and (epoch[:, -1] == 3).all()
        assert sorted(epoch[:, 1:-1].ravel().tolist()) == list(range(100, 130)), "all but the rest that fills no row"
        assert (np.diff(epoch[:, 1:-1]) == 1).all(), "a row is one stretch"
    assert (epochs[0] != epochs[1]).any()


def test_batches_run_on_over_the_end_of_an_epoch():
    """Batches of 3 cut the same endless sequence of rows as batches of 1; they may be asked for in any order."""
    make = lambda seed: PackedRows(STREAM, 8, 2, 3, seed)
    single = np.concatenate([make(5).batch(number, 1)[0] for number in range(12)])
    rows = make(5)
    assert all((rows.batch(number, 3)[0] == single[3 * number : 3 * number + 3]).all() for number in (3, 0, 2, 1))
    assert (make(7).batch(0, 5)[0] != single[:5]).any()
    assert (make(5).batch(0, 12)[0] == single).all(), "more rows than an epoch has"


def test_word_starts_go_with_their_tokens():
    starts = np.arange(31) % 3 == 0
    rows = PackedRows(TokenStream(STREAM.ids, starts), 8, 2, 3, 5)
    ids, words = rows.batch(0, 5)
    assert words[:, [0, 1, -1]].all(), "[CLS], the first token and [SEP] begin a word"
    assert np.array_equal(words[:, 2:-1], (ids[:, 2:-1] - 100) % 3 == 0)
    assert rows.batch(0, 5)[1].dtype == bool and PackedRows(STREAM, 8, 2, 3).batch(0, 5)[1] is None


def test_too_short_a_stream():
    with pytest.raises(ValueError, match="31 tokens do not fill one row of 34"):
        PackedRows(STREAM, 34, 2, 3)
