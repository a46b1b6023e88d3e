"""What two texts have in common when case, punctuation, white space and width are ignored."""

import unicodedata
from collections.abc import Iterable


class _Kept(dict):
    """`str.translate` table that drops punctuation, separators and controls, filled as it is used."""

    def __missing__(self, code: int) -> int | None:
        kept = None if unicodedata.category(chr(code))[0] in "PZC" else code
        self[code] = kept
        return kept


_KEPT = _Kept()


def normal_form(text: str) -> str:
    """The text in NFKC, case-folded, without punctuation, white space and control characters.

    A text of nothing else keeps its white-space-free self, so that "?" and "!" do not become the same.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return folded.translate(_KEPT) or "".join(folded.split())


def pair_key(texts: Iterable[str]) -> frozenset[str]:
    """What two pairs of texts have in common when the order of their texts is ignored too: a frozenset of normal forms."""
    return frozenset(map(normal_form, texts))
