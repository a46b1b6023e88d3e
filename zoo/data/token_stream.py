"""A tokenized corpus: one long row of token ids, perhaps with where words begin, and the file it is kept in."""

import os
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class TokenStream:
    """Token ids of a text, line after line.

    Args:
        ids: uint16 or int32 array `[tokens]`.
        word_starts: bool array `[tokens]` or None. Which tokens begin a word.
    """

    ids: np.ndarray
    word_starts: np.ndarray = None

    def __post_init__(self):
        if self.word_starts is not None and self.word_starts.shape != self.ids.shape:
            raise ValueError(f"word_starts of shape {self.word_starts.shape} for ids of shape {self.ids.shape}")

    def __len__(self):
        return len(self.ids)

    def part(self, start, stop):
        """The tokens from `start` to `stop`, as a view."""
        starts = None if self.word_starts is None else self.word_starts[start:stop]
        return TokenStream(self.ids[start:stop], starts)

    def split(self, share):
        """All but the last `share` of the tokens, and the rest."""
        place = len(self) - int(len(self) * share)
        return self.part(0, place), self.part(place, len(self))


def save_corpus(path, vocabulary, train, heldout):
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


def load_corpus(path, words=False, vocabulary=None):
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
