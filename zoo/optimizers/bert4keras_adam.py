"""Adam as bert4keras computes it."""

import keras
from keras import ops

from zoo.backend.arguments import Configured


@keras.saving.register_keras_serializable(package="zoo")
class Bert4KerasAdam(Configured, keras.optimizers.Optimizer):
    """Adam whose ε is added after the bias correction, and whose bias correction can be left out.

        m <- β₁ m + (1 - β₁) g        v <- β₂ v + (1 - β₂) g²
        w <- w - lr · m̂ / (sqrt(v̂) + ε),   m̂ = m / (1 - β₁^t),   v̂ = v / (1 - β₂^t)

    Keras' Adam adds ε to sqrt(v), so that its ε counts 1 / sqrt(1 - β₂^t) times as much, about 30 times at the start.

    Args:
        learning_rate: float, schedule or callable.
        beta_1, beta_2: float, decay of the moments.
        epsilon: float; 1e-6 as in bert4keras, 1e-7 in Keras.
        bias_correction: bool, False for m̂ = m and v̂ = v, as the optimizer of the first BERT.
        kwargs: see `keras.optimizers.Optimizer` (weight_decay, clipnorm, ema_momentum, ...).

    Source: Kingma and Ba, arXiv 1412.6980, the form before its section 2's last remark; bert4keras,
    `optimizers.py`, class `Adam`.
    """

    def __init__(
        self,
        learning_rate=1e-3,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        bias_correction=True,
        name="bert4keras_adam",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.bias_correction = bias_correction

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])

    def update_step(self, gradient, variable, learning_rate):
        dtype = variable.dtype
        gradient, learning_rate = ops.cast(gradient, dtype), ops.cast(learning_rate, dtype)
        # Cast first: 1 - β₂ in float32 is 1.3e-5 off that in float64, which shows in the losses of the original.
        beta_1, beta_2 = ops.cast(self.beta_1, dtype), ops.cast(self.beta_2, dtype)
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        self.assign(m, beta_1 * m + (1 - beta_1) * gradient)
        self.assign(v, beta_2 * v + (1 - beta_2) * ops.square(gradient))
        first, second = ops.convert_to_tensor(m), ops.convert_to_tensor(v)
        if self.bias_correction:
            step = ops.cast(self.iterations + 1, dtype)
            first = first / (1 - ops.power(beta_1, step))
            second = second / (1 - ops.power(beta_2, step))
        self.assign_sub(variable, learning_rate * first / (ops.sqrt(second) + self.epsilon))

    def get_config(self):
        # Keras' own last: a learning rate is a variable by now.
        return {**self.described_arguments(), **keras.optimizers.Optimizer.get_config(self)}
