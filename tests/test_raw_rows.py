"""What holds raw texts, and the line that makes rows of what is refused: the line is run, and is right."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from zoo.data import as_pairs, as_texts
from zoo.data.raw_rows import begun, holds_texts

pytestmark = pytest.mark.neutral

ROWS = [("怎么改密码", "密码如何修改", 1), ("怎么改密码", "快递到哪了", 0), ("退货", "发货", 0)]
NAMES = ("text_a", "text_b", "label")
DICTS = [dict(zip(NAMES, row)) for row in ROWS]


class Frame:
    """What of pandas matters: columns, and values of the chosen ones."""

    iloc, columns = None, NAMES

    def __getitem__(self, names):
        return SimpleNamespace(values=np.array([[row[NAMES.index(name)] for name in names] for row in ROWS], object))


class Polars:
    columns = NAMES

    def get_columns(self):
        return list(NAMES)

    def select(self, names):
        return SimpleNamespace(rows=lambda: [tuple(row[NAMES.index(name)] for name in names) for row in ROWS])

    def rows(self):
        return ROWS


class Table:
    """datasets.Dataset: rows are dicts."""

    column_names = list(NAMES)

    def __iter__(self):
        return iter(DICTS)


class ArrowTable:
    """pyarrow: what it iterates over are columns."""

    column_names = list(NAMES)

    def to_pylist(self):
        return DICTS


class Spec:
    def __init__(self, name, *shape):
        self.dtype, self.shape = SimpleNamespace(name=name), shape


class TensorFlowData:
    def __init__(self, *shape):
        self.element_spec = ({"a": Spec("string", *shape), "b": Spec("string", *shape)}, Spec("int64", *shape))

    def as_numpy_iterator(self):
        return iter([({"a": a.encode(), "b": b.encode()}, np.int64(label)) for a, b, label in ROWS])

    def unbatch(self):
        return TensorFlowData()


class ByNumber:
    """A torch Dataset."""

    def __len__(self):
        return len(ROWS)

    def __getitem__(self, index):
        return ROWS[index]


class Loader:
    """A torch DataLoader."""

    dataset, batch_size = ROWS, 2

    def collate_fn(self, rows):
        return [list(column) for column in zip(*rows)]

    def __iter__(self):
        return iter([self.collate_fn(ROWS[:2]), self.collate_fn(ROWS[2:])])


class KerasData:
    """A keras.utils.PyDataset, here of one batch."""

    def __init__(self, nested):
        a, b, labels = map(np.array, zip(*ROWS))
        self.batch = ((a, b), labels) if nested else ({"a": a, "b": b}, labels)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.batch

    def on_epoch_end(self):
        """As Keras calls it."""


REFUSED = {
    "DataFrame": Frame(),
    "polars.DataFrame": Polars(),
    "datasets.Dataset": Table(),
    "pyarrow.Table": ArrowTable(),
    "list of dicts": DICTS,
    "dict of columns": dict(zip(NAMES, map(list, zip(*ROWS)))),
    "structured array": np.array(ROWS, [("text_a", "U9"), ("text_b", "U9"), ("label", "i4")]),
    "tf.data": TensorFlowData(),
    "tf.data in batches": TensorFlowData(None),
    "torch Dataset": ByNumber(),
    "DataLoader": Loader(),
    "PyDataset": KerasData(nested=True),
    "PyDataset of dicts": KerasData(nested=False),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_line_of_an_error_makes_the_rows(name):
    data = REFUSED[name]
    assert name == "dict of columns" or holds_texts(data), "several sets are a dict too; a task tells them apart"
    with pytest.raises(TypeError, match="make rows of it: ") as error:
        as_pairs(data)
    line = re.search(r"make rows of it: (.*?)(, or .*)?$", str(error.value)).group(1)
    assert as_pairs(eval(line, {"data": data, "df": data})) == ROWS  # noqa: S307  the line is zoo's own


def test_the_line_for_batches_of_a_generator():
    columns = list(zip(*ROWS))
    with pytest.raises(
        TypeError, match=r"is the generator of batches.*\[row for batch in data for row in zip\(\*batch\)\]"
    ):
        as_pairs(columns for _ in range(2))


@pytest.mark.parametrize(
    "rows",
    [
        np.array(ROWS, object),
        (row for row in ROWS),
        zip(*zip(*ROWS)),
        map(list, ROWS),
        [np.array(row, object) for row in ROWS],
        iter(ROWS),
    ],
)
def test_what_is_plainly_rows_is_taken(rows):
    rows = begun(rows)
    assert holds_texts(rows)
    assert as_pairs(rows) == ROWS


@pytest.mark.parametrize("kind", ["object", "U9", "list"])
def test_texts_in_arrays(kind):
    texts = ["今天", "明天"]
    data = texts if kind == "list" else np.array(texts, kind)
    assert holds_texts(data) and list(as_texts(data)) == texts
    column = np.array([texts], kind if kind != "list" else None).T
    assert holds_texts(column) and list(as_texts(column)) == texts


def test_arrays_are_left_to_keras():
    ids = np.array([[2, 5, 3]])
    batches = ({"token_ids": ids} for _ in range(3))
    first = begun(batches)
    for data in (ids, [ids, ids], (ids, np.zeros(1)), {"token_ids": ids}, [1, 2], ids[0, 0], first, [[ids, ids], ids]):
        assert not holds_texts(data)
    assert len(list(first.generator())) == 3, "looking at the first batch uses up none"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("train.csv", r"zoo\.data\.read_pairs\('train\.csv'\)"),
        ("怎么改密码", r"\[data\]"),
        (np.array("退货"), "expected a sequence"),
        (b"a", r"data\.decode"),
        ([(b"a", b"b", 1)], r"pairs\[0\]\[0\] is the bytes.*decode"),
        ((["a", "b", "c", "d"], [1, 0, 0, 1]), r"has 4 values.*list\(zip\(\*data\)\)"),
        ([("a", "b", "1")], r"pairs\[0\]\[2\] is the str '1'.*int\(label\)"),
    ],
)
def test_slips_are_told_the_mend(data, says):
    assert holds_texts(data)
    with pytest.raises((TypeError, ValueError), match=says):
        as_pairs(data)
