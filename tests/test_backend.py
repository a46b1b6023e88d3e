"""What asks which backend runs: work spread over cores."""

import threading

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.tiny_models import TEXTS, matcher

from zoo.backend import concurrently

TORCH = keras.backend.backend() == "torch"


@pytest.fixture
def two_cores():
    """torch with two threads, the only backend that asks."""
    if not TORCH:
        return (yield 1)
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_results_come_in_order_from_as_many_threads_as_cores(two_cores):
    threads, meet = set(), threading.Barrier(two_cores)

    def work(item):
        meet.wait(timeout=30)  # passes if as many items are worked on at a time
        threads.add(threading.get_ident())
        return item * item

    assert list(concurrently(work, range(8))) == [i * i for i in range(8)]
    assert len(threads) == two_cores
    assert list(concurrently(str, [7])) == ["7"]
    assert list(concurrently(str, [])) == []


def test_errors_reach_the_caller_and_stop_the_rest(two_cores):
    done = []

    def work(item):
        if item == 3:
            raise KeyError("the third")
        done.append(item)

    with pytest.raises(KeyError, match="the third"):
        list(concurrently(work, range(1000)))
    assert len(done) < 1000


def test_encoding_is_the_same_with_more_cores(two_cores):
    model = matcher()
    texts = [text + str(number) for number in range(6) for text in TEXTS]
    one_by_one = np.concatenate([model.encode([text]) for text in texts])
    assert_close(model.encode(texts, batch_size=4), one_by_one, atol=1e-5)


@pytest.mark.parametrize("first_closed", ["first", "second"])
def test_two_at_a_time_put_the_number_of_threads_back(two_cores, first_closed):
    """In any order, when they are closed early, and after an error in one of them."""

    def work(item):
        if item == 5:
            raise KeyError(item)
        return item

    first, second = concurrently(work, range(4)), concurrently(work, range(8))
    assert (next(first), next(second)) == (0, 0)
    if first_closed == "first":
        first.close()
        assert next(second) == 1
    with pytest.raises(KeyError):
        list(second)
    assert list(first) == ([] if first_closed == "first" else [1, 2, 3])
    if TORCH:
        import torch

        assert torch.get_num_threads() == two_cores
    assert list(concurrently(work, range(5))) == list(range(5))


def test_callers_in_several_threads_put_the_number_of_threads_back(two_cores):
    found = []

    def caller():
        found.append(list(concurrently(str, range(20))))
        if TORCH:
            import torch

            found.append(torch.get_num_threads())

    threads = [threading.Thread(target=caller) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count([str(i) for i in range(20)]) == 4
    assert not TORCH or found.count(two_cores) == 4
