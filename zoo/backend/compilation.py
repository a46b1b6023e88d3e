"""What is compiled, and what a new shape costs."""

import keras

from .gradients import values


def compiles_each_shape(model):
    """Whether a new shape of inputs costs a model seconds: compiled it does, in TensorFlow's graphs and eager torch not."""
    return not model.run_eagerly and (keras.backend.backend() == "jax" or bool(model.jit_compile))


def ignoring_distribution():
    """Name of the backend where it would accept a `keras.distribution` and then do nothing, else None."""
    name = keras.backend.backend()
    return None if name == "jax" else name


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


def compiled_step(function, variables):
    """`function(state, *inputs)` -> (outputs, state), compiled once a shape, for loops that carry a state; no gradients.

    Args:
        function: of tensors, arrays, ints (compiled as tensors) and None; reads the variables itself.
        variables: every variable that it reads; each call sees the values of its time. On JAX the memory of the state is
            handed on to the next one, so that a cache is written in place: the caller's state is gone.
    """
    name = keras.backend.backend()
    if name == "jax":
        import jax

        def pure(state, tensors, *inputs):
            with keras.StatelessScope(state_mapping=list(zip(variables, tensors))):
                return function(state, *inputs)

        step = jax.jit(pure, donate_argnums=0)
        return lambda state, *inputs: step(state, values(variables), *inputs)
    if name == "tensorflow":
        import tensorflow as tf

        step = tf.function(function, autograph=False)
        # a Python int would be traced anew for each of its values
        tensor = lambda x: tf.constant(x, "int32") if isinstance(x, int) else x
        return lambda state, *inputs: step(state, *map(tensor, inputs))
    from .traced_step import traced_step  # imports torch

    return traced_step(function, variables)
