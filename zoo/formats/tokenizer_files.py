"""Tokenizer files of a Hugging Face folder: every field is read, known to change no id, or refused by file, field and value.

What transformers does with a field that two files state counts here too: of BERT's own tokenizer classes
tokenizer_config.json has the last word on case and accents, of the general ones tokenizer.json alone.
"""

import json

from zoo.formats import fields
from zoo.formats.vocabulary import named, read_tokenizer_json, read_vocabulary
from zoo.store import PresetError, strict_json
from zoo.text import wordpiece_fields
from zoo.text.added_tokens import AddedToken
from zoo.text.text_tokenizer import ROLES
from zoo.text.tokenizer_fields import placed, read_token, shown, stated_tokens
from zoo.text.unigram import UnigramTokenizer
from zoo.text.vocabulary import is_redundant, tokens_by_id

CONFIG, MAP, ADDED, TOKENIZER = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
)
_NAMES = tuple(f"{role}_token" for role in ROLES)
_MORE_NAMES = ("bos_token", "eos_token")  # other tokens with a name; those below come as lists
_LISTS = ("additional_special_tokens", "extra_special_tokens")

_GENERAL = ("PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend")
_BERT = tuple(name + fast for name in ("BertTokenizer", "ElectraTokenizer") for fast in ("", "Fast"))
_WORDS = ("RoFormerTokenizer", "RoFormerTokenizerFast")  # jieba before WordPiece
_UNIGRAM = tuple(name + fast for name in ("XLMRobertaTokenizer", "AlbertTokenizer") for fast in ("", "Fast"))

# Fields of tokenizer_config.json that no id depends on: where the files lay, lengths (given with each call), decoding.
_FREE = set(
    "tokenizer_class model_max_length max_len max_length name_or_path _name_or_path tokenizer_file special_tokens_map_file "
    "vocab_file full_tokenizer_file clean_up_tokenization_spaces use_fast backend is_local local_files_only processor_class "
    "chat_template transformers_version stride pad_to_multiple_of init_inputs legacy".split()
)
# Fields that must have one of these values, where they are there and not null.
_ONLY = {
    "padding_side": ("right",),
    "truncation_side": ("right",),
    "truncation_strategy": ("longest_first",),
    "pad_token_type_id": (0,),
    "split_special_tokens": (True, False),  # special tokens in a text are words like any other to zoo
    "add_prefix_space": (True,),
    "add_special_tokens": (True,),
    "sp_model_kwargs": ({},),
    "model_specific_special_tokens": ({},),
    "wordpieces_prefix": ("##",),
    "remove_space": (True,),  # these two of ALBERT's tokenizer; tokenizer.json says what it does
    "keep_accents": (False,),
}
# Fields that only BERT's own classes look at.
_BERT_ONLY = {
    "tokenize_chinese_chars": (True,),
    "handle_chinese_chars": (True,),
    "clean_text": (True,),
    "do_basic_tokenize": (True,),
}
_BERT_READ = {"do_lower_case", "strip_accents", "never_split"}
_SEGMENTS = "token_type_ids"


def read(folder):
    """What a Hugging Face folder's tokenizer is made of.

    Args:
        folder: `zoo.store.Folder`.

    Returns:
        dict of vocabulary and tokenizer_options, as in `Checkpoint`.

    Raises:
        PresetError: a field that would change ids and that zoo cannot honour, or files that contradict each other.
    """
    content = read_tokenizer_json(folder) if folder.has(TOKENIZER) else None
    config, source = _config(folder), f"{folder.path}/{CONFIG}"
    if content is None and not folder.has("vocab.txt"):
        _folding(config, source, {})
        return {"vocabulary": None, "tokenizer_options": {}}
    model = content.get("model") if content is not None else None
    if isinstance(model, dict) and model.get("type") == "Unigram":
        fields.choice(config, "tokenizer_class", source, (None, *_UNIGRAM, *_GENERAL))
        fields.choice(config, "split_special_tokens", source, (None, False))
        return _unigram(folder, config, content)
    if isinstance(model, dict) and model.get("type") != "WordPiece":
        raise PresetError(
            f"{folder.path}/{TOKENIZER}: model is of type {shown(model.get('type'))}; model must be a Unigram or a WordPiece, "
            "zoo reads no other kind"
        )
    cls = fields.choice(config, "tokenizer_class", source, (None, *_BERT, *_WORDS, *_GENERAL))
    return _wordpiece(folder, config, content, cls)


