"""Batches: every row once, the same for a seed and epoch, resumable, little padding (rows R5, D7, D8)."""

import hashlib
import json

import numpy as np
import pytest

from zoo.data import BUCKETS, Batch, BatchPlan, PredictionPlan, length_buckets
from zoo.data.shuffling import permutation

pytestmark = pytest.mark.neutral

PINNED_PERMUTATION = [7, 6, 4, 5, 3, 1, 0, 2]
PINNED_PLAN = "656870c469d56d21a90fc377ff66b6579440338ab5dbd9df867e3cd27f40b785"


@pytest.fixture
def lengths():
    """1,003 lengths, log-normal as sentence lengths are: most short, a few beyond the last bucket."""
    return np.random.default_rng(5).lognormal(3.0, 0.9, 1003).astype("int64") + 2


def rows_of(batches):
    return np.concatenate([batch.rows for batch in batches])


def same(left, right):
    return len(left) == len(right) and all(
        a.length == b.length and np.array_equal(a.indices, b.indices) and np.array_equal(a.weights, b.weights)
        for a, b in zip(left, right)
    )


SETTINGS = [
    {},
    {"shuffle": False},
    {"window": 1},
    {"window": 10**6},
    {"buckets": None},
    {"buckets": (16, 32, 64)},
    {"last": "pad"},
    {"batch_size": 1},
    {"batch_size": 2000},
    {"batch_size": 1003},
    {"batch_size": 59},
]


def plan_of(lengths, **settings):
    return BatchPlan(lengths, **{"batch_size": 32, "seed": 3, **settings})


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_row_once_an_epoch(lengths, settings):
    plan = plan_of(lengths, **settings)
    for epoch in range(3):
        batches = plan(epoch)
        assert np.array_equal(np.sort(rows_of(batches)), np.arange(1003))
        assert len(batches) == len(plan)
        assert len(plan.left_out(epoch)) == 0


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_only_the_last_batch_is_short_and_rows_fit_their_batch(lengths, settings):
    plan = plan_of(lengths, **settings)
    batches = plan(1)
    assert {len(batch) for batch in batches[:-1]} <= {plan.batch_size}
    assert len(batches[-1].rows) == (1003 - 1) % plan.batch_size + 1
    for batch in batches:
        longest = lengths[batch.rows].max()
        if plan.buckets is None:
            assert batch.length == longest
        else:
            assert batch.length == next((b for b in plan.buckets if b >= longest), plan.buckets[-1])


def test_padding_rows_keep_the_shape_and_weigh_nothing(lengths):
    batches = plan_of(lengths, last="pad")(0)
    assert {len(batch) for batch in batches} == {32}
    assert [batch.weights.sum() for batch in batches] == [32] * 31 + [1003 - 31 * 32]
    assert batches[-1].weights.dtype == "float32"
    assert set(batches[-1].indices) == set(batches[-1].rows)


def test_dropping_leaves_out_another_random_remainder_each_epoch(lengths):
    plan = plan_of(lengths, last="drop")
    assert len(plan) == 31
    dropped = [plan.left_out(epoch) for epoch in range(40)]
    assert {len(rows) for rows in dropped} == {1003 - 31 * 32}
    assert len({tuple(rows) for rows in dropped}) == 40
    # A fair sample: the mean length of 440 dropped rows lies within 4 standard errors of all rows' mean.
    sample = lengths[np.concatenate(dropped)]
    assert abs(sample.mean() - lengths.mean()) < 4 * lengths.std() / np.sqrt(len(sample))


def test_the_same_seed_and_epoch_give_the_same_batches(lengths):
    assert same(plan_of(lengths)(4), plan_of(lengths.tolist())(4))
    plan = plan_of(lengths)
    again = [plan(2), plan(0), plan(2)]  # no state: epochs in any order
    assert same(again[0], again[2])
    assert not same(again[0], again[1])
    assert not same(plan(0), plan_of(lengths, seed=4)(0))


def test_the_order_is_pinned_for_ever():
    """Values written down once: a run must resume in the same order under later NumPy and zoo."""
    assert permutation(8, 0, 0, 1).tolist() == PINNED_PERMUTATION
    batches = BatchPlan(np.arange(1, 301), 16, seed=1)(2)
    listed = json.dumps([[batch.length, *batch.indices.tolist()] for batch in batches])
    assert hashlib.sha256(listed.encode()).hexdigest() == PINNED_PLAN


def test_permutations_are_uniform():
    """Each of the 24 orders of 4 items turns up 1/24 of the time (5 standard deviations)."""
    counts = {}
    for seed in range(4800):
        key = tuple(permutation(4, seed))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 24
    assert max(abs(count - 200) for count in counts.values()) < 5 * np.sqrt(200)


def test_streams_of_a_seed_differ():
    assert not np.array_equal(permutation(50, 7, 0, 1), permutation(50, 7, 0, 2))
    assert not np.array_equal(permutation(50, 7, 1, 1), permutation(50, 1, 7, 1))


