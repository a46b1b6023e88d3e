"""Texts in the order in which they match a query: of matchers of both kinds."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.data import as_texts
from zoo.training.records import check_numbers


class RankMixin:
    """What follows from `score(pairs)` for one query and many texts. Mixed in before a text task."""

    score: Callable  # of the matcher

    def rank(
        self, query: str, texts: Sequence[str], k: int | None = None, verbose: str | int = "auto", **options: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which texts match a query best.

        For the same texts again and again encode them once: `zoo.retrieval.top_k` of a representation matcher's vectors. An
        interaction matcher reads every text beside the query, so give it the best hundred of such a search.

        Args:
            query: str.
            texts: list of str.
            k: int >= 1, how many come back; None: all.
            verbose: as in `score`. options: further ones of `score`, such as `batch_size`.

        Returns:
            ids int64 `[min(k, N)]`, places in `texts`, the best first, of equal scores the first one first; their scores,
            float32.

        Raises:
            TypeError, ValueError: the query is no str, a text is none (its place is named), k < 1.
        """
        if not isinstance(query, str):
            raise TypeError(f"rank takes one query, a str, got the {type(query).__name__} {query!r:.60}")
        if k is not None:
            check_numbers("rank", k=k)
        texts = as_texts(texts, labelled=False).text
        scores = self.score([(query, text) for text in texts], verbose=verbose, **options)
        ids = np.argsort(-scores, kind="stable")[:k]
        return ids, scores[ids]
