"""Training steps that are not one compiled function, inside Keras' `fit`."""

import itertools

import keras
from keras import ops


def host_train_function(model, make_step):
    """What Keras' `fit` calls for each batch, as `make_train_function` makes it: a step of Python around compiled parts.

    Args:
        model: a compiled keras.Model inside `fit`.
        make_step: function without arguments, called before the first step, since a callback may change the optimizer. It
            makes the function of a step: from inputs, labels and weights, NumPy arrays or nested dicts of them or None, to
            the logs, dict of floats. The step updates the model's metrics itself.
    """
    step = None

    def train_function(*arguments):
        nonlocal step
        # torch gives a list of batches, TensorFlow an iterator, JAX its state and an iterator. JAX' variables are empty
        # inside an epoch, and live in that state.
        *state, batches = arguments
        variables = [
            variable
            for group in (
                model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables
            )
            for variable in group
        ]  # fmt: skip
        if state:
            for variable, value in zip(variables, keras.tree.flatten(state), strict=True):
                variable.assign(value)
        step = step or make_step()
        read = list(itertools.islice(batches, model.steps_per_execution))
        if not read:
            raise StopIteration  # which ends the epoch of a dataset that does not say how long it is
        for batch in read:
            logs = step(
                *(
                    None if x is None else keras.tree.map_structure(ops.convert_to_numpy, x)
                    for x in keras.utils.unpack_x_y_sample_weight(batch)
                )
            )
        if not state:
            return logs
        groups = iter(variable.value for variable in variables)
        return logs, tuple([next(groups) for _ in group] for group in state[0])

    return train_function
