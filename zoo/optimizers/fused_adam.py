"""Adam and AdamW of Keras in one pass over the weights where the backend has a kernel for it."""

import keras

from zoo.backend import fused_adam_step


class _OnePass:
    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        moments = self._momentums[index], self._velocities[index]
        betas = self.beta_1, self.beta_2
        if self.amsgrad or not fused_adam_step(
            variable, gradient, *moments, learning_rate, self.iterations, *betas, self.epsilon
        ):
            super().update_step(gradient, variable, learning_rate)


@keras.saving.register_keras_serializable(package="zoo")
class FusedAdam(_OnePass, keras.optimizers.Adam):
    """`keras.optimizers.Adam`, the same arguments and numbers.

    On torch's CPU Keras makes a dozen passes over weights and moments, each through the main memory: 5 to 15 times the
    time of torch's kernel, which this one calls for float32 weights. Elsewhere it is Keras' own step.
    """


@keras.saving.register_keras_serializable(package="zoo")
class FusedAdamW(_OnePass, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, see `FusedAdam`."""
