"""Metrics of ranked candidates. Equal scores are taken as ranked at random: each metric is the mean over
their orders.

So neither the order of the input nor the sort decides about ties, and constant scores get what guessing gets
(McSherry and Najork, Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
Scores, ECIR 2008).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from zoo.metrics.checks import finite


def mrr(relevance: Sequence[ArrayLike], scores: Sequence[ArrayLike]) -> float:
    """Mean over queries of 1 / rank of the first relevant candidate.

    Args:
        relevance: `[Q, N]`, > 0 is relevant.
        scores: `[Q, N]`, finite.

    Returns:
        float in (0, 1].

    Raises:
        ValueError: shapes differ, scores not finite, a query without a relevant candidate.
    """
    values = []
    for relevant, bounds in ranked(relevance, scores, "MRR"):
        hits = np.add.reduceat(relevant > 0, bounds[:-1], dtype=np.int64)
        group = np.flatnonzero(hits)[0]
        start, size, first = bounds[group], bounds[group + 1] - bounds[group], hits[group]
        # Of `size` equal candidates `first` are relevant: chance that the foremost of them is j-th, and none
        # before it.
        places = np.arange(size - first + 1)
        none_yet = np.cumprod(np.append(1.0, (size - first - places[:-1]) / (size - places[:-1])))
        chance = none_yet * first / (size - places)
        values.append(np.sum(chance / (start + places + 1)))
    return float(np.mean(values))


def recall_at_k(relevance: Sequence[ArrayLike], scores: Sequence[ArrayLike], k: int) -> float:
    """Mean over queries of the share of relevant candidates among the first k.

    Args:
        relevance: `[Q, N]`, > 0 is relevant.
        scores: `[Q, N]`, finite.
        k: int >= 1.

    Returns:
        float in [0, 1].

    Raises:
        ValueError: as `mrr`; k < 1.
    """
    check_k(k)
    values = []
    for relevant, bounds in ranked(relevance, scores, "recall@k"):
        hits = np.add.reduceat(relevant > 0, bounds[:-1], dtype=np.int64)
        within = np.clip((k - bounds[:-1]) / np.diff(bounds), 0.0, 1.0)  # share of each group that is in
        values.append(np.sum(hits * within) / np.sum(hits))
    return float(np.mean(values))


def ndcg(relevance: Sequence[ArrayLike], scores: Sequence[ArrayLike], k: int | None = None) -> float:
    """Mean over queries of DCG / ideal DCG, with gain = relevance and discount 1 / log2(1 + rank).

    Args:
        relevance: `[Q, N]`, grades >= 0.
        scores: `[Q, N]`, finite.
        k: int >= 1, only the first k count; None for all.

    Returns:
        float in [0, 1].

    Raises:
        ValueError: as `mrr`; k < 1; a negative grade.
    """
    check_k(1 if k is None else k)
    values = []
    for gains, bounds in ranked(relevance, scores, "nDCG"):
        discount = 1 / np.log2(np.arange(len(gains)) + 2.0)
        discount[len(gains) if k is None else k :] = 0.0
        shared = np.add.reduceat(discount, bounds[:-1]) / np.diff(bounds)
        reached = np.sum(np.add.reduceat(gains, bounds[:-1]) * shared)
        values.append(reached / np.sum(np.sort(gains)[::-1] * discount))
    return float(np.mean(values))


def check_k(k: int) -> None:
    if k != int(k) or k < 1:
        raise ValueError(f"k is {k!r}, expected an integer >= 1.")


def ranked(
    relevance: Sequence[ArrayLike], scores: Sequence[ArrayLike], metric: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each query its grades, best score first, and the bounds of groups of equal scores (0, ..., N)."""
    relevance, scores = finite(relevance, "relevance", ndim=2), finite(scores, "scores", ndim=2)
    if relevance.shape != scores.shape:
        raise ValueError(f"relevance has shape {relevance.shape}, scores {scores.shape}; expected equal shapes.")
    if np.any(relevance < 0):
        raise ValueError(
            f"{metric}: relevance[{np.argwhere(relevance < 0)[0][0]}] has a negative grade; expected >= 0."
        )
    lacking = np.flatnonzero(~np.any(relevance > 0, axis=1))
    if len(lacking):
        raise ValueError(
            f"{metric}: query {lacking[0]} has no relevant candidate; leave such out ({len(lacking)} in all)."
        )
    for grades, row in zip(relevance, scores):
        order = np.argsort(-row, kind="stable")
        row = row[order]
        bounds = np.concatenate([[0], np.flatnonzero(row[1:] != row[:-1]) + 1, [len(row)]])
        yield grades[order], bounds
