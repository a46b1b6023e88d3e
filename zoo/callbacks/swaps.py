"""Callbacks that put averages in the place of the weights between epochs, and the trained weights behind them."""

import contextlib

import keras

from zoo.optimizers import EvaluateAverages

_SWAPPING = (EvaluateAverages, keras.callbacks.SwapEMAWeights)


@contextlib.contextmanager
def trained_weights(callbacks, epoch):
    """Within, at the end of an epoch, a model has the weights that are trained; after, what callbacks had put there."""
    swapping = [callback for callback in callbacks if isinstance(callback, _SWAPPING)]
    for callback in reversed(swapping):
        callback.on_epoch_begin(epoch)
    try:
        yield
    finally:
        for callback in swapping:
            callback.on_epoch_end(epoch)
