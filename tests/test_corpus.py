"""Text files to packed rows: nothing lost, nothing twice, another order every epoch."""

import gzip
import lzma
import tracemalloc

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


def test_one_long_line_takes_memory_for_itself_alone(tmp_path, tok):
    """As one padded batch these lines were 8,001 x 30,002 places of 9 bytes, 2.2 GB."""
    path = tmp_path / "book.txt"
    path.write_text("今天天气很好\n" * 8000 + "天" * 30_000 + "\n", encoding="utf-8")
    tokenize_corpus([path], tok)
    tracemalloc.start()
    try:
        assert len(tokenize_corpus([path], tok)) == 8000 * 7 + 30_001
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    with pytest.raises(ValueError, match=r"9,001 rows padded to the 30,002 tokens of row 9000 take 2 GB.*content_ids"):
        tok(["天"] * 9000 + ["天" * 30_000], max_length=None)


@pytest.mark.parametrize(
    ("encoding", "says"),
    [
        ("gbk", r":1:1: byte 0 .*GB18030 the line is '今天天气很好'.*iconv"),
        ("utf-16", ":1:1: .*UTF-16"),
        ("utf-16-le", "NUL"),
    ],
)
def test_a_file_that_is_not_utf8_is_named(tmp_path, tok, encoding, says):
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("今天天气很好\n", encoding="utf-8")
    bad.write_text("今天天气很好 the cat\n" if encoding == "utf-16-le" else "今天天气很好\n", encoding=encoding)
    for call in (lambda paths: tokenize_corpus(paths, tok), corpus_characters):
        with pytest.raises(zoo.data.DataError, match=rf"bad\.txt{says if says != 'NUL' else '.*(NUL|not UTF-8)'}"):
            call([good, bad])


def test_a_byte_order_mark_is_no_token(tmp_path, tok):
    one, two, both = tmp_path / "one.txt", tmp_path / "two.txt", tmp_path / "both.txt"
    one.write_text("今天\n", encoding="utf-8")
    two.write_text("今天\n", encoding="utf-8-sig")
    both.write_bytes(one.read_bytes() + two.read_bytes())
    assert corpus_characters([two]) == corpus_characters([one])
    assert "\ufeff" not in character_vocabulary([both], 60), "files put together have one inside"
    assert tokenize_corpus([two], tok).ids.tolist() == tokenize_corpus([one], tok).ids.tolist()


def test_running_text_is_no_table(tmp_path, tok):
    """Lone carriage returns, empty files, extensions in capitals."""
    (tmp_path / "a.txt").write_bytes("今天\r天气\n".encode())
    (tmp_path / "b.txt").write_bytes(b"")
    (tmp_path / "c.TXT.GZ").write_bytes(gzip.compress("今天\n".encode()))
    stream = tokenize_corpus([tmp_path / name for name in ("a.txt", "b.txt", "c.TXT.GZ")], tok)
    assert stream.ids.tolist() == [*tok.encode("今天天气")[0][1:], *tok.encode("今天")[0][1:]]
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        tokenize_corpus(str(tmp_path / "none.txt"), tok)


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
