"""`Pairs`, `Triplets`, `Texts`: interchangeable with lists; wrong rows are named by index (row D4)."""

import numpy as np
import pytest

from zoo.data import Pairs, Texts, Triplets, as_pairs, as_records, as_texts, as_triplets

pytestmark = pytest.mark.neutral

ROWS = [("a", "b", 1), ("c", "d", 0), ("e", "f", 1)]


def test_pairs_behave_as_a_list_of_tuples():
    pairs = as_pairs(ROWS)
    assert isinstance(pairs, Pairs)
    assert list(pairs) == ROWS
    assert pairs == ROWS
    assert pairs == as_pairs(iter(ROWS))
    assert pairs != ROWS[:2]
    assert len(pairs) == 3
    assert (pairs[1], pairs[-1]) == (ROWS[1], ROWS[-1])
    assert pairs[1:] == ROWS[1:]
    assert pairs[::-1] == ROWS[::-1]
    assert isinstance(pairs[:2], Pairs)
    assert ROWS[2] in pairs
    assert [label for *_, label in pairs] == [1, 0, 1]
    with pytest.raises(IndexError):
        pairs[3]


def test_labels_are_one_array():
    assert as_pairs(ROWS).labels.dtype == "int64"
    assert as_pairs([("a", "b", 1), ("a", "b", 0.5)]).labels.tolist() == [1.0, 0.5]
    assert as_pairs([("a", "b", True), ("a", "b", np.int32(0)), ("a", "b", np.array(3))]).labels.tolist() == [
        1,
        0,
        3,
    ]
    assert as_pairs([("a", "b")]).labels is None
    assert as_pairs([("a", "b")])[0] == ("a", "b")
    assert as_pairs([["a", "b", 1]])[0] == ("a", "b", 1)
    assert as_pairs([]).labels is None
    assert len(as_pairs([], labelled=True).labels) == 0


def test_a_normalised_sequence_is_returned_as_it_is():
    pairs = as_pairs(ROWS)
    assert as_pairs(pairs) is pairs
    assert as_records(pairs) is pairs
    assert isinstance(as_records(["a", "b"]), Texts)
    assert isinstance(as_records(ROWS), Pairs)


@pytest.mark.parametrize(
    "rows, error, says",
    [
        (None, TypeError, "pairs is the NoneType"),
        ("ab", TypeError, "pairs is the str"),
        (3, TypeError, "pairs is the int"),
        ({"a": "b"}, TypeError, "pairs is the dict"),
        ({("a", "b", 1)}, TypeError, "pairs is the set"),
        (("a", "b"), TypeError, r"pairs\[0\] is the str 'a'.*one row, not in a list"),
        ([*ROWS, None], TypeError, r"pairs\[3\] is None"),
        ([*ROWS, ("a", None, 1)], TypeError, r"pairs\[3\]\[1\] is None, expected a str"),
        ([*ROWS, (b"a", "b", 1)], TypeError, r"pairs\[3\]\[0\] is the bytes"),
        ([*ROWS, ("a", 3, 1)], TypeError, r"pairs\[3\]\[1\] is the int 3"),
        ([*ROWS, "ab"], TypeError, r"pairs\[3\] is the str 'ab'"),
        ([*ROWS, ("a", "b")], ValueError, r"pairs\[3\] has 2 values, pairs\[0\] has 3"),
        ([("a",)], ValueError, r"pairs\[0\] has 1 values"),
        ([("a", "b", 1, 2)], ValueError, r"pairs\[0\] has 4 values"),
        ([*ROWS, ("a", "b", float("nan"))], ValueError, r"pairs\[3\]\[2\] is the label nan"),
        ([*ROWS, ("a", "b", "1")], TypeError, r"pairs\[3\]\[2\] is the str '1', expected a number"),
        ([*ROWS, ("a", "b", None)], TypeError, r"pairs\[3\]\[2\] is the NoneType"),
    ],
)
def test_wrong_rows_are_named_by_index(rows, error, says):
    with pytest.raises(error, match=says):
        as_pairs(rows)


def test_labels_can_be_required_or_refused():
    with pytest.raises(ValueError, match=r"pairs\[0\] has 2 values, expected \(text_a, text_b, label\)"):
        as_pairs([("a", "b")], labelled=True)
    with pytest.raises(ValueError, match=r"pairs\[0\] has 3 values, expected \(text_a, text_b\)"):
        as_pairs(ROWS, labelled=False)
    with pytest.raises(ValueError, match="expected unlabelled pairs"):
        as_pairs(as_pairs(ROWS), labelled=False)
    with pytest.raises(ValueError, match="expected labelled pairs"):
        as_pairs(as_pairs([("a", "b")]), labelled=True)


