"""WordPiece tokenizer of the BERT and bert4keras lineage: ids of the originals, batches as padded arrays.

Words come from `zoo.text.basic_tokenizer`, their pieces from the Rust WordPiece of Hugging Face `tokenizers`. Words repeat,
so their pieces are remembered: a batch costs one C-level pass per text and one dictionary look-up per word.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Self

from tokenizers.models import WordPiece

from zoo.text.added_tokens import AddedToken, AddedTokenFinder, read_config
from zoo.text.basic_tokenizer import WordSplitter, is_dropped, is_ideograph, is_punctuation
from zoo.text.text_tokenizer import ROLES, TextTokenizer
from zoo.text.vocabulary import (
    check_storable,
    check_tokens,
    dump_vocabulary,
    is_redundant,
    load_vocabulary,
    tokens_by_id,
)


class Tokenizer(TextTokenizer):
    """Text to token ids as bert4keras' `Tokenizer` does it, id by id.

    Special tokens inside a text are ordinary characters, as in the original: a user's "[MASK]" becomes "[",
    "mask", "]". Tokens that repeat in the vocabulary all keep their id; text maps to the last one, as in
    `transformers`.

    Args:
        vocabulary: list of str, where the position is the id, or dict of token to id with the ids 0 .. V-1.
            Never a path: `from_vocabulary_text` takes the content of a vocab.txt.
        lowercase: bool. Lower-case and, unless `strip_accents` says otherwise, strip accents. False for cased models.
        word_max_length: int. Longer words are one unknown token. 200 in bert4keras, 100 in BERT.
        pad_token, unk_token, cls_token, sep_token, mask_token: str. The special tokens by name;
            `mask_token=None` for vocabularies without one.
        pre_tokenize: None or a function from text to a list of words (such as `jieba.lcut`) for word-level
            models such as RoFormer v1: words of the vocabulary stay whole. It sees the folded text. A
            configuration cannot hold it, so `from_config` asks for it again.
        strip_accents: bool, or None to do as `lowercase`.
        added_tokens: list of str, or of dict with content and the flags of Hugging Face's `AddedToken`: tokens of the
            vocabulary that are found in a text as wholes, before it is folded and cut into words. A special token
            that is named here is found too.

    Raises:
        ValueError: a special or added token that the vocabulary lacks; a token that no vocab.txt could hold and give back.

    Source: Wu et al. 2016 (WordPiece), Devlin et al. 2018; bert4keras' `tokenizers.py` for every corner.
    """

    vocabulary_file = "vocab.txt"  # of a preset; its content is `vocabulary_text`

    def __init__(
        self,
        vocabulary: Sequence[str] | Mapping[str, int],
        lowercase: bool = True,
        word_max_length: int = 200,
        pad_token: str = "[PAD]",
        unk_token: str = "[UNK]",
        cls_token: str = "[CLS]",
        sep_token: str = "[SEP]",
        mask_token: str | None = "[MASK]",
        pre_tokenize: Callable[[str], list[str]] | None = None,
        strip_accents: bool | None = None,
        added_tokens: Iterable[str | dict | AddedToken] = (),
    ) -> None:
        if not isinstance(lowercase, bool):
            raise TypeError(f"Tokenizer: lowercase is {lowercase!r}, expected True or False.")
        if not isinstance(strip_accents, bool | None):
            raise TypeError(f"Tokenizer: strip_accents is {strip_accents!r}, expected True, False or None.")
        if not isinstance(word_max_length, int) or word_max_length < 1:
            raise ValueError(f"Tokenizer: word_max_length is {word_max_length!r}, expected a positive int.")
        self.vocabulary = tokens_by_id(vocabulary)
        check_tokens(self.vocabulary)
        check_storable(self.vocabulary)
        self.lowercase = lowercase
        self.word_max_length = word_max_length
        self.pre_tokenize = pre_tokenize
        self.pad_token = pad_token
        self.unk_token = unk_token
        self.cls_token = cls_token
        self.sep_token = sep_token
        self.mask_token = mask_token

        self._ids = {token: index for index, token in enumerate(self.vocabulary)}
        self._check_special_tokens()
        self._splitter = WordSplitter(lowercase, strip_accents)
        self.strip_accents = self._splitter.strip_accents
        self.added_tokens = read_config(added_tokens, self._ids)
        self._added = {token.content: token for token in self.added_tokens}
        pieces = {
            token: index for token, index in self._ids.items() if token not in self._added or self._added[token].piece
        }
        pieces[unk_token] = self._ids[unk_token]
        self._pieces = _PieceMemory(pieces, unk_token, word_max_length)
        self._finder = AddedTokenFinder(self.added_tokens, lowercase, self.strip_accents) if self._added else None

    @classmethod
    def from_vocabulary_text(cls, text: str | bytes, **options: Any) -> Self:
        """Tokenizer from the content of a vocab.txt (str, or bytes in UTF-8), read by `load_vocabulary`."""
        return cls(load_vocabulary(text), **options)

    @property
    def vocabulary_text(self) -> str:
        """The content of the vocab.txt to store, one token a line."""
        return dump_vocabulary(self.vocabulary)

    # Text to tokens and ids

    def tokenize(self, text: str, max_length: int | None = None) -> list[str]:
        """Tokens of a text between cls and sep. An unknown word stands as itself, folded."""
        tokens = [token for word, token_ids in self.words(text) for token in self._surface(word, token_ids)]
        tokens = tokens[: self._room(max_length, 2)]
        return [self.cls_token, *tokens, self.sep_token]

    def words(self, text: str) -> list[tuple[str, tuple[int, ...]]]:
        """Words of a text, folded, each with the ids of its pieces, which joined are the ids of the text.

        Returns:
            list of (str, tuple of int).
        """
        words: list[tuple[str, tuple[int, ...]]] = []
        for part, token, _ in self._cut(self._checked(text, "text")):
            if token is not None:
                words.append((token, (self._ids[token],)))
            else:
                words.extend((word, self._pieces[word]) for word in self._words(part))
        return words

    # Tokens back to the text

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Spans (start, end) in the text of every token of `tokenize(text)`; (0, 0) for cls and sep.

        `text[start:end]` is the source of the token, with marks and control characters that stand inside it.
        """
        spans = [(0, 0)]
        for part, token, first in self._cut(self._checked(text, "text")):
            if token is not None:
                spans.append((first, first + len(part)))
                continue
            for word in self._traced_words(part):
                folded, start = "".join(character for character, _ in word), 0
                for token in self._surface(folded, self._pieces[folded]):
                    end = start + (len(token.removeprefix("##")) if start else len(token))
                    sources = [index for _, index in word[start:end]]
                    spans.append((first + min(sources), first + max(sources) + 1))
                    start = end
        return spans + [(0, 0)]

    def rematch(self, text: str, tokens: Iterable[str]) -> list[list[int]]:
        """Indices of the text's characters behind each token, for tokens of `tokenize`, maybe not all.

        Special tokens have none. `offsets` tokenizes anew; this searches for the tokens given.

        Raises:
            ValueError: a token that the rest of the text does not hold.
        """
        characters = []
        for part, token, first in self._cut(self._checked(text, "text")):
            if token is None:
                pairs = [(character, first + index) for character, index in self._splitter.characters(part)]
                characters.extend(pair for pair in pairs if not is_dropped(pair[0]))
            else:  # it may have been found in another case, and with blanks around it
                first, last = first + len(part) - len(part.lstrip()), first + len(part.rstrip()) - 1
                characters.extend((character, min(first + index, last)) for index, character in enumerate(token))
        folded = "".join(character for character, _ in characters)
        matches, position = [], 0
        for token in tokens:
            if token not in self._added and _looks_special(token):
                matches.append([])
                continue
            stem = token.removeprefix("##")
            start = folded.find(stem, position)
            if start < 0:
                before = folded[max(0, position - 20) : position]
                raise ValueError(f"Tokenizer: token {token!r} is not in the text after {before!r}.")
            position = start + len(stem)
            matches.append([index for _, index in characters[start:position]])
        return matches

    def decode(self, token_ids: Iterable[int]) -> str:
        """Readable text of ids: no special tokens, blanks where Latin words and punctuation want them."""
        text = ""
        for token in map(self.id_to_token, token_ids):
            if self._added[token].special if token in self._added else _looks_special(token):
                continue
            if token.startswith("##"):
                text += token[2:]
            elif len(token) == 1 and is_ideograph(token):
                text += token
            elif len(token) == 1 and is_punctuation(token):
                text += token + " "
            elif text and is_ideograph(text[-1]):
                text += token
            else:
                text += " " + token
        for pattern, replacement in _TIDY:
            text = pattern.sub(replacement, text)
        return text.strip()

    # Smaller vocabularies

    def keep(self, token_ids: Iterable[int]) -> "Tokenizer":
        """A tokenizer of the tokens with these ids only, in this order (the lineage's `keep_tokens`).

        Args:
            token_ids: list of int, each once, the special tokens among them. Give the same list to the model.
        """
        tokens = [self.id_to_token(one) for one in self._kept_ids(token_ids)]
        options = self._options() | {"added_tokens": [token for token in self.added_tokens if token.content in tokens]}
        return Tokenizer(tokens, pre_tokenize=self.pre_tokenize, **options)

    def simplified_ids(self, first: Iterable[str] | None = None) -> list[int]:
        """Ids to keep of tokens that text can reach, special ones first (the lineage's `simplified=True`).

        Left out are placeholders such as `[unused1]` and longer tokens with an ideograph or a mark
        inside, a third of the published Chinese vocabularies.

        Args:
            first: None for the special tokens, or the list of tokens to put first.
        """
        first = list(self.special_tokens.values()) if first is None else list(first)
        missing = [token for token in first if token not in self._ids]
        if missing:
            raise ValueError(f"Tokenizer: the vocabulary has no {missing} to put first.")
        ids = [self._ids[token] for token in first]
        rest = self._ids.keys() - set(first)
        return ids + sorted(self._ids[token] for token in rest if token in self._added or not is_redundant(token))

    # Configuration

    def get_config(self) -> dict[str, Any]:
        """Options without the vocabulary, which is stored as vocab.txt (`vocabulary_text`)."""
        return {**self._options(), "pre_tokenize": self.pre_tokenize is not None}

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        vocabulary: Sequence[str] | Mapping[str, int],
        pre_tokenize: Callable[[str], list[str]] | None = None,
    ) -> Self:
        """Tokenizer from `get_config`'s options and a vocabulary; ValueError for options it does not know."""
        options = dict(config)
        if (asked := options.pop("pre_tokenize", False)) and pre_tokenize is None:
            raise ValueError(
                "Tokenizer: this one splits text with a function before WordPiece, which no configuration "
                "can hold. Pass it: pre_tokenize=function (jieba.lcut for the published word-level RoFormer)."
                + (f" {asked}." if isinstance(asked, str) else "")
            )
        known = {"lowercase", "strip_accents", "word_max_length", "added_tokens", *(f"{role}_token" for role in ROLES)}
        if options.keys() - known:
            unknown = sorted(options.keys() - known)
            raise ValueError(f"Tokenizer: unknown options {unknown}; known are {sorted(known)}.")
        return cls(vocabulary, pre_tokenize=pre_tokenize, **options)

    def __reduce__(self):
        # The Rust model and the memory are made anew in the other process.
        rebuild = functools.partial(Tokenizer, pre_tokenize=self.pre_tokenize, **self._options())
        return rebuild, (self.vocabulary,)

    def _options(self):
        options = {"lowercase": self.lowercase, "word_max_length": self.word_max_length}
        if self.strip_accents != self.lowercase:
            options["strip_accents"] = self.strip_accents
        if self.added_tokens:
            options["added_tokens"] = [dataclasses.asdict(token) for token in self.added_tokens]
        return options | {f"{role}_token": getattr(self, f"{role}_token") for role in ROLES}

    def _check_special_tokens(self):
        missing = {
            f"{role}_token": token
            for role, token in self.special_tokens.items()
            if not isinstance(token, str) or token not in self._ids
        }
        if missing:
            some = ", ".join(map(repr, self.vocabulary[:5]))
            raise ValueError(
                f"Tokenizer: the vocabulary of {len(self.vocabulary)} tokens ({some}, ...) lacks "
                f"{', '.join(f'{name}={token!r}' for name, token in missing.items())}. "
                "Name the tokens it uses instead, or mask_token=None if it has no mask."
            )

    def _cut(self, text):
        """Parts of a text as (part, added token or None, start)."""
        return [(text, None, 0)] if self._finder is None else self._finder.cut(text)

    def _words(self, text):
        if self.pre_tokenize is None:
            return self._splitter.words(text)
        folded = "".join(character for character, _ in self._splitter.characters(text))
        words = []
        for piece in self.pre_tokenize(folded):
            words.extend([piece] if piece in self._ids else self._splitter.words(piece))
        return words

    def _traced_words(self, text):
        """`_words` with the source index of every character."""
        characters = self._splitter.characters(text)
        if self.pre_tokenize is None:
            return self._splitter.group(characters)
        folded = "".join(character for character, _ in characters)
        words, position = [], 0
        for piece in self.pre_tokenize(folded):
            if not folded.startswith(piece, position):
                raise ValueError(f"Tokenizer: pre_tokenize changed the text at {piece!r}: no offsets.")
            part = characters[position : position + len(piece)]
            position += len(piece)
            words.extend([part] if piece in self._ids else self._splitter.group(part))
        return words

    def content_ids(self, texts: Iterable[str]) -> list[list[int]]:
        if self._finder is not None:
            return [[index for _, token_ids in self.words(text) for index in token_ids] for text in texts]
        return [list(chain.from_iterable(map(self._pieces.__getitem__, self._words(text)))) for text in texts]

    def _surface(self, word, token_ids):
        return [word] if token_ids == (self.unk_token_id,) else [self.vocabulary[one] for one in token_ids]


