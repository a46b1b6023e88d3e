"""Where words begin in text without blanks between them, for whole-word masking (arXiv 1906.08101)."""

import numpy as np


def word_cutter():
    """A function from a Chinese text to the list of its words: rjieba's, the Rust edition of jieba.

    Raises:
        ImportError: rjieba is missing.
    """
    try:
        import rjieba
    except ImportError as error:
        raise ImportError("whole-word masking of Chinese needs rjieba: pip install 'keras-zoo[words]'") from error
    return rjieba.cut


def ids_and_word_starts(text, tokenizer, cut):
    """Token ids of a text, without special tokens, and which of them begin a word.

    Args:
        text: str.
        tokenizer: `zoo.Tokenizer`. Its ids do not depend on how the text is cut.
        cut: function from a text to the list of its words, which joined are the text.

    Returns:
        int32 `[tokens]`, bool `[tokens]`.

    Raises:
        ValueError: `cut` lost or changed characters.
    """
    words = tokenizer.words(text)
    if not words:
        return np.zeros(0, "int32"), np.zeros(0, bool)
    folded = "".join(word for word, _ in words)
    lengths = np.array([len(word) for word, _ in words])
    ends = np.cumsum([len(word) for word in cut(folded)])
    if ends[-1] != len(folded):
        raise ValueError(f"words of {ends[-1]} characters cut from the {len(folded)} of {folded:.60}")
    begins = np.cumsum(lengths) - lengths
    # Latin words and numbers stood apart until they were joined here, so each is a word, whatever `cut` makes of them.
    # They are what the tokenizer keeps in several characters.
    apart = lengths > 1
    starts = np.isin(begins, ends) | apart
    starts[1:] |= apart[:-1]
    starts[0] = True
    pieces = np.array([len(ids) for _, ids in words])
    of_tokens = np.zeros(pieces.sum(), bool)
    of_tokens[np.cumsum(pieces) - pieces] = starts
    return np.fromiter((one for _, ids in words for one in ids), "int32", count=len(of_tokens)), of_tokens