def _config(folder):
    """tokenizer_config.json, {} where there is none; its fields are known to zoo."""
    if not folder.has(CONFIG):
        return {}
    source = f"{folder.path}/{CONFIG}"
    # transformers writes int(1e30) for "no limit", a number beyond the 64 bits of strict JSON
    content = folder.bytes(CONFIG).replace(b"1000000000000000019884624838656", b"null")
    config = strict_json.parse(content, source)
    known = {*_FREE, *_ONLY, *_BERT_ONLY, *_BERT_READ, *_NAMES, *_MORE_NAMES, *_LISTS}
    known |= {"added_tokens_decoder", "model_input_names"}
    if unknown := sorted(set(config) - known):
        field = unknown[0]
        raise PresetError(
            f"{source}: {field} is {shown(config[field])}, a field that zoo does not know and that may change the ids; "
            "take it out if it does not"
        )
    for field, values in _ONLY.items():
        if config.get(field) is not None:
            fields.choice(config, field, source, values)
    return config


def _unigram(folder, config, content):
    special = _special_tokens(folder, config)
    stated = named(f"{folder.path}/{TOKENIZER}", stated_tokens, content.get("added_tokens"))
    there = {token.content: index for index, token in stated}
    pieces = content["model"].get("vocab")
    known = {piece[0] for piece in pieces if isinstance(piece, list) and piece} if isinstance(pieces, list) else ()
    # tokenizer.json holds all of them; other files may only repeat it
    for index, token, source in _elsewhere(folder, config, special):
        if there.get(token.content, index) != index or token.content not in there and token.content not in known:
            raise PresetError(
                f"{source}: {shown(token.content)}, id {index}, is not in {TOKENIZER} with that id; which is meant?"
            )
    for token in special.more.values():
        if token.content not in there and token.content not in special.roles.values():
            raise PresetError(f"{special.source}: {shown(token.content)} is none of the added_tokens in {TOKENIZER}")
    return {
        "vocabulary": content,
        "tokenizer_options": {"class": UnigramTokenizer.__name__, **special.roles},
    }


def _wordpiece(folder, config, content, cls):
    source, rows = f"{folder.path}/{CONFIG}", read_vocabulary(folder)
    options, stated, pieces = {"word_max_length": 100}, [], None  # 100 is transformers' own
    special = _special_tokens(folder, config)
    if content is not None:
        told = named(f"{folder.path}/{TOKENIZER}", wordpiece_fields.read_fields, content)
        pieces, options = told.ids, told.options
        stated = told.stated
        _agree(folder, special, {"unk_token": told.options.get("unk_token")})
        around = {"cls_token": told.cls_token, "sep_token": told.sep_token}
        _agree(folder, special, around)
        if cls in _GENERAL and told.cls_token is None:
            raise PresetError(
                f"{folder.path}/{TOKENIZER}: post_processor is null, so nothing would stand around a text; zoo puts cls and "
                "sep there"
            )
        options |= {name: token for name, token in around.items() if token is not None}
    if content is None or cls not in _GENERAL:
        options |= _folding(config, source, options)
    if not isinstance(config.get("model_input_names"), list | None):
        raise PresetError(f"{source}: model_input_names is {shown(config['model_input_names'])}; expected a list")
    if _SEGMENTS not in (config.get("model_input_names") or [_SEGMENTS]):
        raise PresetError(
            f"{source}: model_input_names is {shown(config['model_input_names'])}, without {_SEGMENTS}; zoo gives the second "
            f"text of a pair segment 1. Add {_SEGMENTS} if the model was trained so"
        )
    options |= special.roles
    if rows is None:
        rows = named(f"{folder.path}/{TOKENIZER}", tokens_by_id, pieces | {one.content: index for index, one in stated})
    stated = [(index, token, f"{folder.path}/{TOKENIZER}") for index, token in stated]
    added = _added(folder, rows, pieces, stated + _elsewhere(folder, config, special), special, options)
    if added:
        options["added_tokens"] = added
    if config.get("split_special_tokens") and (split := [token.content for token in added if token.special]):
        raise PresetError(
            f"{source}: split_special_tokens is True, so that {shown(split[0])}, a special token, is found in no text; "
            "zoo finds every added token. Take it out of the special ones"
        )
    # jieba's words are kept whole where the vocabulary has them; one of characters alone gives the same ids without it
    if cls in _WORDS and any(not one.startswith(("##", "[", "<")) and is_redundant(one) for one in rows):
        options["pre_tokenize"] = f"{source}: tokenizer_class is {cls!r}, which keeps the words of jieba whole"
    return {"vocabulary": rows, "tokenizer_options": options}


