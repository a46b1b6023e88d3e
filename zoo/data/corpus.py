"""A corpus: text files as one long stream of token ids, where words begin, and packed rows for pretraining."""

import os
import string
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from .lines import Lines
from .shuffling import ROWS, permutation

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_LINES, _CHARACTERS = 8192, 1 << 20  # tokenized at a time: as many lines at most, and about as many characters


@dataclass(frozen=True, eq=False)
class TokenStream:
    """Token ids of a text, line after line.

    Args:
        ids: uint16 or int32 array `[tokens]`.
        word_starts: bool array `[tokens]` or None. Which tokens begin a word.
    """

    ids: np.ndarray
    word_starts: np.ndarray = None

    def __post_init__(self) -> None:
        if self.word_starts is not None and self.word_starts.shape != self.ids.shape:
            raise ValueError(f"word_starts of shape {self.word_starts.shape} for ids of shape {self.ids.shape}")

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> "TokenStream":
        """The tokens from `start` to `stop`, as a view."""
        starts = None if self.word_starts is None else self.word_starts[start:stop]
        return TokenStream(self.ids[start:stop], starts)

    def split(self, share: float) -> "tuple[TokenStream, TokenStream]":
        """All but the last `share` of the tokens, and the rest."""
        place = len(self) - int(len(self) * share)
        return self.part(0, place), self.part(place, len(self))


def tokenize_corpus(
    paths: Iterable[str | os.PathLike],
    tokenizer: Any,
    report: Callable | None = None,
    cut: Callable[[str], Iterable[str]] | None = None,
) -> TokenStream:
    """Text files as token ids, each line followed by the separator.

    Args:
        paths: list of files, UTF-8, one paragraph a line; plain, .gz or .xz.
        tokenizer: `zoo.Tokenizer`.
        report: function of (path, tokens so far) called after each file, or None.
        cut: function from a text to its words, such as `word_cutter()`, or None: no word starts.

    Returns:
        `TokenStream`, ids as uint16 where they fit.

    Raises:
        ValueError: the files hold no text. As `zoo.data.DataError`, with file, line and byte: one is not UTF-8.
    """
    paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
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
    end = (tokenizer.sep_token_id,)
    rows = tokenizer.content_ids(lines)  # not a padded batch: one long line would make all rows as long
    return np.fromiter(chain.from_iterable(chain(row, end) for row in rows), "int32"), None


def _with_words(lines, tokenizer, cut):
    end = np.array([tokenizer.sep_token_id]), np.array([True])  # a word of its own: no word crosses a line
    parts = [part for line in lines for part in (ids_and_word_starts(line, tokenizer, cut), end)]
    ids, starts = zip(*parts)
    return np.concatenate(ids), np.concatenate(starts)


def _chunks(path):
    with Lines(path, running_text=True) as file:
        lines, characters = [], 0
        while (line := file.read()) is not None:
            line = line.rstrip("\r\n")
            if line:
                lines.append(line)
                characters += len(line)
            if len(lines) == _LINES or characters >= _CHARACTERS:
                yield lines
                lines, characters = [], 0
        if lines:
            yield lines


def save_corpus(path: str | os.PathLike, vocabulary: Sequence[str], train: TokenStream, heldout: TokenStream) -> None:
    """Write a tokenized corpus, whole or not at all.

    Args:
        path: path ending in .npz; its folder is made.
        vocabulary: list of str. train: `TokenStream`. heldout: `TokenStream`, kept without its words.
    """
    arrays = {"stream": train.ids, "heldout": heldout.ids, "vocabulary": np.array(vocabulary)}
    if train.word_starts is not None:
        arrays["word_starts"] = train.word_starts
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    unfinished = f"{path}.{os.getpid()}.npz"
    np.savez(unfinished, **arrays)
    os.replace(unfinished, path)


def load_corpus(
    path: str | os.PathLike, words: bool = False, vocabulary: Sequence[str] | None = None
) -> tuple[list[str], TokenStream, TokenStream] | None:
    """The vocabulary, the training stream and the held-out stream that `save_corpus` wrote; None without a file.

    Args:
        words: bool, whether word starts are needed.
        vocabulary: list of str or None, whose ids the file must hold.

    Raises:
        ValueError: word starts are needed and the file has none; its ids are of another vocabulary.
    """
    if not os.path.exists(path):
        return None
    with np.load(path, allow_pickle=False) as saved:
        if words and "word_starts" not in saved:
            raise ValueError(
                f"{path}: tokenized without word starts; remove it to tokenize anew, or take another folder"
            )
        starts, stored = saved["word_starts"] if words else None, saved["vocabulary"].tolist()
        if vocabulary and list(vocabulary) != stored:
            raise ValueError(f"{path}: ids of another vocabulary; remove it to tokenize anew, or take another folder")
        return stored, TokenStream(saved["stream"], starts), TokenStream(saved["heldout"])


# Words


def word_cutter() -> Callable[[str], list[str]]:
    """A function from a Chinese text to the list of its words: rjieba's, the Rust edition of jieba.

    Raises:
        ImportError: rjieba is missing.
    """
    try:
        import rjieba
    except ImportError as error:
        raise ImportError("whole-word masking of Chinese needs rjieba: pip install 'keras-zoo[words]'") from error
    return rjieba.cut


def ids_and_word_starts(
    text: str, tokenizer: Any, cut: Callable[[str], Iterable[str]]
) -> tuple[np.ndarray, np.ndarray]:
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


# Vocabulary and rows


def corpus_characters(paths: Iterable[str | os.PathLike], limit: int | None = None) -> list[tuple[str, int]]:
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


def character_vocabulary(paths: Iterable[str | os.PathLike], size: int) -> list[str]:
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
    # Control and format characters, a byte order mark inside a file among them, are none that a tokenizer gives.
    readable = lambda c: not c.isspace() and c != "\ufffd" and unicodedata.category(c) not in ("Cc", "Cf")
    found = [c for c, _ in corpus_characters(paths) if readable(c) and c == c.lower()]
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

    def __init__(self, stream: TokenStream, length: int, cls_token_id: int, sep_token_id: int, seed: int = 0) -> None:
        if len(stream) < length - 2:
            raise ValueError(f"{len(stream)} tokens do not fill one row of {length}")
        count = len(stream) // (length - 2)
        cut = lambda array: array[: count * (length - 2)].reshape(count, length - 2)
        self._ids = cut(stream.ids)
        self._starts = None if stream.word_starts is None else cut(stream.word_starts)
        self.length, self.cls, self.sep, self.seed = length, cls_token_id, sep_token_id, seed
        self._epoch, self._order = None, None

    def __len__(self) -> int:
        return len(self._ids)

    def batch(self, number: int, size: int) -> tuple[np.ndarray, np.ndarray | None]:
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
