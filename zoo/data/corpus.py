"""Text files as one long stream of token ids, cut into packed rows for pretraining."""

import gzip
import lzma
import os

import numpy as np

from .shuffling import ROWS, permutation

_OPENERS = {".gz": gzip.open, ".xz": lzma.open}
_LINES = 8192  # tokenized at a time


def tokenize_corpus(paths, tokenizer, report=None):
    """Token ids of text files, each line followed by the separator.

    Args:
        paths: list of files, UTF-8, one paragraph a line; plain, .gz or .xz.
        tokenizer: `zoo.Tokenizer`.
        report: function of (path, tokens so far) called after each file, or None.

    Returns:
        uint16 or int32 array `[tokens]`.
    """
    kind = "uint16" if tokenizer.vocabulary_size <= 2**16 else "int32"
    pieces, tokens = [], 0
    for path in paths:
        for lines in _chunks(path):
            batch = tokenizer(lines, max_length=None)
            ids, mask = batch["token_ids"], batch["padding_mask"].copy()
            mask[:, 0] = False  # the classification token; the separator at the end of each line stays
            pieces.append(ids[mask].astype(kind))
            tokens += len(pieces[-1])
        if report is not None:
            report(path, tokens)
    if not tokens:
        raise ValueError(f"no text in {', '.join(map(str, paths)) or 'an empty list of files'}")
    return np.concatenate(pieces)


def _chunks(path):
    opener = _OPENERS.get(os.path.splitext(path)[1], open)
    with opener(path, "rt", encoding="utf-8", newline="\n") as file:
        lines = []
        for line in file:
            line = line.rstrip("\r\n")
            if line:
                lines.append(line)
            if len(lines) == _LINES:
                yield lines
                lines = []
        if lines:
            yield lines


def corpus_characters(paths, limit=None):
    """Characters of text files by how often they occur, for building a vocabulary.

    Returns:
        list of (character, count), most frequent first, ties by code point.
    """
    counts = np.zeros(0x110000, "int64")
    for path in paths:
        for lines in _chunks(path):
            codes = np.frombuffer("".join(lines).encode("utf-32-le", "surrogatepass"), "<u4")
            counts += np.bincount(codes, minlength=len(counts))
    order = np.lexsort((np.arange(len(counts)), -counts))
    order = order[counts[order] > 0][:limit]
    return [(chr(code), int(counts[code])) for code in order]


class PackedRows:
    """Rows of equal length from a token stream, in another seeded order every epoch.

    A row is [CLS], a stretch of the stream, [SEP]; lines are separated by the [SEP] that ends each.

    Args:
        stream: int array `[tokens]`.
        length: int, n.
        cls_token_id, sep_token_id: int.
        seed: int.
    """

    def __init__(self, stream, length, cls_token_id, sep_token_id, seed=0):
        if len(stream) < length - 2:
            raise ValueError(f"{len(stream)} tokens do not fill one row of {length}")
        count = len(stream) // (length - 2)
        self._rows = stream[: count * (length - 2)].reshape(count, length - 2)
        self.length, self.cls, self.sep, self.seed = length, cls_token_id, sep_token_id, seed
        self._epoch, self._order = None, None

    def __len__(self):
        return len(self._rows)

    def batch(self, number, size):
        """Batch `number` of an endless sequence, int32 `[size, n]`; epochs follow each other without a gap."""
        places = np.arange(number * size, (number + 1) * size)
        rows = np.empty((size, self.length), "int32")
        rows[:, 0], rows[:, -1] = self.cls, self.sep
        for epoch in np.unique(places // len(self)):
            if epoch != self._epoch:
                self._epoch, self._order = epoch, permutation(len(self), self.seed, int(epoch), ROWS)
            here = places // len(self) == epoch
            rows[here, 1:-1] = self._rows[self._order[places[here] % len(self)]]
        return rows
