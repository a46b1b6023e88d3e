"""Layers that describe themselves: the config is the constructor's arguments, read from the attributes they go to."""

import inspect

import keras

from zoo.layers import plugins
from zoo.layers.attention_options import AttentionOptions
from zoo.layers.dense import Dense


class ConfiguredLayer(keras.layers.Layer):
    """A layer that keeps every argument of its constructor in an attribute of the same name.

    `get_config` follows from that. Its projections share `use_bias` and `kernel_initializer`.
    """

    use_bias: bool
    kernel_initializer: keras.initializers.Initializer

    def projection(self, units, name, activation=None):
        """A dense layer in this layer's policy, its kernel drawn apart from the others."""
        return Dense(
            units,
            activation=activation,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )

    def get_config(self):
        parents = type(self).__mro__[: type(self).__mro__.index(ConfiguredLayer)]
        arguments = [
            name
            for parent in parents
            if "__init__" in vars(parent)
            for name, argument in inspect.signature(parent.__init__).parameters.items()
            if name != "self" and argument.kind is not argument.VAR_KEYWORD
        ]
        return {**super().get_config(), **{name: _described(getattr(self, name)) for name in arguments}}


def _described(value):
    """JSON form of an argument."""
    if isinstance(value, AttentionOptions):
        return value.get_config()
    if isinstance(value, keras.initializers.Initializer):
        return keras.initializers.serialize(value)
    if isinstance(value, plugins.Plugin) or hasattr(value, "options"):
        return plugins.serialize(value)
    return keras.activations.serialize(value) if callable(value) else value
