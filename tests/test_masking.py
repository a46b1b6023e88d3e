"""Masking for pretraining: the 80/10/10 rule, static shapes, whole words, the seed."""

import numpy as np
import pytest

from zoo.data.language_model_rows import mask_tokens

pytestmark = pytest.mark.neutral

MASK, SPECIAL, VOCABULARY = 4, [0, 1, 2, 3, 4], 60


def tokens(rows=200, length=64, seed=0):
    ids = np.random.default_rng(seed).integers(5, VOCABULARY, (rows, length)).astype("int32")
    ids[:, 0], ids[:, -1] = 2, 3
    return ids


def masked(ids, seed=1, **options):
    return mask_tokens(ids, np.random.default_rng(seed), MASK, VOCABULARY, SPECIAL, **options)


def test_labels_are_what_stood_there_and_nothing_else_changes():
    ids = tokens()
    before = ids.copy()
    hidden, positions, labels, weights = masked(ids)
    assert (ids == before).all(), "the caller's array is left alone"
    assert positions.shape == labels.shape == weights.shape == (200, round(0.15 * 64))
    assert (np.take_along_axis(ids, positions.astype(int), 1) == labels).all()
    elsewhere = np.ones(ids.shape, bool)
    np.put_along_axis(elsewhere, positions.astype(int), False, axis=1)
    assert (hidden == ids)[elsewhere].all()
    assert all(len(set(row)) == len(row) for row in positions.tolist()), "no place is predicted twice"
    assert (hidden.dtype, positions.dtype, labels.dtype, weights.dtype) == ("int32", "int32", "int32", "float32")


def test_special_tokens_are_neither_chosen_nor_drawn():
    ids = tokens()
    hidden, positions, labels, weights = masked(ids)
    assert not np.isin(labels[weights > 0], SPECIAL).any()
    changed = hidden[(hidden != ids) & (hidden != MASK)]
    assert len(changed) and not np.isin(changed, SPECIAL).any()


def test_eighty_ten_ten():
    ids = tokens(rows=2000)
    hidden, positions, labels, _ = masked(ids)
    now = np.take_along_axis(hidden, positions.astype(int), 1)
    count = now.size
    shares = np.array([(now == MASK).sum(), (now == labels).sum(), ((now != MASK) & (now != labels)).sum()]) / count
    chance = 1 / (VOCABULARY - len(SPECIAL))  # of drawing the token itself
    expected = np.array([0.8, 0.1 + 0.1 * chance, 0.1 * (1 - chance)])
    assert (np.abs(shares - expected) < 4 * np.sqrt(expected * (1 - expected) / count)).all(), shares


def test_every_ordinary_place_is_as_likely():
    ids = tokens(rows=4000, length=22)
    _, positions, _, _ = masked(ids)
    counts = np.bincount(positions.ravel(), minlength=22)
    assert counts[0] == counts[-1] == 0
    expected = positions.size / 20
    assert (np.abs(counts[1:-1] - expected) < 5 * np.sqrt(expected)).all(), counts


def test_short_rows_fill_up_with_weight_zero():
    ids = np.zeros((3, 40), "int32")
    ids[0, :4] = [2, 10, 11, 3]  # two candidates for six places
    ids[1, :2] = [2, 3]  # none
    ids[2] = tokens(1, 40)[0]
    hidden, _, labels, weights = masked(ids)
    assert weights.sum(axis=1).tolist() == [2, 0, 6]
    assert (hidden[1] == ids[1]).all() and (hidden[0, 4:] == 0).all()
    assert sorted(labels[0][weights[0] > 0].tolist()) == [10, 11]


def test_rate_and_at_least_one():
    assert masked(tokens(2, 64), rate=0.5)[1].shape == (2, 32)
    assert masked(tokens(2, 4), rate=0.01)[1].shape == (2, 1)


def test_seed():
    ids = tokens()
    first, again, other = masked(ids, 1), masked(ids, 1), masked(ids, 2)
    assert all((a == b).all() for a, b in zip(first, again))
    assert (first[1] != other[1]).any()


def test_whole_words():
    """A word is hidden from its start on; at most one word a row is cut, for the fixed number of places."""
    ids = tokens(rows=300, length=60)
    starts = np.random.default_rng(5).random(ids.shape) < 0.5
    starts[:, :2] = starts[:, -1] = True
    word = np.cumsum(starts, axis=1)
    _, positions, _, weights = masked(ids, word_starts=starts)
    assert (weights == 1).all()
    for row in range(len(ids)):
        chosen = np.zeros(60, bool)
        chosen[positions[row]] = True
        cut = 0
        for number in np.unique(word[row][chosen]):
            members = np.flatnonzero(word[row] == number)
            assert chosen[members][: chosen[members].sum()].all(), "a word is taken from its start"
            cut += not chosen[members].all()
        assert cut <= 1
    every = np.ones_like(starts)
    assert (masked(ids, word_starts=every)[1] == masked(ids)[1]).all(), "words of one token are no change"
