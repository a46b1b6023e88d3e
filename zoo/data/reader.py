"""The strict reader: TSV, CSV and JSON-lines files (plain, .gz or .xz) to `Pairs`, `Triplets`, `Texts`.

Columns and label type are declared, never guessed from the content. A row that breaks the declaration
stops the reading with `file:line:column`; `skip_at_most=k` passes over k such rows, warns with their count,
and stops at the next one. Texts are kept as they stand, never stripped or normalised.
"""

import os
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from .labels import label_type
from .lines import DataError, Lines, shown
from .records import Pairs, Texts, Triplets
from .rows import READERS, format_of


def read_pairs(
    path: str | os.PathLike,
    columns: Sequence = ("text_a", "text_b", "label"),
    label: str | Sequence | Mapping | None = "binary",
    header: str | bool = "auto",
    format: str | None = None,
    skip_at_most: int = 0,
) -> Pairs:
    """Text pairs from a TSV, CSV or JSON-lines file.

    Args:
        path: str or path-like. Extension .tsv, .csv, .jsonl or .ndjson, then perhaps .gz or .xz.
            CSV follows RFC 4180. A TSV is plain, where quotes are part of the text, or as a whole quoted like a CSV, which
            shows in doubled quotes, or in quotes around every text. Blank lines at the end are none. UTF-8, a leading BOM is
            ignored.
        columns: the two text columns' names and the label column's. With a header (and in JSON lines)
            they are looked up by name and further columns are ignored; without, they are all the
            columns, in this order.
        label: the label's type: "binary", "int", "score" (or "float"), a list of class names, a dict
            from class name to integer (see `zoo.data.label_type`), or None for unlabelled pairs, which
            leaves out the third column.
        header: True, False or "auto". "auto" takes the first line for the header where it holds the
            declared names and for a row where its label is valid, and stops where it is neither.
        format: "tsv", "csv", "jsonl", or None: by the extension.
        skip_at_most: int. How many broken rows to pass over.

    Returns:
        `Pairs`: a sequence of `(text_a, text_b, label)`.

    Raises:
        FileNotFoundError: no such file.
        zoo.data.DataError: a ValueError with `.path`, `.line`, `.column`; also for a file without rows.
    """
    return _read(path, Pairs, columns, label, header, format, skip_at_most)


def read_triplets(
    path: str | os.PathLike,
    columns: Sequence = ("anchor", "positive", "negative"),
    header: str | bool = "auto",
    format: str | None = None,
    skip_at_most: int = 0,
) -> Triplets:
    """Text triplets from a TSV, CSV or JSON-lines file, as `Triplets`.

    Arguments and errors as in `read_pairs`; the columns are the three text columns' names.
    """
    return _read(path, Triplets, columns, None, header, format, skip_at_most)


def read_texts(
    path: str | os.PathLike,
    columns: Sequence = ("text", "label"),
    label: str | Sequence | Mapping | None = "int",
    header: str | bool = "auto",
    format: str | None = None,
    skip_at_most: int = 0,
) -> Texts:
    """Single texts with labels (or `label=None`) from a TSV, CSV or JSON-lines file, as `Texts`.

    Arguments and errors as in `read_pairs`; the columns are one text column's name and the label column's.
    """
    return _read(path, Texts, columns, label, header, format, skip_at_most)


def _read(path, kind, columns, label, header, format, skip_at_most):
    width = len(kind.text_columns)
    labels = None if label is None else label_type(label)
    names = _column_names(columns, width, labels is not None)
    if header not in (True, False, "auto"):
        raise ValueError(f'header={header!r}, expected True, False or "auto".')
    texts, numbers, line_numbers, skipped, skipped_lines = [[] for _ in range(width)], [], [], [], 0
    with Lines(path) as lines:
        format = format_of(lines.path, format)
        layout = _Layout(lines, names, width, labels, format, header)
        while True:
            before = lines.number
            try:
                row = layout.next_row()
                if row is None:
                    break
                values, number = layout.check(*row)
            except DataError as error:
                # Lines, not rows: a stray quote can make one CSV row of many lines, and they are lost too.
                skipped_lines += lines.number - before
                if not error.skippable or skipped_lines > skip_at_most:
                    raise _with_history(error, skipped, skip_at_most) from None
                skipped.append(str(error))
                continue
            for column, value in zip(texts, values):
                column.append(value)
            numbers.append(number)
            line_numbers.append(row[2])
    if not line_numbers:
        raise DataError(
            f"no rows in the file ({lines.number} lines, {skipped_lines} skipped), expected at least one.",
            lines.path,
            skippable=False,
        )
    if skipped:
        warnings.warn(
            f"{lines.path}: skipped {skipped_lines} of {lines.number} lines (at most {skip_at_most} allowed)."
            f" The first: {skipped[0]}",
            stacklevel=3,
        )
    extra = {} if labels is None else {"labels": np.array(numbers, labels.dtype), "class_names": labels.class_names}
    return kind(
        *texts,
        **extra,
        source=lines.path,
        line_numbers=np.array(line_numbers, "int64"),
        skipped=tuple(skipped),
    )


