"""Fields of a foreign config.json: read with their type and range, or refused by file, field and value."""

import reprlib

from zoo.store import PresetError

_LARGEST = 2**31 - 1  # sizes become int32 shapes


def size(config, field, source, default=None, least=1):
    """A whole number.

    Args:
        config: dict read from JSON.
        field: str.
        source: str, the file named in the error.
        default: int, what a missing or null field means; None when the field is needed.
        least: int, smallest value allowed.
    """
    value = _value(config, field, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
        raise _refusal(source, field, value, f"a whole number from {least} to {_LARGEST} is expected")
    return value


def fraction(config, field, source, default):
    """A number in [0, 1), such as a dropout rate or an epsilon."""
    value = _value(config, field, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise _refusal(source, field, value, "a number in [0, 1) is expected")
    return float(value)


def choice(config, field, source, choices, default=None):
    """A value out of a closed list, or what a closed dict maps it to."""
    value = _value(config, field, default)
    # 1 == True in Python: compare the type as well, so that `true` is no size and 1 is no flag.
    if not any(type(value) is type(known) and value == known for known in choices):
        raise _refusal(source, field, value, "zoo reads only " + ", ".join(map(repr, choices)))
    return choices[value] if isinstance(choices, dict) else value


def _value(config, field, default):
    value = config.get(field)
    return default if value is None else value


def _refusal(source, field, value, expected):
    return PresetError(f"{source}: {field} is {reprlib.repr(value)}; {expected}")
