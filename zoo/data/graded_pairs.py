"""Labelled pairs of many kinds on one scale, from 0 (unrelated) to 1 (the same), and what is made of them."""

import os
from collections.abc import Iterable
from dataclasses import replace

from .normal_form import pair_key
from .reader import read_pairs
from .records import Pairs
from .shuffling import SETS, permutation

# Kind of a set: name of its label column, type of its labels, the label that means "the same".
KINDS = {
    "pair": ("label", "binary", 1),
    "rel": ("label", "int", 2),  # relevance 0, 1, 2
    "nli": ("label", {"contradiction": 0, "neutral": 1, "entailment": 2}, 2),  # as an order (kexue.fm/archives/8847)
    "sts": ("score", "score", 5),  # similarity 0 .. 5
    "unit": ("score", "score", 1),  # anything from 0 to 1, such as a teacher's scores
}


def read_graded(path: str | os.PathLike, kind: str) -> Pairs:
    """Pairs of a file with labels brought to 0 (unrelated) .. 1 (the same).

    Args:
        path: a file for `read_pairs`.
        kind: `"pair"` (0, 1), `"rel"` (0, 1, 2), `"nli"` (contradiction, neutral, entailment), `"sts"` (column score,
            0 .. 5) or `"unit"` (column score, 0 .. 1).

    Raises:
        ValueError: unknown kind; labels out of range.
        zoo.data.DataError: the file is not as the kind says.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} of {path}, expected one of {', '.join(KINDS)}")
    column, label, highest = KINDS[kind]
    pairs = read_pairs(path, ("text_a", "text_b", column), label)
    if not 0 <= pairs.labels.min() <= pairs.labels.max() <= highest:
        found = f"{pairs.labels.min():g} to {pairs.labels.max():g}"
        raise ValueError(f"{path}: labels from {found}, kind {kind!r} means 0 to {highest}")
    return replace(pairs, labels=pairs.labels / highest, class_names=None)


def without_pairs_of(pairs: Pairs, others: Iterable[Pairs]) -> Pairs:
    """The pairs that none of the other sets holds; order, case, punctuation, white space and width are ignored.

    Args:
        pairs: `Pairs`. others: list of `Pairs`, such as what a model will be judged on.
    """
    known = {pair_key(row[:2]) for other in others for row in zip(*other.columns)}
    return pairs.take([index for index, row in enumerate(zip(*pairs.columns)) if pair_key(row[:2]) not in known])


def write_matches(pairs: Pairs, path: str | os.PathLike, at_least: float = 0.8, seed: int = 0) -> int:
    """The texts of pairs that match, one a line and a pair's on neighbouring lines, as a corpus for a masked LM.

    Packed in rows, the model sees a text beside its paraphrase and learns to look from one to the other, which it cannot
    learn from unrelated lines (translation language modelling, arXiv 1901.07291, within one language).

    Args:
        pairs: labelled `Pairs`. path: file, written anew. at_least: float, the lowest label of a match. seed: int, of the
            order.

    Returns:
        int, how many pairs were written.
    """
    chosen = pairs.take([row for row in permutation(len(pairs), seed, SETS) if pairs.labels[row] >= at_least])
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(" ".join(text.splitlines()) + "\n" for pair in zip(*chosen.columns) for text in pair)
    return len(chosen)
