"""The error of a data file, and how a text is shown in it."""

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

    def __init__(self, message, path, line=None, column=None, skippable=True):
        place = ":".join(str(part) for part in (path, line, column) if part is not None)
        super().__init__(f"{place}: {message}")
        self.message, self.path, self.line, self.column = message, path, line, column
        self.skippable = skippable
