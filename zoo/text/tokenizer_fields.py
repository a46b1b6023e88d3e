"""Parts of a tokenizer.json that every model in it has, each field read or refused by name.

Source of the format: `tokenizers` of Hugging Face, version "1.0".
"""

import dataclasses

from zoo.text.added_tokens import FLAGS, AddedToken

_FRAME = "version truncation padding added_tokens normalizer pre_tokenizer post_processor decoder model".split()


def check_frame(content):
    """Refuse fields of a tokenizer.json that change ids and that zoo does not know, but those of its parts."""
    only(content, _FRAME, "tokenizer.json")
    one_of(content, "version", (None, "1.0"))
    for name in ("truncation", "padding"):  # lengths are given with each call; sides are not
        if content.get(name) is not None:
            one_of(as_object(content[name], name), "direction", (None, "Right"), name)


def stated_tokens(entries):
    """The added tokens of a tokenizer.json as (id, `AddedToken`).

    Args:
        entries: list of objects, or None.
    """
    if not isinstance(entries, list | None):
        raise ValueError(f"added_tokens is {shown(entries)}; expected a list")
    found = []
    for entry in entries or ():
        only(as_object(entry, "added_tokens"), ("id", "content", *FLAGS), "added_tokens")
        if type(entry.get("id")) is not int or entry["id"] < 0:
            raise ValueError(f"added_tokens: id is {shown(entry.get('id'))}; expected a whole number")
        found.append((entry["id"], read_token(entry, f"added_tokens: id {entry['id']}")))
    return found


def read_token(entry, where):
    """The `AddedToken` of an object with its content and flags; a flag that is missing is false."""
    content = entry.get("content")
    if not isinstance(content, str) or not content:
        raise ValueError(f"{where} has the content {shown(content)}")
    for flag in FLAGS:
        one_of(entry, flag, (None, True, False), where)
    return AddedToken(content, **{flag: bool(entry.get(flag)) for flag in FLAGS})


def placed(stated, ids):
    """Added tokens by id, once each is found to be the piece with its id or the next one behind the pieces.

    Args:
        stated: list of (id, `AddedToken`), a token as often as files name it.
        ids: dict of piece to id, 0 .. V-1.

    Raises:
        ValueError: a token with another id than its piece has, with two ids or kinds, or with an id that leaves a gap.
    """
    places, pieces, tokens = {}, {index: piece for piece, index in ids.items()}, []
    following = max(pieces, default=-1) + 1
    for index, token in sorted(stated, key=lambda one: one[0]):
        content, where = token.content, f"added_tokens: id {index} is {shown(token.content)}"
        if content in places:
            if places[content] != (index, token):
                raise ValueError(f"{where}, {token}; elsewhere it is {places[content]}. Which is meant?")
            continue
        places[content] = index, token
        if ids.get(content, index) != index:
            raise ValueError(f"{where}, in the model it has id {ids[content]}, so it would have two ids")
        if pieces.get(index, content) != content:
            raise ValueError(f"{where}, in the model {shown(pieces[index])}")
        if content not in ids:
            if index != following:
                raise ValueError(f"{where}, but {following} comes next")
            following += 1
        tokens.append(dataclasses.replace(token, piece=content in ids))
    return tokens


def read_template(post_processor, tokens):
    """cls, sep, separators between texts, and whether the second text is segment 1, of a TemplateProcessing."""
    only(post_processor, ("type", "single", "pair", "special_tokens"), "post_processor")
    one_of(post_processor, "type", ("TemplateProcessing",), "post_processor")
    single, pair = (_slots(post_processor, name) for name in ("single", "pair"))
    names = [name for name, _ in single]
    if len(single) != 3 or names[1] != "$A" or "$B" in names or any(segment for _, segment in single):
        raise ValueError(f"post_processor.single is {shown(names)}; zoo builds cls $A sep, in segment 0")
    cls, sep = names[0], names[2]
    separators = len(pair) - 4
    expected = [cls, "$A", *[sep] * separators, "$B", sep]
    segments = pair[-1][1] if pair else 0
    last = [0] * (len(pair) - 2) + [segments] * 2
    if separators not in (1, 2) or [name for name, _ in pair] != expected or [segment for _, segment in pair] != last:
        raise ValueError(
            f"post_processor.pair is {shown(pair)}; zoo builds {cls} $A {sep} $B {sep}, or with two {sep} between"
        )
    _ids_of(post_processor.get("special_tokens"), {cls, sep}, tokens)
    return cls, sep, separators, bool(segments)


def _slots(post_processor, name):
    """Places of a template as (token, "$A" or "$B"; segment id)."""
    slots = []
    for entry in as_list(post_processor, name, "post_processor"):
        kind, value = next(iter(as_object(entry, f"post_processor.{name}").items()), (None, None))
        value = as_object(value, f"post_processor.{name}")
        segment = value.get("type_id")
        if (
            len(entry) != 1
            or kind not in ("Sequence", "SpecialToken")
            or type(segment) is not int
            or segment not in (0, 1)
        ):
            raise ValueError(
                f"post_processor.{name} holds {shown(entry)}; expected a Sequence or SpecialToken, type_id 0 or 1"
            )
        only(value, ("id", "type_id"), f"post_processor.{name}")
        if not isinstance(value.get("id"), str):
            raise ValueError(f"post_processor.{name} holds the id {shown(value.get('id'))}; expected a str")
        slots.append((f"${value['id']}" if kind == "Sequence" else value["id"], segment))
    return slots


def _ids_of(table, needed, tokens):
    """Refuse special tokens of the template whose ids are not those of the vocabulary."""
    table = as_object(table, "post_processor.special_tokens")
    for token in sorted(needed):
        entry = as_object(table.get(token), f"post_processor.special_tokens[{token!r:.60}]")
        ids = entry.get("ids")
        one = isinstance(ids, list) and len(ids) == 1 and type(ids[0]) is int and 0 <= ids[0] < len(tokens)
        if not one or tokens[ids[0]] != token:
            raise ValueError(f"post_processor: {shown(token)} has the ids {shown(ids)}, in the vocabulary another")


def only(entry, names, where):
    """Refuse fields beside `names`."""
    unknown = sorted(set(entry) - set(names))
    if unknown:
        raise ValueError(f"{where} has the unknown field {shown(unknown[0])}; known are {', '.join(names)}")


def one_of(entry, field, choices, where="tokenizer.json"):
    """Refuse a value that is none of `choices`; None among them lets the field be missing."""
    value = entry.get(field)
    if not any(type(value) is type(one) and value == one for one in choices):
        raise ValueError(f"{where}: {field} is {shown(value)}; zoo reads only {', '.join(map(repr, choices))}")


def as_object(value, where):
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {shown(value)}; expected an object")
    return value


def as_list(entry, field, where):
    if not isinstance(entry.get(field), list):
        raise ValueError(f"{where}: {field} is {shown(entry.get(field))}; expected a list")
    return entry[field]


def shown(value):
    return f"{value!r:.80}"
