"""Gradients of a function of arrays, as the backend gives them."""

import keras
import numpy as np
from keras import ops


def gradient_of(function, *arrays):
    """Gradients of `sum(function(*tensors))` by each array, NumPy arrays; of one array no list but its gradient."""
    tensors = [ops.convert_to_tensor(array) for array in arrays]

    def loss(*given):
        return ops.sum(function(*given))

    if keras.backend.backend() == "jax":
        import jax

        found = jax.grad(loss, tuple(range(len(tensors))))(*tensors)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = loss(*tensors)
        found = tape.gradient(value, tensors)
    else:
        tensors = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        loss(*tensors).backward()
        found = [tensor.grad for tensor in tensors]
    found = [np.asarray(ops.convert_to_numpy(gradient)) for gradient in found]
    return found if len(found) > 1 else found[0]
