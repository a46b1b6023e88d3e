"""What people keep raw texts in: the one place that tells it from arrays for Keras, and makes rows of it.

A container whose rows are plain is taken: lists, arrays of strings, a Series, zip, map, generators. One whose columns have to
be chosen, or that comes in batches, is refused by its name, with the line of code that makes rows of it.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import chain, islice
from typing import Any

import numpy as np

COLUMNS = ("text_a", "text_b", "anchor", "positive", "negative", "text", "label")  # as zoo's readers call them
FILES = (".tsv", ".csv", ".jsonl", ".ndjson", ".json", ".txt", ".xlsx", ".xls", ".parquet", ".gz", ".xz", ".zip")


def holds_texts(x: Any) -> bool:
    """Whether x is raw texts or rows of them in whatever container, or nothing, rather than what Keras takes.

    Nothing is used up but the first item of an iterator: give that as `begun` returns it.
    """
    if x is None or isinstance(x, str | bytes | os.PathLike | Set) or _is_table(x) or hasattr(x, "iloc"):
        return True
    if isinstance(x, Begun):
        return x.is_empty or has_text(x.first)
    if hasattr(x, "element_spec") or hasattr(x, "dtype"):
        return has_text(x)
    if isinstance(x, Sequence):
        return not len(x) or not _is_input(x[0])
    if isinstance(x, Mapping) or hasattr(x, "epoch_callback"):  # several sets, or inputs by name; zoo's own batches
        return False
    return has_text(_item(x))


def has_text(item: Any) -> bool:
    """Whether strings are in an item of data: a text, a row, a batch, an array or tensor, what a data set specifies."""
    if isinstance(item, str | bytes):
        return True
    if hasattr(item, "element_spec"):
        return has_text(item.element_spec)
    dtype = getattr(item, "dtype", None)
    if isinstance(dtype, np.dtype):
        return dtype.kind in "OUST" or dtype.names is not None
    if dtype is not None:
        return str(getattr(dtype, "name", dtype)).lower() in ("string", "str", "object", "utf8")
    if isinstance(item, Mapping):
        return any(map(has_text, item.values()))
    return isinstance(item, list | tuple) and any(map(has_text, item[:16]))


class Begun(Iterator):
    """An iterator whose first item has been looked at and comes again."""

    def __init__(self, iterator: Iterator) -> None:
        self.kind = type(iterator).__name__
        head = list(islice(iterator, 1))
        self.is_empty, self.first = not head, head[0] if head else None
        self._items = chain(head, iterator)

    def __next__(self) -> Any:
        return next(self._items)

    def generator(self) -> Iterator:
        """The same items as a generator, which is what Keras knows."""
        yield from self._items


def begun(x: Any) -> Any:
    """An iterator as `Begun`, anything else as it is."""
    known = isinstance(x, Begun) or hasattr(x, "element_spec")
    return Begun(x) if isinstance(x, Iterator) and not known else x


def plain_rows(x: Any, what: str, expected: str) -> Sequence:
    """The rows of x, texts or tuples, as a sequence.

    Args:
        what: str, how errors call x. expected: str, what they say was expected in it.

    Raises:
        TypeError: x has to be told its columns, or is read in batches; the message has the line that makes rows of it.
    """
    x = begun(x)
    got = f"{what} is the {x.kind if isinstance(x, Begun) else type(x).__name__}"
    refusal = _refusal(x)
    if refusal is not None:
        shown, mend = refusal
        raise TypeError(f"{got} {shown}, expected a sequence of {expected}{mend}")
    if isinstance(x, Sequence):
        return x
    rows = x.tolist() if isinstance(x, np.ndarray) else list(x)
    return plain_rows(rows, what, expected) if _is_dicts(rows) else rows


def _refusal(x):
    """None, or what x is and how to mend it."""
    single = isinstance(x, np.ndarray) and not x.ndim
    if x is None or isinstance(x, bytes | Set | str | os.PathLike) or single:
        return f"{x!r:.60}", _mend_of_one(x)
    for is_of_kind, describe in _KINDS:
        if is_of_kind(x):
            shown, line = describe(x)
            return shown, f"; make rows of it: {line}"
    return None if hasattr(x, "__iter__") else (f"{x!r:.60}", ".")


def _mend_of_one(x):
    if isinstance(x, str | os.PathLike) and os.path.splitext(x)[1].lower() in FILES:
        return (
            f". A file is read by zoo.data.read_pairs({os.fspath(x)!r}), or zoo.data.read_texts, zoo.data.read_triplets, "
            "which say its lines and columns; what they return goes in here"
        )
    if isinstance(x, str):
        return "; of a single one: [data]"
    if isinstance(x, bytes):
        return "; bytes are decoded, and a single text stands in a list: [data.decode('utf-8')]"
    return "; a set has no order: sorted(data)" if isinstance(x, Set) else "."


# Containers that are refused: what they are, how they are shown, the line that makes rows of them.


def _is_frame(x):
    return hasattr(x, "iloc") and hasattr(x, "columns")


def _is_polars(x):
    return hasattr(x, "get_columns") and hasattr(x, "rows")


def _is_table(x):
    return isinstance(getattr(x, "column_names", None), list | tuple) or _is_polars(x)


def _frame(x):
    return _with_columns(
        x.columns
    ), f"df[{_chosen(x.columns)!r}].values.tolist(), or df['text'].tolist() for single texts"


def _polars(x):
    return _with_columns(x.columns), f"data.select({_chosen(x.columns)!r}).rows(), or data['text'].to_list()"


def _table(x):
    rows = "data.to_pylist()" if hasattr(x, "to_pylist") else "data"
    return _with_columns(x.column_names), _line_of_dicts(_chosen(x.column_names), rows)


def _dicts(x):
    names = list(x[0] if isinstance(x, Sequence) else x.first)
    return f"of dicts with the keys {', '.join(map(repr, names))}", _line_of_dicts(_chosen(names), "data")


def _is_dicts(x):
    first = x.first if isinstance(x, Begun) else (x[0] if isinstance(x, Sequence) and len(x) else None)
    return isinstance(first, Mapping)


def _line_of_dicts(names, rows):
    values = ", ".join(f"row[{name!r}]" for name in names)
    return f"[({values}) for row in {rows}]" if len(names) > 1 else f"[{values} for row in {rows}]"


def _mapping(x):
    if x and all(isinstance(part, Sequence | np.ndarray) and not isinstance(part, str) for part in x.values()):
        columns = ", ".join(f"data[{name!r}]" for name in _chosen(list(x)))
        return f"of columns {', '.join(map(repr, x))}", f"list(zip({columns}))"
    return f"{x!r:.60}", "a list of its texts or tuples"


def _data_set(x):
    leaves = _leaves(x.element_spec, "row")
    batched = any(len(getattr(spec, "shape", None) or ()) for _, spec in leaves)
    rows = "data.unbatch().as_numpy_iterator()" if batched else "data.as_numpy_iterator()"
    values = [f"{name}.decode()" if has_text(spec) else f"{name}.item()" for name, spec in leaves]
    row = f"({', '.join(values)})" if len(values) > 1 else values[0]
    return "of TensorFlow's strings, which are bytes", f"[{row} for row in {rows}]"


def _leaves(spec, name):
    """(expression, what it is) of each part of what a data set specifies."""
    if isinstance(spec, Mapping):
        return [leaf for key, part in spec.items() for leaf in _leaves(part, f"{name}[{key!r}]")]
    if isinstance(spec, tuple):
        return [leaf for index, part in enumerate(spec) for leaf in _leaves(part, f"{name}[{index}]")]
    return [(name, spec)]


def _tensor(x):
    if len(x.shape) == 1:
        return "of TensorFlow's strings, which are bytes", "[text.decode() for text in data.numpy().tolist()]"
    line = "[tuple(text.decode() for text in row) for row in data.numpy().tolist()]"
    return "of TensorFlow's strings, which are bytes", line


def _structured(x):
    return _with_columns(x.dtype.names), f"data[{_chosen(x.dtype.names)!r}].tolist()"


def _batches(x):
    batch = _item(x)
    by_number = not isinstance(x, Begun) and not hasattr(x, "collate_fn")
    batches = "map(data.__getitem__, range(len(data)))" if by_number else "data"
    if getattr(x, "batch_size", 1) is None:  # a DataLoader of single rows
        return "of single rows", "list(data)"
    if isinstance(batch, Mapping):
        return "of batches of strings", f"[row for batch in {batches} for row in zip(*batch.values())]"
    if all(isinstance(text, str) for text in batch):
        return "of batches of strings", f"[text for batch in {batches} for text in batch]"
    if isinstance(batch[0], list | tuple) and has_text(batch[0]) and not isinstance(batch[0][0], str):
        return "of batches of strings", f"[row for x, y in {batches} for row in zip(*x, y)]"
    if isinstance(batch[0], Mapping):
        return "of batches of strings", f"[row for x, y in {batches} for row in zip(*x.values(), y)]"
    return "of batches of strings", f"[row for batch in {batches} for row in zip(*batch)]"


def _is_batches(x):
    if isinstance(x, Begun):
        parts = x.first if isinstance(x.first, tuple | list) else ()
        several = [isinstance(part, list | tuple | Mapping) or getattr(part, "ndim", 0) > 0 for part in parts]
        return bool(several) and all(several)
    return hasattr(x, "collate_fn") or hasattr(x, "on_epoch_end")


def _is_by_number(x):
    return hasattr(x, "__getitem__") and not hasattr(x, "__iter__")


_KINDS: tuple[tuple[Callable, Callable], ...] = (
    (_is_frame, _frame),
    (_is_polars, _polars),
    (_is_table, _table),
    (lambda x: isinstance(x, Mapping), _mapping),
    (_is_dicts, _dicts),
    (lambda x: hasattr(x, "element_spec"), _data_set),
    (lambda x: isinstance(x, np.ndarray) and x.dtype.names is not None, _structured),
    (lambda x: hasattr(x, "numpy") and has_text(x), _tensor),
    (_is_batches, _batches),
    (_is_by_number, lambda x: ("of rows by number", "[data[i] for i in range(len(data))]")),
)


def _with_columns(names):
    return f"with columns {', '.join(map(repr, names))}"


def _chosen(names):
    """The names that zoo's readers know, in their order; else the first three."""
    known = [name for name in COLUMNS if name in list(names)]
    return known if set(known) - {"label"} else list(names)[:3]


def _is_input(x):
    """Whether the first item of a sequence is an input for Keras, not a record: an array, a number, several of them."""
    if isinstance(x, Mapping):
        return not has_text(x)
    if isinstance(x, list | tuple):
        return any(len(getattr(part, "shape", ())) for part in x) and not has_text(x)
    return isinstance(x, int | float | complex) or hasattr(x, "dtype") and not has_text(x)


def _item(x):
    """The first item or batch of a container that is read by number; None where there is no looking without using up."""
    try:
        if isinstance(x, Begun):
            return x.first
        if hasattr(x, "dataset") and hasattr(x, "collate_fn"):  # torch's DataLoader
            source = x.dataset
            first = source[0] if hasattr(source, "__getitem__") else next(_fresh(source), None)
            return first if x.batch_size is None else x.collate_fn([first])
        return x[0] if hasattr(x, "__getitem__") else next(_fresh(x), None)
    except Exception:  # somebody's own class: what is wrong with it shows when it is used
        return None


def _fresh(x):
    """An iterator over x that uses up nothing of it."""
    iterator = iter(x)
    return iter(()) if iterator is x else iterator