def test_a_fingerprint_tells_another_order(lengths):
    """What a state of training is held against: the same data and settings, or another run."""
    assert plan_of(lengths).fingerprint == plan_of(lengths).fingerprint
    others = [
        plan_of(lengths, batch_size=16),
        plan_of(lengths, window=2),
        plan_of(lengths, last="pad"),
        plan_of(lengths, buckets=None),
        plan_of(lengths, shuffle=False),
        plan_of(lengths[:-1]),
        plan_of(np.roll(lengths, 1)),
        plan_of(lengths, no_duplicates=["a"] * 1003),
    ]
    assert len({plan_of(lengths).fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_buckets_waste_less_than_random_batches(lengths):
    random = plan_of(lengths, window=1).padding_fraction()
    assert plan_of(lengths).padding_fraction() < 0.6 * random
    assert plan_of(lengths, buckets=None, window=64).padding_fraction() < 0.25 * random


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_padding_fraction_is_counted_cell_by_cell(lengths, settings):
    plan = plan_of(lengths, **settings)
    cells = real = 0
    for batch in plan(2):
        for index, weight in zip(batch.indices, batch.weights):
            cells += batch.length
            real += min(lengths[index], batch.length) if weight else 0
    assert plan.padding_fraction(2) == pytest.approx(1 - real / cells, abs=1e-12)


def test_pairs_are_padded_to_the_longer_text():
    plan = BatchPlan([[10, 40], [12, 12], [5, 100], [3, 3]], 2, shuffle=False)
    assert [batch.length for batch in plan(0)] == [64, 128]
    assert plan.padding_fraction() == pytest.approx(1 - (10 + 40 + 12 + 12 + 5 + 100 + 3 + 3) / (4 * 64 + 4 * 128))


def test_rows_meet_different_rows_each_epoch(lengths):
    """Sorting by length must not freeze the batches: of 200 pairs that meet, few meet again."""
    plan = plan_of(lengths)
    meetings = [
        {frozenset((batch.rows[0], other)) for batch in plan(epoch) for other in batch.rows[1:]} for epoch in range(2)
    ]
    assert len(meetings[0] & meetings[1]) < 0.2 * len(meetings[0])


def test_batches_come_in_random_order_of_length(lengths):
    found = np.array([batch.length for batch in plan_of(lengths)(0)][:-1])
    assert not (np.diff(found) >= 0).all()
    assert not (np.diff(found) <= 0).all()


def test_truncated_rows_are_counted(lengths):
    assert plan_of(lengths, buckets=(16, 32)).truncated == int((lengths > 32).sum())
    assert plan_of(lengths, buckets=None).truncated == 0


def test_length_buckets_end_at_the_models_limit():
    assert length_buckets(512) == BUCKETS
    assert length_buckets(100) == (16, 32, 64, 100)
    assert length_buckets(1024) == (*BUCKETS, 1024)
    assert length_buckets(8) == (8,)
    with pytest.raises(ValueError, match="max_length=0"):
        length_buckets(0)


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"lengths": []}, "0 rows make no batch"),
        ({"lengths": [1, 2], "last": "drop"}, "2 rows make no batch of 4"),
        ({"lengths": [1.5, 2]}, "float64 array of shape"),
        ({"lengths": [[[1]]]}, "array of shape"),
        ({"lengths": [1, -2]}, r"lengths\[1\] is negative"),
        ({"lengths": [[1, 1], [2, -2]]}, r"lengths\[1\] is negative"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"buckets": (32, 16)}, "buckets="),
        ({"buckets": ()}, "buckets="),
        ({"last": "wrap"}, "last='wrap'"),
        ({"window": 0}, "window=0"),
        ({"no_duplicates": ["a"]}, "no_duplicates has 1 rows, lengths has 5"),
        ({"no_duplicates": list("abcde"), "last": "drop"}, "no_duplicates may leave any batch short"),
    ],
)
def test_wrong_arguments_are_named(arguments, says):
    with pytest.raises(ValueError, match=says):
        BatchPlan(**{"lengths": [1, 2, 3, 4, 5], "batch_size": 4, **arguments})


def test_micro_batches_cover_a_big_batch(lengths):
    plan = plan_of(lengths, batch_size=500, last="pad")
    for batch in plan(0):
        parts = plan.micro_batches(batch, 64)
        assert {len(part) for part in parts} == {64}
        positions = np.concatenate([part.rows for part in parts])
        assert np.array_equal(np.sort(positions), np.flatnonzero(batch.weights))
        for part in parts:
            assert part.length == plan._batch(batch.indices[part.rows]).length <= batch.length
    assert sum(part.length for part in plan.micro_batches(plan(0)[0], 64)) < 8 * plan(0)[0].length


# --- prediction ---


@pytest.mark.parametrize("last", ["keep", "pad"])
@pytest.mark.parametrize("rows", [1, 31, 32, 33, 1003])
def test_prediction_comes_back_in_the_given_order(lengths, rows, last):
    plan = PredictionPlan(lengths[:rows], 32, last=last)
    outputs = [np.stack([batch.indices * 2.0, lengths[batch.indices]], axis=1) for batch in plan]
    assert np.array_equal(plan.restore(outputs), np.stack([np.arange(rows) * 2.0, lengths[:rows]], axis=1))
    assert len(plan) == len(outputs) == -(-rows // 32)


def test_prediction_starts_with_the_longest_rows(lengths):
    batches = list(PredictionPlan(lengths, 32))
    assert lengths[batches[0].rows[0]] == lengths.max()
    assert [batch.length for batch in batches] == sorted((batch.length for batch in batches), reverse=True)
    assert PredictionPlan(lengths, 32).padding_fraction < plan_of(lengths, window=1).padding_fraction()


def test_prediction_of_nothing():
    plan = PredictionPlan([], 32)
    assert list(plan) == []
    assert len(plan.restore([])) == 0
    assert plan.padding_fraction == 0.0


def test_restoring_wrong_outputs_is_an_error(lengths):
    plan = PredictionPlan(lengths, 500)
    with pytest.raises(ValueError, match=r"outputs of sizes \[500, 500\] for batches of sizes \[500, 500, 3\]"):
        plan.restore([np.zeros(500), np.zeros(500)])


def test_a_batch_pads_itself():
    batch = Batch(np.array([4, 7]), 16, np.ones(2, "float32")).padded_to(4)
    assert batch.indices.tolist() == [4, 7, 7, 7]
    assert batch.weights.tolist() == [1, 1, 0, 0]
    assert batch.rows.tolist() == [4, 7]
