"""What JAX has of its own, see `default` for what each function does. Its gradients are those of functions of values."""

import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
from jax import numpy as jnp
from keras import ops

from . import default
from .default import values


def compiles_each_shape(model):
    return not model.run_eagerly


def ignoring_distribution():
    return None


def compiled(function):
    return jax.jit(function)


def compiled_step(function, variables):
    """The memory of the state is handed on to the next one, so that a cache is written in place."""

    def pure(state, tensors, *inputs):
        with keras.StatelessScope(state_mapping=list(zip(variables, tensors))):
            return function(state, *inputs)

    step = jax.jit(pure, donate_argnums=0)
    return lambda state, *inputs: step(state, values(variables), *inputs)


def predict_function(model):
    """Keras' own gives the weights' memory away and puts them back afterwards: two threads would take it from each other."""
    if keras.distribution.distribution() is not None:
        return default.predict_function(model)

    def pure(tensors, inputs):
        with keras.StatelessScope(state_mapping=list(zip(model.variables, tensors))):
            return model(inputs, training=False)

    compiled = jax.jit(pure)

    def predict(inputs):
        tensors = [variable._value for variable in model.variables]
        try:
            if any(tensor is None for tensor in tensors):
                raise ValueError("the variables are empty")
            outputs = (pure if model.run_eagerly else compiled)(tensors, inputs)
            return keras.tree.map_structure(ops.convert_to_numpy, outputs)
        except Exception as error:
            gone = any(tensor is None or tensor.is_deleted() for tensor in tensors)
            if not gone and "deleted or donated" not in str(error):  # the second: before is_deleted knows of it
                raise
            raise RuntimeError(_being_trained(model)) from error

    return predict


_TRAINING: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # model -> thread whose `fit` has its weights


@contextlib.contextmanager
def weights_kept(model, trains=False):
    """Keras empties the variables while a step runs, and an error in the step loses what they held."""
    if _TRAINING.get(model, threading.get_ident()) != threading.get_ident():
        raise RuntimeError(_being_trained(model))
    outermost = trains and model not in _TRAINING
    if outermost:
        _TRAINING[model] = threading.get_ident()
    try:
        with _put_back(model):
            yield
    finally:
        if outermost:
            _TRAINING.pop(model, None)


def _being_trained(model):
    return (
        f"this {type(model).__name__} is being trained: under JAX its weights are with `fit` until the epoch ends. Ask it "
        "between epochs, or load a second one to answer meanwhile"
    )


@contextlib.contextmanager
def _put_back(model):
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer is not None else ())]
    before = [(variable, variable._value) for variable in variables]
    try:
        yield
    except BaseException:
        if any(variable._value is None for variable, value in before if value is not None):
            model.jax_state_sync()  # what the last whole step left
            for variable, value in before:
                if variable._value is None and value is not None and not value.is_deleted():
                    variable._value = value
            model._jax_state, model._jax_state_synced = None, True
        raise


class ReadingVerbs:
    """Keras lends the weights' memory to each of these verbs and assigns the weights anew when it ends: another thread that
    asks meanwhile, the same model or one over the same backbone, finds none, and a training beside it is undone.
    """

    # Of the keras.Model that this is mixed into
    run_eagerly: bool
    jit_compile: bool
    predict_function: Any
    test_function: Any
    predict_step: Callable
    test_step: Callable
    _make_function: Callable
    trainable_variables: list
    non_trainable_variables: list

    def _lends(self):
        return self.run_eagerly or not self.jit_compile or keras.distribution.distribution() is not None

    def make_predict_function(self, force=False):
        if self._lends() or (self.predict_function is not None and not force):
            return super().make_predict_function(force)

        def step(state, data):
            return self.predict_step(state, data)[0], state

        made = self._make_function(jax.jit(step), concatenate_outputs=True)
        self.predict_function = lambda state, batches: (made(self._read(), batches)[0], ((), ()))

    def make_test_function(self, force=False):
        if self._lends() or (self.test_function is not None and not force):
            return super().make_test_function(force)

        def step(state, data):
            logs, (_, _, metrics) = self.test_step(state, data)
            return logs, (*state[:2], metrics)

        made = self._make_function(jax.jit(step))

        def function(state, batches):
            logs, (_, _, metrics) = made((*self._read(), state[2]), batches)
            return logs, ((), (), metrics)

        self.test_function = function

    def _read(self):
        return values(self.trainable_variables), values(self.non_trainable_variables)

    def _get_jax_state(self, *args, optimizer_variables=False, purge_model_variables=False, **kwargs):
        # Only a training has an optimizer's variables, and takes the weights away.
        purge = purge_model_variables and (optimizer_variables or self._lends())
        return super()._get_jax_state(
            *args, optimizer_variables=optimizer_variables, purge_model_variables=purge, **kwargs
        )


def looked_at(x):
    if isinstance(x, jax.core.Tracer) or not isinstance(x, jax.Array):
        return default.looked_at(x)
    on_cpu = all(device.platform == "cpu" for device in x.devices())
    return np.asarray(x) if on_cpu and not x.is_deleted() else None


def dense_lookup(table, ids):
    """JAX fills with NaN what is beyond the table, but counts ids below 0 from its end."""
    table = ops.convert_to_tensor(table)
    return jnp.take(table, jnp.where(ids < 0, table.shape[0], ids), axis=0, mode="fill", fill_value=float("nan"))


def affine(x, kernel, bias):
    y = _product(*map(ops.convert_to_tensor, (x, kernel)))
    return y if bias is None else ops.add(y, bias)


