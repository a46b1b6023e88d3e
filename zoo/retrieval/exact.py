"""Exact search for the nearest vectors, by brute force in blocks of NumPy."""

import numpy as np
from numpy.typing import ArrayLike

QUERIES, VECTORS = 256, 16384  # rows of a block: its scores take 16 MB
PAIRS = 2**22  # numbers multiplied at once when candidates are scored exactly


def top_k(queries: ArrayLike, corpus: ArrayLike, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """The k corpus vectors with the largest dot products, for each query.

    Rows of length 1 make the products cosines (`RepresentationMatcher.encode` gives such). Candidates are
    found by matrix products in float32, with a margin for their rounding, and then scored one by one in
    float64. So the answer depends neither on blocks nor on the BLAS, and equal vectors tie exactly wherever
    they stand.

    Args:
        queries: `[Q, d]`, taken as float32.
        corpus: `[N, d]`, taken as float32.
        k: int >= 1; no more than N come back.

    Returns:
        ids int64 `[Q, min(k, N)]`, row numbers of the corpus, the largest score first, of equal scores the
        smallest id first; their scores, float32 `[Q, min(k, N)]`.

    Raises:
        ValueError: k < 1, shapes that do not fit, NaN or infinity, products beyond float32.
    """
    queries, corpus = vectors(queries, "queries"), vectors(corpus, "corpus")
    if queries.shape[1] != corpus.shape[1]:
        raise ValueError(
            f"queries have shape {queries.shape}, corpus {corpus.shape}; expected vectors of equal length. "
            f"Were both encoded by the same model?"
        )
    check_k(k)
    k = min(int(k), len(corpus))
    ids, scores = np.zeros((len(queries), k), "int64"), np.zeros((len(queries), k), "float32")
    if not ids.size:
        return ids, scores
    longest = _lengths(corpus).max()
    if _lengths(queries).max() * longest > np.finfo("float32").max:
        raise ValueError("the longest query times the longest corpus vector exceeds float32: scale them.")
    for start in range(0, len(queries), QUERIES):
        rows = slice(start, start + QUERIES)
        ids[rows], scores[rows] = _block(queries[rows], corpus, k, longest)
    return ids, scores


def _block(queries: np.ndarray, corpus: np.ndarray, k: int, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """`top_k` of a block of queries."""
    # A float32 product of d terms is off by at most d 2^-24 |q| |c| in any order of summation, here doubled to
    # be safe; the second term is for numbers that vanish below the float32 range. Twice that parts the ranks.
    dim = queries.shape[1]
    margin = 2 * (dim * 2.0**-23 * _lengths(queries) * longest + dim * 2.0**-149)  # [Q]
    best = np.full((len(queries), k), -np.inf, "float32")
    found = []
    for start in range(0, len(corpus), VECTORS):
        scores = queries @ corpus[start : start + VECTORS].T  # [Q, block]
        best = np.partition(np.concatenate([best, scores], axis=1), -k, axis=1)[:, -k:]
        row, column = np.nonzero(scores >= (best.min(axis=1) - margin)[:, None])
        found.append((row, column + start, scores[row, column]))
    row, id_, score = (np.concatenate(parts) for parts in zip(*found))
    near = score >= (best.min(axis=1) - margin)[row]
    row, id_ = row[near], id_[near]
    score = np.empty(len(row), "float32")
    step = max(1, PAIRS // max(1, dim))
    for start in range(0, len(row), step):
        part = slice(start, start + step)
        score[part] = (queries[row[part]].astype("float64") * corpus[id_[part]]).sum(axis=1)
    order = np.lexsort((id_, -score, row))
    first = np.searchsorted(row[order], np.arange(len(queries)))
    chosen = order[first[:, None] + np.arange(k)]
    return id_[chosen], score[chosen]


def check_k(k: int, name: str = "k") -> None:
    if isinstance(k, bool) or k != int(k) or k < 1:
        raise ValueError(f"{name} is {k!r}, expected an integer >= 1.")


def vectors(x: ArrayLike, name: str) -> np.ndarray:
    """x as float32 `[rows, d]`; ValueError for other shapes, NaN and infinity."""
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinity, which is refused below
        x = np.ascontiguousarray(x, "float32")
    if x.ndim != 2:
        raise ValueError(f"{name} have shape {x.shape}, expected (rows, d); one vector v is v[None].")
    if x.size == 0:
        return x
    wrong = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(wrong):
        raise ValueError(f"{name}[{wrong[0]}] holds NaN or infinity ({len(wrong)} of {len(x)} rows do).")
    return x


def _lengths(x: np.ndarray) -> np.ndarray:
    """Euclidean lengths `[rows]` in float64, whose range no float32 row leaves."""
    return np.sqrt(np.einsum("nd,nd->n", x, x, dtype="float64"))
