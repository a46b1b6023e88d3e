"""The content of a Unigram tokenizer.json, every field read or refused by name: what `UnigramTokenizer` can compute.

Source of the format: `tokenizers` of Hugging Face, version "1.0". The models meant are XLM-R and its kin.
"""

import base64
import dataclasses
import math

import numpy as np

BLANK = "▁"  # U+2581, which stands for a blank in pieces
_DOUBLE_BLANKS = {"Regex": " {2,}"}
_FORMS = ("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents")


@dataclasses.dataclass
class UnigramFields:
    """What a tokenizer.json says.

    Args:
        pieces: list of (str, float): token and log probability; the position is the id.
        unk_id: int.
        added: list of str, tokens whose ids follow those of the pieces.
        special: set of str, tokens that no text is to become.
        normalizer, pre_tokenizer: dict or None, for the Rust library.
        cls_token, sep_token: str.
        separators: int, separators between the texts of a pair.
        segments: bool, whether the second text has segment id 1.
    """

    pieces: list
    unk_id: int
    added: list
    special: set
    normalizer: dict | None
    pre_tokenizer: dict | None
    cls_token: str
    sep_token: str
    separators: int
    segments: bool


def read_fields(content):
    """The fields of a parsed tokenizer.json.

    Args:
        content: dict.

    Returns:
        `UnigramFields`.

    Raises:
        ValueError: a field that would change the ids and that zoo does not know, by name and value.
    """
    names = "version truncation padding added_tokens normalizer pre_tokenizer post_processor decoder model".split()
    _only(content, names, "tokenizer.json")
    _value(content, "version", (None, "1.0"))
    truncation = content.get("truncation")
    if truncation is not None:  # its length is given with each call; its side is not
        _value(_object(truncation, "truncation"), "direction", (None, "Right"), "truncation")
    padding = content.get("padding")
    if padding is not None:
        _value(_object(padding, "padding"), "direction", (None, "Right"), "padding")
    pieces, unk_id = _model(_object(content.get("model"), "model"))
    added, special = _added(content.get("added_tokens") or [], pieces)
    decoder = content.get("decoder")
    if decoder is not None:
        _metaspace(_object(decoder, "decoder"), "decoder")
    tokens = [piece for piece, _ in pieces] + added
    return UnigramFields(
        pieces,
        unk_id,
        added,
        special,
        _normalizer(content.get("normalizer")),
        _with_blanks(_pre_tokenizer(content.get("pre_tokenizer"))),
        *_template(_object(content.get("post_processor"), "post_processor"), tokens),
    )


def _model(model):
    _only(model, ("type", "unk_id", "vocab", "byte_fallback"), "model")
    _value(model, "type", ("Unigram",), "model")
    _value(model, "byte_fallback", (None, False), "model")
    pieces, unk_id = model.get("vocab"), model.get("unk_id")
    if not isinstance(pieces, list) or not pieces:
        raise ValueError(f"model.vocab is {_shown(pieces)}; expected a list of [piece, log probability]")
    seen = set()
    for index, entry in enumerate(pieces):
        if not isinstance(entry, list | tuple) or len(entry) != 2 or not isinstance(entry[0], str) or not entry[0]:
            raise ValueError(f"model.vocab[{index}] is {_shown(entry)}; expected [piece, log probability]")
        piece, score = entry
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise ValueError(f"model.vocab[{index}], {_shown(piece)}, has the log probability {_shown(score)}")
        if piece in seen:
            raise ValueError(f"model.vocab[{index}], {_shown(piece)}, stands there twice; which id is meant?")
        seen.add(piece)
    if type(unk_id) is not int or not 0 <= unk_id < len(pieces):
        raise ValueError(
            f"model.unk_id is {_shown(unk_id)}; expected the id of the unknown token, 0 .. {len(pieces) - 1}"
        )
    return [(piece, float(score)) for piece, score in pieces], unk_id


def _added(entries, pieces):
    """Tokens behind the pieces, and all special ones."""
    if not isinstance(entries, list):
        raise ValueError(f"added_tokens is {_shown(entries)}; expected a list")
    added, special = [], set()
    for entry in sorted((_object(one, "added_tokens") for one in entries), key=lambda one: _id(one)):
        _only(entry, ("id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"), "added_tokens")
        index, token = entry["id"], entry.get("content")
        if not isinstance(token, str) or not token:
            raise ValueError(f"added_tokens: id {index} has the content {_shown(token)}")
        if entry.get("special") is not True:
            raise ValueError(
                f"added_tokens: {_shown(token)} is to be found in texts as a whole (special is false), which zoo does not "
                "do; make it a piece of the model"
            )
        if index < len(pieces):
            if pieces[index][0] != token:
                raise ValueError(
                    f"added_tokens: id {index} is {_shown(token)}, in the model {_shown(pieces[index][0])}"
                )
        elif index != len(pieces) + len(added):
            raise ValueError(f"added_tokens: id {index} is {_shown(token)}, but {len(pieces) + len(added)} comes next")
        else:
            added.append(token)
        special.add(token)
    repeated = {piece for piece, _ in pieces} & set(added)
    if repeated or len(set(added)) < len(added):
        raise ValueError(f"added_tokens: {_shown(sorted(repeated or added))} would have two ids")
    return added, special


