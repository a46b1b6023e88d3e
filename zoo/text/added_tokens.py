"""Tokens that were added to a vocabulary: found in the text as a whole, before anything else sees it.

What `add_tokens` of Hugging Face does for URLs, order numbers and the like, which people then train. The search is that of
the `tokenizers` library, so that its corners are: the longest token at the first place, word boundaries, blanks beside it.
"""

import dataclasses
import re

import tokenizers
from tokenizers import normalizers
from tokenizers.models import WordLevel

FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_REST = "\0"  # what the library calls the text between tokens


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A token that is found in a text as a whole.

    Args:
        content: str.
        single_word: bool, only where no letter or digit stands beside it.
        lstrip, rstrip: bool, whether it takes the blanks before and behind it along.
        normalized: bool, whether it is searched in the folded text ("URL" then also finds "url" if folding lower-cases).
        special: bool, whether `decode` leaves it out.
        piece: bool, whether it is also one of the pieces that words are cut into; None: unless only added tokens follow it
            in the vocabulary.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False
    piece: bool | None = None

    def for_library(self):
        """The same token in the `tokenizers` library."""
        return tokenizers.AddedToken(self.content, **{flag: getattr(self, flag) for flag in FLAGS})

    def entry(self, index):
        """Its object in the `added_tokens` of a tokenizer.json."""
        return {"id": index, "content": self.content, **{flag: getattr(self, flag) for flag in FLAGS}}


class AddedTokenFinder:
    """Cuts a text at its added tokens.

    Args:
        tokens: list of `AddedToken`.
        lowercase, strip_accents: bool, how texts are folded, for tokens that are `normalized`.

    Raises:
        ValueError: two normalized tokens that fold to the same text, or one that folds to nothing.
    """

    def __init__(self, tokens, lowercase, strip_accents):
        self._contents = [None, *(token.content for token in tokens)]
        self._search = tokenizers.Tokenizer(WordLevel({_REST: 0}, unk_token=_REST))
        self._search.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=strip_accents, lowercase=lowercase
        )
        folded = {}
        for token in tokens:
            form = self._search.normalizer.normalize_str(token.content)
            if token.normalized and not form:
                raise ValueError(f"added_tokens: {token.content!r:.60} folds to nothing, found everywhere; take it out")
            if token.normalized and folded.setdefault(form, token.content) != token.content:
                raise ValueError(
                    f"added_tokens: {folded[form]!r:.60} and {token.content!r:.60} fold to the same text, so which "
                    "one is found is left to chance in the library too; make one of them normalized=False, or take it out"
                )
        self._search.add_tokens([token.for_library() for token in tokens])

    def cut(self, text):
        """Parts of a text in their order.

        Returns:
            list of (str, str or None, int): the part as it stands in the text, the added token that it is, its start.
        """
        found = self._search.encode(whole(text), add_special_tokens=False)
        parts, place = [], 0
        for index, (start, end) in zip(found.ids, found.offsets, strict=True):
            if (
                self._contents[index] is None
            ):  # what lies between is taken from the text, of which the library drops some
                continue
            if start > place:
                parts.append((text[place:start], None, place))
            parts.append((text[start:end], self._contents[index], start))
            place = end
        if place < len(text):
            parts.append((text[place:], None, place))
        return parts


def whole(text):
    """The text with halves of surrogate pairs, which UTF-8 cannot hold, as replacement characters."""
    return text if text.isascii() else _HALF_PAIR.sub("\ufffd", text)


def read_config(entries, ids):
    """Added tokens of a tokenizer's `added_tokens` argument: `AddedToken`, str, or dict with content and flags.

    Args:
        entries: iterable of these.
        ids: dict of token to id.

    Raises:
        TypeError: another type. ValueError: unknown flags, a token twice or not in the vocabulary.
    """
    names = {field.name for field in dataclasses.fields(AddedToken)}
    tokens = []
    for entry in entries:
        if isinstance(entry, str):
            entry = AddedToken(entry)
        elif isinstance(entry, dict):
            flags = {name: value for name, value in entry.items() if name != "content"}
            if not set(flags) < names or not all(isinstance(value, bool) for value in flags.values()):
                raise ValueError(
                    f"added_tokens: {entry!r:.200}; expected content and flags: {', '.join(sorted(names))}"
                )
            entry = AddedToken(entry.get("content", ""), **flags)
        if not isinstance(entry, AddedToken) or not isinstance(entry.content, str):
            raise TypeError(f"added_tokens: {entry!r:.80} is no added token; expected a str or a dict with its content")
        tokens.append(entry)
    seen = {}
    for token in tokens:
        content = token.content
        if content in seen:
            raise ValueError(f"added_tokens: {content!r:.80} is there twice")
        if content not in ids:
            raise ValueError(f"added_tokens: {content!r:.80} is not in the vocabulary; append it, its id is its place")
        seen[content] = token
    behind = max((index for content, index in ids.items() if content not in seen), default=-1)
    return [
        dataclasses.replace(token, piece=ids[content] < behind) if token.piece is None else token
        for content, token in seen.items()
    ]
