"""Projections."""

import keras

from zoo.backend import affine
from zoo.backend.arguments import PlainNumbers, of_plain_numbers


@keras.saving.register_keras_serializable(package="zoo")
class Dense(PlainNumbers, keras.layers.Dense):
    """φ(x W + b): `keras.layers.Dense`, with product and bias in one pass where the backend has one for both.

    Input: float `[..., m]`. Output: float `[..., units]`.
    """

    __init__ = of_plain_numbers(keras.layers.Dense.__init__)

    def call(self, inputs, training=None):
        x = affine(inputs, self.kernel, self.bias)
        return x if self.activation is None else self.activation(x)

    def quantize(self, mode=None, type_check=True, config=None):
        # Keras refuses subclasses, which may compute something else; this one computes the same
        super().quantize(mode, type_check=type_check and type(self) is not Dense, config=config)
