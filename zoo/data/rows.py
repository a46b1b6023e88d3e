"""Lines to rows: TSV (plain, or quoted as CSV is), CSV (RFC 4180) and JSON lines.

A row is `(values, place)`: values a list of str (TSV, CSV) or a dict (JSON lines), and `place(key)` the
`(line, column)` where a value begins, worked out only when an error needs it.
"""

import json
import os

from .lines import DataError, Lines, shown

EXTENSIONS = {".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
COMPRESSIONS = (".gz", ".xz")
# A column or JSON value takes some 100 bytes of memory, for as few as 1 or 3 in the file.
MAX_COLUMNS = 1000
MAX_JSON_VALUES = 100_000  # commas inside texts are counted too, for speed: a text of megabytes has some 10,000


def format_of(path, declared=None):
    """ "tsv", "csv" or "jsonl": as declared, else by the extension (before .gz or .xz)."""
    if declared is not None:
        if declared not in READERS:
            raise ValueError(f"format={declared!r}, expected one of {sorted(READERS)} or None (by the extension).")
        return declared
    name = path.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    for extension, kind in EXTENSIONS.items():
        if name.endswith(extension):
            return kind
    raise ValueError(
        f"{path}: the extension tells no format, expected {', '.join(EXTENSIONS)} (and .gz or .xz "
        f'after it). Say format="tsv", "csv" or "jsonl".'
    )


def read_tsv(lines):
    """The next row of a TSV file; a quote is an ordinary character, unless all of the file is quoted as CSV is."""
    text = _next_line(lines)
    if text is None:
        return None
    if '"' in text and _is_quoted(text, lines):
        return _delimited(lines, text, "\t")
    if text.count("\t") >= MAX_COLUMNS:
        raise _too_many_columns(text, lines)
    values, number = text.split("\t"), lines.number

    def place(index):
        return number, 1 + sum(len(value) + 1 for value in values[:index])

    return values, place


def read_csv(lines):
    """The next row of a CSV file; a quoted field may hold commas, doubled quotes and newlines (RFC 4180)."""
    text = _next_line(lines)
    return None if text is None else _delimited(lines, text, ",")


def _is_quoted(text, lines):
    """Whether the TSV file that this line is of is quoted, as spreadsheets and `csv` write it; the whole file tells.

    Raises:
        DataError: this line looks so, other lines do not.
    """
    fields = text.split("\t")
    if lines.quoted is None and any(field.startswith('"') for field in fields):
        lines.quoted = os.path.isfile(lines.path) and _whole_file_is_quoted(lines.path)  # a pipe is read but once
    for index, field in enumerate(fields):
        inside = field[1:-1]
        if not lines.quoted and _in_quotes(field) and '""' in inside and '"' not in inside.replace('""', ""):
            raise DataError(
                f"{shown(field)} is quoted, its quotes doubled, as spreadsheets write it, but other lines have quotes that are "
                "not; write the file anew with one program, or as .csv or .jsonl",
                lines.path,
                lines.number,
                1 + sum(len(value) + 1 for value in fields[:index]),
            )
    return bool(lines.quoted)


def _in_quotes(field):
    return len(field) > 1 and field.startswith('"') and field.endswith('"')


def _whole_file_is_quoted(path):
    """Whether a TSV file reads as quoted from end to end, and has a field that means something else when read so."""
    width, rows, doubled, bare = None, 0, False, 0
    try:
        with Lines(path) as lines:
            while (text := _next_line(lines)) is not None:
                plain = text.split("\t")
                values, _ = _delimited(lines, text, "\t")
                width = len(values) if width is None else width
                if len(values) != width:
                    return False
                # A plain text may begin with a quote that another one closes many lines later: a line end or a tab inside
                # quotes says something only where the line, read as plain, has another number of columns.
                doubled |= any('"' in value for value in values) or len(plain) != width
                # A program that quotes every text leaves none bare but numbers; a header may be.
                bare += rows > 0 and any(not _in_quotes(field) and not _is_number(field) for field in plain)
                rows += 1
    except DataError:
        return False
    return doubled or (rows > 1 and not bare)


def _is_number(text):
    try:
        return float(text) is not None
    except ValueError:
        return not text


def _delimited(lines, text, delimiter):
    """The row that begins with a line, and perhaps goes on in the next ones inside quotes."""
    values, places, position = [], [], 0
    while True:
        if len(values) == MAX_COLUMNS:
            raise _too_many_columns(text, lines, position + 1)
        places.append((lines.number, position + 1))
        if text.startswith('"', position):
            value, text, position = _quoted(lines, text, position, delimiter)
        else:
            end = text.find(delimiter, position)
            end = len(text) if end < 0 else end
            value = text[position:end]
            if '"' in value:
                raise DataError(
                    f"a quote inside an unquoted field, {shown(value)}; RFC 4180 wants the whole field "
                    'quoted and its quotes doubled ("").',
                    lines.path,
                    lines.number,
                    position + value.index('"') + 1,
                )
            position = end
        values.append(value)
        if position == len(text):
            return values, places.__getitem__
        position += 1  # over the delimiter


def _quoted(lines, text, start, delimiter):
    """Value of the quoted field at `start`, with the line it ends on and the position after its quote."""
    opened = (lines.number, start + 1)
    parts, position = [], start + 1
    while True:
        quote = text.find('"', position)
        if quote < 0:
            parts.append(text[position:] + "\n")  # a line end inside quotes is \n, also in a \r\n file
            following = lines.read()
            if following is None:
                raise DataError(
                    f"the quote opened here is never closed; text: {shown(text[start:])}",
                    lines.path,
                    *opened,
                    skippable=False,
                )
            text, position = following, 0
        elif text.startswith('""', quote):
            parts.append(text[position : quote + 1])
            position = quote + 2
        else:
            parts.append(text[position:quote])
            if quote + 1 < len(text) and text[quote + 1] != delimiter:
                separator = "comma" if delimiter == "," else "tab"
                raise DataError(
                    f"{shown(text[quote + 1 :])} follows a closing quote, expected a {separator} or the line's "
                    'end; a quote inside a quoted field is doubled ("").',
                    lines.path,
                    lines.number,
                    quote + 2,
                )
            return "".join(parts), text, quote + 1


def read_jsonl(lines):
    """The next row of a JSON-lines file: one object a line, no key twice, no NaN."""
    text = _next_line(lines)
    if text is None:
        return None
    number = lines.number
    if sum(map(text.count, ",[{")) > MAX_JSON_VALUES:
        raise DataError(
            f"more than {MAX_JSON_VALUES} values in one line; expected one record a line, such as "
            f'{{"text_a": ..., "text_b": ...}}. Text: {shown(text)}',
            lines.path,
            number,
            1,
        )

    def place(key):
        return number, text.find(json.dumps(key, ensure_ascii=False)) + 1 or 1

    try:
        values = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise DataError(
            f"not JSON ({error.msg}); expected one object a line. Text: {shown(text)}",
            lines.path,
            number,
            error.colno,
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{error}. Text: {shown(text)}", lines.path, number, 1) from None
    if not isinstance(values, dict):
        raise DataError(
            f"a JSON {type(values).__name__}, expected an object such as "
            f'{{"text_a": ..., "text_b": ...}}. Text: {shown(text)}',
            lines.path,
            number,
            1,
        )
    return values, place


def _object(items):
    values = dict(items)
    if len(values) < len(items):
        seen = set()
        twice = next(key for key, _ in items if key in seen or seen.add(key))
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return values


def _refuse_constant(name):
    raise ValueError(f"{name} is no JSON number")


def _too_many_columns(text, lines, column=1):
    return DataError(
        f"more than {MAX_COLUMNS} columns; expected a few: is this a table of texts and labels? Text: {shown(text)}",
        lines.path,
        lines.number,
        column,
    )


def _next_line(lines):
    """The next line, None at the end; blank lines there end the file, one between rows is an error."""
    text = lines.read()
    if text is None or text.strip():
        return text
    if lines.only_blank_from_here():
        return None
    raise DataError("a blank line; remove it, or allow it with skip_at_most.", lines.path, lines.number, 1)


READERS = {"tsv": read_tsv, "csv": read_csv, "jsonl": read_jsonl}
