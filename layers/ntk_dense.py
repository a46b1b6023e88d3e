"""NTK parametrisation (Jacot et al., arXiv 1806.07572; kexue.fm/archives/8620): weights of size 1, scaled in use."""

import math

import keras

from zoo.backend import affine
from zoo.layers.dense import Dense


@keras.saving.register_keras_serializable(package="zoo")
class NTKDense(Dense):
    """φ(gain / sqrt(m) · x W + b) with W ~ N(0, 1): at the start the same function as a dense layer of variance gain²/m.

    Every weight is of size 1 whatever the width, so that one learning rate is the same relative step in every layer:
    0.01 is one percent.

    Args:
        units, activation, use_bias, ...: as in `keras.layers.Dense`.
        gain: float; sqrt(2) before ReLU.

    Input: float `[..., m]`. Output: float `[..., units]`.
    """

    def __init__(self, units, gain=1.0, kernel_initializer="random_normal_1", **kwargs):
        if kernel_initializer == "random_normal_1":
            kernel_initializer = keras.initializers.RandomNormal(stddev=1.0)
        super().__init__(units, kernel_initializer=kernel_initializer, **kwargs)
        self.gain = gain

    def call(self, inputs, training=None):
        # x is scaled, not the product: in float16 sums of m numbers of size 1 could overflow
        x = affine(inputs * (self.gain / math.sqrt(inputs.shape[-1])), self.kernel, self.bias)
        return x if self.activation is None else self.activation(x)

    def get_config(self):
        return {**super().get_config(), "gain": self.gain}


def ntk_kernel(kernel, gain=1.0):
    """The kernel `[m, units]` of the `NTKDense` that computes what a dense layer with this kernel does."""
    return kernel * (math.sqrt(kernel.shape[0]) / gain)


def standard_kernel(kernel, gain=1.0):
    """The other way round."""
    return kernel * (gain / math.sqrt(kernel.shape[0]))
