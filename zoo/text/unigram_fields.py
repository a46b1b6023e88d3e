"""The content of a Unigram tokenizer.json, every field read or refused by name: what `UnigramTokenizer` can compute.

Source of the format: `tokenizers` of Hugging Face, version "1.0". The models meant are XLM-R and its kin.
"""

import base64
import dataclasses
import math

import numpy as np

from zoo.text.tokenizer_fields import (
    as_list,
    as_object,
    check_frame,
    one_of,
    only,
    placed,
    read_template,
    shown,
    stated_tokens,
)

BLANK = "▁"  # U+2581, which stands for a blank in pieces
_DOUBLE_BLANKS = {"Regex": " {2,}"}
_FORMS = ("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents")


@dataclasses.dataclass
class UnigramFields:
    """What a tokenizer.json says.

    Args:
        pieces: list of (str, float): token and log probability; the position is the id.
        unk_id: int.
        added: list of `AddedToken`, by id; those that are no piece have the ids behind the pieces.
        normalizer, pre_tokenizer: dict or None, for the Rust library.
        cls_token, sep_token: str.
        separators: int, separators between the texts of a pair.
        segments: bool, whether the second text has segment id 1.
    """

    pieces: list
    unk_id: int
    added: list
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
    check_frame(content)
    pieces, unk_id = _model(as_object(content.get("model"), "model"))
    stated = stated_tokens(content.get("added_tokens"))
    added = placed(stated, {piece: index for index, (piece, _) in enumerate(pieces)})
    decoder = content.get("decoder")
    if decoder is not None:
        _metaspace(as_object(decoder, "decoder"), "decoder")
    tokens = [piece for piece, _ in pieces] + [token.content for token in added if not token.piece]
    return UnigramFields(
        pieces,
        unk_id,
        added,
        _normalizer(content.get("normalizer")),
        _with_blanks(_pre_tokenizer(content.get("pre_tokenizer"))),
        *read_template(as_object(content.get("post_processor"), "post_processor"), tokens),
    )


def _model(model):
    only(model, ("type", "unk_id", "vocab", "byte_fallback"), "model")
    one_of(model, "type", ("Unigram",), "model")
    one_of(model, "byte_fallback", (None, False), "model")
    pieces, unk_id = model.get("vocab"), model.get("unk_id")
    if not isinstance(pieces, list) or not pieces:
        raise ValueError(f"model.vocab is {shown(pieces)}; expected a list of [piece, log probability]")
    seen = set()
    for index, entry in enumerate(pieces):
        if not isinstance(entry, list | tuple) or len(entry) != 2 or not isinstance(entry[0], str) or not entry[0]:
            raise ValueError(f"model.vocab[{index}] is {shown(entry)}; expected [piece, log probability]")
        piece, score = entry
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise ValueError(f"model.vocab[{index}], {shown(piece)}, has the log probability {shown(score)}")
        if piece in seen:
            raise ValueError(f"model.vocab[{index}], {shown(piece)}, stands there twice; which id is meant?")
        seen.add(piece)
    if type(unk_id) is not int or not 0 <= unk_id < len(pieces):
        raise ValueError(
            f"model.unk_id is {shown(unk_id)}; expected the id of the unknown token, 0 .. {len(pieces) - 1}"
        )
    return [(piece, float(score)) for piece, score in pieces], unk_id


def _normalizer(entry):
    if entry is None:
        return None
    kind = as_object(entry, "normalizer").get("type")
    where = f"normalizer {kind}"
    if kind == "Sequence":
        only(entry, ("type", "normalizers"), where)
        return {"type": kind, "normalizers": [_normalizer(one) for one in as_list(entry, "normalizers", where)]}
    if kind in _FORMS:
        only(entry, ("type",), where)
    elif kind == "Precompiled":
        only(entry, ("type", "precompiled_charsmap"), where)
        _charsmap(entry.get("precompiled_charsmap"), where)
    elif kind == "Strip":
        only(entry, ("type", "strip_left", "strip_right"), where)
        for side in ("strip_left", "strip_right"):
            one_of(entry, side, (True, False), where)
    elif kind == "Replace":
        only(entry, ("type", "pattern", "content"), where)
        pattern = entry.get("pattern")
        plain = isinstance(pattern, dict) and list(pattern) == ["String"] and isinstance(pattern["String"], str)
        # any other regular expression may take time without end
        if not (plain and pattern["String"]) and pattern != _DOUBLE_BLANKS:
            raise ValueError(f"{where}: pattern is {shown(pattern)}; zoo takes a String, or the Regex ' {{2,}}'")
        if not isinstance(entry.get("content"), str):
            raise ValueError(f"{where}: content is {shown(entry.get('content'))}; expected a str")
    else:
        raise ValueError(
            f"normalizer {shown(kind)} is not known; known are Sequence, Precompiled, Replace, Strip, {', '.join(_FORMS)}"
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
    kind = as_object(entry, "pre_tokenizer").get("type")
    where = f"pre_tokenizer {kind}"
    if kind == "Sequence":
        only(entry, ("type", "pretokenizers"), where)
        return {"type": kind, "pretokenizers": [_pre_tokenizer(one) for one in as_list(entry, "pretokenizers", where)]}
    if kind == "WhitespaceSplit":
        only(entry, ("type",), where)
        return entry
    if kind != "Metaspace":
        raise ValueError(f"pre_tokenizer {shown(kind)} is not known; known are Sequence, WhitespaceSplit, Metaspace")
    return _metaspace(entry, where)


def _with_blanks(entry):
    """The pre-tokenizer, once it is found to leave no blank in a piece: names with a blank are kept for special tokens."""
    steps = entry["pretokenizers"] if entry is not None and entry["type"] == "Sequence" else [entry]
    if not any(step is not None and step["type"] == "Metaspace" for step in steps):
        raise ValueError(
            f"pre_tokenizer is {shown(entry)}; zoo needs a Metaspace in it, which writes blanks as {BLANK}"
        )
    return entry


def _metaspace(entry, where):
    only(entry, ("type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"), where)
    one_of(entry, "type", ("Metaspace",), where)
    for field in ("replacement", "str_rep"):
        one_of(entry, field, (BLANK,) if field == "replacement" else (None, BLANK), where)
    one_of(entry, "add_prefix_space", (None, True, False), where)
    one_of(entry, "prepend_scheme", (None, "always", "first", "never"), where)
    one_of(entry, "split", (None, True, False), where)
    return {field: value for field, value in entry.items() if field != "str_rep"}
