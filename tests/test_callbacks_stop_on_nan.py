"""StopOnNaN: what it names, and that it changes nothing else. Rows R9 are in test_crash.py."""

import re

import keras
import numpy as np
import pytest
from keras import ops

from zoo.callbacks import NonFiniteError, StopOnNaN
from zoo.callbacks.first_non_finite import first_non_finite


class Root(keras.layers.Layer):
    """sqrt(x - bound): NaN below the bound; at the bound the value is 0 and the slope infinite."""

    def build(self, shape):
        self.bound = self.add_weight(shape=(), initializer="zeros", trainable=False, name="bound")

    def call(self, x):
        return ops.sqrt(x - self.bound)


def made(optimizer=None):
    keras.utils.set_random_seed(4)
    first, last = keras.layers.Dense(3, "softplus", name="dense"), keras.layers.Dense(1, name="last")
    model = keras.Sequential([keras.Input((2,)), first, Root(name="root"), last])
    model.compile(optimizer or keras.optimizers.Adam(0.01), "mse")
    return model


X, Y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")


def with_nan(array, row):
    array = array.copy()
    array[row] = float("nan")
    return array


def test_names_what_is_given():
    model = made()
    assert "every tensor is finite" in first_non_finite(model, (X, Y))
    assert first_non_finite(model, (with_nan(X, 2), Y)) == "First: input of the batch, places 2 in it"
    assert first_non_finite(model, (X, with_nan(Y, 3))) == "First: labels of the batch, places 3 in it"
    assert first_non_finite(model, (X, Y, with_nan(Y[:, 0], 0))) == "First: sample weights of the batch, places 0 in it"


def test_names_variables_layers_loss_and_gradients():
    model = made()
    model.layers[1].bound.assign(100.0)
    assert re.fullmatch(r"First: the output of the layer \S+/root", first_non_finite(model, (X, Y)))
    model.layers[1].bound.assign(float("inf"))
    assert first_non_finite(model, (X, Y)).startswith("First: the variable ")
    # Where softplus is 0 the root is 0, its slope infinite: 0 · inf.
    model.layers[1].bound.assign(0.0)
    model.layers[0].set_weights([np.full((2, 3), -200.0), np.zeros(3)])
    message = first_non_finite(model, (X, Y))
    assert message.startswith("First: the gradient of ") and "dense" in message
    model.compile("adam", lambda y_true, y_pred: ops.log(-1.0 - 0.0 * y_pred))
    assert first_non_finite(model, (X, Y)) == "First: the loss, of outputs that are finite"
    assert "call" not in vars(model.layers[1])  # nothing of the watch is left


class Some(keras.utils.PyDataset):
    """Five batches; the labels of some rows of the last are missing."""

    num_batches = 5

    def __init__(self, bad=True):
        super().__init__()
        self.bad = bad

    def __getitem__(self, index):
        return X * (1 + index), with_nan(Y, 1) if index == 4 and self.bad else Y


def variables(model):
    return [ops.convert_to_numpy(v).copy() for v in (*model.weights, *model.optimizer.variables)]


@pytest.mark.parametrize("accumulation", [None, 2])
def test_stops_a_model_of_the_users(accumulation):
    """Four steps are those of a training without the bad batch; the fifth changes nothing; a second `fit` stops too."""
    model, data = made(keras.optimizers.Adam(0.01, gradient_accumulation_steps=accumulation)), Some()
    with pytest.raises(
        NonFiniteError, match=r"epoch 0, step 4: .*labels of the batch, places 1 in it\. The update was not"
    ):
        model.fit(data, shuffle=False, verbose=0, callbacks=[StopOnNaN(data)])
    stopped = variables(model)
    expected = made(keras.optimizers.Adam(0.01, gradient_accumulation_steps=accumulation))
    for step in range(4):
        expected.train_on_batch(*data[step])
    rtol = 0 if keras.backend.backend() == "torch" else 1e-5  # compiled into another function
    for a, b in zip(stopped[: len(model.weights)], variables(expected)):
        np.testing.assert_allclose(a, b, rtol=rtol)
    with pytest.raises(NonFiniteError, match="give StopOnNaN the data"):
        model.fit(with_nan(X, 0), Y, verbose=0, callbacks=[StopOnNaN()])
    for a, b in zip(stopped[: len(model.weights)], variables(model)):
        np.testing.assert_array_equal(a, b)


def test_guards_a_model_that_was_compiled_before():
    """A step that was traced without the guard is made anew with it."""
    model = made()
    model.fit(Some(bad=False), shuffle=False, verbose=0)
    model.fit(Some(bad=False), shuffle=False, verbose=0, callbacks=[StopOnNaN()])
    before = variables(model)
    with pytest.raises(NonFiniteError, match="step 0"):
        model.fit(X, with_nan(Y, 0), verbose=0, callbacks=[StopOnNaN()])
    assert all(np.array_equal(a, b) for a, b in zip(before[: len(model.weights)], variables(model)))
