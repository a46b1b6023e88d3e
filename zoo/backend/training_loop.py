"""Inside Keras' `fit`: steps to pass over, values between two steps, random generators that Keras does not know."""

import keras
import numpy as np
from keras import ops

from .gradients import values


def pass_over(model, steps, put_back_metrics):
    """Let the first steps of an epoch of `fit` read their batches and compute nothing: they were done before a break.

    Args:
        model: a model inside `fit`, before the first step of the epoch.
        steps: int.
        put_back_metrics: function that gives the model's metrics their values; False when there are too few of them.
    """
    function, ready = model.train_function, put_back_metrics()
    if function is None:  # big batches, whose loop knows by itself where it begins
        return
    logs, left = model.get_metrics_result() if ready else {}, -(-steps // model.steps_per_execution)

    def step(*arguments):
        nonlocal ready, logs, left
        *state, batches = arguments  # torch: a list of batches; TensorFlow: an iterator; JAX: its state and an iterator
        if not isinstance(batches, list):
            batches = [batch for _, batch in zip(range(model.steps_per_execution), batches)]
        if not ready:  # TensorFlow makes metrics when it first computes them
            model.test_step(batches[0])
            put_back_metrics()
            ready, logs = True, model.get_metrics_result()
        left -= 1
        if not left:
            model.train_function = function
        return (logs, *state) if state else logs

    model.train_function = step


def latest_values(model, name):
    """Values of the optimizer's variables of this name between two steps of `fit`, a list of floats."""
    found = [index for index, variable in enumerate(model.optimizer.variables) if variable.name == name]
    latest = values(model.optimizer.variables)
    if keras.backend.backend() == "jax" and getattr(model, "_jax_state", None) and not model._jax_state_synced:
        latest = model._jax_state["optimizer_variables"]  # inside an epoch the variables themselves are empty
    return [float(ops.convert_to_numpy(latest[index])) for index in found]


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