def _folding(config, source, told):
    """The tokenizer's `lowercase` and `strip_accents`, as far as BERT's own classes are told them."""
    for field, values in _BERT_ONLY.items():
        if config.get(field) is not None:
            fields.choice(config, field, source, values)
    kept = config.get("never_split") or []
    roles = {f"[{role.upper()}]" for role in ROLES}
    if not isinstance(kept, list) or not {str(one) for one in kept} <= roles:
        raise PresetError(
            f"{source}: never_split is {shown(kept)}; zoo cuts every word into pieces. Make them added_tokens"
        )
    lowercase = config.get("do_lower_case")
    strip = config.get("strip_accents")
    if lowercase is not None:
        fields.choice(config, "do_lower_case", source, (True, False))
    if strip is not None:
        fields.choice(config, "strip_accents", source, (True, False))
    if lowercase is None and strip is None:
        return {}
    case = told.get("lowercase", True) if lowercase is None else lowercase
    return ({} if lowercase is None and "lowercase" not in told else {"lowercase": case}) | {
        "strip_accents": case if strip is None else strip
    }


class _Special:
    """Special tokens of tokenizer_config.json and special_tokens_map.json.

    Args:
        roles: dict of option of a tokenizer, such as "cls_token", to token; files: to the file that states it first.
        more: dict of content to `AddedToken`, those without a role in zoo.
        source: str, the file that states the latter.
    """

    def __init__(self, roles, files, more, source):
        self.roles, self.files, self.more, self.source = roles, files, more, source


def _special_tokens(folder, config):
    roles, first, more, source = {}, {}, {}, f"{folder.path}/{CONFIG}"
    files = [(config, f"{folder.path}/{CONFIG}")]
    if folder.has(MAP):
        files.append((folder.json(MAP), f"{folder.path}/{MAP}"))
        if unknown := sorted(set(files[1][0]) - {*_NAMES, *_MORE_NAMES, *_LISTS}):
            raise PresetError(
                f"{files[1][1]}: {unknown[0]} is {shown(files[1][0][unknown[0]])}, a field that zoo does not know"
            )
    for stated, file in files:
        for name in (*_NAMES, *_MORE_NAMES):
            token = _token(stated.get(name), f"{file}: {name}")
            if token is None:
                continue
            if name in _NAMES:
                first.setdefault(name, file)
                if roles.setdefault(name, token.content) != token.content:
                    raise PresetError(f"{file}: {name} is {shown(token.content)}, in {CONFIG} {shown(roles[name])}")
            else:
                more[token.content], source = token, file
        for name in _LISTS:
            entries = stated.get(name)
            entries = list(entries.values()) if isinstance(entries, dict) else entries or []
            if not isinstance(entries, list):
                raise PresetError(f"{file}: {name} is {shown(entries)}; expected a list of tokens")
            for entry in entries:
                token = _token(entry, f"{file}: {name}")
                if token is None:
                    raise PresetError(f"{file}: {name} holds {shown(entry)}; expected tokens")
                more[token.content], source = token, file
    # a second name for a token with a role, such as XLM-R's bos_token for cls_token, is no other token
    for content in set(roles.values()) & set(more):
        del more[content]
    if any("mask_token" in stated for stated, _ in files):
        roles.setdefault("mask_token", None)  # null: there is none
    return _Special(roles, first, more, source)


def _token(entry, where):
    """A special token as `AddedToken`; None for null."""
    if entry is None:
        return None
    if isinstance(entry, dict):
        entry = {name: value for name, value in entry.items() if name != "__type"} | {"special": True}
        unknown = sorted(set(entry) - {"content", "single_word", "lstrip", "rstrip", "normalized", "special"})
        if unknown:
            raise PresetError(f"{where} has the unknown field {shown(unknown[0])}")
        return named(where, lambda one: read_token(one, "it"), entry)
    if not isinstance(entry, str) or not entry:
        raise PresetError(f"{where} is {shown(entry)}; expected a token")
    return AddedToken(entry, special=True)


def _elsewhere(folder, config, special):
    """Added tokens that other files than tokenizer.json state, as (id, `AddedToken`, file)."""
    source, found, decoder = f"{folder.path}/{CONFIG}", [], config.get("added_tokens_decoder")
    if not isinstance(decoder, dict | None):
        raise PresetError(f"{source}: added_tokens_decoder is {shown(decoder)}; expected an object of ids")
    for index, entry in (decoder or {}).items():
        if not (index.isdecimal() and len(index) < 10) or not isinstance(entry, dict):
            raise PresetError(f"{source}: added_tokens_decoder has {shown(index)}: {shown(entry)}; expected id: token")
        entry = {name: value for name, value in entry.items() if name != "__type"}
        found += [(one, token, source) for one, token in named(source, stated_tokens, [{"id": int(index), **entry}])]
    if folder.has(ADDED):
        known, source = {token.content for _, token, _ in found}, f"{folder.path}/{ADDED}"
        for content, index in folder.json(ADDED).items():
            fields.size({content: index}, content, source, least=0)
            if content in known:
                found += [(index, token, source) for _, token, _ in found if token.content == content]
            else:  # the kind of token that transformers makes of one without flags
                own = special.more.get(content)
                named_special = own is not None or content in special.roles.values()
                token = own or AddedToken(content, special=named_special, normalized=not named_special)
                found.append((index, token, source))
    return found


