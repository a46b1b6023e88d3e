"""Activations by the names that configs of this lineage use."""

import keras

# Keras' "gelu" is the erf form, as bert4keras' and the published configs mean it.
_NAMES = {"gelu_erf": "gelu", "gelu_new": "gelu_tanh", "swish": "silu"}


@keras.saving.register_keras_serializable(package="zoo")
def gelu_tanh(x):
    """GELU by its tanh approximation (GPT-2, Hugging Face's "gelu_new")."""
    return keras.activations.gelu(x, approximate=True)


def get(name):
    """Activation function for a name of Keras or of the lineage's configs, or for a function."""
    name = _NAMES.get(name, name) if isinstance(name, str) else name
    return gelu_tanh if name == "gelu_tanh" else keras.activations.get(name)