def _normalizer(entry):
    if entry is None:
        return None
    kind = _object(entry, "normalizer").get("type")
    where = f"normalizer {kind}"
    if kind == "Sequence":
        _only(entry, ("type", "normalizers"), where)
        return {"type": kind, "normalizers": [_normalizer(one) for one in _list(entry, "normalizers", where)]}
    if kind in _FORMS:
        _only(entry, ("type",), where)
    elif kind == "Precompiled":
        _only(entry, ("type", "precompiled_charsmap"), where)
        _charsmap(entry.get("precompiled_charsmap"), where)
    elif kind == "Strip":
        _only(entry, ("type", "strip_left", "strip_right"), where)
        for side in ("strip_left", "strip_right"):
            _value(entry, side, (True, False), where)
    elif kind == "Replace":
        _only(entry, ("type", "pattern", "content"), where)
        pattern = entry.get("pattern")
        plain = isinstance(pattern, dict) and list(pattern) == ["String"] and isinstance(pattern["String"], str)
        # any other regular expression may take time without end
        if not (plain and pattern["String"]) and pattern != _DOUBLE_BLANKS:
            raise ValueError(f"{where}: pattern is {_shown(pattern)}; zoo takes a String, or the Regex ' {{2,}}'")
        if not isinstance(entry.get("content"), str):
            raise ValueError(f"{where}: content is {_shown(entry.get('content'))}; expected a str")
    else:
        raise ValueError(
            f"normalizer {_shown(kind)} is not known; known are Sequence, Precompiled, Replace, Strip, {', '.join(_FORMS)}"
        )
    return entry


def _charsmap(text, where):
    """Refuse a table of replacements that would lead the Rust library, which trusts it, out of its bounds.

    SentencePiece's form: the number of bytes of a double-array trie, the trie (Darts-clone's units of 32 bits), and the
    replacements, each ended by a zero byte.
    """
    try:
        raw = base64.b64decode(text, validate=True)
        size = int.from_bytes(raw[:4], "little")
        units = np.frombuffer(raw[4 : 4 + size], "<u4").astype("int64")
        replacements = np.frombuffer(raw[4 + size :].decode("utf-8").encode("utf-8"), "uint8")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: precompiled_charsmap is no table of SentencePiece: {error}") from None
    nodes = (units < 2**31) | (np.arange(len(units)) == 0)  # others hold a value; the root is not asked
    children = np.arange(len(units)) ^ (units >> 10 << ((units & 512) >> 6))  # of node p by byte c: children[p] ^ c
    leaves = children[nodes & ((units & 256) > 0)]
    sound = len(raw) >= 4 + size and len(units) > 255 and ((children | 255)[nodes] < len(units)).all()
    starts = units[leaves] & (2**31 - 1) if sound else units[:0]
    # a replacement starts inside the text, and not within a character
    if not sound or not (starts < len(replacements)).all() or (replacements[starts] & 0xC0 == 0x80).any():
        raise ValueError(f"{where}: precompiled_charsmap points outside of itself; it is damaged")


def _pre_tokenizer(entry):
    if entry is None:
        return None
    kind = _object(entry, "pre_tokenizer").get("type")
    where = f"pre_tokenizer {kind}"
    if kind == "Sequence":
        _only(entry, ("type", "pretokenizers"), where)
        return {"type": kind, "pretokenizers": [_pre_tokenizer(one) for one in _list(entry, "pretokenizers", where)]}
    if kind == "WhitespaceSplit":
        _only(entry, ("type",), where)
        return entry
    if kind != "Metaspace":
        raise ValueError(f"pre_tokenizer {_shown(kind)} is not known; known are Sequence, WhitespaceSplit, Metaspace")
    return _metaspace(entry, where)


def _with_blanks(entry):
    """The pre-tokenizer, once it is found to leave no blank in a piece: names with a blank are kept for special tokens."""
    steps = entry["pretokenizers"] if entry is not None and entry["type"] == "Sequence" else [entry]
    if not any(step is not None and step["type"] == "Metaspace" for step in steps):
        raise ValueError(
            f"pre_tokenizer is {_shown(entry)}; zoo needs a Metaspace in it, which writes blanks as {BLANK}"
        )
    return entry


