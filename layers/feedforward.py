"""The position-wise half of a transformer block, plain or gated (GLU variants: arXiv 2002.05202)."""

import keras

from zoo.layers import activations
from zoo.layers.base import ConfiguredLayer


@keras.saving.register_keras_serializable(package="zoo")
class FeedForward(ConfiguredLayer):
    """φ(x W_in) W_out, or with a gate (φ(x W_in) ⊙ ψ(x W_gate)) W_out.

    Args:
        intermediate_dim: int, width between the two projections.
        activation: φ, name or function.
        gate_activation: ψ, or None for no gate. `"linear"` gives the usual GLU family.
        use_bias: bool.
        kernel_initializer: initializer of every kernel `[in, out]`.

    Input and output: float `[B, n, d]`.
    """

    def __init__(
        self,
        intermediate_dim,
        activation="relu",
        gate_activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.intermediate_dim = intermediate_dim
        self.activation = activations.get(activation)
        self.gate_activation = None if gate_activation is None else activations.get(gate_activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        inner_shape = (*input_shape[:-1], self.intermediate_dim)
        self.inner = self.projection(self.intermediate_dim, "inner", self.activation)
        self.inner.build(input_shape)
        if self.gate_activation is not None:
            self.gate = self.projection(self.intermediate_dim, "gate", self.gate_activation)
            self.gate.build(input_shape)
        self.outer = self.projection(input_shape[-1], "outer")
        self.outer.build(inner_shape)

    def call(self, x):
        inner = self.inner(x)
        if self.gate_activation is not None:
            inner = inner * self.gate(x)
        return self.outer(inner)
