"""Dropout."""

import keras

from zoo.backend import dropout
from zoo.backend.arguments import of_plain_numbers


@keras.saving.register_keras_serializable(package="zoo")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout`, with cheaper random numbers in TensorFlow and on torch's CPU, see `zoo.backend.dropout`.

    Input and output: float of any shape.
    """

    __init__ = of_plain_numbers(keras.layers.Dropout.__init__)

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        return dropout(inputs, self.rate, self.noise_shape, self.seed_generator)
