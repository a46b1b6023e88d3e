"""Shapes as headers of files state them: lists of numbers that an attacker may have chosen."""

import math

from zoo.store.names import PresetError

_MOST_AXES = 16
_MOST_BYTES = 1 << 62  # NumPy's own limit is 2^63, and an empty array counts as if its zeros were ones


def check_shape(shape, itemsize, where):
    """Refuse a shape that no array can have, whatever the file holds.

    Args:
        shape: sequence of int.
        itemsize: int, bytes of an element.
        where: str, the file and tensor that errors name.

    Returns:
        int, the number of bytes that an array of this shape takes.

    Raises:
        PresetError: too many axes, a negative size, or more bytes than an address can reach.
    """
    # Zeros count as ones: [0, 2^63] takes no byte, and still there is no such array.
    if len(shape) > _MOST_AXES or min(shape, default=0) < 0 or _extent(shape) * itemsize > _MOST_BYTES:
        raise PresetError(
            f"{where} claims shape {str(list(shape))[:200]}; expected at most {_MOST_AXES} sizes, none negative, "
            f"of at most 2^62 bytes in all"
        )
    return math.prod(shape) * itemsize


def _extent(shape):
    return math.prod(max(size, 1) for size in shape)
