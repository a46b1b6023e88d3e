"""Bytes to lines, and the error of a data file: strict UTF-8, and only `\\n` and `\\r\\n` end a line.

Python's text files split on a lone CR, `str.splitlines` on U+2028, NEL, VT and more, and `csv` stops at
131,072 characters; each of these turns one row into two without a word. Here a line is what lies between
two newline bytes, and whatever makes its text doubtful is an error that names the byte.
"""

import gzip
import lzma
import os
import zlib

# No sentence is this long. The cap makes a compressed bomb or a binary file an error, not gigabytes: one emoji makes
# Python keep all of a line's characters in four bytes each.
MAX_LINE_BYTES = 16 * 1024 * 1024

BOM = b"\xef\xbb\xbf"
FOREIGN_STARTS = (
    (b"\xff\xfe", "UTF-16 (little endian); convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "UTF-16 (big endian); convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"\x1f\x8b", "gzip data; give the file the extension .gz"),
    (b"\xfd7zXZ\x00", "xz data; give the file the extension .xz"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook; unpack or export it to .tsv or .csv"),
)


SHOWN_CHARACTERS = 40


def shown(text):
    """The first 40 characters of a text, quoted, control characters escaped."""
    return repr(text[:SHOWN_CHARACTERS]) + ("..." if len(text) > SHOWN_CHARACTERS else "")


class DataError(ValueError):
    """A user's data file breaks the rules it was declared to follow.

    Args:
        message: str. What was got, what was expected, how to mend it.
        path: str. The file.
        line: int or None. Line of the file, from 1 (a quoted CSV row counts from its first line).
        column: int or None. Character of that line, from 1.
        skippable: bool. Whether `skip_at_most` may pass over it. A fault that puts the rest of the
            file in doubt (a cut archive, a quote never closed) may not.
    """

    def __init__(
        self,
        message: str,
        path: str | os.PathLike,
        line: int | None = None,
        column: int | None = None,
        skippable: bool = True,
    ) -> None:
        place = ":".join(str(part) for part in (path, line, column) if part is not None)
        super().__init__(f"{place}: {message}")
        self.message, self.path, self.line, self.column = message, path, line, column
        self.skippable = skippable


def opener_of(path):
    """`open`, or what opens a .gz or .xz file in its place."""
    return {".gz": gzip.open, ".xz": lzma.open}.get(os.path.splitext(path)[1].lower(), open)


class Lines:
    """The lines of one data file, plain or compressed (`.gz`, `.xz`), decoded one at a time.

    Args:
        path: str or path-like. The file.
        running_text: bool. Of a corpus, not of a table: the file may be empty, a line as long as a book, and a lone carriage
            return is white space.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        DataError: the file is empty or visibly something else than UTF-8 text.
    """

    def __init__(self, path, running_text=False):
        self.path, self.running_text = os.fspath(path), running_text
        if os.path.isdir(self.path):
            raise IsADirectoryError(f"{self.path}: is a folder, expected a data file.")
        if not os.path.exists(self.path):
            raise FileNotFoundError(f"{self.path}: no such data file (looked from {os.getcwd()}).")
        self.number = 0  # of the line last read, from 1
        self.quoted = None  # of a TSV: whether its fields are quoted as CSV's are; None where nothing said so yet
        self._waiting = []  # lines read ahead, the next one last
        self._text_at = 0  # the last line known to hold more than white space
        self.compressed = self.path.lower().endswith((".gz", ".xz"))
        self._stream = opener_of(self.path)(self.path, "rb")
        try:
            self._next_offset = 0  # in the decompressed text
            self._check_start()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()

    def read(self):
        """The next line without its end, or None after the last.

        Raises:
            DataError: bytes that are not UTF-8, NUL, a lone carriage return, an absurdly long line. The
            line is consumed, so reading may go on after an error that is `skippable`.
        """
        if self._waiting:
            self.number += 1
            return self._waiting.pop()
        offset = self._next_offset
        raw = self._take(self._stream.readline, -1 if self.running_text else MAX_LINE_BYTES + 1)
        if not raw:
            return None
        self._next_offset += len(raw)
        self.number += 1
        if len(raw) > MAX_LINE_BYTES and not self.running_text:
            raise self._error(
                f"a line of more than {MAX_LINE_BYTES} bytes: is this a text file with one row a line?",
                skippable=False,
            )
        if raw.endswith(b"\n"):
            raw = raw[:-2] if raw.endswith(b"\r\n") else raw[:-1]
        if offset == 0 and raw.startswith(BOM):
            raw, offset = raw[len(BOM) :], len(BOM)
        return self._decode(raw, offset)

    def only_blank_from_here(self):
        """Whether the line last read, a blank one, and all that follow are blank: then the file has ended before it."""
        if self.number < self._text_at:
            return False
        start, ahead = self.number, []
        try:
            while (text := self.read()) is not None:
                ahead.append(text)
                if text.strip():
                    self._text_at = self.number
                    break
        except DataError:
            self._text_at = self.number
            raise
        self.number, self._waiting = start, [*self._waiting, *reversed(ahead)]
        return self._text_at <= start

    def _decode(self, raw, offset):
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            before = raw[: error.start].decode("utf-8")
            raise self._error(
                f"byte {self._at(offset + error.start)} is 0x{raw[error.start]:02x}, which is not "
                f"UTF-8 ({error.reason}), after {shown(before[-40:])}.{_guess(raw)}",
                len(before) + 1,
            ) from None
        for character, name, hint in (
            ("\0", "NUL", "Is it a binary or UTF-16 file?"),
            (
                "\r",
                "a carriage return without a newline",
                "Lines end in \\n or \\r\\n; mend the file with `tr '\\r' '\\n'`, or replace "
                "the character by a blank if it is part of a text.",
            ),
        ):
            column = text.find(character)
            if column >= 0 and not (character == "\r" and self.running_text):
                where = self._at(offset + len(text[:column].encode()))
                raise self._error(f"{name} at byte {where}. {hint} Text: {shown(text)}", column + 1)
        return text

    def _check_start(self):
        start = self._take(self._stream.peek, 8)
        if not start and self.running_text:
            return
        if not start:
            raise DataError("the file is empty (0 bytes), expected at least one row.", self.path, skippable=False)
        for magic, what in FOREIGN_STARTS:
            if start.startswith(magic):
                raise DataError(
                    f"byte {self._at(0)} starts {what}; expected UTF-8 text.",
                    self.path,
                    1,
                    1,
                    skippable=False,
                )

    def _take(self, read, size):
        try:
            return read(size)
        except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
            kind = os.path.splitext(self.path)[1]
            raise DataError(
                f"the {kind} data is cut short or damaged after {self._next_offset} bytes of text "
                f"({error}); fetch or compress the file again.",
                self.path,
                self.number + 1,
                skippable=False,
            ) from None

    def _at(self, offset):
        return f"{offset} of the decompressed text" if self.compressed else str(offset)

    def _error(self, message, column=1, skippable=True):
        return DataError(message, self.path, self.number, column, skippable)


def _guess(raw):
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        return " Expected UTF-8 text: convert the file, or remove the stray bytes."
    mend = "`iconv -f GB18030 -t UTF-8` the file, or save it as UTF-8."
    return f" Read as GB18030 the line is {shown(text)}: if that is right, {mend}"
