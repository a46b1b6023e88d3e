"""The leakage report on planted leaks (row D11)."""

import pytest

from zoo.data import as_triplets, leakage_report, normal_form

pytestmark = pytest.mark.neutral

TRAIN = [
    ("怎么改密码", "密码如何修改", 1),
    ("How do I pay?", "payment methods", 1),
    ("花呗", "借呗", 0),
    ("same", "same", 1),
    ("only in train", "also only in train", 0),
]
TEST = [
    ("怎么改密码", "密码如何修改", 1),  # exact
    ("payment methods", "How do I pay?", 0),  # swapped
    ("花呗？", "借　呗", 0),  # normalised: punctuation and white space
    ("PAYMENT methods.", "how do i pay", 1),  # normalised: case, swapped at once
    ("ｓａｍｅ", "same", 1),  # normalised: width
    ("same", "same", 1),  # exact, not swapped
    ("花呗", "密码如何修改", 0),  # shared texts, a new pair
    ("new", "texts", 1),
]


def test_D11_planted_leaks_are_counted_by_kind():
    report = leakage_report(TRAIN, test=TEST)
    (overlap,) = report.overlaps
    assert (overlap.first, overlap.second, overlap.rows) == ("train", "test", 8)
    assert (overlap.exact, overlap.swapped, overlap.normalised) == (2, 1, 3)
    assert report.leaked == overlap.leaked == 6
    shared = {text for row in TRAIN for text in row[:2]} & {text for row in TEST for text in row[:2]}
    assert overlap.shared_texts == len(shared) == 6
    assert overlap.texts == len({text for row in TEST for text in row[:2]})
    assert overlap.examples["swapped"] == ((1, 1, ("payment methods", "How do I pay?")),)
    assert [(first, second) for first, second, _ in overlap.examples["exact"]] == [(0, 0), (3, 5)]
    assert [(first, second) for first, second, _ in overlap.examples["normalised"]] == [
        (2, 2),
        (1, 3),
        (3, 4),
    ]


def test_clean_splits_are_clean():
    report = leakage_report([("a", "b", 1)], [("c", "d", 1)], [("e", "f", 0)])
    assert [(o.first, o.second) for o in report.overlaps] == [
        ("train", "dev"),
        ("train", "test"),
        ("dev", "test"),
    ]
    assert all(o.leaked == o.shared_texts == 0 for o in report.overlaps)
    assert (report.leaked, report.conflicts) == (0, 0)
    assert "contradicts" not in str(report)


def test_repeats_and_conflicts_inside_one_split():
    rows = [
        ("a", "b", 1),
        ("a", "b", 1),
        ("b", "a", 1),
        ("A", "b.", 0),
        ("c", "d", 1),
        ("d", "c", 0),
        ("a", "b", 0),
    ]
    (inside,) = leakage_report(rows).inside
    assert (inside.rows, inside.duplicates, inside.swapped) == (7, 2, 2)
    assert inside.conflicts == 2
    assert inside.swapped_conflicts == 1
    assert [(first, second) for first, second, _ in inside.examples] == [(0, 3), (0, 6)]


def test_unlabelled_rows_single_texts_and_triplets():
    assert leakage_report([("a", "b")], [("b", "a")]).overlaps[0].swapped == 1
    assert leakage_report(["a", "b"], ["B!", "c"]).overlaps[0].normalised == 1
    assert leakage_report([("a", 1), ("a", 0)]).conflicts == 1
    assert leakage_report(as_triplets([("a", "b", "c")]), as_triplets([("a", "b", "c")])).leaked == 1


def test_the_table_shows_counts_and_examples():
    lines = str(leakage_report(TRAIN, test=TEST)).splitlines()
    assert lines[0].split() == "found in rows exact swapped normalised shared texts".split()
    assert lines[1].split() == "test in train 8 2 1 3 6 of 13 (46%)".split()
    assert any(line.split() == "train 5 0 0 0 0".split() for line in lines)
    assert "test[1] = train[1] (swapped): payment methods | How do I pay?" in lines
    assert max(map(len, lines)) <= 130


@pytest.mark.parametrize(
    "texts",
    [
        (
            "Hello, World!",
            "hello world",
            "ＨＥＬＬＯ　ＷＯＲＬＤ",
            "hello\u200bworld",
            " hello\tworld\n",
            "«hello» — world…",
        ),
        ("怎么改密码？", "怎么改密码", "怎么 改密码?", "「怎么改密码」。"),
        ("STRASSE", "straße"),
        ("cafe\u0301", "café"),
    ],
)
def test_spellings_share_a_normal_form(texts):
    assert len(set(map(normal_form, texts))) == 1


def test_different_texts_keep_different_normal_forms():
    texts = ["a", "ab", "b", "1", "2", "?", "!", "", "C++", "C", "😀", "😁", "$5", "5", "5%"]
    forms = {normal_form(text) for text in texts}
    # "5%" loses its percent sign, a punctuation mark to Unicode; the others stay apart.
    assert len(forms) == len(texts) - 1
