"""Declared label types: what a label column may hold, and the number each value becomes."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

INTEGER = re.compile(r"-?[0-9]+")  # ASCII only: int() would also take full-width digits and 1_0
DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


class LabelType(NamedTuple):
    """A declared label type: `parse(value)` gives the number or raises ValueError."""

    parse: object
    dtype: str
    class_names: tuple | None


def refuse_label_texts(triplets: Any) -> None:
    """Refuse rows of three texts whose last one is a label: a number, or one of few words that come over and over.

    Args:
        triplets: `zoo.data.Triplets`.

    Raises:
        TypeError: naming the row and the value.
    """
    words = set(triplets.negative)
    rows = len(set(zip(triplets.anchor, triplets.positive)))
    over_and_over = len(words) <= 3 and rows >= 2 * len(words) and max(map(len, words), default=0) <= 16
    names = words - {*triplets.anchor, *triplets.positive} if over_and_over else set()
    for index, text in enumerate(triplets.negative):
        number = DECIMAL.fullmatch(text.strip())
        if number or names == words:
            mend = (
                "int(label) makes it one"
                if number
                else f"{', '.join(map(repr, sorted(words)))} become numbers of yours"
            )
            raise TypeError(
                f"pairs[{index}] is {triplets[index]!r:.100}: its last value is the str {text!r}, expected a number as "
                f"label; {mend}: (text_a, text_b, label). If it is a text that does not match, say so: "
                "zoo.data.as_triplets(rows)"
            )


def label_type(label: str | Sequence | Mapping) -> LabelType:
    """The label type a user declared.

    Args:
        label: "binary" (0 or 1), "int" (whole numbers: grades, class ids), "float" or "score" (finite
            decimals), a list of class names (the order gives the integers 0, 1, ...), or a dict from
            class name to integer. The type decides, not the look of the first rows: 1.0, true and NaN
            are errors in a binary column.

    Returns:
        A `LabelType` with dtype "int64" or "float64".
    """
    if isinstance(label, str):
        if label in PARSERS:
            return LabelType(*PARSERS[label], class_names=None)
    elif isinstance(label, Mapping):
        return _classes(dict(label))
    elif isinstance(label, Sequence):
        if len(set(label)) < len(label):
            raise ValueError(f"label={label!r} names a class twice.")
        return _classes({name: index for index, name in enumerate(label)})
    raise ValueError(
        f"label={label!r}, expected {', '.join(map(repr, PARSERS))}, a list of class names, or a dict "
        "from class name to integer."
    )


def _classes(numbers: Mapping) -> LabelType:
    for name, number in numbers.items():
        if not isinstance(name, str) or isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"label: class {name!r} has the number {number!r}, expected a str name and an int.")
    if not numbers:
        raise ValueError("label names no class.")
    by_number = {number: name for name, number in numbers.items()}
    dense = len(by_number) == len(numbers) and sorted(by_number) == list(range(len(numbers)))
    names = tuple(by_number[index] for index in range(len(numbers))) if dense else None

    def parse(value):
        if not isinstance(value, str) or value not in numbers:
            known = ", ".join(map(repr, list(numbers)[:10])) + (", ..." if len(numbers) > 10 else "")
            raise ValueError(f"expected one of the {len(numbers)} declared classes {known}")
        return numbers[value]

    return LabelType(parse, "int64", names)


def _binary(value: Any) -> int:
    # As text, because True == 1 and 1.0 == 1 in Python
    if str(value) in ("0", "1"):
        return int(value)
    raise ValueError('expected 0 or 1 (label="binary")')


def _integer(value: Any) -> int:
    if type(value) is int or type(value) is str and INTEGER.fullmatch(value) and len(value) < 20:
        number = int(value)
        if -(2**63) <= number < 2**63:
            return number
    raise ValueError('expected a whole number (label="int")')


def _decimal(value: Any) -> float:
    if type(value) in (int, float) or type(value) is str and DECIMAL.fullmatch(value):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise ValueError('expected a finite decimal number (label="score")')


PARSERS = {
    "binary": (_binary, "int64"),
    "int": (_integer, "int64"),
    "float": (_decimal, "float64"),
    "score": (_decimal, "float64"),
}
