"""The strict reader: exact records or an error that names the place (reliability rows D1, D2, D3)."""

import csv
import gzip
import json
import lzma
import re
import tracemalloc

import numpy as np
import pytest

from zoo.data import DataError, read_pairs, read_texts, read_triplets

pytestmark = pytest.mark.neutral

ROWS = [
    ("怎么改密码", "密码如何修改", 1),
    ('he said "hi", twice', "café naïve", 0),
    ("𠮷野家 👩‍👩‍👧", "ｆｕｌｌ width", 1),
]
HEADER = "text_a\ttext_b\tlabel"
CLEAN = "".join(f"{line}\n" for line in [HEADER] + ["\t".join(map(str, row)) for row in ROWS]).encode()


def write(folder, content, name="pairs.tsv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def failure(path, read=read_pairs, **options):
    with pytest.raises(DataError) as caught:
        read(path, **options)
    assert str(caught.value).startswith(str(path))
    return caught.value


# --- D2: encodings and line ends ---

SAME = {
    "plain": CLEAN,
    "bom": b"\xef\xbb\xbf" + CLEAN,
    "crlf": CLEAN.replace(b"\n", b"\r\n"),
    "bom and crlf": b"\xef\xbb\xbf" + CLEAN.replace(b"\n", b"\r\n"),
    "mixed ends": CLEAN.replace(b"\n", b"\r\n", 2),
    "no last newline": CLEAN[:-1],
    "no last newline, crlf": CLEAN.replace(b"\n", b"\r\n")[:-2],
}


@pytest.mark.parametrize("content", SAME.values(), ids=SAME)
def test_D02_the_same_records_whatever_ends_the_lines(tmp_path, content):
    pairs = read_pairs(write(tmp_path, content))
    assert list(pairs) == ROWS
    assert pairs.line_numbers.tolist() == [2, 3, 4]


@pytest.mark.parametrize("name, compress", [("pairs.tsv.gz", gzip.compress), ("pairs.tsv.xz", lzma.compress)])
def test_compressed_files_give_the_same_records_and_hash(tmp_path, name, compress):
    plain, packed = read_pairs(write(tmp_path, CLEAN)), read_pairs(write(tmp_path, compress(CLEAN), name))
    assert packed == plain
    assert packed.sha256 == plain.sha256


@pytest.mark.parametrize(
    "character",
    "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\ufeff\u200b",
    ids=lambda character: f"U+{ord(character):04X}",
)
def test_D02_only_newlines_split_lines(tmp_path, character):
    rows = [(f"a{character}b", f"c{character}", 1), ("d", "e", 0)]
    for name, separator in (("x.tsv", "\t"), ("x.csv", ",")):
        lines = [separator.join(("text_a", "text_b", "label"))] + [separator.join(map(str, row)) for row in rows]
        assert list(read_pairs(write(tmp_path, "\n".join(lines), name))) == rows
    objects = [json.dumps(dict(zip(("text_a", "text_b", "label"), row)), ensure_ascii=False) for row in rows]
    assert list(read_pairs(write(tmp_path, "\n".join(objects), "x.jsonl"))) == rows


TEXT = CLEAN.decode()
AT = CLEAN.index("密码如何".encode())  # a byte offset on line 2
SPOILT = {  # content, byte named, what the message says
    "utf-16 with mark": (TEXT.encode("utf-16"), 0, "UTF-16"),
    "utf-16 big endian": (b"\xfe\xff" + TEXT.encode("utf-16-be"), 0, "UTF-16"),
    "utf-16 without mark": (TEXT.encode("utf-16-le"), 1, "NUL"),
    "gb18030": ("怎么\t密码\t1\n".encode("gb18030"), 0, "iconv -f GB18030"),
    "gbk in the middle": (CLEAN[:AT] + "密码\t1\n".encode("gbk"), AT, "not UTF-8"),
    "latin-1": (b"text_a\ttext_b\tlabel\ncaf\xe9\tb\t1\n", 23, "0xe9"),
    "stray byte": (CLEAN[:AT] + b"\xff" + CLEAN[AT:], AT, "0xff"),
    "stray byte after mark": (b"\xef\xbb\xbf" + CLEAN[:AT] + b"\xff" + CLEAN[AT:], AT + 3, "0xff"),
    "cut sequence": (CLEAN[: AT + 2] + b"\t1\n", AT, "0xe5"),
    "overlong nul": (CLEAN[:AT] + b"\xc0\x80" + CLEAN[AT:], AT, "0xc0"),
    "surrogate": (CLEAN[:AT] + b"\xed\xa0\x80" + CLEAN[AT:], AT, "0xed"),
    "nul": (CLEAN[:AT] + b"\0" + CLEAN[AT:], AT, "NUL"),
    "old mac line ends": (CLEAN.replace(b"\n", b"\r"), len(HEADER), "carriage return"),
    "lone cr": (CLEAN[:AT] + b"\r" + CLEAN[AT:], AT, "carriage return"),
    "cr cr lf": (CLEAN[:AT] + b"b\t1\r\r\n", AT + 3, "carriage return"),
    "gzip without extension": (gzip.compress(CLEAN), 0, ".gz"),
    "xz without extension": (lzma.compress(CLEAN), 0, ".xz"),
    "workbook": (b"PK\x03\x04" + CLEAN, 0, "Excel"),
}


@pytest.mark.parametrize("content, byte, says", SPOILT.values(), ids=SPOILT)
def test_D02_other_bytes_are_an_error_with_their_offset(tmp_path, content, byte, says):
    error = failure(write(tmp_path, content))
    assert re.search(rf"\bbyte {byte}\b", str(error)), str(error)
    assert says in str(error)
    assert error.line == (1 if byte <= len(HEADER) else 2)


def test_the_column_counts_characters(tmp_path):
    error = failure(write(tmp_path, "text_a\ttext_b\tlabel\n怎么\t密".encode() + b"\xff\t1\n"))
    assert (error.line, error.column) == (2, 5)


@pytest.mark.parametrize("name, pack", [("x.tsv.gz", gzip.compress), ("x.tsv.xz", lzma.compress)])
def test_a_damaged_archive_is_an_error_and_never_skipped(tmp_path, name, pack):
    packed = pack(CLEAN * 200)
    cut, plain = write(tmp_path, packed[: len(packed) // 2], name), CLEAN
    assert "cut short or damaged" in str(failure(cut, skip_at_most=10**6))
    assert "cut short or damaged" in str(failure(write(tmp_path, plain, name)))


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", f"{HEADER}\n".encode(), b"\n"])
def test_a_file_without_rows_is_an_error(tmp_path, content):
    failure(write(tmp_path, content), skip_at_most=5)


def test_D01_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.tsv: no such data file"):
        read_pairs(tmp_path / "nothing.tsv")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_pairs(tmp_path)


def test_an_endless_line_stops_early(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.data.lines.MAX_LINE_BYTES", 1000)
    path = write(tmp_path, gzip.compress(b"a" * 10**6), "x.tsv.gz")
    assert "more than 1000 bytes" in str(failure(path, header=False, skip_at_most=9))


MANY = {  # a line of 4 MB (4 KB on disk), and what the error says; its values would take up to 100 times that
    "x.tsv.gz": (b"a\t" * 2_000_000, "more than 1000 columns"),
    "x.csv.gz": (b"," * 4_000_000, "more than 1000 columns"),
    "quoted.csv.gz": (b'"",' * 1_300_000, "more than 1000 columns"),
    "x.jsonl.gz": (b'{"text_a": [' + b"[]," * 1_300_000 + b"[]]}", "more than 100000 values"),
    "keys.jsonl.gz": (b"{" + b",".join(b'"%x":1' % n for n in range(400_000)) + b"}", "more than 100000 values"),
}


@pytest.mark.parametrize("name", MANY)
def test_T07_a_line_of_countless_values_takes_no_memory(tmp_path, name):
    line, says = MANY[name]
    path = write(tmp_path, gzip.compress(line + b"\n"), name)
    read_pairs(write(tmp_path, CLEAN))
    tracemalloc.start()
    try:
        assert says in str(failure(path, header="auto" if "json" in name else False))
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_wide_tables_and_texts_full_of_commas_are_read(tmp_path):
    more = [f"column {number}" for number in range(997)]
    for name, separator in (("x.tsv", "\t"), ("x.csv", ",")):
        header = separator.join([*HEADER.split("\t"), *more])
        row = separator.join(["a", "b", "1", *more])
        assert list(read_pairs(write(tmp_path, f"{header}\n{row}\n", name))) == [("a", "b", 1)]
    text = ", ".join(["word"] * 90_000)
    row = json.dumps({"text_a": text, "text_b": "b", "label": 1})
    assert list(read_pairs(write(tmp_path, row, "x.jsonl"))) == [(text, "b", 1)]


def test_a_text_of_a_million_characters_is_read(tmp_path):
    long = "长" * 10**6
    assert read_pairs(write(tmp_path, f'{long},"{long}",1\n', "x.csv"))[0] == (long, long, 1)


# --- D1: malformed rows ---

BROKEN = {  # line 3, (column, message)
    "too few columns": ("only one text", 1, "1 columns, expected 3"),
    "two columns": ("a\tb", 3, "2 columns, expected 3"),
    "tab in a text": ("a\tb\tc\t1", 7, "4 columns, expected 3"),
    "blank": ("", 1, "blank line"),
    "white space": (" \u3000 ", 1, "blank line"),
    "empty text": ("\tb\t1", 1, "text_a is empty"),
    "white text": ("aa\t \u3000\t1", 4, "text_b is only white space"),
    "bad label": ("问题一\t问题二\tyes", 9, "label is 'yes', expected 0 or 1"),
    "header again": (HEADER, 15, "label is 'label'"),
}


@pytest.mark.parametrize("line, column, says", BROKEN.values(), ids=BROKEN)
def test_D01_a_broken_row_stops_at_its_place(tmp_path, line, column, says):
    path = write(tmp_path, f"{HEADER}\na\tb\t1\n{line}\nc\td\t0\n")
    error = failure(path)
    assert (error.line, error.column) == (3, column), str(error)
    assert str(error).startswith(f"{path}:3:{column}: ")
    assert says in str(error)
    with pytest.warns(UserWarning, match=f"skipped 1 of 4 lines .at most 1 allowed.. The first: .*:3:{column}: "):
        pairs = read_pairs(path, skip_at_most=1)
    assert list(pairs) == [("a", "b", 1), ("c", "d", 0)]
    assert pairs.line_numbers.tolist() == [2, 4]
    assert len(pairs.skipped) == 1


def test_D01_an_error_shows_40_characters_of_the_text(tmp_path):
    text = "".join(chr(0x4E00 + index) for index in range(60))
    message = str(failure(write(tmp_path, f"{HEADER}\n{text}\tb\t2\n")))
    assert text[:40] in message
    assert text[:41] not in message


def test_D01_skipping_stops_above_its_limit(tmp_path):
    path = write(tmp_path, f"{HEADER}\n" + "a\tb\t1\nbad\n" * 4)
    with pytest.warns(UserWarning, match="skipped 4 of 9 lines"):
        assert len(read_pairs(path, skip_at_most=4)) == 4
    error = failure(path, skip_at_most=3)
    assert error.line == 9
    assert "past skip_at_most=3" in str(error)
    assert ":3:1: 1 columns" in str(error)  # the first one, too


def test_a_clean_file_warns_of_nothing(tmp_path, recwarn):
    read_pairs(write(tmp_path, CLEAN), skip_at_most=3)
    assert not recwarn.list


def test_all_rows_skipped_is_an_error(tmp_path):
    assert "no rows" in str(failure(write(tmp_path, f"{HEADER}\nbad\nbad\n"), skip_at_most=5))


# --- D3: label types ---


@pytest.mark.parametrize(
    "label, good, bad",
    [
        (
            "binary",
            {"0": 0, "1": 1},
            ["1.0", "true", "True", "NaN", "nan", "-1", "2", "", " 1", "1 ", "１", "01", "+1"],
        ),
        (
            "int",
            {"0": 0, "-1": -1, "12": 12},
            ["1.0", "true", "nan", "", " 1", "1_0", "１", "1e3", "9" * 19, "9" * 5000],
        ),
        (
            "score",
            {"0": 0.0, "4.75": 4.75, "-.5": -0.5, "1e-3": 0.001, "5.": 5.0},
            ["nan", "inf", "-inf", "true", "", "1,5", "1_0", "１", "0x1", "1e999", "."],
        ),
        (
            ("contradiction", "neutral", "entailment"),
            {"contradiction": 0, "neutral": 1, "entailment": 2},
            ["Neutral", "0", "", "-", "neutral "],
        ),
        ({"no": 0, "maybe": 0, "yes": 1}, {"no": 0, "maybe": 0, "yes": 1}, ["0", "1", "nein"]),
    ],
    ids=["binary", "int", "score", "classes", "mapping"],
)
def test_D03_the_declared_label_type_decides(tmp_path, label, good, bad):
    path = write(tmp_path, f"{HEADER}\n" + "".join(f"a\tb\t{value}\n" for value in good))
    pairs = read_pairs(path, label=label)
    assert [row[2] for row in pairs] == list(good.values())
    assert {type(row[2]) for row in pairs} == {type(value) for value in good.values()}
    for value in bad:
        error = failure(write(tmp_path, f"{HEADER}\na\tb\t{value}\n"), label=label)
        assert (error.line, error.column) == (2, 5), value
        assert f"label is {value!r:.40}, expected" in str(error)


@pytest.mark.parametrize(
    "label, good, bad",
    [
        (
            "binary",
            {"0": 0, "1": 1, '"1"': 1},
            ["1.0", "true", "false", "null", "-1", "NaN", '"true"', "[1]", "2"],
        ),
        ("int", {"-3": -3, "7": 7, '"7"': 7}, ["1.0", "true", "null", "1e2", "9" * 20]),
        (
            "score",
            {"1": 1.0, "0.5": 0.5, '"0.5"': 0.5},
            ["true", "null", "NaN", "Infinity", "-Infinity", "1e999", '"nan"', "1" + "0" * 400],
        ),
    ],
)
def test_D03_label_types_of_json(tmp_path, label, good, bad):
    row = '{"text_a": "a", "text_b": "b", "label": %s}\n'
    path = write(tmp_path, "".join(row % value for value in good), "x.jsonl")
    assert [row[2] for row in read_pairs(path, label=label)] == list(good.values())
    for value in bad:
        failure(write(tmp_path, row % value, "x.jsonl"), label=label)


@pytest.mark.parametrize("label", ["bool", 3, (), ("a", "a"), {"a": 0.5}, {"a": True}, {1: 0}])
def test_an_undeclared_label_type_is_refused(tmp_path, label):
    with pytest.raises((ValueError, TypeError), match="label"):
        read_pairs(write(tmp_path, CLEAN), label=label)


def test_class_names_are_kept_where_they_number_the_classes(tmp_path):
    path = write(tmp_path, f"{HEADER}\na\tb\tyes\n")
    assert read_pairs(path, label=["no", "yes"]).class_names == ("no", "yes")
    assert read_pairs(path, label={"yes": 0, "no": 1}).class_names == ("yes", "no")
    assert read_pairs(path, label={"yes": 2, "no": 1}).class_names is None


# --- header and columns ---


def test_auto_header_takes_rows_and_headers_apart(tmp_path):
    assert list(read_pairs(write(tmp_path, CLEAN))) == ROWS
    assert list(read_pairs(write(tmp_path, CLEAN.split(b"\n", 1)[1]))) == ROWS


@pytest.mark.parametrize(
    "first, options, says",
    [
        ("sentence1\tsentence2\tlabel", {}, "lacks 'text_a'; it has 'sentence1', 'sentence2', 'label'"),
        ("q1\tq2\ty", {}, "header or a row"),
        ("q1\tq2", {"label": None}, "header or a row"),
        ("a\tb\tbad label", {}, "header or a row"),
        ("a\tb\t1", {"header": True}, "lacks 'text_a'"),
        ("text_a\ttext_a\ttext_b\tlabel", {}, "names 'text_a' twice"),
    ],
)
def test_auto_header_never_guesses(tmp_path, first, options, says):
    error = failure(write(tmp_path, f"{first}\na\tb\t1\n"), skip_at_most=9, **options)
    assert error.line == 1
    assert says in str(error)


def test_a_header_row_may_be_read_as_data_only_when_said(tmp_path):
    path = write(tmp_path, "q1\tq2\na\tb\n")
    assert list(read_pairs(path, label=None, header=False)) == [("q1", "q2"), ("a", "b")]
    assert list(read_pairs(path, columns=("q2", "q1"), label=None)) == [("b", "a")]


def test_columns_are_found_by_name_whatever_their_order(tmp_path):
    path = write(tmp_path, "id\tlabel\tq2\tq1\n7\t1\tb\ta\n")
    assert list(read_pairs(path, columns=("q1", "q2", "label"))) == [("a", "b", 1)]
    assert failure(write(tmp_path, "id\tlabel\tq2\tq1\n7\t1\tb\n"), columns=("q1", "q2", "label")).line == 2


@pytest.mark.parametrize("columns", [("a",), ("a", "b"), ("a", "b", "c", "d"), ("a", "a", "b"), (0, 1, 2)])
def test_wrong_column_declarations_are_refused(tmp_path, columns):
    with pytest.raises(ValueError, match="columns="):
        read_pairs(write(tmp_path, CLEAN), columns=columns)


def test_the_format_follows_the_extension_or_the_argument(tmp_path):
    with pytest.raises(ValueError, match="extension tells no format"):
        read_pairs(write(tmp_path, CLEAN, "pairs.txt"))
    assert list(read_pairs(write(tmp_path, CLEAN, "pairs.txt"), format="tsv")) == ROWS
    with pytest.raises(ValueError, match="format='xml'"):
        read_pairs(write(tmp_path, CLEAN), format="xml")
    with pytest.raises(ValueError, match="header='yes'"):
        read_pairs(write(tmp_path, CLEAN), header="yes")


# --- TSV, CSV, JSON lines ---


def test_tsv_knows_no_quoting(tmp_path):
    path = write(tmp_path, f'{HEADER}\n"a\tb"\t1\n"x,y"\t""\t0\n')
    assert list(read_pairs(path)) == [('"a', 'b"', 1), ('"x,y"', '""', 0)]


TEXT_ROWS = [
    ('他说"好"', "a\tb", 1),
    ("两行\n文字", 'x""y', 0),
    ('"全部"', "普通", 1),
    ("普通", "也普通", 0),
]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("rows", [TEXT_ROWS, TEXT_ROWS[2:], TEXT_ROWS[3:] * 2, TEXT_ROWS[:1]])
def test_a_tsv_that_another_program_quoted_is_read_as_it_was_meant(tmp_path, quoting, header, rows):
    """Python's own writer is the other program; spreadsheets and pandas write alike."""
    path = tmp_path / "x.TSV"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=quoting)
        writer.writerows([HEADER.split("\t")] * header + rows)
    assert list(read_pairs(path)) == rows


def test_quotes_of_a_plain_tsv_are_text(tmp_path):
    rows = ['"小姐" 是什么', '他说"好"', '"', '"喂"', "普通"]
    for chosen in (rows, rows[3:], rows[2:]):
        content = "".join(f"{text}\tb\t1\n" for text in chosen)
        assert [text for text, *_ in read_pairs(write(tmp_path, f"{HEADER}\n{content}"))] == chosen


def test_quotes_of_two_kinds_in_one_tsv_are_refused_by_line(tmp_path):
    error = failure(write(tmp_path, f'{HEADER}\n"小姐" 是什么\tb\t1\na\t"他说""好"""\t0\n'))
    assert (error.line, error.column) == (3, 3) and "quoted, its quotes doubled" in str(error)


@pytest.mark.parametrize("name", ["x.tsv", "x.CSV", "x.jsonl"])
def test_blank_lines_at_the_end_are_none(tmp_path, name):
    row = {"x.tsv": "a\tb\t1", "x.CSV": "a,b,1", "x.jsonl": '{"text_a": "a", "text_b": "b", "label": 1}'}[name]
    pairs = read_pairs(
        write(tmp_path, f"{row}\n{row}\n\n \t\r\n\n", name), header="auto" if name == "x.jsonl" else False
    )
    assert list(pairs) == [("a", "b", 1)] * 2
    path = write(tmp_path, f"{row}\n\n\n{row}\n\n", name)
    options = {"header": "auto" if name == "x.jsonl" else False}
    assert failure(path, **options).line == 2
    with pytest.warns(UserWarning, match="skipped 2 of"):
        assert read_pairs(path, skip_at_most=2, **options).line_numbers.tolist() == [1, 4]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv_follows_rfc_4180(tmp_path, newline):
    content = newline.join(
        [
            "text_a,text_b,label",
            '"a, ""quoted"" text",b,1',
            '"two',
            'lines, ""one"" field","c",0',
            "plain,'single',1",
            '"""","x""",1',
            "",
        ]
    )
    pairs = read_pairs(write(tmp_path, content, "x.csv"))
    assert list(pairs) == [
        ('a, "quoted" text', "b", 1),
        ('two\nlines, "one" field', "c", 0),
        ("plain", "'single'", 1),
        ('"', 'x"', 1),
    ]
    assert pairs.line_numbers.tolist() == [2, 3, 5, 6]


@pytest.mark.parametrize(
    "row, place, says",
    [
        ('a"b,c,1', (2, 2), "quote inside an unquoted field"),
        ('"a"b,c,1', (2, 4), "follows a closing quote"),
        ('"a,b,1', (2, 1), "never closed"),
        ('a,"b\nc,1', (2, 3), "never closed"),
        ("a,b", (2, 3), "2 columns, expected 3"),
        ("a,b,c,1", (2, 7), "4 columns, expected 3"),
        ('"x\ny",b,9', (3, 6), "label is '9'"),
        ('a,"",1', (2, 3), "text_b is empty"),
    ],
)
def test_broken_csv_is_an_error_with_its_place(tmp_path, row, place, says):
    error = failure(write(tmp_path, f"text_a,text_b,label\n{row}\n", "x.csv"))
    assert (error.line, error.column) == place, str(error)
    assert says in str(error)


def test_a_stray_quote_cannot_swallow_the_file_under_skip_at_most(tmp_path):
    rows = "".join(f"a{index},b,1\n" for index in range(50))
    path = write(tmp_path, f'text_a,text_b,label\n{rows}"open,b,1\n{rows}', "x.csv")
    assert "never closed" in str(failure(path, skip_at_most=10))
    # Closed by a quote 20 lines on: those lines count, not one row.
    path = write(tmp_path, f'text_a,text_b,label\n{rows}"open,b,1\n' + "c,d,0\n" * 19 + '"x",y,1\n', "x.csv")
    assert failure(path, skip_at_most=20).line == 72
    with pytest.warns(UserWarning, match="skipped 21 of"):
        assert len(read_pairs(path, skip_at_most=21)) == 50


def test_json_lines(tmp_path):
    path = write(
        tmp_path,
        '{"b": "x", "a": "\\u4f60\\ud83d\\ude00", "label": 1, "extra": [NULL]}\n'.replace("NULL", "null"),
        "x.jsonl",
    )
    assert list(read_pairs(path, columns=("a", "b", "label"))) == [("你😀", "x", 1)]


@pytest.mark.parametrize(
    "row, says",
    [
        ('{"text_a": "a", "text_b": "b", "label": 1', "not JSON"),
        ('{"text_a": "a", "text_b": "b", "label": 1} x', "not JSON"),
        ('{"text_a": "a", "text_a": "c", "text_b": "b", "label": 1}', "'text_a' stands twice"),
        ('{"text_a": "a", "label": 1}', "no key 'text_b'"),
        ('{"text_a": null, "text_b": "b", "label": 1}', "text_a is the NoneType None, expected a string"),
        ('{"text_a": 3, "text_b": "b", "label": 1}', "text_a is the int 3"),
        ('{"text_a": "a\\u0000", "text_b": "b", "label": 1}', "NUL"),
        ('{"text_a": "a\\ud83d", "text_b": "b", "label": 1}', "surrogate"),
        ('{"text_a": "", "text_b": "b", "label": 1}', "text_a is empty"),
        ('["a", "b", 1]', "a JSON list"),
        ('"a"', "a JSON str"),
        ("[" * 10**5 + "]" * 10**5, "recursion"),
        ('{"text_a": "a", "text_b": "b", "label": NaN}', "NaN is no JSON number"),
        ('{"text_a": "a", "text_b": "b", "label": %s}' % ("1" * 5000), "digits"),
    ],
)
def test_broken_json_lines_are_errors_with_their_place(tmp_path, row, says):
    good = '{"text_a": "a", "text_b": "b", "label": 0}\n'
    path = write(tmp_path, good + row + "\n" + good, "x.jsonl")
    error = failure(path)
    assert error.line == 2
    assert says in str(error)
    with pytest.warns(UserWarning, match="skipped 1"):
        assert len(read_pairs(path, skip_at_most=1)) == 2


def test_json_lines_have_no_header(tmp_path):
    with pytest.raises(ValueError, match="JSON lines have no header"):
        read_pairs(write(tmp_path, "{}", "x.jsonl"), header=True)


def test_template_characters_stay_text(tmp_path):
    rows = [("{0.__class__} %s {{x}} $HOME", "file:///etc/passwd ~", 1)]
    assert list(read_pairs(write(tmp_path, "\t".join(map(str, rows[0]))))) == rows


# --- triplets and texts ---


def test_triplets(tmp_path):
    path = write(tmp_path, "anchor\tpositive\tnegative\na\tb\tc\n")
    assert list(read_triplets(path)) == [("a", "b", "c")]
    assert failure(write(tmp_path, "anchor\tpositive\tnegative\na\tb\n"), read_triplets).line == 2


def test_texts(tmp_path):
    path = write(tmp_path, "text,label\nhello,2\n", "x.csv")
    assert list(read_texts(path)) == [("hello", 2)]
    assert list(read_texts(path, label=None)) == ["hello"]
    assert list(read_texts(write(tmp_path, "one line\nanother\n"), columns=("text",), label=None, header=False)) == [
        "one line",
        "another",
    ]
    assert list(read_texts(write(tmp_path, "text\tlabel\nx\tgood\n"), label=("bad", "good"))) == [("x", 1)]


# --- any bytes at all ---


@pytest.mark.parametrize("name, separator", [("x.tsv", "\t"), ("x.csv", ","), ("x.jsonl", None)])
def test_mutated_files_give_rows_or_a_data_error(tmp_path, name, separator):
    """400 seeded mutations a format: never another exception, never a row with a broken text or label."""
    if separator:
        clean = CLEAN.decode().replace('"', "").replace(", ", " ").replace("\t", separator).encode()
    else:
        clean = "".join(f'{{"text_a": "{a}", "text_b": "密码", "label": 1}}\n' for a in "甲乙丙").encode()
    random = np.random.default_rng(7)
    refused = 0
    for _ in range(400):
        content = bytearray(clean)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(0, len(content)))
            piece = b'\xff\x00\r\n",\t\\\xe6{}1a'[int(random.integers(0, 14)) :][:1]
            content[at : at + int(random.integers(0, 3))] = piece
        path = write(tmp_path, bytes(content), name)
        try:
            pairs = read_pairs(path)
        except DataError as error:
            refused += 1
            assert str(error).startswith(str(path))
            continue
        for text_a, text_b, label in pairs:
            assert text_a.strip() and text_b.strip() and label in (0, 1)
            assert "\0" not in text_a + text_b
            (text_a + text_b).encode()
    assert 100 < refused < 400


def test_a_quote_that_opens_and_one_that_closes_lines_later_are_text(tmp_path):
    """As in sentences cut out of a dialogue: the columns of every line are right as they stand."""
    path = tmp_path / "plain.tsv"
    path.write_text('the film\t1\n"I am here.\t1\nnice day\t0\nbad day\t0\nI will go."\t0\nlast\t1\n', encoding="utf-8")
    rows = list(read_texts(path))
    assert len(rows) == 6 and rows[1] == ('"I am here.', 1) and rows[4] == ('I will go."', 0)
