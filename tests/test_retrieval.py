"""Brute-force search: against a float64 oracle, ties, blocks, edges."""

import numpy as np
import pytest

from zoo.retrieval import exact, top_k

pytestmark = pytest.mark.neutral


def oracle(queries, corpus, k):
    """Every score in float64, rounded once, sorted by (-score, id)."""
    queries, corpus = np.asarray(queries, "float32"), np.asarray(corpus, "float32")
    scores = (queries[:, None].astype("float64") * corpus[None]).sum(axis=-1).astype("float32")
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


def assert_same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[0].dtype == np.int64 and found[1].dtype == np.float32


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(exact, "QUERIES", 4)
    monkeypatch.setattr(exact, "VECTORS", 7)
    monkeypatch.setattr(exact, "PAIRS", 50)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 2), (9, 40, 16), (30, 700, 64), (2, 14, 7)])
@pytest.mark.parametrize("k", [1, 3, 14, 1000])
def test_equals_float64(shape, k):
    rng = np.random.default_rng(len(shape) * k)
    q, n, d = shape
    queries, corpus = rng.normal(size=(q, d)), rng.normal(size=(n, d))
    assert_same(top_k(queries, corpus, k), oracle(queries, corpus, k))


def test_blocks_change_nothing(small_blocks):
    rng = np.random.default_rng(1)
    queries, corpus = rng.normal(size=(13, 24)), rng.normal(size=(61, 24))
    for k in (1, 6, 7, 8, 61):
        assert_same(top_k(queries, corpus, k), oracle(queries, corpus, k))


def test_D15_equal_vectors_tie_and_the_first_comes_first(small_blocks):
    """The same vector at places that BLAS sums differently, among neighbours one rounding away."""
    rng = np.random.default_rng(2)
    vector = rng.normal(size=33).astype("float32")
    near = np.nextafter(vector, np.float32(np.inf))
    corpus = np.stack([vector if i % 3 else near for i in range(100)])
    queries = rng.normal(size=(9, 33)).astype("float32")
    ids, scores = top_k(queries, corpus, 50)
    assert_same((ids, scores), oracle(queries, corpus, 50))
    for row_ids, row_scores in zip(ids, scores):
        assert all(a < b for a, b, s, t in zip(row_ids, row_ids[1:], row_scores, row_scores[1:]) if s == t)


def test_constant_scores_give_the_first_ids(small_blocks):
    ids, scores = top_k(np.zeros((2, 5)), np.ones((40, 5)), 6)
    assert ids.tolist() == [list(range(6))] * 2
    assert not scores.any()


def test_integers_tie_often():
    rng = np.random.default_rng(3)
    queries, corpus = rng.integers(-2, 3, (20, 4)), rng.integers(-2, 3, (300, 4))
    assert_same(top_k(queries, corpus, 25), oracle(queries, corpus, 25))


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-10, 1e15])
def test_scale_does_not_matter(scale):
    rng = np.random.default_rng(4)
    queries, corpus = rng.normal(size=(5, 8)) * scale, rng.normal(size=(50, 8)) * scale
    assert_same(top_k(queries, corpus, 5), oracle(queries, corpus, 5))


def test_a_query_finds_itself():
    vectors = np.random.default_rng(5).normal(size=(200, 12)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids, scores = top_k(vectors, vectors, 1)
    assert ids[:, 0].tolist() == list(range(200))
    np.testing.assert_allclose(scores, 1.0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8"])
def test_other_types_are_taken_as_float32(dtype):
    rng = np.random.default_rng(6)
    queries, corpus = ((rng.normal(size=(rows, 6)) * 9).astype(dtype) for rows in (4, 30))
    assert_same(top_k(queries, corpus, 4), oracle(queries, corpus, 4))


def test_D15_empty_sides():
    assert top_k(np.zeros((3, 4)), np.zeros((0, 4)), 5)[0].shape == (3, 0)
    assert top_k(np.zeros((0, 4)), np.zeros((7, 4)), 5)[0].shape == (0, 5)
    ids, scores = top_k(np.zeros((0, 4)), np.zeros((0, 4)))
    assert ids.shape == scores.shape == (0, 0)


def test_vectors_without_numbers_all_score_zero():
    ids, scores = top_k(np.zeros((2, 0)), np.zeros((3, 0)), 2)
    assert ids.tolist() == [[0, 1]] * 2 and not scores.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_D15_refuses_what_is_not_finite(bad):
    vectors = np.zeros((5, 3))
    broken = vectors.copy()
    broken[2, 1] = bad
    with pytest.raises(ValueError, match=r"queries\[2\] holds NaN or infinity \(1 of 5"):
        top_k(broken, vectors)
    with pytest.raises(ValueError, match=r"corpus\[2\] holds"):
        top_k(vectors, broken)


def test_refuses_products_beyond_float32():
    with pytest.raises(ValueError, match="exceeds float32"):
        top_k(np.full((1, 2), 1e20), np.full((3, 2), 1e20))


@pytest.mark.parametrize("k", [0, -1, 2.5, True])
def test_refuses_a_wrong_k(k):
    with pytest.raises(ValueError, match="integer >= 1"):
        top_k(np.zeros((1, 2)), np.zeros((1, 2)), k)


def test_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"one vector v is v\[None\]"):
        top_k(np.zeros(3), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="same model"):
        top_k(np.zeros((1, 4)), np.zeros((2, 3)))