def _column_names(columns, width, labelled):
    columns = tuple(columns) if not isinstance(columns, str) else (columns,)
    wanted = width + labelled
    # label=None with the label column still named is no mistake: the default columns name it.
    if len(columns) not in (wanted, width + 1) or not all(isinstance(name, str) for name in columns):
        raise ValueError(
            f"columns={columns!r}, expected {wanted} names: {width} of text"
            + (" and the label's." if labelled else ".")
        )
    names = columns[:wanted]
    if len(set(names)) < wanted:
        raise ValueError(f"columns={columns!r} names a column twice.")
    return names


def _with_history(error, skipped, skip_at_most):
    if not skipped:
        return error
    message = error.message
    if error.skippable:
        message += f" This is past skip_at_most={skip_at_most}; the first broken row was {skipped[0]}"
    return DataError(message, error.path, error.line, error.column, error.skippable)


class _Layout:
    """Where the declared columns stand in a file's rows, and whether a row is as declared."""

    def __init__(self, lines, names, width, labels, format, header):
        self.lines, self.names, self.width, self.labels = lines, names, width, labels
        self.read = READERS[format]
        self.pending = None
        self.keys = range(len(names))
        self.row_width = len(names)  # None: any, the values have names (JSON lines)
        if format == "jsonl":
            if header is True:
                raise ValueError('header=True: JSON lines have no header, expected "auto" or False.')
            self.keys, self.row_width = names, None
        elif header is not False:
            self._read_header(header)

    def next_row(self):
        """`(values, place, line number)` of the next row, or None at the end."""
        row, self.pending = self.pending, None
        if row is None:
            start = self.lines.number + 1
            row = self.read(self.lines)
            row = row and (*row, start)
        return row

    def check(self, values, place, line):
        """The row's texts and its label as a number.

        Raises:
            DataError: the row is not as declared.
        """
        if self.row_width is not None and len(values) != self.row_width:
            hint = ": is there a separator inside a text?" if len(values) > self.row_width else "."
            raise self._error(
                f"{len(values)} columns, expected {self.row_width}{hint} Text: {shown(values[0])}",
                place,
                min(len(values) - 1, self.row_width),
            )
        texts = [self._text(values, place, *item) for item in zip(self.names[: self.width], self.keys)]
        if self.labels is None:
            return texts, None
        name, key = self.names[-1], self.keys[-1]
        value = self._value(values, place, name, key)
        try:
            return texts, self.labels.parse(value)
        except ValueError as error:
            raise self._error(f"{name} is {_brief(value)}, {error}. Text: {shown(texts[0])}", place, key) from None

    def _text(self, values, place, name, key):
        text = self._value(values, place, name, key)
        if not isinstance(text, str):
            raise self._error(f"{name} is {_brief(text)}, expected a string.", place, key)
        if not text or text.isspace():
            raise self._error(
                f"{name} is {'empty' if not text else f'only white space ({text!r:.20})'}, expected a "
                f"text. Row: {shown(repr(values)[1:-1])}",
                place,
                key,
            )
        if self.row_width is None:  # JSON escapes can smuggle in what Lines refuses
            if "\0" in text:
                raise self._error(f"{name} holds NUL. Text: {shown(text)}", place, key)
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise self._error(f"{name} holds half a surrogate pair. Text: {shown(text)}", place, key)
        return text

    def _value(self, values, place, name, key):
        if self.row_width is None and name not in values:
            raise self._error(
                f"no key {name!r}; the object has {', '.join(map(repr, list(values)[:8])) or 'none'}. "
                f"Say columns=(...) with the file's names.",
                place,
                key,
            )
        return values[key]

    def _read_header(self, header):
        try:
            row = self.next_row()
        except DataError as error:  # without the first line the layout is unknown
            raise DataError(error.message, error.path, error.line, error.column, skippable=False) from None
        if row is None:
            return
        found, place, _ = row
        missing = [name for name in self.names if name not in found]
        if not missing:
            twice = [name for name in self.names if found.count(name) > 1]
            if twice:
                raise self._error(f"the header names {twice[0]!r} twice.", place, found.index(twice[0]), False)
            self.keys, self.row_width = [found.index(name) for name in self.names], len(found)
        elif header is True or len(missing) < len(self.names):
            raise self._error(
                f"the header lacks {missing[0]!r}; it has {', '.join(map(repr, found[:8]))}. Say "
                "columns=(...) with the file's names, or header=False if this is a row.",
                place,
                0,
                False,
            )
        elif self._is_a_row(row):
            self.pending = row
        else:
            raise self._error(
                f"is this a header or a row? It has neither the names {', '.join(self.names)} nor "
                + ("a valid label in a label column of its own" if self.labels else "a label to tell by")
                + f". Say columns=(...) with the file's names, or header=False. Line: "
                f"{shown(' '.join(found))}",
                place,
                0,
                False,
            )

    def _is_a_row(self, row):
        if self.labels is None:
            return False
        try:
            self.check(*row)
        except DataError:
            return False
        return True

    def _error(self, message, place, key, skippable=True):
        line, column = place(key)
        return DataError(message, self.lines.path, line, column, skippable)


def _brief(value):
    return f"{value!r:.40}" if isinstance(value, str) else f"the {type(value).__name__} {value!r:.40}"