@jax.custom_vjp
def _product(x, kernel):
    """x W with another gradient by W, where JAX has gᵀx: 5 to 16 % of a step of RoFormerV2-small.

    The projections of one x share its copy, and a wide g is never copied.
    """
    return ops.matmul(x, kernel)


def _forward(x, kernel):
    return _product(x, kernel), (x, kernel)


def _backward(saved, upstream):
    x, kernel = saved
    rows, pulled = x.reshape(-1, x.shape[-1]), upstream.reshape(-1, upstream.shape[-1])
    by_x = jnp.matmul(upstream, kernel.T)
    # the narrower factor first: as a transpose, what stands first is copied
    by_kernel = rows.T @ pulled if rows.shape[1] <= pulled.shape[1] else (pulled.T @ rows).T
    return by_x.astype(x.dtype), by_kernel.astype(kernel.dtype)


_product.defvjp(_forward, _backward)


def gradient_inside(function, x):
    return jax.lax.stop_gradient(jax.grad(function)(x))


def has_value(tensor):
    return not isinstance(tensor, jax.core.Tracer)


def value_and_gradient(function, x):
    value, gradient = jax.value_and_grad(function)(ops.convert_to_tensor(x))
    return float(value), ops.convert_to_numpy(gradient)


def gradients_of(model, x, y, sample_weight):
    state = values(model.non_trainable_variables), values(model.metrics_variables)
    gradients, _ = jax.grad(model.compute_loss_and_updates, has_aux=True)(
        values(model.trainable_variables), *state, x, y, sample_weight, True, values(model.optimizer.variables)
    )
    return default.to_arrays(gradients)


class MicroSteps(default.MicroSteps):
    def __init__(self, model):
        super().__init__(model)

        def outputs(trainable, state, x):
            return model.stateless_call(trainable, state, x, training=True)

        def objective(trainable, state, x, upstream):
            y, state = outputs(trainable, state, x)
            return (y * upstream).sum(), state

        self._forward = jax.jit(outputs)
        self._backward = jax.jit(jax.grad(objective, has_aux=True))
        self._update = jax.jit(self.optimizer.stateless_apply)
        self._loss = jax.jit(jax.value_and_grad(self.loss_of))

    def forward(self, x):
        y, state = self._forward(*self._values(), _tensors(x))
        _assign(self.model.non_trainable_variables, state)
        return ops.convert_to_numpy(y)

    def loss(self, outputs, labels, weights):
        value, gradient = self._loss(outputs, ops.convert_to_tensor(labels), weights)
        return float(value), ops.convert_to_numpy(gradient)

    def backward(self, x, upstream):
        gradients, state = self._backward(*self._values(), _tensors(x), ops.convert_to_tensor(upstream))
        _assign(self.model.non_trainable_variables, state)
        return list(gradients)

    def update(self, gradients):
        variables, state = self.model.trainable_variables, self.built_optimizer().variables
        # one compiled function instead of some ten small ones a weight
        new_values, new_state = self._update(values(state), gradients, values(variables))
        _assign([*variables, *state], [*new_values, *new_state])

    def _values(self):
        return values(self.model.trainable_variables), values(self.model.non_trainable_variables)


def gradient_function(model, objective, variables):
    def pure(tensors, rest, inputs):
        mapping = [*zip(variables, tensors), *zip(others(), rest)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss = objective(*inputs)
            scaled = model.optimizer.scale_loss(loss)
        return scaled, (loss, [scope.get_current_value(variable) for variable in model.non_trainable_variables])

    def others():
        own = {id(variable) for variable in variables}
        found = [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]
        return [variable for variable in found if id(variable) not in own]

    function = jax.value_and_grad(pure, has_aux=True)
    function = function if model.run_eagerly else jax.jit(function)

    def gradients(*inputs):
        inputs = keras.tree.map_structure(ops.convert_to_tensor, inputs)
        (_, (loss, state)), found = function(values(variables), values(others()), inputs)
        _assign(model.non_trainable_variables, state)
        return float(loss), found

    return gradients


def _tensors(arrays):
    return {name: ops.convert_to_tensor(array) for name, array in arrays.items()}


def _assign(variables, tensors):
    for variable, value in zip(variables, tensors, strict=True):
        variable.assign(value)


def latest_values(model, name):
    """Inside an epoch the variables themselves are empty."""
    inside = getattr(model, "_jax_state", None) and not model._jax_state_synced
    return default.latest_values(model, name, model._jax_state["optimizer_variables"] if inside else None)


def refuse_non_finite(optimizer):
    return default.refuse_non_finite(optimizer, _guard_stateless_apply)


def _guard_stateless_apply(optimizer):
    stateless_apply = optimizer.stateless_apply

    def guarded(optimizer_variables, gradients, trainable_variables):
        return ops.cond(
            default.all_finite(gradients),
            lambda: stateless_apply(optimizer_variables, gradients, trainable_variables),
            lambda: (list(trainable_variables), list(optimizer_variables)),
        )

    optimizer.stateless_apply = guarded


def sorting_order(x):
    # XLA on a CPU takes five times as long for a sort that carries the places along as for one of numbers alone. So the
    # numbers are sorted, and then, as one number, the rank and the place of each.
    count = x.shape[0]
    if count * count >= 2**31:
        return default.sorting_order(x)
    rank = ops.cast(ops.searchsorted(ops.sort(x), x), "int32")
    packed = ops.sort(rank * count + ops.arange(count, dtype="int32"))
    return packed % count, packed // count
