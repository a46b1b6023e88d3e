"""Multiplications and additions of the matrix products that a job needs; padding needs none, whoever computes it."""

import numpy as np


def transformer(lengths, layers, width, inner):
    """Forward pass of blocks of attention and feed-forward over rows of these lengths."""
    tokens, pairs = _counted(lengths)
    return layers * (2 * tokens * (4 * width**2 + 2 * width * inner) + 4 * pairs * width)


def gated(lengths, layers, width, expanded, key):
    """The same of gated attention units."""
    tokens, pairs = _counted(lengths)
    return layers * (2 * tokens * width * (3 * expanded + key) + 2 * pairs * (key + expanded))


def _counted(lengths):
    """Tokens, and pairs of a query and a key."""
    lengths = np.asarray(lengths, "int64")
    return int(lengths.sum()), int((lengths**2).sum())