def _added(folder, rows, pieces, stated, special, options):
    """Added tokens as the tokenizer's option; those that the vocabulary file lacks are appended to `rows`.

    Args:
        rows: list of str. pieces: dict of piece to id, or None: all of `rows`.
        stated: list of (id, `AddedToken`, file).
    """
    places = {token: index for index, token in enumerate(rows)}
    if pieces is None:
        pieces = dict(places)
    else:
        _same_vocabulary(folder, places, pieces, {token.content for _, token, _ in stated})
    role_tokens = {options.get(name, f"[{name[:-6].upper()}]") for name in _NAMES}
    in_tokenizer_json = {token.content for _, token, file in stated if file.endswith(TOKENIZER)}
    plain = []
    for index, token, file in stated:
        if token.content in role_tokens:
            token = AddedToken(token.content)  # found in no text, whatever its flags
        elif file.endswith(ADDED) and token.content in in_tokenizer_json:
            token = next(one for _, one, _ in stated if one.content == token.content)  # that file has no flags
        if index < len(rows) and rows[index] != token.content:
            raise PresetError(f"{file}: id {index} is {shown(token.content)}, in the vocabulary {shown(rows[index])}")
        plain.append((index, token))
    files = sorted({file for _, _, file in stated})
    tokens = named(", ".join(files), lambda one: placed(one, pieces), plain)
    for token in tokens:
        if token.content not in places:
            places[token.content] = len(rows)
            rows.append(token.content)
    found = {token.content: token for token in tokens if token.content not in role_tokens}
    for content, token in special.more.items():
        if content not in places:
            raise PresetError(f"{special.source}: {shown(content)} has no id: no file lists it among the added tokens")
        found.setdefault(content, AddedToken(**{**vars(token), "piece": content in pieces}))
    return sorted(found.values(), key=lambda one: places[one.content])


def _same_vocabulary(folder, places, pieces, added):
    for token in [*pieces, *places]:
        if places.get(token) != pieces.get(token) and not (token in added and token not in pieces):
            raise PresetError(
                f"{folder.path}: {shown(token)} has id {places.get(token)} in vocab.txt and {pieces.get(token)} in "
                f"{TOKENIZER}; which is meant? Take the other file away"
            )


def _agree(folder, special, told):
    """Refuse a special token that tokenizer.json and the other files call differently."""
    for name, token in told.items():
        if token is not None and special.roles.get(name, token) != token:
            raise PresetError(
                f"{special.files[name]}: {name} is {shown(special.roles[name])}, in {TOKENIZER} {shown(token)}; which is meant?"
            )


def to_files(tokenizer):
    """File name -> bytes, from which transformers and zoo make a tokenizer of the same ids.

    Raises:
        ValueError: something that no file of that format can hold.
    """
    if getattr(tokenizer, "pre_tokenize", None) is not None:
        raise ValueError(
            "format='hugging_face' has no place for pre_tokenize, a function: the ids would be others. Save a zoo preset, or "
            "set model.tokenizer = None and keep the vocabulary beside the folder"
        )
    names = {f"{role}_token": token for role, token in tokenizer.special_tokens.items()}
    stated = {"tokenizer_class": "XLMRobertaTokenizer", **names}
    files = {tokenizer.vocabulary_file: tokenizer.vocabulary_text.encode()}
    if not isinstance(tokenizer, UnigramTokenizer):
        # BERT's own class in transformers sets the longest word to 100 and its names anew; the general one reads the file.
        stated = {
            **names,
            "mask_token": tokenizer.mask_token,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "do_lower_case": tokenizer.lowercase,
            "strip_accents": tokenizer.strip_accents,
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        }
        content = json.dumps(wordpiece_fields.to_content(tokenizer), ensure_ascii=False, separators=(",", ":"))
        files[TOKENIZER] = content.encode() + b"\n"
    files[CONFIG] = (json.dumps(stated, indent=2, sort_keys=True) + "\n").encode()
    return files
