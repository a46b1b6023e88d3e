"""Keras' verbs, after whose errors a model is as it was, and which several threads may call."""

import functools
import threading
import weakref

import keras

from zoo.backend import ReadingVerbs, weights_kept

_LOCKS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # not on the model: what holds a lock cannot be copied
_MAKING = threading.Lock()


class KeptWeights(ReadingVerbs):
    """A `keras.Model` that loses nothing by an error in fit, evaluate, predict and their like; mixed in before it.

    Keras keeps what a verb is doing on the model, so threads that call one wait for each other; not for `fit`.
    """


def _lock_of(model):
    with _MAKING:
        return _LOCKS.setdefault(model, threading.RLock())


def _keeping(verb):
    @functools.wraps(getattr(keras.Model, verb))
    def kept(self, *args, **kwargs):
        if verb == "fit":
            with weights_kept(self, trains=True):
                return super(KeptWeights, self).fit(*args, **kwargs)
        with _lock_of(self), weights_kept(self):
            return getattr(super(KeptWeights, self), verb)(*args, **kwargs)

    return kept


for _verb in ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"):
    setattr(KeptWeights, _verb, _keeping(_verb))
