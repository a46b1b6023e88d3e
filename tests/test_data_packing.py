"""Batches without a text twice: the guarantee on random and on hostile multiplicities."""

import numpy as np
import pytest

from zoo.data import BatchPlan
from zoo.data.packing import pack_distinct

pytestmark = pytest.mark.neutral


def check(batches, left_out, keys, batch_size):
    for batch in batches:
        held = [key for row in batch for key in keys[row]]
        assert len(held) == len(set(held))
        assert len(batch) <= batch_size
    rows = [row for batch in batches for row in batch] + left_out
    assert sorted(rows) == list(range(len(keys)))


@pytest.mark.parametrize("seed", range(200))
def test_no_key_twice_in_a_batch_and_no_row_lost(seed):
    """Random small cases: 1 to 40 rows of 1 to 3 keys out of few, so that most of them clash."""
    random = np.random.default_rng(seed)
    rows, size = int(random.integers(1, 41)), int(random.integers(1, 9))
    keys = [frozenset(random.integers(0, random.integers(2, 60), random.integers(1, 4)).tolist()) for _ in range(rows)]
    num_batches = -(-rows // size)
    batches, left_out = pack_distinct(random.permutation(rows).tolist(), keys, size, num_batches)
    check(batches, left_out, keys, size)
    assert len(batches) == num_batches
    assert all(batches)
    # Nothing is left out that a batch with room could take as it stands.
    for row in left_out:
        for batch in batches:
            full, clashes = len(batch) == size, any(keys[row] & keys[other] for other in batch)
            assert full or clashes


def test_distinct_keys_keep_the_order():
    batches, left_out = pack_distinct([3, 1, 4, 0, 2], [frozenset((row,)) for row in range(5)], 2, 3)
    assert (batches, left_out) == ([[3, 1], [4, 0], [2]], [])


def test_a_clash_in_the_last_batch_is_solved_by_moving_a_row():
    keys = [frozenset("a"), frozenset("b"), frozenset("c"), frozenset("c")]
    batches, left_out = pack_distinct([0, 1, 2, 3], keys, 2, 2)
    check(batches, left_out, keys, 2)
    assert left_out == []


def test_rows_find_places_one_after_the_other():
    """The rows of "z" come last and fit only where another row moves out."""
    keys = [frozenset(key) for key in ("ab", "c", "d", "e", "f", "z", "z", "z")]
    batches, left_out = pack_distinct(range(8), keys, 3, 3)
    check(batches, left_out, keys, 3)
    assert left_out == []


def test_a_text_in_more_rows_than_batches_sits_out():
    keys = [frozenset("a")] * 7 + [frozenset((row,)) for row in range(9)]
    batches, left_out = pack_distinct(range(16), keys, 4, 4)
    check(batches, left_out, keys, 4)
    assert len(left_out) == 3
    assert all(sum("a" in keys[row] for row in batch) == 1 for batch in batches)


@pytest.fixture
def texts():
    """2,000 pairs over 1,500 texts of skewed popularity, as in question-matching sets."""
    random = np.random.default_rng(1)
    popularity = 1 / np.arange(10, 1510)
    return random.choice(1500, (2000, 2), p=popularity / popularity.sum()).tolist()


def plan_of(texts, **settings):
    lengths = np.random.default_rng(2).integers(5, 100, len(texts))
    return BatchPlan(lengths, 16, no_duplicates=texts, **settings)


def test_a_plan_without_duplicates(texts):
    plan = plan_of(texts, last="pad")
    for epoch in range(3):
        batches = plan(epoch)
        assert len(batches) == len(plan) == 125
        assert {len(batch) for batch in batches} == {16}
        assert len(plan.left_out(epoch)) == 0
        for batch in batches:
            held = [text for row in batch.rows for text in set(texts[row])]
            assert len(held) == len(set(held))
        assert np.array_equal(np.sort(np.concatenate([batch.rows for batch in batches])), np.arange(2000))


def test_the_number_of_batches_stays_when_rows_sit_out(texts):
    texts = texts[:500] + [["hot", f"own {row}"] for row in range(200)]
    plan = plan_of(texts)
    out = [plan.left_out(epoch) for epoch in range(3)]
    assert {len(plan(epoch)) for epoch in range(3)} == {len(plan)}
    assert {len(rows) for rows in out} == {200 - len(plan)}
    assert not np.array_equal(out[0], out[1])  # another choice each epoch


def test_one_text_a_row_may_be_a_str(texts):
    plan = BatchPlan([3] * 6, 3, buckets=None, no_duplicates=["ab", "ab", "ba", "c", "d", "e"])
    for batch in plan(0):
        assert not {0, 1} <= set(batch.rows.tolist())
    # As sequences of letters "ab" and "ba" would clash; as texts they are two.
    assert len(plan.left_out(0)) == 0


def test_a_million_clashes_take_no_age():
    """All rows share one text: the worst case is refused row by row, not searched for."""
    keys = [frozenset(("hot", row)) for row in range(50_000)]
    batches, left_out = pack_distinct(range(50_000), keys, 64, 782)
    assert [len(batch) for batch in batches] == [1] * 782
    assert len(left_out) == 50_000 - 782