def test_texts():
    assert list(as_texts(["a", ""])) == ["a", ""]
    assert list(as_texts([("a", 1), ("b", 0)])) == [("a", 1), ("b", 0)]
    with pytest.raises(TypeError, match=r"texts\[1\] is None"):
        as_texts(["a", None])
    with pytest.raises(TypeError, match=r"texts\[1\] is the float nan"):
        as_texts(["a", float("nan")])
    with pytest.raises(TypeError, match="texts is the str"):
        as_texts("a")


def test_triplets():
    triplets = as_triplets([("a", "b", "c")])
    assert isinstance(triplets, Triplets)
    assert list(triplets) == [("a", "b", "c")]
    with pytest.raises(TypeError, match=r"triplets\[0\]\[2\] is the int 1"):
        as_triplets([("a", "b", 1)])
    with pytest.raises(ValueError, match=r"triplets\[0\] has 2 values"):
        as_triplets([("a", "b")])


def test_other_records_are_refused():
    with pytest.raises(TypeError, match=r"pairs\[0\]\[2\] is the str"):
        as_pairs(as_triplets([("a", "b", "c")]))


def test_the_hash_depends_on_texts_labels_and_order():
    hashes = {
        as_pairs(rows).sha256
        for rows in (
            ROWS,
            ROWS[::-1],
            ROWS[:2],
            [("ab", "", 1), *ROWS[1:]],
            [("b", "a", 1), *ROWS[1:]],
            [("a", "b", 0), *ROWS[1:]],
            [("a", "b", 1.0), *ROWS[1:]],
            [row[:2] for row in ROWS],
        )
    }
    assert len(hashes) == 8
    assert as_pairs(list(ROWS)).sha256 == as_pairs(ROWS).sha256
    assert len(as_pairs([("\ud800", "b")]).sha256) == 64  # half a surrogate pair has no UTF-8


@pytest.mark.parametrize(
    "columns, error, says",
    [
        ((["a"], ["b"], [[1]]), ValueError, r"labels have shape \(1, 1\), expected \(1,\)"),
        ((["a"], ["b"], [1, 0]), ValueError, r"labels have shape \(2,\)"),
        ((["a"], ["b"], [float("nan")]), ValueError, r"labels\[0\] is nan"),
        ((["a"], ["b"], ["1"]), TypeError, r"Pairs: labels\[0\] is the str"),
        ((["a"], ["b"], np.array([None], object)), TypeError, r"labels\[0\] is the NoneType"),
        ((["a", "b"], ["b"]), ValueError, "text_b has 1 rows, text_a has 2"),
        ((["a", None], ["b", "c"]), TypeError, r"text_a\[1\] is None"),
        ((["a"], "b"), TypeError, "text_b is the str 'b'"),
        (({"a"}, ["b"]), TypeError, "text_a is the set"),
    ],
)
def test_columns_are_checked_when_records_are_made(columns, error, says):
    with pytest.raises(error, match=says):
        Pairs(*columns)


def test_columns_of_any_kind_become_lists_and_one_array():
    pairs = Pairs(np.array(["a", "b"], object), ("c", "d"), [1, 0])
    assert pairs.text_a + pairs.text_b == ["a", "b", "c", "d"], "of arrays + would join row by row"
    assert list(pairs) == [("a", "c", 1), ("b", "d", 0)] and pairs.labels.dtype == "int64"
    assert Texts(["a"], np.array([True])).labels.dtype == "int64"
    assert Texts(["a"], np.array([0.5], object)).labels.dtype == Texts(["a"], [0.5]).labels.dtype == "float64"


def test_take_keeps_rows_together():
    pairs = Pairs(["a", "b", "c"], ["d", "e", "f"], np.array([0, 1, 2]), "x.tsv", np.array([2, 3, 5]), ("n", "e", "c"))
    taken = pairs.take(np.array([2, 0]))
    assert list(taken) == [("c", "f", 2), ("a", "d", 0)]
    assert taken.line_numbers.tolist() == [5, 2]
    assert (taken.source, taken.class_names) == ("x.tsv", ("n", "e", "c"))
