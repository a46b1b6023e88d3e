"""Two coupled least-squares problems in kernels of known gradient, and optimizers stepped as each backend trains."""

import keras
import numpy as np
from keras import ops

from support.layer_checks import BACKEND
from zoo.backend import compiled

RNG = np.random.default_rng(3)
SHAPES = {"first": (6, 7), "second": (2, 4, 9)}  # the second is [8, 9] as a matrix, and not [2, 36]
MATRICES = {"first": (6, 7), "second": (8, 9)}
START = {name: RNG.normal(0, 0.5, shape) for name, shape in MATRICES.items()}
INPUTS = {name: RNG.normal(0, 1, (30, n)) for name, (n, m) in MATRICES.items()}
TARGETS = {name: RNG.normal(0, 1, (30, m)) for name, (n, m) in MATRICES.items()}
RANK = 3


def gradient(name, w, step):
    """Of |X W - Y|² / 10 over ten rows that change with the step."""
    rows = np.arange(10) + 10 * (step % 3)
    x, y = INPUTS[name][rows], TARGETS[name][rows]
    return x.T @ (x @ w - y) / 5


def kernels(dtype="float32"):
    """The two kernels and a bias each."""
    variables = []
    for name, shape in SHAPES.items():
        with keras.name_scope(name):
            variables.append(keras.Variable(START[name].reshape(shape), dtype=dtype, name="kernel"))
            variables.append(keras.Variable(np.ones(shape[-1]), dtype=dtype, name="bias"))
    return variables


def as_float64(x):
    return ops.convert_to_numpy(ops.cast(x, "float32")).astype("float64")


class Stepper:
    """`step(gradients)`: compiled on JAX and TensorFlow, as in `fit`."""

    def __init__(self, optimizer, variables):
        self.optimizer, self.variables = optimizer, variables
        if not optimizer.built:
            optimizer.build(variables)
        if BACKEND == "jax":
            self.function = compiled(optimizer.stateless_apply)
        else:
            self.function = compiled(lambda gradients: optimizer.apply(gradients, variables))

    def step(self, gradients):
        gradients = [ops.convert_to_tensor(g, v.dtype) for g, v in zip(gradients, self.variables, strict=True)]
        if BACKEND != "jax":
            self.function(gradients)
            return
        state = self.optimizer.variables
        values, new = self.function([v.value for v in state], gradients, [v.value for v in self.variables])
        for variable, value in zip([*self.variables, *state], [*values, *new]):
            variable.assign(value)


def train(optimizer, steps=30, dtype="float32", bias_gradient=0.1):
    """The kernels and biases after some steps, by path."""
    variables = kernels(dtype)
    stepper = Stepper(optimizer, variables)
    for step in range(steps):
        gradients = []
        for (name, shape), kernel in zip(SHAPES.items(), variables[::2]):
            g = gradient(name, as_float64(kernel).reshape(MATRICES[name]), step)
            gradients += [g.reshape(shape), np.full(shape[-1], bias_gradient)]
        stepper.step(gradients)
    return {variable.path: variable for variable in variables}


def started(optimizer):
    """Float64 values of the factors of a newly built `LowRank`, by path."""
    optimizer.build(kernels())
    return {
        v.path: as_float64(v)
        for v in optimizer.variables
        if v.path.endswith(("low_rank/kernel_a", "low_rank/kernel_b"))
    }


def train_explicit(optimizer, start, scale=1.0, steps=30):
    """What LoRA layers train: factors with gradients by the chain rule; float64 kernels `[n, m]` at the end."""
    factors = [keras.Variable(value, dtype="float32", name=path.split("/")[-1]) for path, value in start.items()]
    stepper = Stepper(optimizer, factors)

    def merged(name, index):
        a, b = as_float64(factors[2 * index]), as_float64(factors[2 * index + 1])
        offset = start[f"{name}/low_rank/kernel_a"] @ start[f"{name}/low_rank/kernel_b"]
        return START[name].astype("float32") + scale * (a @ b - offset), a, b

    for step in range(steps):
        gradients = []
        for index, name in enumerate(SHAPES):
            w, a, b = merged(name, index)
            g = gradient(name, w, step)
            gradients += [scale * g @ b.T, scale * a.T @ g]
        stepper.step(gradients)
    optimizer.finalize_variable_values(factors)
    return {name: merged(name, index)[0] for index, name in enumerate(SHAPES)}
