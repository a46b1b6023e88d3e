"""Sizes of a model, as its constructor and as a file state them."""


def check_config(family, **fields):
    """Refuse sizes that are not positive whole numbers, with the field's name."""
    for name, value in fields.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
            raise ValueError(f"{family}: {name}={value!r}; expected a whole number of at least 1")
