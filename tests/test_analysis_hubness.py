"""Hubness: against brute force in float64, the growth with dimensions, and ties."""

import numpy as np
import pytest

import zoo
from zoo.analysis import hubness

pytestmark = pytest.mark.neutral


def brute_force(vectors, k, metric):
    """N_k by sorting every row of distances, the smallest id first among equals."""
    x = np.asarray(vectors, "float32").astype("float64")
    if metric == "cosine":
        x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype("float32").astype("float64")
    if metric == "euclidean":
        distance = np.square(x[:, None] - x[None]).sum(-1)
    else:
        distance = -(x[:, None] * x[None]).sum(-1)
    counts = np.zeros(len(x), "int64")
    for i, row in enumerate(distance):
        others = [j for j in np.argsort(row, kind="stable") if j != i]
        counts[others[:k]] += 1
    return counts


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("k", [1, 4, 59])
def test_equals_brute_force(metric, k):
    vectors = np.random.default_rng(k).normal(size=(60, 5)) + 3
    found = hubness(vectors, k, metric)
    np.testing.assert_array_equal(found.counts, brute_force(vectors, k, metric))
    assert found.counts.sum() == 60 * k and found.counts.dtype == np.int64


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_equal_vectors_tie_by_id(metric):
    """Many copies of few vectors: more copies than neighbours, so that a vector is not even in its own list."""
    rng = np.random.default_rng(1)
    vectors = rng.integers(1, 3, (40, 2)) * 2.0
    np.testing.assert_array_equal(hubness(vectors, 3, metric).counts, brute_force(vectors, 3, metric))


def test_near_neighbours_far_from_zero():
    """Euclidean distances of points that are alike in all but the last digits."""
    vectors = 1000 + np.random.default_rng(2).integers(0, 50, (80, 3)) / 64
    np.testing.assert_array_equal(hubness(vectors, 5, "euclidean").counts, brute_force(vectors - 1000, 5, "euclidean"))


def test_skewness_is_the_third_moment():
    found = hubness(np.random.default_rng(3).normal(size=(200, 20)), 5)
    centred = found.counts - found.counts.mean()
    assert found.skewness == pytest.approx((centred**3).mean() / (centred**2).mean() ** 1.5)
    assert found.orphans == (found.counts == 0).mean()
    assert found.counts[found.hubs].tolist() == sorted(found.counts)[::-1][:10]


def test_grows_with_dimensions():
    """Gaussian data, the example of the post: hubs come with dimensions."""
    few, many = (hubness(np.random.default_rng(4).normal(size=(1000, d)), 10, "euclidean") for d in (3, 100))
    assert few.skewness < 0.5 and many.skewness > 2
    assert many.orphans > 10 * max(few.orphans, 0.001)


def test_a_ring_has_no_hubs():
    """Every point of a regular polygon is the neighbour of its two neighbours."""
    angle = 2 * np.pi * np.arange(17) / 17
    found = hubness(np.stack([np.cos(angle), np.sin(angle)], 1), 2)
    assert found.counts.tolist() == [2] * 17 and found.skewness == 0 and found.orphans == 0


def test_lengths_do_not_matter_to_cosines():
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(50, 8))
    scaled = vectors * 2.0 ** rng.integers(-3, 4, (50, 1))
    np.testing.assert_array_equal(hubness(vectors, 4).counts, hubness(scaled, 4).counts)


def test_as_text():
    text = str(hubness(np.random.default_rng(6).normal(size=(20, 3)), 2))
    assert text.startswith("20 vectors, each with 2 neighbours") and len(text.splitlines()) == 4


def test_is_public():
    assert zoo.analysis.hubness is hubness


def test_refuses_what_cannot_be_ranked():
    vectors = np.ones((4, 2))
    with pytest.raises(ValueError, match="metric='l1'"):
        hubness(vectors, 1, "l1")
    with pytest.raises(ValueError, match="fewer neighbours"):
        hubness(vectors, 4)
    with pytest.raises(ValueError, match="integer >= 1"):
        hubness(vectors, 0)
    vectors[2] = 0
    with pytest.raises(ValueError, match=r"vectors\[2\] is all zeros"):
        hubness(vectors, 1)
