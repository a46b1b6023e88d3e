"""Steps as long as the weights they move (LAMB, LARS)."""

import keras
from keras import ops

from zoo.backend.variables import named_by
from zoo.optimizers.decay import NORMS_AND_BIASES
from zoo.optimizers.wrapper import OptimizerWrapper


@keras.saving.register_keras_serializable(package="zoo")
class LayerAdaptation(OptimizerWrapper):
    """Gives the step of each variable the length learning_rate · |w|: around Adam it is LAMB, around SGD LARS.

        w <- w + (|w| / |Δ / lr|) Δ,    Δ: the inner optimizer's step, its decay included; factor 1 where a norm is 0

    Keras' `Lamb` leaves its weight decay out of Δ, against the paper, and adapts every variable. The recipe of this
    lineage's pretraining:

        optimizer = Bert4KerasAdam(PiecewiseLinear(1.76e-3, {3125: 1, 125000: 0}), bias_correction=False, weight_decay=0.01)
        optimizer = LayerAdaptation(ExcludeFromDecay(optimizer))

    `LayerwiseLearningRate` goes around it: inside, its factors would be normalised away.

    Args:
        optimizer: see `OptimizerWrapper`.
        exclude: regular expression searched in the paths of variables whose steps stay as they are, or None.

    Source: You et al., arXiv 1904.00962; bert4keras, `optimizers.py`, `extend_with_layer_adaptation`.
    """

    def __init__(self, optimizer, exclude=NORMS_AND_BIASES, name="layer_adaptation"):
        super().__init__(optimizer, name=name)
        self.exclude = exclude

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self._adapts = tuple(self.exclude is None or not named_by(self.exclude, v.path) for v in variables)

    def corrects(self, variable):
        return self._adapts[self._get_variable_index(variable)]

    def corrected(self, variable, before, gradient, learning_rate):
        step = ops.cast(variable - before, "float32")
        length, weight_length = norm(step), norm(ops.cast(before, "float32"))
        rate = ops.maximum(ops.cast(learning_rate, "float32"), 1e-7)  # a rate of 0 makes no step at all
        moves = ops.logical_and(length > 0, weight_length > 0)
        factor = ops.where(moves, weight_length * rate / ops.where(moves, length, 1.0), 1.0)
        return before + ops.cast(factor * step, before.dtype)


def norm(x):
    return ops.sqrt(ops.sum(ops.square(x)))
