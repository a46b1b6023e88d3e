"""What asks which backend runs: work spread over cores."""

import threading

import keras
import numpy as np
import pytest
from keras import ops
from tiny_models import TEXTS, matcher, scatter_weights

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


def test_encoding_is_the_same_with_more_cores(two_cores, assert_close):
    model = matcher()
    texts = [text + str(number) for number in range(6) for text in TEXTS]
    one_by_one = np.concatenate([model.encode([text]) for text in texts])
    assert_close(model.encode(texts, batch_size=4), one_by_one, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_groups_by_length_change_no_row(assert_close, training):
    """Long batches of mixed lengths, padding on either side or in the middle, rows without any token."""
    model = scatter_weights(matcher())
    rng = np.random.default_rng(0)
    token_ids = rng.integers(5, 100, (200, 24)).astype("int32")
    lengths = rng.integers(0, 24, 200)
    mask = np.arange(24) < lengths[:, None]
    mask[7] = np.arange(24) >= 20  # on the left
    mask[8] = np.arange(24) % 3 == 0
    inputs = {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids), "padding_mask": mask}
    inputs = {name: ops.convert_to_tensor(x) for name, x in inputs.items()}
    widths, pooled = [], model._pooled

    def watched(inputs, training):
        widths.append(tuple(inputs["token_ids"].shape))
        return pooled(inputs, training)

    model._pooled = watched
    found = model.pool(inputs, training=training)
    assert len(widths) == (4 if TORCH else 1)
    assert_close(found, pooled(inputs, training=training), atol=1e-5)
    widths.clear()
    full = {name: ops.ones_like(x) for name, x in inputs.items()}
    model.pool(full)
    assert widths == [(200, 24)]
