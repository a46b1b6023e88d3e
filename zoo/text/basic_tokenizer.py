"""Text to words: the step before WordPiece, as the bert4keras lineage does it.

Devlin et al. (2018) call it basic tokenization: fold case and accents, set every CJK character and
punctuation mark apart, drop control characters, split at spaces. Ids of a published checkpoint depend on each
detail. The normalizer compiled into `tokenizers` follows an older Unicode version and other rules (it drops
private-use characters, which the lineage keeps), so the rules stand here, on the tables of one version of Unicode.
"""

import itertools

from zoo.text.unicode_classes import character_class, combining, decomposed, lower, with_final_sigmas

# The blocks that BERT and the lineage treat as ideographs. CJK extensions F and later are missing on purpose:
# the published vocabularies were made without them.
IDEOGRAPHS = (
    range(0x4E00, 0xA000),
    range(0x3400, 0x4DC0),
    range(0x20000, 0x2A6E0),
    range(0x2A700, 0x2CEB0),
    range(0xF900, 0xFB00),
    range(0x2F800, 0x2FA20),
)


def is_ideograph(character):
    """Whether a character is a CJK ideograph and so a word of its own."""
    return any(ord(character) in block for block in IDEOGRAPHS)


def is_punctuation(character):
    """Whether a character is punctuation of any script, or an ASCII symbol such as `$` or `+`."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return character in character_class("punctuation")


def is_dropped(character):
    """Whether a character leaves no trace: NUL, U+FFFD, control and format characters.

    Tabs and line ends are such characters too; `spaced` looks for them first.
    """
    return character in "\0\ufffd" or character in character_class("control")


def spaced(character):
    """A folded character before the split at blanks: itself, set apart by blanks, a blank, or nothing."""
    if is_punctuation(character) or is_ideograph(character):
        return f" {character} "
    if character in "\t\n\r":
        return " "
    if is_dropped(character):
        return ""
    return " " if character in character_class("blank") else character


class _OrderMatters(Exception):
    """A character whose place depends on the marks around it: the table alone cannot fold this text."""


class _FoldingTable(dict):
    """Code point to its folded, spaced form; filled as characters are met, for `str.translate`."""

    def __init__(self, lowercase, strip_accents):
        self.lowercase, self.strip_accents = lowercase, strip_accents

    def __missing__(self, code_point):
        character = chr(code_point)
        parts = lower(character) if self.lowercase else character
        if self.strip_accents:
            parts = "".join(map(fold, parts))
            # Canonical decomposition sorts neighbouring marks. Those that folding removes need no sorting; a few
            # spacing marks (Balinese, musical notation, Hangul tones) stay, and only they need the slow way.
            if any(map(combining, parts)):
                raise _OrderMatters
        self[code_point] = "".join(map(spaced, parts))
        return self[code_point]


def _combining(part):
    return combining(part[0])


def fold(character):
    """One character decomposed (NFD), without its accents (category Mn)."""
    return "".join(part for part in decomposed(character) if part not in character_class("mark"))


class WordSplitter:
    """Splits text into the words that WordPiece cuts further, at once or with the source of every character.

    Args:
        lowercase: bool. Lower-case, as uncased models need.
        strip_accents: bool. Strip accents (NFD without category Mn); None does as `lowercase`.
    """

    def __init__(self, lowercase, strip_accents=None):
        self.lowercase = lowercase
        self.strip_accents = lowercase if strip_accents is None else strip_accents
        self._table = _FoldingTable(lowercase, self.strip_accents)

    def words(self, text):
        """The words of a text, in linear time."""
        # Lower-casing looks at the whole text for one thing alone: a final sigma differs from one inside a word.
        cased = with_final_sigmas(text) if self.lowercase else text
        try:
            return cased.translate(self._table).split()
        except _OrderMatters:
            return ["".join(part for part, _ in word) for word in self.group(self.characters(text))]

    def characters(self, text):
        """The folded characters of a text, each with the index of the source character it came from."""
        pairs = [(character, index) for index, character in enumerate(text)]
        if self.lowercase:
            # One character may become two in lower case (the dotted capital I).
            pairs = enumerate(with_final_sigmas(text))
            pairs = [(part, index) for index, character in pairs for part in lower(character)]
        if not self.strip_accents:
            return pairs
        parts = [(part, index) for character, index in pairs for part in decomposed(character)]
        # The rest of NFD: a stable sort of every run of marks. `unicodedata.normalize` would take quadratic
        # time over a long run.
        runs = itertools.groupby(parts, key=lambda part: _combining(part) > 0)
        ordered = [part for _, run in runs for part in sorted(run, key=_combining)]
        return [part for part in ordered if part[0] not in character_class("mark")]

    def group(self, characters):
        """Words as lists of (character, source index), from what `characters` returns or a slice of it."""
        words, word = [], []
        for character, index in characters:
            form = spaced(character)
            if form == character and form != " ":
                word.append((character, index))
                continue
            if form and word:
                words.append(word)
                word = []
            if form.strip():
                words.append([(character, index)])
        return words + [word] if word else words
