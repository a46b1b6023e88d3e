"""Hubs: in many dimensions a few vectors are among the nearest neighbours of very many (kexue.fm/archives/9147).

Points near the mean of all are nearer to everything than other points are, the more so the more dimensions there are
(Radovanović et al., JMLR 11, 2010; arXiv 2206.06014). `zoo.retrieval.HubCorrection` mends search.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from zoo.retrieval import exact
from zoo.retrieval.hubs import nearest_others, unit_rows

METRICS = ("cosine", "euclidean", "dot")


@dataclasses.dataclass(frozen=True)
class HubnessReport:
    """What `hubness` found; `str` gives it in a few lines.

    Attributes:
        counts: int64 `[N]`, N_k: how many vectors have this one among their k nearest neighbours. Their mean is k.
        k: int.
        skewness: float, E(N_k − k)³ / σ³: about 0 without hubs, above 1 with many; 0 where all counts are equal.
        orphans: float, the share of vectors that are nobody's neighbour.
        hubs: int64 `[min(10, N)]`, ids of the largest counts, the largest first.
    """

    counts: np.ndarray
    k: int
    skewness: float
    orphans: float
    hubs: np.ndarray

    def __str__(self) -> str:
        top = ", ".join(f"{i}: {self.counts[i]}" for i in self.hubs)
        return (
            f"{len(self.counts):,} vectors, each with {self.k} neighbours\nskewness of N_k: {self.skewness:.3f}\n"
            f"nobody's neighbour: {self.orphans:.2%}\nlargest N_k (id: count): {top}"
        )


def hubness(vectors: ArrayLike, k: int = 10, metric: str = "cosine") -> HubnessReport:
    """How often each vector is a nearest neighbour of others.

    Neighbours are exact, of equally near ones the smallest id first. Computed in blocks: 100,000 vectors of 256 numbers
    take some hundred MB.

    Args:
        vectors: `[N, d]`, taken as float32.
        k: int, 1 <= k < N.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.

    Returns:
        HubnessReport.

    Raises:
        ValueError: an unknown metric, k outside 1 .. N − 1, NaN, infinity, a vector of zeros with cosine.
    """
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r}; expected one of {', '.join(METRICS)}")
    vectors = (unit_rows if metric == "cosine" else exact.vectors)(vectors, "vectors")
    exact.check_k(k)
    if k >= len(vectors):
        raise ValueError(f"k is {k}, {len(vectors)} vectors; expected fewer neighbours than other vectors")
    ids = _nearest_by_distance(vectors, int(k)) if metric == "euclidean" else nearest_others(vectors, int(k))[0]
    return report(np.bincount(ids.ravel(), minlength=len(vectors)), int(k))


def report(counts: np.ndarray, k: int) -> HubnessReport:
    """`HubnessReport` of counts N_k `[N]` with mean k."""
    centred = counts - float(k)
    variance = np.mean(centred**2)
    skewness = float(np.mean(centred**3) / variance**1.5) if variance else 0.0
    hubs = np.argsort(-counts, kind="stable")[:10]
    return HubnessReport(counts, k, skewness, float(np.mean(counts == 0)), hubs)


def _nearest_by_distance(vectors: np.ndarray, k: int) -> np.ndarray:
    """Ids `[N, k]` of the nearest others: |x − y|² is smallest where x·y − |y|²/2 is largest."""
    middle = np.argmin(np.square(vectors - vectors.mean(axis=0, dtype="float64")).sum(axis=1))
    centred = vectors - vectors[middle]  # distances stay, rounding shrinks; most differences of float32 are exact
    half = np.einsum("nd,nd->n", centred, centred, dtype="float64") / 2
    coarse = half.astype("float32")
    rest = (half - coarse).astype("float32")  # two numbers, since float32 alone would round what parts near neighbours
    ones = np.ones((len(vectors), 2), "float32")
    ids, _ = exact.top_k(np.concatenate([centred, ones], 1), np.column_stack([centred, -coarse, -rest]), k + 1)
    others = ids != np.arange(len(vectors))[:, None]
    others[others.all(axis=1), -1] = False  # more than k equal vectors stand before it
    return ids[others].reshape(-1, k)
