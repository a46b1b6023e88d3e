"""JSON that means one thing only: no doubled keys, no NaN, no numbers out of range, no bottomless nesting, no bombs."""

import json
import math

from zoo.store.names import PresetError

_DEEPEST = 32
_MOST_VALUES = 1_000_000  # each takes some 100 bytes of memory, for as few as 2 in the file
_LONGEST_INTEGER = 40  # Hugging Face writes int(1e30) for "no limit"


def parse(content, where):
    """The object in UTF-8 JSON text.

    Args:
        content: bytes; a byte order mark is allowed.
        where: str, the file that errors name.

    Raises:
        PresetError: not UTF-8, not JSON, not an object at the top, or ambiguous as above.
    """
    content = bytes(content)
    if sum(map(content.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise PresetError(f"{where}: more than {_MOST_VALUES} values; no file of a model has so many")
    try:
        text = content.decode("utf-8-sig")
        parsed = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
        if "\\u" in text:  # only an escape can smuggle in half a surrogate pair, which no file or terminal takes
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise PresetError(f"{where}: nested deeper than {_DEEPEST} levels") from None
    except UnicodeDecodeError as error:
        raise PresetError(f"{where}: not UTF-8 text (byte {error.start})") from None
    except UnicodeEncodeError:
        raise PresetError(f"{where}: an escape \\ud800..\\udfff stands alone; half a character is no text") from None
    except ValueError as error:
        raise PresetError(f"{where}: {error}") from None
    if not isinstance(parsed, dict):
        raise PresetError(f"{where}: expected a JSON object {{...}} at the top, got {type(parsed).__name__}")
    _check_depth(parsed, where)
    return parsed


def _unique(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice[:100]!r} stands twice in one object")
    return found


def _refuse_constant(text):
    raise ValueError(f"{text} is no JSON number")


def _finite(text):
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is beyond float64")
    return number


def _bounded(text):
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"the number {text[:40]}... has more than {_LONGEST_INTEGER} digits")
    return int(text)


def _check_depth(parsed, where):
    level, depth = [parsed], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise PresetError(f"{where}: nested deeper than {_DEEPEST} levels")
        values = (value for entry in level for value in (entry.values() if isinstance(entry, dict) else entry))
        level = [value for value in values if isinstance(value, (dict, list))]
