"""AdaFactor as bert4keras computes it, in the memory that it promises."""

import keras
import numpy as np
from keras import ops

from zoo.backend.arguments import Configured


@keras.saving.register_keras_serializable(package="zoo")
class Bert4KerasAdaFactor(Configured, keras.optimizers.Optimizer):
    """Adam-like steps whose second moment of a matrix is kept as its row and column means, n + m numbers for n · m.

        v <- β₂ v + (1 - β₂)(g² + ε₁), of which the means of rows r and of columns c:  v ≈ r cᵀ / mean(r)
        u = g / sqrt(v + ε₁),   u / max(1, rms(u) / clip),   w <- w - lr · max(rms(w), ε₂) · u,   β₂ = 1 - t^-0.8

    Keras' `Adafactor` keeps the whole of v besides, so that it saves no memory; caps the learning rate at 1/sqrt(t)
    whatever it is told; and has neither the first moment nor the bound for small matrices.

    Args:
        learning_rate: float or schedule, in units of the root mean square of a variable (see parameter_scale).
        beta_1: float; 0 keeps no first moment.
        beta_2: float or None for 1 - t^-0.8.
        epsilon_1, epsilon_2: float, ε₁ and ε₂.
        parameter_scale: bool, False for steps that do not scale with the variable.
        clip_threshold: float, bound of a step's root mean square.
        min_dim_size_to_factor: int; matrices with a smaller side keep the whole of v.
        kwargs: see `keras.optimizers.Optimizer`.

    Source: Shazeer and Stern, arXiv 1804.04235; bert4keras, `optimizers.py`, class `AdaFactorBase`.
    """

    def __init__(
        self,
        learning_rate=1e-3,
        beta_1=0.0,
        beta_2=None,
        epsilon_1=1e-30,
        epsilon_2=1e-3,
        parameter_scale=True,
        clip_threshold=1.0,
        min_dim_size_to_factor=128,
        name="bert4keras_adafactor",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_1, self.beta_2, self.epsilon_1, self.epsilon_2 = beta_1, beta_2, epsilon_1, epsilon_2
        self.parameter_scale, self.clip_threshold = parameter_scale, clip_threshold
        self.min_dim_size_to_factor = min_dim_size_to_factor

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        if self.beta_1 > 0:
            self._momentums = self.add_optimizer_variables(variables, "momentum")
        self._axes = tuple(self.factored_axes(variable.shape) for variable in variables)
        self._moments = [self._second_moments(*pair) for pair in zip(variables, self._axes)]

    def factored_axes(self, shape):
        """The two longest axes, or None where the shorter one is too short."""
        axes = sorted(int(axis) for axis in np.argsort(shape, kind="stable")[-2:])
        return tuple(axes) if len(axes) == 2 and min(shape[i] for i in axes) >= self.min_dim_size_to_factor else None

    def _second_moments(self, variable, axes):
        if axes is None:
            return [self.add_variable_from_reference(variable, name="velocity")]
        name = variable.path.replace("/", "_")
        shapes = [tuple(1 if i == axis else size for i, size in enumerate(variable.shape)) for axis in reversed(axes)]
        return [
            self.add_variable(shape, dtype=variable.dtype, name=f"{name}_{which}_means")
            for shape, which in zip(shapes, ("row", "column"))
        ]

    def update_step(self, gradient, variable, learning_rate):
        dtype, index = variable.dtype, self._get_variable_index(variable)
        gradient, rate = ops.cast(gradient, dtype), ops.cast(learning_rate, dtype)
        count = ops.cast(self.iterations + 1, dtype)
        beta_2 = 1 - ops.power(count, -0.8) if self.beta_2 is None else ops.cast(self.beta_2, dtype)
        squares, axes = ops.square(gradient) + self.epsilon_1, self._axes[index]
        if axes is None:
            (moment,) = self._moments[index]
            self.assign(moment, beta_2 * moment + (1 - beta_2) * squares)
            second = ops.convert_to_tensor(moment)
        else:
            means = [ops.mean(squares, axis=axis, keepdims=True) for axis in reversed(axes)]
            for moment, mean in zip(self._moments[index], means):
                self.assign(moment, beta_2 * moment + (1 - beta_2) * mean)
            rows, columns = self._moments[index]
            second = rows / ops.mean(rows, axis=axes[0], keepdims=True) * columns
        step = gradient / ops.sqrt(second + self.epsilon_1)
        step = step / ops.maximum(1.0, rms(step) / self.clip_threshold)
        if self.beta_1 > 0:
            momentum = self._momentums[index]
            self.assign(momentum, self.beta_1 * momentum + (1 - self.beta_1) * step)
            step = ops.convert_to_tensor(momentum)
        if self.parameter_scale:
            step = step * ops.maximum(rms(variable), self.epsilon_2)
        self.assign_sub(variable, rate * step)

    def get_config(self):
        # Keras' own last: a learning rate is a variable by now.
        return {**self.described_arguments(), **keras.optimizers.Optimizer.get_config(self)}


def rms(x):
    return ops.sqrt(ops.mean(ops.square(x)))
