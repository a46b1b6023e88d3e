"""Text files as one long stream of token ids, cut into packed rows for pretraining."""

import gzip
import lzma
import os
import string

import numpy as np

from .shuffling import ROWS, permutation
from .token_stream import TokenStream
from .word_starts import ids_and_word_starts

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_OPENERS = {".gz": gzip.open, ".xz": lzma.open}
_LINES = 8192  # tokenized at a time


def tokenize_corpus(paths, tokenizer, report=None, cut=None):
    """Text files as token ids, each line followed by the separator.

    Args:
        paths: list of files, UTF-8, one paragraph a line; plain, .gz or .xz.
        tokenizer: `zoo.Tokenizer`.
        report: function of (path, tokens so far) called after each file, or None.
        cut: function from a text to its words, such as `word_cutter()`, or None: no word starts.

    Returns:
        `TokenStream`, ids as uint16 where they fit.

    Raises:
        ValueError: the files hold no text.
    """
    kind = "uint16" if tokenizer.vocabulary_size <= 2**16 else "int32"
    pieces, starts, tokens = [], [], 0
    for path in paths:
        for lines in _chunks(path):
            ids, begins = _plain(lines, tokenizer) if cut is None else _with_words(lines, tokenizer, cut)
            pieces.append(ids.astype(kind))
            starts.append(begins)
            tokens += len(ids)
        if report is not None:
            report(path, tokens)
    if not tokens:
        raise ValueError(f"no text in {', '.join(map(str, paths)) or 'an empty list of files'}")
    return TokenStream(np.concatenate(pieces), None if cut is None else np.concatenate(starts))


def _plain(lines, tokenizer):
    batch = tokenizer(lines, max_length=None)
    mask = batch["padding_mask"].copy()
    mask[:, 0] = False  # the classification token; the separator at the end of each line stays
    return batch["token_ids"][mask], None


def _with_words(lines, tokenizer, cut):
    end = np.array([tokenizer.sep_token_id]), np.array([True])  # a word of its own: no word crosses a line
    parts = [part for line in lines for part in (ids_and_word_starts(line, tokenizer, cut), end)]
    ids, starts = zip(*parts)
    return np.concatenate(ids), np.concatenate(starts)


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


def character_vocabulary(paths, size):
    """A vocabulary made from text files: special tokens, the most frequent characters, pieces of Latin words.

    Latin words and numbers are several characters long and so need pieces ("##a" ... "##9"); without them each would be
    unknown.

    Args:
        paths: list of files, as for `tokenize_corpus`.
        size: int, the most tokens.

    Returns:
        list of str.
    """
    pieces = [f"##{character}" for character in string.ascii_lowercase + string.digits]
    if size < len(SPECIAL_TOKENS) + len(pieces) + 1:
        raise ValueError(f"size={size}, expected at least {len(SPECIAL_TOKENS) + len(pieces) + 1} tokens")
    found = [c for c, _ in corpus_characters(paths) if not c.isspace() and c == c.lower()]
    return [*SPECIAL_TOKENS, *found[: size - len(SPECIAL_TOKENS) - len(pieces)], *pieces]


class PackedRows:
    """Rows of equal length from a token stream, in another seeded order every epoch.

    A row is [CLS], a stretch of the stream, [SEP]; lines are separated by the [SEP] that ends each.

    Args:
        stream: `TokenStream`.
        length: int, n.
        cls_token_id, sep_token_id: int.
        seed: int.
    """

    def __init__(self, stream, length, cls_token_id, sep_token_id, seed=0):
        if len(stream) < length - 2:
            raise ValueError(f"{len(stream)} tokens do not fill one row of {length}")
        count = len(stream) // (length - 2)
        cut = lambda array: array[: count * (length - 2)].reshape(count, length - 2)
        self._ids = cut(stream.ids)
        self._starts = None if stream.word_starts is None else cut(stream.word_starts)
        self.length, self.cls, self.sep, self.seed = length, cls_token_id, sep_token_id, seed
        self._epoch, self._order = None, None

    def __len__(self):
        return len(self._ids)

    def batch(self, number, size):
        """Batch `number` of an endless sequence; epochs follow each other without a gap.

        Returns:
            token ids int32 `[size, n]`, word starts bool `[size, n]` or None where the stream has none.
        """
        chosen = self._chosen(number, size)
        ids = np.empty((size, self.length), "int32")
        ids[:, 0], ids[:, -1], ids[:, 1:-1] = self.cls, self.sep, self._ids[chosen]
        if self._starts is None:
            return ids, None
        starts = np.ones((size, self.length), bool)
        starts[:, 2:-1] = self._starts[chosen, 1:]  # what is left of a word that the row's begin cuts is a word
        return ids, starts

    def _chosen(self, number, size):
        """Rows of a batch, int64 `[size]`."""
        places = np.arange(number * size, (number + 1) * size)
        chosen = np.empty(size, "int64")
        for epoch in np.unique(places // len(self)):
            if epoch != self._epoch:
                self._epoch, self._order = epoch, permutation(len(self), self.seed, int(epoch), ROWS)
            here = places // len(self) == epoch
            chosen[here] = self._order[places[here] % len(self)]
        return chosen
