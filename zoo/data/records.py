"""Rows of texts and labels as plain sequences: `Pairs`, `Triplets`, `Texts`, and what makes them.

Each behaves as a list of tuples, so that lists and these types are interchangeable everywhere.
"""

import hashlib
import json
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from .raw_rows import plain_rows


class Records(Sequence):
    """Columns of texts with optional labels, seen as a sequence of tuples: `Pairs`, `Triplets`, `Texts`."""

    text_columns = ()
    labels = None
    source = None
    line_numbers = None

    def __post_init__(self) -> None:
        # Once, so that nothing later meets a Series (whose + adds row by row), labels in a list, or columns of two lengths.
        kind, rows = type(self).__name__, None
        for name in self.text_columns:
            column = getattr(self, name)
            if isinstance(column, (str, bytes, Mapping, Set)) or not hasattr(column, "__iter__"):
                raise TypeError(
                    f"{kind}: {name} is the {type(column).__name__} {column!r:.60}, expected a list of str."
                )
            column = column if isinstance(column, list) else list(column)
            for index, text in enumerate(column):
                if not isinstance(text, str):
                    _text(text, f"{kind}: {name}[{index}]")
            object.__setattr__(self, name, column)
            rows = len(column) if rows is None else rows
            if len(column) != rows:
                raise ValueError(f"{kind}: {name} has {len(column)} rows, {self.text_columns[0]} has {rows}.")
        if self.labels is not None:
            object.__setattr__(self, "labels", _label_array(self.labels, rows, kind))

    @property
    def columns(self) -> tuple[list[str], ...]:
        """The text columns, a tuple of lists of str."""
        return tuple(getattr(self, name) for name in self.text_columns)

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        row = tuple(column[index] for column in self.columns)
        if self.labels is not None:
            return (*row, self.labels[index].item())
        return row if len(row) > 1 else row[0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Records, list)):
            return NotImplemented
        return list(self) == list(other)

    __hash__ = None

    def __repr__(self) -> str:
        where = f" of {self.source}" if self.source else ""
        labelled = "unlabelled" if self.labels is None else "labelled"
        return f"<{type(self).__name__}: {len(self)} rows{where}, {labelled}>"

    def take(self, indices: Iterable[int]) -> Self:
        """The rows at these indices, in this order, as the same type."""
        indices = [int(index) for index in indices]
        changes = {name: [getattr(self, name)[index] for index in indices] for name in self.text_columns}
        for name in ("labels", "line_numbers"):
            if getattr(self, name) is not None:
                changes[name] = getattr(self, name)[indices]
        return replace(self, **changes)

    @cached_property
    def sha256(self) -> str:
        """Hash of the texts and labels in order; the same for a file, its .gz and the list of its tuples."""
        digest = hashlib.sha256()
        for row in self:
            digest.update(json.dumps(row).encode("ascii") + b"\n")
        return digest.hexdigest()


@dataclass(frozen=True, eq=False, repr=False)
class Pairs(Records):
    """Text pairs: a sequence of `(text_a, text_b, label)`, or `(text_a, text_b)` where unlabelled.

    Args:
        text_a, text_b: lists of str.
        labels: int64 or float64 array [rows], or None; other numbers become one of the two.
        source: str or None. The file they come from.
        line_numbers: int64 array [rows] or None. Line of the file, from 1.
        class_names: tuple of str or None. Name of each integer label, where classes were declared.
        skipped: tuple of str. What `skip_at_most` passed over, one message a row.

    Raises:
        TypeError, ValueError: a text is no str, a label no finite number, or there are not as many of one as of another.
    """

    text_a: list
    text_b: list
    labels: np.ndarray = None
    source: str = None
    line_numbers: np.ndarray = None
    class_names: tuple = None
    skipped: tuple = ()

    text_columns = ("text_a", "text_b")


@dataclass(frozen=True, eq=False, repr=False)
class Triplets(Records):
    """Text triplets: a sequence of `(anchor, positive, negative)`. Other arguments as in `Pairs`."""

    anchor: list
    positive: list
    negative: list
    source: str = None
    line_numbers: np.ndarray = None
    skipped: tuple = ()

    text_columns = ("anchor", "positive", "negative")


@dataclass(frozen=True, eq=False, repr=False)
class Texts(Records):
    """Single texts: a sequence of `(text, label)`, or of str where unlabelled. The rest as in `Pairs`."""

    text: list
    labels: np.ndarray = None
    source: str = None
    line_numbers: np.ndarray = None
    class_names: tuple = None
    skipped: tuple = ()

    text_columns = ("text",)


def as_pairs(x: Sequence, labelled: bool | None = None) -> Pairs:
    """Any sequence of pairs as `Pairs`.

    Args:
        x: `Pairs`, or a sequence of `(text_a, text_b)` or of `(text_a, text_b, label)`.
        labelled: bool or None. Whether labels are required (True), refused (False) or optional.

    Raises:
        TypeError, ValueError: a row is not such a tuple; the message names its index.
    """
    return _as_records(x, Pairs, labelled)


def as_triplets(x: Sequence) -> Triplets:
    """Any sequence of `(anchor, positive, negative)` as `Triplets`. Raises as `as_pairs`."""
    return _as_records(x, Triplets, False)


def as_texts(x: Sequence, labelled: bool | None = None) -> Texts:
    """Any sequence of str or of `(text, label)` as `Texts`. Arguments and errors as in `as_pairs`."""
    return _as_records(x, Texts, labelled)


