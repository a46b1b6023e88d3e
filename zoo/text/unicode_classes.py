"""What a tokenizer asks of Unicode, by the tables of one version: ids depend on no Python's own.

Only what may change for a character that is there is kept as tables (`zoo.text.unicode_runs`). Unicode promises that
decompositions, combining classes and pairs of cases of an assigned character never change (its stability policies), so
that Python's own are asked for these, and a character that was not assigned then has none of them.
"""

import functools
import unicodedata
from bisect import bisect_right
from itertools import accumulate

_SIGMA, _FINAL_SIGMA = "\u03a3", "\u03c2"


class CharacterClass:
    """A set of characters, as `[first, last + 1]` of each run: `character in CharacterClass(runs)`."""

    def __init__(self, runs):
        self._edges = list(accumulate(int(length, 36) for length in runs.split()))

    def __contains__(self, character):
        return bisect_right(self._edges, ord(character)) % 2 == 1

    def ranges(self):
        """List of (first code point, last one)."""
        return [(start, end - 1) for start, end in zip(self._edges[::2], self._edges[1::2], strict=True)]


@functools.cache
def character_class(name):
    """The class of a name: unassigned, punctuation, blank, control, mark, cased or case_ignorable."""
    from zoo.text import unicode_runs  # a model needs no tokenizer

    return CharacterClass(getattr(unicode_runs, name.upper()))


@functools.cache
def lower(character):
    """One character in lower case, which may be two; a sigma as one inside a word."""
    lowered, unassigned = character.lower(), character_class("unassigned")
    return character if any(part in unassigned for part in (character, *lowered)) else lowered


def decomposed(character):
    """One character in NFD."""
    return character if character in character_class("unassigned") else unicodedata.normalize("NFD", character)


def combining(character):
    """The combining class, by which NFD sorts what follows a letter."""
    return 0 if character in character_class("unassigned") else unicodedata.combining(character)


def with_final_sigmas(text):
    """The text with every capital sigma that ends a word as the small one of word ends, as `str.lower` has it."""
    if _SIGMA not in text:
        return text
    cased, ignorable = character_class("cased"), character_class("case_ignorable")
    parts, last = list(text), len(text)

    def next_cased(index, step):
        index += step
        while 0 <= index < last and text[index] in ignorable:
            index += step
        return 0 <= index < last and text[index] in cased

    for index, character in enumerate(text):
        if character == _SIGMA and next_cased(index, -1) and not next_cased(index, 1):
            parts[index] = _FINAL_SIGMA
    return "".join(parts)