class _PieceMemory(dict):
    """Word to the ids of its pieces, asked of the Rust WordPiece once and remembered."""

    # About 10 MB. Frequent words come early; later ones are computed each time, so memory has a bound.
    LARGEST = 1 << 16
    LONGEST_WORD = 32

    def __init__(self, ids, unk_token, word_max_length):
        self.ids = ids
        self.unknown = (ids[unk_token],)
        self.word_max_length = word_max_length
        self.model = WordPiece(ids, unk_token=unk_token, max_input_chars_per_word=word_max_length)

    def __missing__(self, word):
        if len(word) > self.word_max_length:
            return (self.ids[word],) if word in self.ids else self.unknown
        try:
            pieces = tuple(token.id for token in self.model.tokenize(word))
        except UnicodeEncodeError:  # a lone surrogate, which no token holds
            pieces = self.unknown
        if len(word) <= self.LONGEST_WORD and len(self) < self.LARGEST:
            self[word] = pieces
        return pieces


# How decoded text is tidied up, in this order: single blanks; English clitics; no blank after opening,
# joining and CJK punctuation (which brings its own space); decimal points.
_CJK_PUNCTUATION = (
    "\uff01-\uff0d\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff64"
    "\u3000-\u3003\u3008-\u3011\u3014-\u301f\u3030\u303e\u303f"
    "\u2013\u2014\u2018\u2019\u201b-\u201f\u2026\u2027\ufe4f\ufe51\ufe54\u00b7"
)
_TIDY = [
    (re.compile(" +"), " "),
    (re.compile("' (re|m|s|t|ve|d|ll) "), r"'\1 "),
    (re.compile(rf"([{_CJK_PUNCTUATION}+\-/={{(<\[]) "), r"\1"),
    (re.compile(r"(\d\.) (\d)"), r"\1\2"),
]


def _looks_special(token):
    return token.startswith("[") and token.endswith("]")
