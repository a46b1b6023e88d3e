"""Adam and AdamW of Keras in one pass over the weights where the backend has a kernel for it."""

import keras

from zoo.backend import fused_adam
from zoo.backend.arguments import of_plain_numbers


@keras.saving.register_keras_serializable(package="zoo")
class FusedAdam(fused_adam(keras.optimizers.Adam)):
    """`keras.optimizers.Adam`, the same arguments and numbers, float32 weights updated by one kernel.

    On torch's CPU Keras makes a dozen passes over weights and moments, each through the main memory: 5 to 15 times the
    time of torch's kernel. TensorFlow has such a kernel too. On a GPU, and for weights in half precision, torch takes
    the multi-tensor step of `keras.optimizers.Adam`; on JAX it is that class, whose step XLA fuses.
    """

    __init__ = of_plain_numbers(keras.optimizers.Adam.__init__)


@keras.saving.register_keras_serializable(package="zoo")
class FusedAdamW(fused_adam(keras.optimizers.AdamW)):
    """`keras.optimizers.AdamW`, see `FusedAdam`."""

    __init__ = of_plain_numbers(keras.optimizers.AdamW.__init__)
