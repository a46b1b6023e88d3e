"""Adam and AdamW of Keras in one pass over the weights where the backend has a kernel for it."""

import keras

from zoo.backend import fused_adam_step


def _fused(optimizer, gradient, variable, learning_rate):
    """Whether the fused kernel has taken the step of a variable."""
    if optimizer.amsgrad:
        return False
    index = optimizer._get_variable_index(variable)
    moments = optimizer._momentums[index], optimizer._velocities[index]
    constants = optimizer.beta_1, optimizer.beta_2, optimizer.epsilon
    return fused_adam_step(variable, gradient, *moments, learning_rate, optimizer.iterations, *constants)


@keras.saving.register_keras_serializable(package="zoo")
class FusedAdam(keras.optimizers.Adam):
    """`keras.optimizers.Adam`, the same arguments and numbers.

    On torch's CPU Keras makes a dozen passes over weights and moments, each through the main memory: 5 to 15 times the
    time of torch's kernel, which this one calls for float32 weights; TensorFlow has one too. XLA fuses Keras' own step.
    """

    def update_step(self, gradient, variable, learning_rate):
        if not _fused(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate)


@keras.saving.register_keras_serializable(package="zoo")
class FusedAdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, see `FusedAdam`."""

    def update_step(self, gradient, variable, learning_rate):
        if not _fused(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate)
