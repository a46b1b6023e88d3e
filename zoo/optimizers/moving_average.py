"""Averages of the weights over the training, and models that use them."""

import contextlib
import math

import keras
from keras import ops

from zoo.optimizers.wrapper import OptimizerWrapper, chain


@keras.saving.register_keras_serializable(package="zoo")
class ExponentialMovingAverage(OptimizerWrapper):
    """Averages the weights: a <- β a + (1 - β) w after each update, from the weights before the first one.

    As with Keras' `use_ema`, the model has the averages for weights when `fit` is over; before that see
    `averaged_weights` and `EvaluateAverages`. Keras' own average starts at the weights after the first step instead,
    and takes each of `gradient_accumulation_steps` for an update.

    Args:
        optimizer: see `OptimizerWrapper`.
        momentum: float, β.
        bias_correction: bool, for a mean of the weights after the steps that leaves out the initial ones: what a sum
            from 0 gives when divided by 1 - β^t. bert4keras averages so.

    Source: bert4keras, `optimizers.py`, `extend_with_exponential_moving_average`.
    """

    def __init__(self, optimizer, momentum=0.999, bias_correction=False, name="exponential_moving_average"):
        super().__init__(optimizer, name=name)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum}; expected at least 0 and below 1")
        self.momentum, self.bias_correction = momentum, bias_correction
        self.use_ema = True

    def build(self, variables):
        if not self.built:
            self.use_ema = False  # Keras would add its own averages
            super().build(variables)
            self.use_ema = True
            self._averages = self.add_copies(variables, "average")

    def step(self, gradients, variables):
        updated, updates = self.step_and_count(gradients, variables, self._averages)
        weight = 1.0 - self.momentum
        if self.bias_correction and self.momentum > 0:
            count = ops.cast(ops.maximum(updates, 1), "float32")
            weight = weight / -ops.expm1(count * math.log(self.momentum))
        weight = ops.where(updated, weight, 0.0)
        for variable, average in zip(self._trainable_variables, self._averages):
            difference = ops.cast(variable, average.dtype) - average
            average.assign(average + ops.cast(weight, average.dtype) * difference)

    @property
    def averages(self):
        """(variable, average) pairs."""
        return list(zip(self._trainable_variables, self._averages))

    def finalize_variable_values(self, var_list):
        super().finalize_variable_values(var_list)
        for variable, average in self.averages:
            variable.assign(copied(average, variable.dtype))


def copied(average, dtype):
    """Its value in memory of its own: JAX gives the memory of one variable away in a step, and the other's with it."""
    return ops.copy(ops.cast(average, dtype))


@contextlib.contextmanager
def averaged_weights(model):
    """Within, a model has the averages of its optimizer for weights; after, its own again, bit by bit.

        with zoo.optimizers.averaged_weights(matcher):
            matcher.evaluate(dev)

    Raises:
        ValueError: the model is not compiled with an `ExponentialMovingAverage`, or was not trained with it.
    """
    swap = _Swap(model)
    try:
        yield model
    finally:
        swap.back()


class EvaluateAverages(keras.callbacks.Callback):
    """Between the epochs of `fit` the model has the averaged weights: validation, checkpoints and early stopping see them.

    Callbacks that stand before it in the list see the weights that are trained. `zoo.callbacks.Resume` saves those,
    wherever it stands.
    """

    def __init__(self):
        super().__init__()
        self._swap = None

    def on_test_begin(self, logs=None):
        self._swap = self._swap or _Swap(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self._swap = self._swap or _Swap(self.model)

    def on_test_end(self, logs=None):
        self._swap_back()

    def on_epoch_begin(self, epoch, logs=None):
        self._swap_back()

    def on_train_end(self, logs=None):
        self._swap = None  # the averages stay, which `fit` leaves in the model anyway

    def _swap_back(self):
        if self._swap is not None:
            self._swap.back()
            self._swap = None


class _Swap:
    """Puts averages into a model, and its own weights back."""

    def __init__(self, model):
        averaging = [one for one in chain(model.optimizer) if isinstance(one, ExponentialMovingAverage)]
        if not averaging or not averaging[0].built:
            raise ValueError(
                f"{type(model).__name__} has no averages of weights: compile it with "
                "zoo.optimizers.ExponentialMovingAverage(...) and train it"
            )
        self.own = [(variable, ops.convert_to_numpy(variable).copy()) for variable, _ in averaging[0].averages]
        for variable, average in averaging[0].averages:
            variable.assign(copied(average, variable.dtype))

    def back(self):
        for variable, value in self.own:
            variable.assign(value)
