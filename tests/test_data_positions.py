"""Randomised positions: order kept, range and mean as promised, the same from the same seed."""

import numpy as np
import pytest

from zoo.data import equal_mean_position_ids, random_position_ids

pytestmark = pytest.mark.neutral

LENGTHS = np.array([40, 1, 7, 40])


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("generator", [None, 0])
def test_random_positions_are_sorted_subsets(generator):
    positions = random_position_ids(LENGTHS, None if generator is None else rng(), limit=64)
    assert positions.shape == (4, 40) and positions.dtype == np.int32
    assert positions.min() >= 0 and positions.max() < 64
    for row, length in zip(positions, LENGTHS):
        assert (np.diff(row[:length]) > 0).all()
        assert (row[length:] == row[length - 1]).all()


def test_every_subset_is_as_likely():
    """Three of six: each of the 20 subsets a twentieth of the time."""
    rows = random_position_ids(np.full(20000, 3), rng(), limit=6)
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert len(counts) == 20
    chi2 = ((counts - 1000) ** 2 / 1000).sum()
    assert chi2 < 43.8  # 0.1 % of χ² with 19 degrees of freedom


def test_all_of_the_limit_is_counting():
    for generator in (None, rng()):
        assert (random_position_ids([9], generator, limit=9) == np.arange(9)).all()


def test_even_positions_span_the_limit():
    positions = random_position_ids([8], limit=2048)[0]
    assert (np.diff(positions) == 256).all()


@pytest.mark.parametrize("beta", [None, (1.0, 3.0), (2.0, 2.0)])
def test_equal_mean(beta):
    """The mean position over many draws is that of counting, (l − 1) / 2; the spread is the distribution's."""
    lengths = np.full(50000, 21)
    positions = equal_mean_position_ids(lengths, rng(), beta=beta)
    ends = positions[:, -1].astype("float64")
    a, b = beta or (1, 1)
    std = 20.0 if beta is None else 20 * (a + b) / a * np.sqrt(a * b / (a + b + 1)) / (a + b)
    assert positions.mean() == pytest.approx(10, rel=0.03)
    assert ends.std() == pytest.approx(std, rel=0.03)
    assert np.abs(np.diff(positions, axis=1) - ends[:, None] / 20).max() < 1e-4  # evenly spaced


def test_without_a_generator_it_counts():
    positions = equal_mean_position_ids(LENGTHS)
    assert positions.dtype == np.float32
    assert (positions == np.arange(40)).all()
    assert equal_mean_position_ids([5], mean=8.0, width=6).tolist() == [[0, 2, 4, 6, 8, 10]]


def test_padding_does_not_move_real_tokens():
    one, wide = (equal_mean_position_ids([7, 40], rng(), width=width) for width in (None, 64))
    assert (one == wide[:, :40]).all()
    one, wide = (random_position_ids([7, 40], rng(), width=width) for width in (None, 64))
    assert (one == wide[:, :40]).all()


@pytest.mark.parametrize("function", [random_position_ids, equal_mean_position_ids])
def test_same_seed_same_positions(function):
    assert (function(LENGTHS, rng(1)) == function(LENGTHS, rng(1))).all()
    assert (function(LENGTHS, rng(1)) != function(LENGTHS, rng(2))).any()


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda: random_position_ids([70], limit=64), "limit=64"),
        (lambda: random_position_ids([7], width=6), "width=6"),
        (lambda: random_position_ids([0, 4]), "at least 1"),
        (lambda: random_position_ids([[4]]), "at least 1"),
        (lambda: equal_mean_position_ids([4], mean=0.0), "mean=0"),
        (lambda: equal_mean_position_ids([4], beta=(1, 0)), "beta"),
    ],
)
def test_errors(call, word):
    with pytest.raises(ValueError, match=word):
        call()
