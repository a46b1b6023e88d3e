"""Batches of rows: without their padding where the backend can, and on torch's CPU a batch for each core."""

import math
from concurrent.futures import ThreadPoolExecutor

import keras
from keras import ops

from .compilation import compiles_each_shape


def padding_is_left_out(model, mask, training):
    """Whether a batch is computed without its padding: where a new shape costs nothing, from 5 % of it on.

    In batches of mixed lengths it is a fifth of all tokens. So on torch's CPU and in TensorFlow; a graph of TensorFlow is
    one for all batches and leaves it out of all of them, in training alone, that graphs for use stay plain.

    Args:
        model: that computes it. mask: bool `[B, n]`, True at real tokens. training: bool or None.
    """
    if keras.backend.backend() == "jax" or compiles_each_shape(model):
        return False
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            return bool(training)
    else:
        import torch

        if not isinstance(mask, torch.Tensor) or mask.device.type != "cpu" or torch.compiler.is_compiling():
            return False
    return int(ops.sum(ops.cast(mask, "int32"))) < 0.95 * math.prod(mask.shape)


def take_rows(x, places):
    """Rows `[T, ...]` at distinct places of `[N, ...]`."""
    if keras.backend.backend() == "torch":
        return x.index_select(0, places)
    if keras.backend.backend() == "tensorflow" and x.dtype.is_floating:
        return _take_rows(x, places)
    return ops.take(x, places, axis=0)


def put_rows(x, places, count):
    """Rows of `[T, d]` at distinct places of zeros `[count, d]`."""
    if keras.backend.backend() == "torch":
        return x.new_zeros((count, x.shape[1])).index_add_(0, places, x)  # on one core as fast as a copy of them
    if keras.backend.backend() == "tensorflow":
        return _put_rows(x, places, count)
    return ops.scatter(ops.expand_dims(places, 1), x, (count, x.shape[1]))


def _take_rows(x, places):
    """TensorFlow's gather; its own gradient adds rows up one by one, as places may repeat there."""
    import tensorflow as tf

    @tf.custom_gradient
    def take(x):
        return tf.gather(x, places), lambda upstream: _put_rows(upstream, places, tf.shape(x)[0])

    return take(x)


def _put_rows(x, places, count):
    """TensorFlow's scatter, with the gradient of distinct places."""
    import tensorflow as tf

    @tf.custom_gradient
    def put(x):
        rows = tf.scatter_nd(tf.expand_dims(places, 1), x, tf.cast([count, tf.shape(x)[1]], places.dtype))
        return rows, lambda upstream: _take_rows(upstream, places)

    return put(x)


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
