"""The content of a WordPiece tokenizer.json, every field read or refused by name, and that of a `Tokenizer`, exactly.

Source of the format: `tokenizers` of Hugging Face, version "1.0". The models meant are BERT and its kin.
"""

import dataclasses
import json

from zoo.text.tokenizer_fields import (
    as_object,
    check_frame,
    one_of,
    only,
    read_template,
    shown,
    stated_tokens,
)
from zoo.text.word_splitting_json import known_splitting, word_splitting

PREFIX = "##"


@dataclasses.dataclass
class WordPieceFields:
    """What a tokenizer.json says.

    Args:
        ids: dict of piece to id.
        stated: list of (id, `AddedToken`).
        options: dict, those of `Tokenizer`: lowercase, strip_accents, word_max_length, unk_token.
        cls_token, sep_token: str, or None where the file does not say what stands around a text.
    """

    ids: dict
    stated: list
    options: dict
    cls_token: str | None
    sep_token: str | None


def read_fields(content):
    """The fields of a parsed tokenizer.json.

    Args:
        content: dict.

    Returns:
        `WordPieceFields`.

    Raises:
        ValueError: a field that would change the ids and that zoo does not know, by name and value.
    """
    check_frame(content)
    model = as_object(content.get("model"), "model")
    only(model, ("type", "vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word"), "model")
    ids, longest = model.get("vocab"), model.get("max_input_chars_per_word", 100)
    if model.get("type") != "WordPiece" or not isinstance(ids, dict):
        raise ValueError("model must be a Unigram, or a WordPiece with a vocab; zoo reads no other kind")
    if odd := next((token for token, index in ids.items() if type(index) is not int or index < 0), None):
        raise ValueError(f"model: vocab gives {shown(odd)} the id {shown(ids[odd])}; expected a whole number from 0")
    one_of(model, "continuing_subword_prefix", (None, PREFIX), "model")
    if type(longest) is not int or longest < 1:
        raise ValueError(f"model: max_input_chars_per_word is {shown(longest)}; expected a positive number")
    stated = stated_tokens(content.get("added_tokens"))
    tokens = ids | {token.content: index for index, token in stated}
    options = {"word_max_length": longest, **_splitting(content, tokens)}
    if model.get("unk_token") is not None:
        options["unk_token"] = model["unk_token"]
    if content.get("decoder") is not None:
        decoder = as_object(content["decoder"], "decoder")
        only(decoder, ("type", "prefix", "cleanup"), "decoder")
        one_of(decoder, "type", ("WordPiece",), "decoder")
        one_of(decoder, "prefix", (None, PREFIX), "decoder")
    return WordPieceFields(ids, stated, options, *_around(content.get("post_processor"), tokens))


def _splitting(content, tokens):
    """How texts are folded and cut into words: by the parts that `Tokenizer` writes, or by those of BERT."""
    normalizer = content.get("normalizer")
    if isinstance(normalizer, dict) and normalizer.get("type") == "Sequence":
        own = known_splitting(normalizer, content.get("pre_tokenizer"), tokens)
        if own is None:
            raise ValueError(
                f"normalizer and pre_tokenizer are {shown(normalizer)} and {shown(content.get('pre_tokenizer'))}; of such "
                "sequences zoo reads only those of its own tokenizer.json, as they were written for this vocabulary"
            )
        return own
    options = _folding(_part(content, "normalizer", "BertNormalizer"))
    only(_part(content, "pre_tokenizer", "BertPreTokenizer"), ("type",), "pre_tokenizer")
    return options


def _part(content, name, kind):
    part = content.get(name)
    if not isinstance(part, dict) or part.get("type") != kind:
        raise ValueError(f"{name} is {shown(part)}; with WordPiece zoo reads only a {kind}, or its own")
    return part


