"""Keras' verbs, after whose errors a model is as it was."""

import functools

import keras

from zoo.backend import weights_kept


class KeptWeights:
    """A `keras.Model` that loses nothing by an error in fit, evaluate, predict and their like; mixed in before it."""


def _keeping(verb):
    @functools.wraps(getattr(keras.Model, verb))
    def kept(self, *args, **kwargs):
        with weights_kept(self):
            return getattr(super(KeptWeights, self), verb)(*args, **kwargs)

    return kept


for _verb in ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"):
    setattr(KeptWeights, _verb, _keeping(_verb))
