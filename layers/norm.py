"""Normalisation over the last axis, computed in float32 under every policy."""

import keras
from keras import ops

from zoo.backend import layer_norm
from zoo.backend.arguments import Configured


@keras.saving.register_keras_serializable(package="zoo")
class RMSNorm(Configured, keras.layers.Layer):
    """x / sqrt(mean(x²) + ε), without gain or bias: RoFormerV2's norm (kexue.fm/archives/8998).

    Args:
        epsilon: float. 1e-7 is the original's since 2022-04; 1e-12 before, and in PyTorch ports.

    Input and output: float `[..., d]`; every output row has root mean square 1.
    """

    def __init__(self, epsilon=1e-7, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        pass

    def call(self, x):
        return ops.rms_normalization(x, epsilon=self.epsilon)  # in float32 at least, one fused kernel on torch


@keras.saving.register_keras_serializable(package="zoo")
class LayerNorm(Configured, keras.layers.Layer):
    """(x − mean) / sqrt(var + ε) · γ + β.

    Args:
        epsilon: float. 1e-12 in BERT; the original's RoFormer uses 1e-7.

    Input and output: float `[..., d]`.
    """

    def __init__(self, epsilon=1e-12, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gamma", autocast=False)
        self.beta = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="beta", autocast=False)

    def call(self, x):
        return layer_norm(x, self.gamma, self.beta, self.epsilon)


@keras.saving.register_keras_serializable(package="zoo")
class ConditionalLayerNorm(LayerNorm):
    """LayerNorm whose γ and β move with a condition vector (kexue.fm/archives/7124).

    γ ← γ + c W_γ and β ← β + c W_β with W_γ = W_β = 0 at the start, so that a pretrained LayerNorm is unchanged
    until the condition is trained.

    Args:
        hidden_dim: int or None. Width of a dense layer (without bias) put before W_γ and W_β.
        hidden_activation: its activation.

    Inputs: x float `[B, n, d]`, condition float `[B, c]`, `[B, 1, c]` or `[B, n, c]`. Output: float `[B, n, d]`.
    """

    def __init__(self, epsilon=1e-12, hidden_dim=None, hidden_activation="linear", **kwargs):
        super().__init__(epsilon=epsilon, **kwargs)
        self.hidden_dim = hidden_dim
        self.hidden_activation = keras.activations.get(hidden_activation)

    def build(self, x_shape, condition_shape):
        super().build(x_shape)
        width = x_shape[-1]
        if self.hidden_dim is not None:
            self.hidden = keras.layers.Dense(
                self.hidden_dim, activation=self.hidden_activation, use_bias=False, dtype="float32", name="hidden"
            )
            self.hidden.build(condition_shape)
            condition_shape = (*condition_shape[:-1], self.hidden_dim)
        self.gamma_dense, self.beta_dense = (
            keras.layers.Dense(width, use_bias=False, kernel_initializer="zeros", dtype="float32", name=name)
            for name in ("gamma_dense", "beta_dense")
        )
        self.gamma_dense.build(condition_shape)
        self.beta_dense.build(condition_shape)

    def call(self, x, condition):
        condition = ops.cast(condition, "float32")
        if self.hidden_dim is not None:
            condition = self.hidden(condition)
        while len(condition.shape) < len(x.shape):
            condition = ops.expand_dims(condition, 1)
        gamma = ops.cast(self.gamma, "float32") + self.gamma_dense(condition)
        beta = ops.cast(self.beta, "float32") + self.beta_dense(condition)
        normal = layer_norm(ops.cast(x, "float32"), None, None, self.epsilon)
        return ops.cast(normal * gamma + beta, x.dtype)