def _folding(normalizer):
    """How texts are folded, of a BertNormalizer."""
    only(normalizer, ("type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), "normalizer")
    for field in ("clean_text", "handle_chinese_chars"):
        one_of(normalizer, field, (None, True), "normalizer")
    one_of(normalizer, "lowercase", (None, True, False), "normalizer")
    one_of(normalizer, "strip_accents", (None, True, False), "normalizer")
    lowercase = normalizer.get("lowercase") is not False
    strip = normalizer.get("strip_accents")
    return {"lowercase": lowercase, "strip_accents": lowercase if strip is None else strip}


def _around(post_processor, ids):
    """cls and sep of a TemplateProcessing or BertProcessing; None twice where there is none."""
    if post_processor is None:
        return None, None
    if as_object(post_processor, "post_processor").get("type") == "BertProcessing":
        only(post_processor, ("type", "cls", "sep"), "post_processor")
        pairs = [post_processor.get(name) for name in ("cls", "sep")]
        for pair in pairs:
            if not (isinstance(pair, list) and len(pair) == 2 and ids.get(str(pair[0]), -1) == pair[1]):
                raise ValueError(f"post_processor holds {shown(pair)}; expected a token of the vocabulary and its id")
        return pairs[0][0], pairs[1][0]
    places = {index: token for token, index in ids.items()}
    if max(places, default=-1) >= 2 * len(places) + 1000:  # before a list as long as that is made
        raise ValueError(f"ids go up to {max(places)} for {len(places)} tokens; expected no gaps")
    tokens = [places.get(index) for index in range(max(places, default=-1) + 1)]
    cls, sep, separators, segments = read_template(post_processor, tokens)
    if separators != 1 or not segments:
        raise ValueError(
            f"post_processor.pair has {separators} {shown(sep)} between its texts and segment {int(segments)} for the second; "
            "zoo's WordPiece builds one, and segment 1"
        )
    return cls, sep


def to_content(tokenizer):
    """The content of a tokenizer.json with which the `tokenizers` library gives exactly the ids of a `Tokenizer`.

    Special tokens are none of its `added_tokens`: the library would find them in texts, where they are words like any
    other. (transformers adds them again, unless its config says `split_special_tokens`.) Exact are single texts, added
    tokens that are `normalized` apart, whose folding here is BERT's; of a pair that is cut the library gives an odd
    token to the longer text, zoo to the second one.

    Raises:
        ValueError: a function that cuts texts; an added token that is no piece stands before pieces: the format has no
            place for either.
    """
    if tokenizer.pre_tokenize is not None:
        raise ValueError("a tokenizer.json has no place for pre_tokenize, a function")
    ids = {token: index for index, token in enumerate(tokenizer.vocabulary)}
    known = {token.content: token for token in tokenizer.added_tokens}
    outside = {token.content for token in known.values() if not token.piece}
    behind = max(index for token, index in ids.items() if token not in outside)
    if early := [token for token in outside if ids[token] < behind]:
        raise ValueError(
            f"{min(early)!r:.60} is an added token and no piece, so a tokenizer.json wants it behind all pieces"
        )
    name = lambda token, segment: {"SpecialToken": {"id": token, "type_id": segment}}  # noqa: E731
    text = lambda letter, segment: {"Sequence": {"id": letter, "type_id": segment}}  # noqa: E731
    cls, sep = tokenizer.cls_token, tokenizer.sep_token
    single = [name(cls, 0), text("A", 0), name(sep, 0)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [known[token].entry(ids[token]) for token in sorted(known, key=ids.get)],
        **word_splitting(tokenizer.vocabulary, tokenizer.lowercase, tokenizer.strip_accents),
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, text("B", 1), name(sep, 1)],
            "special_tokens": {one: {"id": one, "ids": [ids[one]], "tokens": [one]} for one in (cls, sep)},
        },
        "decoder": {"type": "WordPiece", "prefix": PREFIX, "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": tokenizer.unk_token,
            "continuing_subword_prefix": PREFIX,
            "max_input_chars_per_word": tokenizer.word_max_length,
            "vocab": {token: index for token, index in ids.items() if token not in outside},
        },
    }


def json_bytes(tokenizer):
    """The bytes of a `Tokenizer`'s tokenizer.json, see `to_content`; None where the format has no place for it."""
    try:
        content = to_content(tokenizer)
    except ValueError:
        return None
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
