"""Batches of rows on torch's CPU: without their padding, and a batch for each core."""

from concurrent.futures import ThreadPoolExecutor

import keras
from keras import ops


def padding_is_left_out(mask):
    """Whether a batch is computed without its padding: where a new shape costs nothing (torch's CPU), from 5 % of it on.

    In batches of mixed lengths it is a fifth of all tokens.

    Args:
        mask: bool `[B, n]`, True at real tokens.
    """
    if keras.backend.backend() != "torch":
        return False
    import torch

    if not isinstance(mask, torch.Tensor) or mask.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return int(mask.bool().sum()) < 0.95 * mask.numel()


def take_rows(x, places):
    """Rows `[T, ...]` at distinct places of `[N, ...]`."""
    return x.index_select(0, places) if keras.backend.backend() == "torch" else ops.take(x, places, axis=0)


def put_rows(x, places, count):
    """Rows of `[T, d]` at distinct places of zeros `[count, d]`."""
    if keras.backend.backend() == "torch":
        return x.new_zeros((count, x.shape[1])).index_add_(0, places, x)  # on one core as fast as a copy of them
    return ops.scatter(ops.expand_dims(places, 1), x, (count, x.shape[1]))


def concurrently(function, items):
    """Results of a function that does not train, for each item, in their order; on torch's CPU in threads, a core each.

    An operation of a small model is too short to be shared by cores, and Python between two of them leaves all cores but
    one idle. The compilers of the other backends share a whole step.

    Args:
        function: of one item; it may run in several threads. items: sequence.

    Yields:
        results.
    """
    cores = 1
    if keras.backend.backend() == "torch" and ops.zeros(()).device.type == "cpu":
        import torch

        cores = torch.get_num_threads()
    workers = min(cores, len(items))
    if workers < 2:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(cores // workers,))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # a library below torch has one number for all threads
