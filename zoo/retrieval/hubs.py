"""Exact search that does not favour hubs, the vectors that are near everything (kexue.fm/archives/9147)."""

import numpy as np
from numpy.typing import ArrayLike

from zoo.retrieval import exact

METHODS = ("centring", "csls", "local_scaling", "mutual_proximity")
CELLS = 2**24  # scores of a block of queries with the whole corpus


class HubCorrection:
    """A corpus whose cosines are corrected for hubs, for search and for scores.

    Methods, with s the cosine of query q and corpus vector c:
      * `"centring"`: the cosine after the corpus' mean is taken off both (Suzuki et al., EMNLP 2013).
      * `"csls"`: 2 s − r(q) − r(c), where r is a vector's mean cosine with its nearest neighbours (arXiv 1710.04087).
      * `"local_scaling"`: exp(−(2 − 2 s) / (σ(q) σ(c))), where σ is the distance to the last of these neighbours
        (Zelnik-Manor and Perona, NIPS 2004; arXiv 1206.6411 for search).
      * `"mutual_proximity"`: ln P(q is nearer to c than to others) + ln P(c is nearer to q than to others), each from
        a normal distribution with the mean and variance of the vector's cosines (Schnitzer et al., JMLR 13, 2012).

    The neighbours of a query are corpus vectors. Those of a corpus vector are `reference`: queries of the kind to
    come if there are any, else the rest of the corpus. The first three keep the exactness of `top_k`; made once
    they cost one search of the corpus in the reference (none for centring), and then no more than plain search.

    Args:
        corpus: `[N, d]`, N >= 2, taken as float32; lengths do not matter.
        method: one of the four.
        neighbours: int >= 1, for csls and local scaling; at most as many as there are.
        reference: `[M, d]` or None, for all methods but centring.

    Raises:
        ValueError: an unknown method, neighbours < 1, shapes that do not fit, NaN, infinity, vectors of zeros.
        ImportError: mutual proximity, where SciPy (the extra `analysis`) is missing.
    """

    def __init__(
        self, corpus: ArrayLike, method: str = "csls", neighbours: int = 10, reference: ArrayLike | None = None
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method={method!r}; expected one of {', '.join(METHODS)}")
        exact.check_k(neighbours, "neighbours")
        self.method, self.neighbours = method, int(neighbours)
        self.corpus = unit_rows(corpus, "corpus")
        if len(self.corpus) < 2:
            raise ValueError(f"corpus has shape {self.corpus.shape}; expected at least two vectors")
        others = None if reference is None else unit_rows(reference, "reference")
        if method == "centring":
            self.mean = self.corpus.mean(axis=0, dtype="float64")
            self.corpus = self._centred(self.corpus, "corpus")
        elif method == "mutual_proximity":
            self._moments = _Moments(self.corpus)
            self._mean, self._deviation = (
                self._moments.among_themselves() if others is None else _Moments(others).of(self.corpus)
            )
        else:
            near = self._near(self.corpus, others)
            self._local = _mean(near) if method == "csls" else _radius(near)

    def top_k(self, queries: ArrayLike, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """The k corpus vectors with the largest corrected scores, for each query.

        Args:
            queries: `[Q, d]`, taken as float32; lengths do not matter.
            k: int >= 1; no more than N come back.

        Returns:
            ids int64 `[Q, min(k, N)]`, the largest score first, of equal scores the smallest id first; corrected
            scores, float32 of the same shape.

        Raises:
            ValueError: as `zoo.retrieval.top_k`; vectors of zeros.
        """
        exact.check_k(k)
        queries = self._queries(queries)
        if self.method == "centring":
            return exact.top_k(queries, self.corpus, k)
        if self.method == "mutual_proximity":
            return self._top_k_of_scores(queries, min(int(k), len(self.corpus)))
        # Both scores grow with a linear function of q for given c, so that search by dot products finds the largest.
        ones = np.ones((len(queries), 1), "float32")
        local = self._local[:, None]
        if self.method == "csls":
            corpus = np.concatenate([self.corpus, -local / 2], axis=1, dtype="float32")
        else:
            corpus = np.concatenate([self.corpus / local, -1 / local], axis=1, dtype="float32")
        ids, linear = exact.top_k(np.concatenate([queries, ones], axis=1), corpus, k)
        of_query = self._of_queries(queries)[:, None]
        if self.method == "csls":
            return ids, (2 * linear - of_query).astype("float32")
        return ids, np.exp(2 * linear / of_query).astype("float32")

    def scores(self, queries: ArrayLike) -> np.ndarray:
        """Corrected scores of queries `[Q, d]` with the whole corpus, float32 `[Q, N]`."""
        queries = self._queries(queries)
        cosines = queries.astype("float64") @ self.corpus.T
        if self.method == "mutual_proximity":
            cosines = self._proximities(queries, cosines)
        elif self.method == "csls":
            cosines = 2 * cosines - self._of_queries(queries)[:, None] - self._local
        elif self.method == "local_scaling":
            cosines = np.exp(-(2 - 2 * cosines) / (self._of_queries(queries)[:, None] * self._local))
        return cosines.astype("float32")

    def _queries(self, queries: ArrayLike) -> np.ndarray:
        queries = unit_rows(queries, "queries")
        if queries.shape[1] != self.corpus.shape[1]:
            raise ValueError(
                f"queries have shape {queries.shape}, corpus {self.corpus.shape}; expected vectors of equal length. "
                f"Were both encoded by the same model?"
            )
        return self._centred(queries, "queries") if self.method == "centring" else queries

    def _centred(self, vectors: np.ndarray, name: str) -> np.ndarray:
        return unit_rows(vectors - self.mean, f"{name} less their mean")

    def _near(self, vectors: np.ndarray, others: np.ndarray | None) -> np.ndarray:
        """Cosines of vectors with their nearest neighbours, largest first: in others, or (None) among themselves."""
        if others is None:
            return nearest_others(vectors, min(self.neighbours, len(vectors) - 1))[1]
        return exact.top_k(vectors, others, self.neighbours)[1]

    def _of_queries(self, queries: np.ndarray) -> np.ndarray:
        near = self._near(queries, self.corpus)
        return _mean(near) if self.method == "csls" else _radius(near)

    def _proximities(self, queries: np.ndarray, cosines: np.ndarray) -> np.ndarray:
        try:
            from scipy.special import log_ndtr
        except ImportError as error:
            raise ImportError("mutual proximity needs SciPy: pip install 'keras-zoo[analysis]'") from error
        mean, deviation = (part[:, None] for part in self._moments.of(queries))
        return log_ndtr((cosines - mean) / deviation) + log_ndtr((cosines - self._mean) / self._deviation)

    def _top_k_of_scores(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        ids, best = np.zeros((len(queries), k), "int64"), np.zeros((len(queries), k), "float32")
        step = max(1, CELLS // len(self.corpus))
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            block = self.scores(queries[rows])
            ids[rows] = np.argsort(-block, axis=1, kind="stable")[:, :k]
            best[rows] = np.take_along_axis(block, ids[rows], axis=1)
        return ids, best


def nearest_others(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """`top_k` of vectors `[N, d]` among themselves, each without itself: ids and scores `[N, k]`, k < N."""
    ids, scores = exact.top_k(vectors, vectors, k + 1)
    itself = ids == np.arange(len(vectors))[:, None]
    itself[~itself.any(axis=1), -1] = True  # more than k equal vectors stand before it: the last one goes
    return ids[~itself].reshape(-1, k), scores[~itself].reshape(-1, k)


def unit_rows(x: ArrayLike, name: str) -> np.ndarray:
    """Rows of length 1, float32; ValueError for rows of zeros, NaN, infinity and shapes other than `[rows, d]`."""
    x = exact.vectors(x, name).astype("float64")
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"{name}[{np.flatnonzero(lengths == 0)[0]}] is all zeros, which has no cosine.")
    return (x / lengths).astype("float32")


def _mean(near: np.ndarray) -> np.ndarray:
    return near.mean(axis=1, dtype="float64")


def _radius(near: np.ndarray) -> np.ndarray:
    """Distance to the last neighbour, `[rows]`; no smaller than float32 tells two unit vectors apart."""
    return np.sqrt(np.maximum(2 - 2 * near[:, -1].astype("float64"), 1e-6))


class _Moments:
    """Mean and covariance of vectors, which give those of anybody's cosines with them."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors.astype("float64")
        self.mean = self.vectors.mean(axis=0)
        self.covariance = (self.vectors - self.mean).T @ (self.vectors - self.mean) / len(vectors)

    def of(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the cosines of vectors `[R, d]` with these, `[R]` each."""
        vectors = vectors.astype("float64")
        variance = np.einsum("nd,nd->n", vectors @ self.covariance, vectors)
        return vectors @ self.mean, np.sqrt(np.maximum(variance, 1e-12))

    def among_themselves(self) -> tuple[np.ndarray, np.ndarray]:
        """The same for these vectors, each without itself."""
        count = len(self.vectors)
        mean, deviation = self.of(self.vectors)
        square = (count * (deviation**2 + mean**2) - 1) / (count - 1)
        mean = (count * mean - 1) / (count - 1)
        return mean, np.sqrt(np.maximum(square - mean**2, 1e-12))
