"""Gradients as tensors and arrays."""

import keras
from keras import ops


def dense_gradient(gradient):
    """A gradient as a tensor: TensorFlow's of a lookup in foreign layers comes as rows, repeated ones not added up."""
    if gradient is None or keras.backend.backend() != "tensorflow":
        return gradient
    import tensorflow as tf

    return tf.convert_to_tensor(gradient)


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


def gradient_inside(function, x):
    """The gradient of a scalar function at a tensor, as a tensor that nothing is differentiated through.

    Unlike `value_and_gradient` it may be asked for anywhere: in a model's call, traced or not, with gradients switched off.
    """
    name = keras.backend.backend()
    if name == "jax":
        import jax

        return jax.lax.stop_gradient(jax.grad(function)(x))
    if name == "tensorflow":
        import tensorflow as tf

        x = tf.stop_gradient(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return tf.stop_gradient(tape.gradient(value, x))
    import torch

    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(x), x)
    return gradient


def has_value(tensor):
    """Whether a tensor's numbers are there to look at: not while JAX or TensorFlow trace a function."""
    name = keras.backend.backend()
    if name == "jax":
        import jax

        return not isinstance(tensor, jax.core.Tracer)
    if name == "tensorflow":
        import tensorflow as tf

        return tf.executing_eagerly()
    return True


def gradients_of(model, x, y, sample_weight):
    """Gradients of a compiled model's loss by its trainable variables, computed op by op.

    Returns:
        list of float32 NumPy arrays, None where the loss does not depend on a variable.
    """
    name, variables = keras.backend.backend(), values(model.trainable_variables)
    if name == "jax":
        import jax

        state = (values(model.non_trainable_variables), values(model.metrics_variables))
        gradients, _ = jax.grad(model.compute_loss_and_updates, has_aux=True)(
            variables, *state, x, y, sample_weight, True, values(model.optimizer.variables)
        )
    elif name == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True), sample_weight, training=True)
        gradients = [None if g is None else tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
    else:
        import torch

        loss = model.compute_loss(x, y, model(x, training=True), sample_weight, training=True)
        gradients = torch.autograd.grad(loss, variables, allow_unused=True)
    return [None if g is None else ops.convert_to_numpy(ops.cast(g, "float32")) for g in gradients]


def values(variables):
    """The tensors of variables."""
    return [variable.value for variable in variables]
