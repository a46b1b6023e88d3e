"""Forward and backward passes apart from each other, for gradients that are cached."""

import keras
from keras import ops

from .gradients import value_and_gradient, values


class MicroSteps:
    """Forward and backward passes of a model apart from each other, for gradients that are cached between them.

    Both run in training mode and draw dropout masks from the model's seeds, so that a backward pass sees the masks
    of the forward pass when the seeds have been put back.

    Args:
        model: a compiled keras.Model, called with a dict of arrays.
    """

    def __init__(self, model):
        self.model, self.optimizer = model, model.optimizer
        self.name = keras.backend.backend()
        if self.name == "jax":
            import jax

            def outputs(trainable, state, x):
                return model.stateless_call(trainable, state, x, training=True)

            def objective(trainable, state, x, upstream):
                y, state = outputs(trainable, state, x)
                return (y * upstream).sum(), state

            self._forward = jax.jit(outputs)
            self._backward = jax.jit(jax.grad(objective, has_aux=True))
            self._update = jax.jit(self.optimizer.stateless_apply)
            self._loss = jax.jit(jax.value_and_grad(self._loss_of))
        elif self.name == "tensorflow":
            import tensorflow as tf

            def gradients(x, upstream):
                with tf.GradientTape() as tape:
                    objective = tf.reduce_sum(model(x, training=True) * upstream)
                variables = values(model.trainable_variables)
                # a variable that the output does not depend on (a foreign backbone's pooler) has gradient 0
                none = tf.UnconnectedGradients.ZERO
                return [
                    tf.convert_to_tensor(g) for g in tape.gradient(objective, variables, unconnected_gradients=none)
                ]

            self._forward = tf.function(lambda x: model(x, training=True), reduce_retracing=True)
            self._backward = tf.function(gradients, reduce_retracing=True)

    def forward(self, x):
        """Output of the model as a NumPy array; advances the seeds, keeps no activations."""
        if self.name == "torch":
            import torch

            with torch.no_grad():
                return ops.convert_to_numpy(self.model(x, training=True))
        x = {name: ops.convert_to_tensor(array) for name, array in x.items()}
        if self.name == "tensorflow":
            return ops.convert_to_numpy(self._forward(x))
        y, state = self._forward(values(self.model.trainable_variables), self._state(), x)
        self._set_state(state)
        return ops.convert_to_numpy(y)

    def loss(self, outputs, labels, weights):
        """Loss of outputs, float32 arrays, and its gradient by them: float, float32 array."""
        labels = ops.convert_to_tensor(labels)
        if self.name != "jax":
            return value_and_gradient(lambda y_pred: self._loss_of(y_pred, labels, weights), outputs)
        value, gradient = self._loss(outputs, labels, weights)
        return float(value), ops.convert_to_numpy(gradient)

    def _loss_of(self, outputs, labels, weights):
        return self.model.compute_loss(None, labels, outputs, weights, training=True)

    def backward(self, x, upstream):
        """Gradients of sum(output · upstream) by the trainable variables, list of tensors; advances the seeds."""
        upstream = ops.convert_to_tensor(upstream)
        if self.name == "torch":
            variables = values(self.model.trainable_variables)
            import torch

            objective = (self.model(x, training=True) * upstream).sum()
            return list(torch.autograd.grad(objective, variables, allow_unused=True, materialize_grads=True))
        x = {name: ops.convert_to_tensor(array) for name, array in x.items()}
        if self.name == "tensorflow":
            return self._backward(x, upstream)
        gradients, state = self._backward(values(self.model.trainable_variables), self._state(), x, upstream)
        self._set_state(state)
        return list(gradients)

    def update(self, gradients):
        """One step of the optimizer that the model was compiled with when this was made."""
        variables = self.model.trainable_variables
        if not self.optimizer.built:
            self.optimizer.build(variables)
        if self.name != "jax":
            self.optimizer.apply(gradients, variables)
            return
        state = self.optimizer.variables  # one compiled function instead of some ten small ones a weight
        new_values, new_state = self._update(values(state), gradients, values(variables))
        for variable, value in zip([*variables, *state], [*new_values, *new_state]):
            variable.assign(value)

    def _state(self):
        return values(self.model.non_trainable_variables)

    def _set_state(self, state):
        for variable, value in zip(self.model.non_trainable_variables, state):
            variable.assign(value)
