"""Unigram tokenizer of XLM-R and its kin (SentencePiece): ids of the originals, batches as padded arrays.

Pieces come from the Rust library of Hugging Face, which is given only what `zoo.text.unigram_fields` has read.
"""

import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

import tokenizers

from zoo.text.added_tokens import AddedToken, whole
from zoo.text.text_tokenizer import ROLES, TextTokenizer
from zoo.text.unigram_fields import BLANK, read_fields


class UnigramTokenizer(TextTokenizer):
    """Text to the token ids of a Unigram language model, as XLM-R, multilingual E5 and their kin have it.

    Special tokens inside a text are ordinary characters: a user's "</s>" becomes "<", "/", "s", ">". For every other
    text the ids are those of `transformers`. Tokens that were added to the vocabulary are found in texts as wholes.

    Args:
        content: dict, the parsed content of a tokenizer.json; never a path. `from_json` takes the text.
        pad_token: str.
        mask_token: str, or None for a vocabulary without one; the usual "<mask>" may be missing as well.

    Raises:
        ValueError: a field that zoo does not know or cannot honour, by name; a special token that is not there.

    Source: Kudo, arXiv 1804.10959 (Unigram); Conneau et al., arXiv 1911.02116 (XLM-R).
    """

    vocabulary_file = "tokenizer.json"  # of a preset; its content is `vocabulary_text`

    def __init__(self, content: Any, pad_token: str = "<pad>", mask_token: str | None = "<mask>") -> None:
        if not isinstance(content, dict):
            raise TypeError(
                f"UnigramTokenizer: content is {content!r:.60} of type {type(content).__name__}, expected the dict of a "
                "tokenizer.json; UnigramTokenizer.from_json takes its text."
            )
        try:
            self._fields = fields = read_fields(content)
        except ValueError as error:
            raise ValueError(f"UnigramTokenizer: {error}") from None
        self.vocabulary = [piece for piece, _ in fields.pieces]
        self.vocabulary += [token.content for token in fields.added if not token.piece]
        self._ids = {token: index for index, token in enumerate(self.vocabulary)}
        self.separators, self.segments = fields.separators, fields.segments
        self.cls_token, self.sep_token, self.unk_token = (
            fields.cls_token,
            fields.sep_token,
            self.vocabulary[fields.unk_id],
        )
        self.pad_token = pad_token
        self.mask_token = None if mask_token == "<mask>" and mask_token not in self._ids else mask_token
        for role, token in self.special_tokens.items():
            if not isinstance(token, str) or token not in self._ids:
                raise ValueError(
                    f"UnigramTokenizer: {role}_token={token!r:.60} is not among the {len(self.vocabulary)} tokens. Name the "
                    "token that is, or mask_token=None if there is no mask."
                )
        roles = set(self.special_tokens.values())
        self.added_tokens = [token for token in fields.added if token.content not in roles]
        self._special = roles | {token.content for token in self.added_tokens if token.special}
        self._rust = self._pieces_of_texts()
        # The library numbers added tokens anew, since it is not given those of a role.
        numbers = {token.content: self._rust.token_to_id(token.content) for token in self.added_tokens}
        self._own = {index: self._ids[token] for token, index in numbers.items() if index != self._ids[token]}

    @classmethod
    def from_json(cls, text: str | bytes, **options: Any) -> Self:
        """Tokenizer from the text of a tokenizer.json."""
        return cls(json.loads(text), **options)

    @property
    def content(self):
        """The content of a tokenizer.json, which the Rust library reads with the same ids."""
        fields = self._fields
        part = {"cls": (self.cls_token, 0), "sep": (self.sep_token, 0), "end": (self.sep_token, int(self.segments))}
        special = {name: {"SpecialToken": {"id": token, "type_id": segment}} for name, (token, segment) in part.items()}
        first = {"Sequence": {"id": "A", "type_id": 0}}
        second = {"Sequence": {"id": "B", "type_id": int(self.segments)}}
        between = [special["sep"]] * self.separators
        roles = sorted({self.cls_token, self.sep_token})
        known = {token.content: token for token in self.added_tokens}
        for token in self.special_tokens.values():
            known[token] = AddedToken(token, lstrip=token == self.mask_token, special=True)
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [known[token].entry(self._ids[token]) for token in sorted(known, key=self._ids.get)],
            "normalizer": fields.normalizer,
            "pre_tokenizer": fields.pre_tokenizer,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [special["cls"], first, special["sep"]],
                "pair": [special["cls"], first, *between, second, special["end"]],
                "special_tokens": {
                    token: {"id": token, "ids": [self._ids[token]], "tokens": [token]} for token in roles
                },
            },
            "decoder": {"type": "Metaspace", "replacement": BLANK, "prepend_scheme": "always", "split": True},
            "model": {
                "type": "Unigram",
                "unk_id": fields.unk_id,
                "vocab": [list(piece) for piece in fields.pieces],
                "byte_fallback": False,
            },
        }

    @property
    def lowercase(self):
        """Whether upper and lower case are one to it."""
        return '"Lowercase"' in json.dumps(self._fields.normalizer)

    @property
    def vocabulary_text(self) -> str:
        """The text of the tokenizer.json to store."""
        return json.dumps(self.content, ensure_ascii=False, separators=(",", ":")) + "\n"

    # Text to tokens and ids

    def content_ids(self, texts: Iterable[str]) -> list[list[int]]:
        rows = [encoding.ids for encoding in self._rust.encode_batch_fast([*map(whole, texts)])]
        return [[self._own.get(index, index) for index in row] for row in rows] if self._own else rows

    def tokenize(self, text: str, max_length: int | None = None) -> list[str]:
        """Tokens of a text between cls and sep. What is unknown stands as itself, normalized."""
        tokens = self._encoding(text).tokens[: self._room(max_length, 2)]
        return [self.cls_token, *tokens, self.sep_token]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Spans (start, end) in the text of every token of `tokenize(text)`; (0, 0) for cls and sep."""
        return [(0, 0), *self._encoding(text).offsets, (0, 0)]

    def decode(self, token_ids: Iterable[int]) -> str:
        """Readable text of ids, without special tokens."""
        tokens = map(self.id_to_token, token_ids)
        return "".join(token for token in tokens if token not in self._special).replace(BLANK, " ").strip(" ")

    # Smaller vocabularies

    def keep(self, token_ids: Iterable[int]) -> "UnigramTokenizer":
        """A tokenizer of the tokens with these ids only, in this order (the lineage's `keep_tokens`).

        Args:
            token_ids: list of int, each once, the special tokens among them. Give the same list to the model.
        """
        kept = [self.id_to_token(one) for one in self._kept_ids(token_ids)]
        missing = sorted(set(self.special_tokens.values()) - set(kept))
        if missing:
            raise ValueError(f"UnigramTokenizer: the ids to keep lack those of {', '.join(missing)}.")
        scores, place = dict(self._fields.pieces), {token: index for index, token in enumerate(kept)}
        content = self.content
        behind = len(kept)  # added tokens that are no piece may only stand behind the pieces
        while behind and kept[behind - 1] not in scores:
            behind -= 1
        for token in self.added_tokens:
            if not token.piece and token.content in kept[:behind]:
                raise ValueError(
                    f"UnigramTokenizer: {token.content!r:.60} was added behind the pieces; keep it among the last ids."
                )
        content["model"] |= {
            "vocab": [[token, scores.get(token, 0.0)] for token in kept[:behind]],
            "unk_id": place[self.unk_token],
        }
        content["added_tokens"] = [
            {**entry, "id": place[entry["content"]]} for entry in content["added_tokens"] if entry["content"] in place
        ]
        for token, entry in content["post_processor"]["special_tokens"].items():
            entry["ids"] = [place[token]]
        return UnigramTokenizer(content, pad_token=self.pad_token, mask_token=self.mask_token)

    # Configuration

    def get_config(self) -> dict[str, Any]:
        """Options without the pieces, which are stored as tokenizer.json (`vocabulary_text`)."""
        return {"class": "UnigramTokenizer", "pad_token": self.pad_token, "mask_token": self.mask_token}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], content: Any) -> Self:
        """Tokenizer from `get_config`'s options and the content of a tokenizer.json.

        Raises:
            ValueError: options it does not know; a cls, sep or unknown token that is another in the content.
        """
        known = {"class", *(f"{role}_token" for role in ROLES)}
        if config.keys() - known:
            raise ValueError(
                f"UnigramTokenizer: unknown options {sorted(config.keys() - known)}; known are {sorted(known)}."
            )
        tokenizer = cls(content, **{name: config[name] for name in ("pad_token", "mask_token") if name in config})
        for role in ("cls", "sep", "unk"):
            name = f"{role}_token"
            if config.get(name, getattr(tokenizer, name)) != getattr(tokenizer, name):
                raise ValueError(
                    f"UnigramTokenizer: {name}={config[name]!r:.60}, in the tokenizer.json it is {getattr(tokenizer, name)!r}."
                )
        return tokenizer

    def __reduce__(self):
        # The Rust model is made anew in the other process.
        return functools.partial(UnigramTokenizer.from_config, self.get_config()), (self.content,)

    def _encoding(self, text):
        return self._rust.encode(whole(self._checked(text, "text")))

    def _pieces_of_texts(self):
        """The Rust tokenizer without special tokens. Their pieces get names with a blank inside, which no text becomes."""
        content = self.content
        for index, (piece, _) in enumerate(self._fields.pieces):
            if piece in self.special_tokens.values():
                content["model"]["vocab"][index][0] = f" {index}"
        content |= {"added_tokens": [], "post_processor": None, "decoder": None}
        try:
            rust = tokenizers.Tokenizer.from_str(json.dumps(content))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"UnigramTokenizer: the tokenizers library refuses this content: {error}") from error
        rust.add_tokens([token.for_library() for token in self.added_tokens])
        return rust
