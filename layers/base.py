"""What layers with projections share."""

import keras

from zoo.backend.arguments import Configured
from zoo.layers.dense import Dense


class ConfiguredLayer(Configured, keras.layers.Layer):
    """A `Configured` layer whose projections share `use_bias` and `kernel_initializer`."""

    use_bias: bool
    kernel_initializer: keras.initializers.Initializer

    def projection(self, units, name, activation=None):
        """A dense layer in this layer's policy; its kernel starts from random numbers of its own."""
        return Dense(
            units,
            activation=activation,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )
