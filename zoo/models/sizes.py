"""Sizes of a model, as its constructor and as a file state them."""

_LONGEST = 2**20  # tokens; a length beyond is a slip or a spoilt file


def check_config(family, **fields):
    """Refuse sizes that are not positive whole numbers, with the field's name."""
    for name, value in fields.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
            raise ValueError(f"{family}: {name}={value!r}; expected a whole number of at least 1")


def check_rates(family, **fields):
    """Refuse rates of dropout that are no numbers in [0, 1), with the field's name."""
    for name, rate in fields.items():
        if not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise ValueError(f"{family}: {name}={rate!r}; expected a number in [0, 1)")


def checked_length(max_length):
    """`max_length` of a task as an int.

    Raises:
        ValueError: no whole number from 2, which [CLS] and [SEP] take, to 2**20.
    """
    whole = hasattr(max_length, "__index__") and not isinstance(max_length, bool)
    if not whole or not 2 <= max_length <= _LONGEST:
        raise ValueError(f"max_length={max_length!r:.60}; expected a whole number of tokens from 2 to {_LONGEST}")
    return int(max_length)
