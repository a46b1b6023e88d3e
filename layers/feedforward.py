"""The position-wise half of a transformer block, plain or gated (GLU variants: arXiv 2002.05202)."""

import keras

from zoo.layers import activations


@keras.saving.register_keras_serializable(package="zoo")
class FeedForward(keras.layers.Layer):
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

    def dense(self, units, activation, name):
        return keras.layers.Dense(
            units,
            activation=activation,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, input_shape):
        inner_shape = (*input_shape[:-1], self.intermediate_dim)
        self.inner = self.dense(self.intermediate_dim, self.activation, "inner")
        self.inner.build(input_shape)
        if self.gate_activation is not None:
            self.gate = self.dense(self.intermediate_dim, self.gate_activation, "gate")
            self.gate.build(input_shape)
        self.outer = self.dense(input_shape[-1], None, "outer")
        self.outer.build(inner_shape)

    def call(self, x):
        inner = self.inner(x)
        if self.gate_activation is not None:
            inner = inner * self.gate(x)
        return self.outer(inner)

    def get_config(self):
        return {
            **super().get_config(),
            "intermediate_dim": self.intermediate_dim,
            "activation": keras.activations.serialize(self.activation),
            "gate_activation": None
            if self.gate_activation is None
            else keras.activations.serialize(self.gate_activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
