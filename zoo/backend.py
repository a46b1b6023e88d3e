"""The only module that asks which backend runs (TensorFlow, JAX or PyTorch)."""

import keras
import numpy as np
from keras import ops


def dense_lookup(table, ids):
    """Rows of a table, with a dense gradient on every backend.

    TensorFlow's own gather gives a sparse gradient whose repeated rows Keras' Adam, AdamW and
    `global_clipnorm` do not add up, so that repeated ids are trained with wrong numbers there.

    Args:
        table: float `[V, d]`, a variable or tensor.
        ids: int `[...]`.

    Returns:
        float `[..., d]`.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.take(table, ids, axis=0)
    import tensorflow as tf

    @tf.custom_gradient
    def lookup(rows):
        def gradient(upstream):
            flat = tf.reshape(upstream, [-1, rows.shape[-1]])
            return tf.math.unsorted_segment_sum(flat, tf.reshape(ids, [-1]), rows.shape[0])

        return tf.gather(rows, ids), gradient

    return lookup(tf.convert_to_tensor(table))


def compiles_each_shape():
    """Whether a new shape of inputs costs seconds: TensorFlow and JAX trace and compile, torch runs eagerly."""
    return keras.backend.backend() != "torch"


def compiled(function):
    """A function of tensors that is compiled once a shape, also where the caller runs op by op.

    JAX and TensorFlow spend 0.1 ms on each small operation outside of a compiled step; torch does not.
    """
    name = keras.backend.backend()
    if name == "jax":
        import jax

        return jax.jit(function)
    if name == "tensorflow":
        import tensorflow as tf

        return tf.function(function, reduce_retracing=True, autograph=False)
    return function


def random_state():
    """States of generators that are no Keras variables, by name: uint8 arrays.

    Keras' Dropout draws from its own seed, except on torch, where it draws from torch's global generators.
    """
    if keras.backend.backend() != "torch":
        return {}
    import torch

    states = {"torch_cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"torch_cuda_{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return {name: state.numpy().copy() for name, state in states.items()}


def set_random_state(states):
    """Put generators back into states that `random_state` gave; those that this machine lacks are passed over."""
    if keras.backend.backend() != "torch":
        return
    import torch

    for name, state in states.items():
        state = torch.from_numpy(np.array(state, "uint8"))
        device = name.removeprefix("torch_cuda_")
        if name == "torch_cpu":
            torch.set_rng_state(state)
        elif device.isdecimal() and int(device) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, int(device))


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
                variables = _values(model.trainable_variables)
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
        y, state = self._forward(_values(self.model.trainable_variables), self._state(), x)
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
            variables = _values(self.model.trainable_variables)
            import torch

            objective = (self.model(x, training=True) * upstream).sum()
            return list(torch.autograd.grad(objective, variables, allow_unused=True, materialize_grads=True))
        x = {name: ops.convert_to_tensor(array) for name, array in x.items()}
        if self.name == "tensorflow":
            return self._backward(x, upstream)
        gradients, state = self._backward(_values(self.model.trainable_variables), self._state(), x, upstream)
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
        values, new_state = self._update(_values(state), gradients, _values(variables))
        for variable, value in zip([*variables, *state], [*values, *new_state]):
            variable.assign(value)

    def _state(self):
        return _values(self.model.non_trainable_variables)

    def _set_state(self, values):
        for variable, value in zip(self.model.non_trainable_variables, values):
            variable.assign(value)


def _values(variables):
    return [variable.value for variable in variables]


def value_and_gradient(function, x):
    """A scalar function and its gradient at an array.

    Args:
        function: from a float32 tensor to a scalar tensor, written with `keras.ops`.
        x: float32 array.

    Returns:
        float, float32 NumPy array of the shape of x.
    """
    name = keras.backend.backend()
    if name == "jax":
        import jax

        value, gradient = jax.value_and_grad(function)(ops.convert_to_tensor(x))
    elif name == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        gradient = tape.gradient(value, x)
    else:
        x = ops.convert_to_tensor(x).clone().requires_grad_()
        value = function(x)
        import torch

        (gradient,) = torch.autograd.grad(value, x)
    return float(ops.convert_to_numpy(value)), ops.convert_to_numpy(gradient)
