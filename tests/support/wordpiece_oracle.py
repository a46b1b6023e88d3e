"""BERT's tokenization in plain Python, slow and obvious: what fast code is compared with.

Written from the description in Devlin et al. (2018) and its rules as the bert4keras lineage applies them.
"""

import sys
import unicodedata

IDEOGRAPH_BLOCKS = "4E00-9FFF 3400-4DBF 20000-2A6DF 2A700-2B73F 2B740-2B81F 2B820-2CEAF F900-FAFF 2F800-2FA1F"

ODD = [
    *"abzABZ 09\t\n\r\x0b\x1c\x85\0\x7f",
    *"今天，。、（）《》！？「」￥…—·",
    *"éÉüñÅøßŒ",
    *"e\u0301\u0323\u0300\u034f",  # marks in both orders, and the joiner between them
    *"ＡＢａｂ１２．，\u3000\u00a0\u2003\u2028\u2029\u1680",
    *"ΣσςΑΩ İıI K Å Ω",
    *"한국어각\u1100\u1161\u11a8",
    *"𠀀𪛖𫠝𫠠𬺠𬺰豈\U0002f800〇々",
    *"👨\u200d👩\u200d👧\ufe0f🏽🇨🇳",
    *"\ue000\uf8ff\U000f0000\ufffd\ufeff\u200b\u00ad\u202e",
    *"مرحبا\u064bשָׁלוֹם\u093f\u094d\u0915",
    *"\u302e\u302f\U0001d165\U0001d16d\u1b44\U00016ff0",  # spacing marks with an order of their own
    *"\ud800\udfff\udc80",
    *"[]#'\"$+<=>^`|~@_-/{}",
]


def random_text(rng, length=24):
    """Mostly odd characters, some from anywhere in Unicode."""
    return "".join(
        rng.choice(ODD) if rng.random() < 0.9 else chr(rng.randrange(sys.maxunicode + 1))
        for _ in range(rng.randrange(length))
    )


def oracle_words(text, lowercase):
    """The published algorithm, one character after the other."""
    if lowercase:
        text = unicodedata.normalize("NFD", text.lower())
        text = "".join(c for c in text if unicodedata.category(c) != "Mn")
    blocks = [tuple(int(end, 16) for end in block.split("-")) for block in IDEOGRAPH_BLOCKS.split()]
    words, open_word = [], False
    for c in text:
        category = unicodedata.category(c)
        if c in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" or category.startswith("P"):
            words.append(c)
            open_word = False
        elif any(low <= ord(c) <= high for low, high in blocks):
            words.append(c)
            open_word = False
        elif c in "\t\n\r" or category in ("Zs", "Zl", "Zp"):
            open_word = False
        elif category in ("Cc", "Cf") or c == "\ufffd":
            continue
        elif open_word:
            words[-1] += c
        else:
            words.append(c)
            open_word = True
    return words


def oracle_tokens(text, vocabulary, lowercase, longest=200):
    """Greedy longest-match-first, by recursion on what is left of the word."""

    def pieces(rest, prefix):
        if not rest:
            return []
        for end in range(len(rest), 0, -1):
            if prefix + rest[:end] in vocabulary:
                tail = pieces(rest[end:], "##")
                return None if tail is None else [prefix + rest[:end], *tail]
        return None

    tokens = ["[CLS]"]
    for word in oracle_words(text, lowercase):
        found = pieces(word, "") if len(word) <= longest else None
        tokens.extend([word] if found is None else found)
    return [*tokens, "[SEP]"]
