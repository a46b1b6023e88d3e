"""What files and tensors of a preset may be called and which shapes they may claim; the error of a bad preset."""

import math
import re
import reprlib

MANIFEST = "manifest.json"
SAVED = ".saved"  # folder of a version that is saved but not yet moved into place; see saving.py

# Windows opens these as devices whatever the extension.
_DEVICES = r"(?!(?i:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))"
_FILE = re.compile(_DEVICES + r"(?!.*\.\.)[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?")
_TENSOR = re.compile(r"(?!(?:.*/)?\.{1,2}(?:/|$))[A-Za-z0-9_./-]{1,1024}")
_MOST_AXES = 16
_MOST_BYTES = 1 << 62  # NumPy's own limit is 2^63, and an empty array counts as if its zeros were ones


class PresetError(ValueError):
    """A preset, checkpoint or one of their files is missing, damaged, unsafe or not what it should be."""


def check_name(name, where="file name"):
    """Refuse every name that is not that of a file right inside the folder, under the rules of any system.

    Args:
        name: str, often taken from a file that cannot be trusted.
        where: str, what the error calls it.

    Raises:
        PresetError: the name has a separator, drive, `..`, control character, or is too long. Nothing was
        opened.
    """
    if not is_plain(name):
        raise PresetError(
            f"{where} {reprlib.repr(name)}: expected the bare name of a file in the folder, at most 128 of "
            f"the characters A-Z a-z 0-9 _ . - with no dot at either end and no two in a row"
        )
    return name


def is_plain(name):
    """Whether `check_name` accepts this name."""
    return isinstance(name, str) and _FILE.fullmatch(name) is not None


def check_tensor_name(name):
    """Refuse to store a tensor under a name that another program could take for a path out of its folder."""
    if not isinstance(name, str) or not _TENSOR.fullmatch(name):
        raise PresetError(
            f"tensor name {reprlib.repr(name)}: expected at most 1024 of the characters A-Z a-z 0-9 _ . / - "
            f"with no part `.` or `..`"
        )
    return name


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