def as_records(x: Sequence) -> Records:
    """`Records` as they are; a sequence of str or of `(text, number)` as `Texts`; any other as `Pairs`."""
    if isinstance(x, Records):
        return x
    x = plain_rows(x, "data", "pairs or texts")
    first = x[0] if len(x) else None
    row = first if isinstance(first, Sequence | np.ndarray) else ()
    one_text = len(row) == 1 or len(row) == 2 and isinstance(row[1], numbers.Number)
    return as_texts(x) if isinstance(first, str) or one_text else as_pairs(x)


def joined(sets: Mapping) -> Records:
    """All rows of several sets of records of one kind as one, in order.

    Args:
        sets: dict from name to `Records`.

    Raises:
        ValueError: they are of two kinds, or only some have labels.
    """
    if len(sets) == 1:
        return next(iter(sets.values()))
    kinds = {f"{type(part).__name__}, {'un' * (part.labels is None)}labelled": name for name, part in sets.items()}
    if len(kinds) > 1:
        raise ValueError("sets of two kinds: " + "; ".join(f"{name!r} is {kind}" for kind, name in kinds.items()))
    parts = list(sets.values())
    columns = [sum(column, []) for column in zip(*(part.columns for part in parts))]
    labels = {} if parts[0].labels is None else {"labels": np.concatenate([part.labels for part in parts])}
    return type(parts[0])(*columns, **labels)


def _as_records(x: Any, kind: Any, labelled: bool | None) -> Any:
    what = kind.__name__.lower()
    width = len(kind.text_columns)
    if isinstance(x, kind):
        if labelled is not None and labelled != (x.labels is not None):
            raise ValueError(f"{x!r}: expected {'' if labelled else 'un'}labelled {what}.")
        return x
    # Records of another kind are refused by the same checks, row 0 having the wrong shape.
    rows = plain_rows(x, what, "str" if width == 1 else f"({', '.join(kind.text_columns)}) tuples")
    can_be_labelled = any(field.name == "labels" for field in fields(kind))
    widths = {width: False, width + 1: True}
    allowed = [w for w, has in widths.items() if (labelled is None or has == labelled) and (can_be_labelled or not has)]
    expected = " or ".join("(" + ", ".join(kind.text_columns + ("label",) * (w - width)) + ")" for w in allowed)
    columns, labels, first_width = [[] for _ in range(width)], [], None
    for index, row in enumerate(rows):
        if width == 1 and isinstance(row, str):
            row = (row,)
        elif row is None:
            raise TypeError(f"{what}[{index}] is None, expected {expected}.")
        elif isinstance(row, (str, bytes, Mapping)) or not hasattr(row, "__len__"):
            hint = " Is it one row, not in a list?" if index == 0 and isinstance(row, str) else ""
            raise TypeError(f"{what}[{index}] is the {type(row).__name__} {row!r:.60}, expected {expected}.{hint}")
        if len(row) not in allowed:
            hint = ""
            if len(rows) in (2, 3) and len(row) > 1 and isinstance(row, list | np.ndarray):
                hint = " If these are columns, list(zip(*data)) makes rows of them."
            raise ValueError(f"{what}[{index}] has {len(row)} values, expected {expected}.{hint}")
        first_width = first_width or len(row)
        if len(row) != first_width:
            raise ValueError(
                f"{what}[{index}] has {len(row)} values, {what}[0] has {first_width}: label all rows or none."
            )
        for position, column in enumerate(columns):
            column.append(_text(row[position], f"{what}[{index}]" + f"[{position}]" * (len(row) > 1)))
        if len(row) > width:
            labels.append(_number(row[width], f"{what}[{index}][{width}]"))
    is_labelled = bool(labels) or (not rows and bool(labelled))
    return kind(*columns, **({"labels": _array(labels)} if is_labelled else {}))


def _text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    mend = "; text.decode('utf-8') makes one" if isinstance(value, bytes) else ""
    raise TypeError(
        f"{where} is {'None' if value is None else f'the {type(value).__name__} {value!r:.60}'}, expected a str{mend}."
    )


def _number(value: Any, where: str) -> int | float:
    if getattr(value, "shape", None) == () and not isinstance(value, np.generic):  # an array or tensor of one number
        value = value.item() if hasattr(value, "item") else np.asarray(value).item()
    if isinstance(value, (bool, np.bool_, numbers.Integral)):
        return int(value)
    if isinstance(value, numbers.Real):
        if math.isfinite(value):
            return float(value)
        raise ValueError(f"{where} is the label {value!r}, expected a finite number.")
    raise TypeError(
        f"{where} is the {type(value).__name__} {value!r:.60}, expected a number as label (int(label) makes one of digits; "
        'class names become numbers in read_pairs(..., label=("name of 0", "name of 1"))).'
    )


def _label_array(labels: Any, rows: int, kind: str) -> np.ndarray:
    array = np.asarray(labels)
    if array.shape != (rows,):
        raise ValueError(f"{kind}: labels have shape {array.shape}, expected ({rows},): one number a row.")
    if array.dtype.kind not in "biuf":  # objects, strings: the first that is no number is named
        return _array([_number(label, f"{kind}: labels[{index}]") for index, label in enumerate(array)])
    wrong = np.flatnonzero(~np.isfinite(array))
    if len(wrong):
        raise ValueError(f"{kind}: labels[{wrong[0]}] is {array[wrong[0]]}, expected a finite number.")
    return array.astype("float64" if array.dtype.kind == "f" else "int64", copy=False)


def _array(labels: Sequence) -> np.ndarray:
    return np.array(labels, "float64" if any(isinstance(label, float) for label in labels) else "int64")
