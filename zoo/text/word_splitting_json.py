"""How `zoo.Tokenizer` folds a text and cuts it into words, as the normalizer and pre_tokenizer of a tokenizer.json.

Hugging Face's `tokenizers` computes exactly the same words from it, whatever its own tables of Unicode: every class of
characters stands in it as it is, and what those tables know of later versions is taken out beforehand. Its
BertNormalizer does not: its tables are of another version, and it drops private-use characters.
"""

from zoo.text.basic_tokenizer import IDEOGRAPHS
from zoo.text.unicode_classes import character_class, combining

_SPECIAL = frozenset("\\]^[-&~|")  # inside of a class of characters
_SURROGATES = range(0xD800, 0xE000)
# The library's NFD is of Unicode 9 or so, and sorts what came since as if it did not combine. Marks are no matter, since
# they are dropped beforehand; one decomposition is, and in the vocabulary U+1715, U+1193D, U+16FF0 and U+16FF1 would be.
_NEW_COMPOSED = {"\U00011938": "\U00011935\U00011930"}


def word_splitting(vocabulary, lowercase, strip_accents):
    """The fields `normalizer` and `pre_tokenizer` of a tokenizer.json.

    Args:
        vocabulary: iterable of str, all tokens.
        lowercase, strip_accents: bool, as in `zoo.Tokenizer`.

    Returns:
        dict of the two.
    """
    held = set("".join(vocabulary))
    steps = []
    if lowercase or strip_accents:
        # Characters that came after our version may have a case or a decomposition by now. A letter that no token holds
        # makes of a word what they do, the unknown token.
        letter = next(chr(code) for code in range(0xF8FF, 0xDFFF, -1) if chr(code) not in held)
        steps.append(_replace(_pattern(_unassigned(held)), letter))
    if lowercase:
        if held & {"\u03c3", "\u03c2"}:
            steps.append(_replace(_final_sigma(), "\u03c2"))
        steps.append({"type": "Lowercase"})
    if strip_accents:
        steps += [_replace(composed, parts) for composed, parts in _NEW_COMPOSED.items()]
        steps.append(_replace(_pattern(_sorted_marks()), ""))
        steps.append({"type": "NFD"})
    dropped = _ranges("control") + [(0xFFFD, 0xFFFD)]
    dropped = _without(dropped, {0x09, 0x0A, 0x0D})
    steps.append(_replace(_pattern(dropped + (_ranges("mark") if strip_accents else [])), ""))
    blanks = [*_ranges("blank"), *((code, code) for code in (0x09, 0x0A, 0x0D))]
    apart = [*_ranges("punctuation"), *_ascii_symbols(), *((block[0], block[-1]) for block in IDEOGRAPHS)]
    return {
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [_split(_pattern(blanks) + "+", "Removed"), _split(_pattern(apart), "Isolated")],
        },
    }


def known_splitting(normalizer, pre_tokenizer, vocabulary):
    """The options {lowercase, strip_accents} with which `word_splitting` makes these two fields, or None."""
    for lowercase in (True, False):
        for strip_accents in (True, False):
            made = word_splitting(vocabulary, lowercase, strip_accents)
            if made == {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer}:
                return {"lowercase": lowercase, "strip_accents": strip_accents}
    return None


def _replace(pattern, content):
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _split(pattern, behavior):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


def _final_sigma():
    """A capital sigma behind a cased letter and before none, `case_ignorable` ones between them left aside."""
    cased, ignorable = _pattern(_ranges("cased")), _pattern(_ranges("case_ignorable"))
    return f"(?<={cased}{ignorable}*)\u03a3(?!{ignorable}*{cased})"


def _ranges(name):
    return character_class(name).ranges()


def _unassigned(held):
    """Ranges of the unassigned characters that no token holds, and that are no words of their own by their block."""
    unassigned = character_class("unassigned")
    kept = {ord(character) for character in held if character in unassigned}
    for block in IDEOGRAPHS:
        for first, last in unassigned.ranges():
            kept |= {*range(max(first, block[0]), min(last, block[-1]) + 1)}
    return _without(unassigned.ranges(), kept)


def _sorted_marks():
    """Ranges of marks that NFD moves. To drop them before it moves nothing else: they stand between no two others."""
    codes = (code for first, last in _ranges("mark") for code in range(first, last + 1))
    return [(code, code) for code in codes if combining(chr(code))]


def _ascii_symbols():
    """What counts as punctuation though Unicode calls it a symbol."""
    return [(ord(symbol), ord(symbol)) for symbol in "$+<=>^`|~"]


def _without(ranges, codes):
    """Ranges without some code points."""
    left = []
    for first, last in ranges:
        for code in sorted(code for code in codes if first <= code <= last):
            if first < code:
                left.append((first, code - 1))
            first = code + 1
        if first <= last:
            left.append((first, last))
    return left


def _pattern(ranges):
    """A regular expression's class of characters, all of them literal."""
    joined = []
    for first, last in sorted(ranges):
        if joined and (
            first == joined[-1][1] + 1 or (joined[-1][1], first) == (_SURROGATES[0] - 1, _SURROGATES[-1] + 1)
        ):
            joined[-1][1] = last  # a range may run over the surrogates, which are no characters
        else:
            joined.append([first, last])
    return (
        "["
        + "".join(
            _literal(first) + ("-" if last > first + 1 else "") + _literal(last) * (last > first)
            for first, last in joined
        )
        + "]"
    )


def _literal(code):
    return "\\" * (chr(code) in _SPECIAL) + chr(code)
