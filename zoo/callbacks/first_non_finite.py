"""Where a NaN came from: one training step, op by op, until a tensor is not finite."""

import contextlib

import keras
import numpy as np
from keras import ops

from zoo.backend import gradients_of


def first_non_finite(model, batch):
    """A sentence that names the first tensor of a training step that is NaN or infinite.

    Looked at in the order in which they can spoil each other: inputs and labels, weights, outputs of layers (innermost
    first), the loss, gradients.

    Args:
        model: a compiled model.
        batch: what a dataset serves: inputs, or (inputs, labels) or (inputs, labels, weights).
    """
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    for name, array in _named(x, "input") + _named(y, "labels") + _named(weights, "sample weights"):
        if not _finite(array):
            return f"First: {name} of the batch{_rows(array)}"
    for variable in model.variables:
        if not _finite(variable.value):
            return f"First: the variable {variable.path}, before the step"
    x, y, weights = (s if s is None else keras.tree.map_structure(ops.convert_to_tensor, s) for s in (x, y, weights))
    found = []
    with _watched(model, found):
        outputs = model(x, training=True)
    if found:
        return f"First: the output of the layer {found[0]}"
    if not _finite(model.compute_loss(x, y, outputs, weights, training=True)):
        return "First: the loss, of outputs that are finite"
    for variable, gradient in zip(model.trainable_variables, gradients_of(model, x, y, weights)):
        if gradient is not None and not _finite(gradient):
            return f"First: the gradient of {variable.path}"
    return "Computed again, op by op and with other dropout masks, every tensor is finite"


@contextlib.contextmanager
def _watched(model, found):
    """While open, names of layers whose output is not finite are appended to `found`."""
    layers = list(model._flatten_layers(include_self=False))
    for layer in layers:
        layer.call = _reporting(layer, layer.call, found)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call  # the class' own again


def _reporting(layer, call, found):
    def reporting(*arguments, **keywords):
        outputs = call(*arguments, **keywords)
        if not found and not all(_finite(tensor) for tensor in keras.tree.flatten(outputs)):
            found.append(layer.path)
        return outputs

    return reporting


def _named(structure, kind):
    if structure is None:
        return []
    if isinstance(structure, dict):
        return [found for name, value in structure.items() for found in _named(value, f"{kind} {name!r}")]
    return [(kind, value) for value in keras.tree.flatten(structure)]


def _finite(tensor):
    if tensor is None:
        return True
    array = np.asarray(ops.convert_to_numpy(tensor))
    return array.dtype.kind in "biuSU" or bool(np.isfinite(array.astype("float32")).all())


def _rows(array):
    array = np.asarray(ops.convert_to_numpy(array))
    bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1)) if array.ndim else []
    return f", places {', '.join(map(str, bad[:16]))} in it" if len(bad) else ""
