"""Optimizers: `keras.optimizers.Optimizer` subclasses that know no model."""

from zoo.optimizers.bert4keras_adam import Bert4KerasAdam

__all__ = ["Bert4KerasAdam"]