def _metaspace(entry, where):
    _only(entry, ("type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"), where)
    _value(entry, "type", ("Metaspace",), where)
    for field in ("replacement", "str_rep"):
        _value(entry, field, (BLANK,) if field == "replacement" else (None, BLANK), where)
    _value(entry, "add_prefix_space", (None, True, False), where)
    _value(entry, "prepend_scheme", (None, "always", "first", "never"), where)
    _value(entry, "split", (None, True, False), where)
    return {field: value for field, value in entry.items() if field != "str_rep"}


def _template(post_processor, tokens):
    """cls, sep, separators between texts, and whether the second text is segment 1, of a TemplateProcessing."""
    _only(post_processor, ("type", "single", "pair", "special_tokens"), "post_processor")
    _value(post_processor, "type", ("TemplateProcessing",), "post_processor")
    single, pair = (_slots(post_processor, name) for name in ("single", "pair"))
    names = [name for name, _ in single]
    if len(single) != 3 or names[1] != "$A" or "$B" in names or any(segment for _, segment in single):
        raise ValueError(f"post_processor.single is {_shown(names)}; zoo builds cls $A sep, in segment 0")
    cls, sep = names[0], names[2]
    separators = len(pair) - 4
    expected = [cls, "$A", *[sep] * separators, "$B", sep]
    segments = pair[-1][1] if pair else 0
    last = [0] * (len(pair) - 2) + [segments] * 2
    if separators not in (1, 2) or [name for name, _ in pair] != expected or [segment for _, segment in pair] != last:
        raise ValueError(
            f"post_processor.pair is {_shown(pair)}; zoo builds {cls} $A {sep} $B {sep}, or with two {sep} between"
        )
    _ids_of(post_processor.get("special_tokens"), {cls, sep}, tokens)
    return cls, sep, separators, bool(segments)


def _slots(post_processor, name):
    """Places of a template as (token, "$A" or "$B"; segment id)."""
    slots = []
    for entry in _list(post_processor, name, "post_processor"):
        kind, value = next(iter(_object(entry, f"post_processor.{name}").items()), (None, None))
        value = _object(value, f"post_processor.{name}")
        segment = value.get("type_id")
        if (
            len(entry) != 1
            or kind not in ("Sequence", "SpecialToken")
            or type(segment) is not int
            or segment not in (0, 1)
        ):
            raise ValueError(
                f"post_processor.{name} holds {_shown(entry)}; expected a Sequence or SpecialToken, type_id 0 or 1"
            )
        _only(value, ("id", "type_id"), f"post_processor.{name}")
        if not isinstance(value.get("id"), str):
            raise ValueError(f"post_processor.{name} holds the id {_shown(value.get('id'))}; expected a str")
        slots.append((f"${value['id']}" if kind == "Sequence" else value["id"], segment))
    return slots


def _ids_of(table, needed, tokens):
    """Refuse special tokens of the template whose ids are not those of the vocabulary."""
    table = _object(table, "post_processor.special_tokens")
    for token in sorted(needed):
        entry = _object(table.get(token), f"post_processor.special_tokens[{token!r:.60}]")
        ids = entry.get("ids")
        one = isinstance(ids, list) and len(ids) == 1 and type(ids[0]) is int and 0 <= ids[0] < len(tokens)
        if not one or tokens[ids[0]] != token:
            raise ValueError(f"post_processor: {_shown(token)} has the ids {_shown(ids)}, in the vocabulary another")


def _id(entry):
    index = entry.get("id")
    if type(index) is not int or index < 0:
        raise ValueError(f"added_tokens: id is {_shown(index)}; expected a whole number")
    return index


def _only(entry, names, where):
    unknown = sorted(set(entry) - set(names))
    if unknown:
        raise ValueError(f"{where} has the unknown field {_shown(unknown[0])}; known are {', '.join(names)}")


def _value(entry, field, choices, where="tokenizer.json"):
    value = entry.get(field)
    if not any(type(value) is type(one) and value == one for one in choices):
        raise ValueError(f"{where}: {field} is {_shown(value)}; zoo reads only {', '.join(map(repr, choices))}")


def _object(value, where):
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {_shown(value)}; expected an object")
    return value


def _list(entry, field, where):
    if not isinstance(entry.get(field), list):
        raise ValueError(f"{where}: {field} is {_shown(entry.get(field))}; expected a list")
    return entry[field]


def _shown(value):
    return f"{value!r:.80}"
