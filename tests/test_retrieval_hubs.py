"""Search corrected for hubs: each method against its formula written out in float64, and what it does to hubs."""

import math

import numpy as np
import pytest

from zoo.analysis.hubness import report
from zoo.retrieval import HubCorrection, hubs, top_k

pytestmark = pytest.mark.neutral

METHODS = ("centring", "csls", "local_scaling", "mutual_proximity")
each_method = pytest.mark.parametrize("method", METHODS)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def oracle(method, queries, corpus, neighbours, reference=None):
    """Corrected scores, pair by pair."""
    queries, corpus = unit(queries), unit(corpus)
    if method == "centring":
        return unit(queries - corpus.mean(0)) @ unit(corpus - corpus.mean(0)).T
    cosines = queries @ corpus.T
    of_query = list(cosines)
    if reference is None:
        of_corpus = [np.delete(corpus @ c, i) for i, c in enumerate(corpus)]
    else:
        of_corpus = [unit(reference) @ c for c in corpus]
    out = np.zeros(cosines.shape)
    for i, q in enumerate(of_query):
        for j, c in enumerate(of_corpus):
            s = cosines[i, j]
            near_q, near_c = np.sort(q)[::-1][:neighbours], np.sort(c)[::-1][:neighbours]
            if method == "csls":
                out[i, j] = 2 * s - near_q.mean() - near_c.mean()
            elif method == "local_scaling":
                out[i, j] = math.exp(-(2 - 2 * s) / math.sqrt((2 - 2 * near_q[-1]) * (2 - 2 * near_c[-1])))
            else:
                below = [0.5 * math.erfc(-(s - o.mean()) / o.std() / math.sqrt(2)) for o in (q, c)]
                out[i, j] = math.log(below[0]) + math.log(below[1])
    return out


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(9, 12)) + 0.3, rng.normal(size=(30, 12)) + 0.3, rng.normal(size=(21, 12)) + 0.2


@each_method
@pytest.mark.parametrize("with_reference", [False, True])
def test_scores_are_the_formula(method, with_reference, data):
    queries, corpus, reference = data
    reference = reference if with_reference else None
    expected = oracle(method, queries, corpus, 4, reference)
    search = HubCorrection(corpus, method, 4, reference)
    np.testing.assert_allclose(search.scores(queries), expected, atol=2e-6, rtol=2e-5)
    ids, scores = search.top_k(queries, 7)
    order = np.argsort(-expected, axis=1)[:, :7]
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, 1), atol=2e-6, rtol=2e-5)
    assert ids.dtype == np.int64 and scores.dtype == np.float32


@each_method
def test_neither_blocks_nor_lengths_matter(method, data, monkeypatch):
    queries, corpus, _ = data
    found = HubCorrection(corpus, method).top_k(queries, 5)
    monkeypatch.setattr(hubs, "CELLS", 40)
    again = HubCorrection(corpus * 4, method).top_k(queries * 8, 5)
    np.testing.assert_array_equal(found[0], again[0])
    np.testing.assert_array_equal(found[1], again[1])


@each_method
def test_equal_vectors_tie_by_id(method, data):
    queries, corpus, _ = data
    ids, scores = HubCorrection(np.concatenate([corpus, corpus]), method, 3).top_k(queries, 60)
    assert all(a < b for row, s in zip(ids, scores) for a, b, x, y in zip(row, row[1:], s, s[1:]) if x == y)
    np.testing.assert_array_equal(np.sort(ids, axis=1), np.tile(np.arange(60), (9, 1)))


@each_method
def test_lowers_skewness(method):
    """Gaussian data of 100 dimensions off centre, queries and corpus alike: counts of being found in the first ten."""
    rng = np.random.default_rng(1)
    queries, corpus = rng.normal(size=(2000, 100)) + 0.6, rng.normal(size=(500, 100)) + 0.6

    def skewness(ids):
        return report(np.bincount(ids.ravel(), minlength=500), ids.size / 500).skewness

    plain = skewness(top_k(unit(queries), unit(corpus), 10)[0])
    corrected = skewness(HubCorrection(corpus, method).top_k(queries, 10)[0])
    assert plain > 1.5 and corrected < plain / 2


@each_method
def test_no_queries(method, data):
    _, corpus, _ = data
    ids, scores = HubCorrection(corpus, method).top_k(np.zeros((0, 12)), 3)
    assert ids.shape == scores.shape == (0, 3)


def test_fewer_vectors_than_neighbours(data):
    queries, corpus, _ = data
    found = HubCorrection(corpus[:3], "csls", 10).scores(queries)
    cosines, own = unit(queries) @ unit(corpus[:3]).T, unit(corpus[:3]) @ unit(corpus[:3]).T
    expected = 2 * cosines - cosines.mean(1, keepdims=True) - (own.sum(1) - 1) / 2
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_nearest_others():
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0.8, 0.6], [0, 1]])
    ids, scores = hubs.nearest_others(vectors, 1)
    assert ids[:, 0].tolist() == [1, 0, 0, 0, 3]
    np.testing.assert_allclose(scores[:, 0], [1, 1, 1, 0.8, 0.6], atol=1e-6)


def test_refuses_what_cannot_be(data):
    queries, corpus, _ = data
    with pytest.raises(ValueError, match="method='centering'; expected one of centring"):
        HubCorrection(corpus, "centering")
    with pytest.raises(ValueError, match="neighbours is 0"):
        HubCorrection(corpus, neighbours=0)
    with pytest.raises(ValueError, match=r"corpus\[1\] is all zeros"):
        HubCorrection([[1, 0], [0, 0]])
    with pytest.raises(ValueError, match="at least two"):
        HubCorrection([[1, 0]])
    with pytest.raises(ValueError, match="same model"):
        HubCorrection(corpus).top_k(queries[:, :5])
    with pytest.raises(ValueError, match="k is 0"):
        HubCorrection(corpus).top_k(queries, 0)
