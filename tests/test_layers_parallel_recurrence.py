"""Recurrent cells in parallel: against the loop over steps, its gradients, and cells that must not pass silently."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from support.input_gradients import gradient_of
from support.layer_checks import BACKEND, numpy

from zoo.layers import ParallelRNN, parallel_recurrence
from zoo.layers.parallel_recurrence import linear_recurrence

CELLS = {
    "simple": lambda units, **rest: keras.layers.SimpleRNNCell(units, dtype="float32", **rest),
    "gru": lambda units, **rest: keras.layers.GRUCell(units, dtype="float32", **rest),
    "lstm": lambda units, **rest: keras.layers.LSTMCell(units, dtype="float32", **rest),
}
each_cell = pytest.mark.parametrize("kind", list(CELLS))


def cell_of(kind, units=3, inputs=2, scale=0.5, seed=0):
    """A cell whose states fade: random weights, the recurrent ones of spectral norm `scale`."""
    cell = CELLS[kind](units)
    cell.build((None, inputs))
    rng = np.random.default_rng(seed)
    for weight in cell.weights:
        values = rng.normal(0, 0.5, weight.shape)
        if "recurrent" in weight.path:
            values *= scale / np.linalg.norm(values, 2)
        weight.assign(values)
    return cell


def loop(cell, inputs, states=None, mask=None):
    """Step after step: outputs `[B, T, units]`, last states."""
    inputs = ops.convert_to_tensor(inputs)
    states = cell.get_initial_state(batch_size=inputs.shape[0]) if states is None else states
    states, outputs = list(states) if isinstance(states, list | tuple) else [states], []
    for t in range(inputs.shape[1]):
        output, new = cell(inputs[:, t], states)
        new = new if isinstance(new, list | tuple) else [new]
        if mask is not None:
            real = ops.convert_to_tensor(mask[:, t, None])
            output = ops.where(real, output, 0.0)
            new = [ops.where(real, a, b) for a, b in zip(new, states)]
        states = new
        outputs.append(output)
    return ops.stack(outputs, axis=1), states


def keras_loop(cell, inputs):
    """Keras' own loop, for long sequences."""
    return keras.layers.RNN(cell, return_sequences=True)(inputs)


def data(length, batch=2, width=2, seed=1):
    return np.random.default_rng(seed).normal(size=(batch, length, width)).astype("float32")


@pytest.mark.parametrize("length", [1, 2, 7, 16])
@pytest.mark.parametrize("shared", [False, True])
def test_linear_recurrence(length, shared):
    """In float64, step by step."""
    rng = np.random.default_rng(length)
    slopes = rng.normal(0, 0.5, (1, 1, 3, 3) if shared else (2, length, 3, 3)).astype("float32")
    offsets = rng.normal(size=(2, length, 3)).astype("float32")
    x, expected = np.zeros((2, 3)), []
    for t in range(length):
        x = (
            np.einsum("bij,bj->bi", np.broadcast_to(slopes, (2, length, 3, 3))[:, t].astype("float64"), x)
            + offsets[:, t]
        )
        expected.append(x)
    found = linear_recurrence(ops.convert_to_tensor(slopes), ops.convert_to_tensor(offsets))
    np.testing.assert_allclose(numpy(found), np.stack(expected, 1), atol=1e-5, rtol=1e-5)


@each_cell
@pytest.mark.parametrize("method", ["newton", "input_linear", "constant"])
def test_equals_the_loop(kind, method):
    cell, inputs = cell_of(kind), data(12)
    found, states = parallel_recurrence(cell, inputs, method=method, return_state=True)
    expected, last = loop(cell, inputs)
    np.testing.assert_allclose(numpy(found), numpy(expected), atol=1e-5)
    for a, b in zip(states, last, strict=True):
        np.testing.assert_allclose(numpy(a), numpy(b), atol=1e-5)


@pytest.mark.parametrize("kind", ["gru", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("simple", "lstm"))])
def test_long_sequences(kind):
    cell, inputs = cell_of(kind), data(4096)
    found = numpy(parallel_recurrence(cell, inputs))
    assert found.shape == (2, 4096, 3)
    np.testing.assert_allclose(found, numpy(keras_loop(cell, inputs)), atol=1e-5)


@pytest.mark.parametrize("method", ["newton", "input_linear", "constant"])
@pytest.mark.parametrize("iterations", [1, 5])
def test_n_iterations_make_n_states_exact(method, iterations):
    """Whatever the slopes, also for a cell that amplifies; later states are far off."""
    cell, inputs = cell_of("simple", scale=6.0), data(12)
    found = numpy(parallel_recurrence(cell, inputs, method=method, iterations=iterations, tolerance=None))
    expected = numpy(loop(cell, inputs)[0])
    np.testing.assert_allclose(found[:, :iterations], expected[:, :iterations], atol=2e-5)
    assert np.abs(found - expected)[:, iterations + 2 :].max() > 0.01


@each_cell
def test_gradients_are_those_of_the_loop(kind):
    """By inputs and first states; those of the weights in the next test."""
    cell, inputs = cell_of(kind), data(12)
    count = 2 if kind == "lstm" else 1
    states = [np.random.default_rng(i).normal(size=(2, 3)).astype("float32") for i in range(count)]
    upstream = ops.convert_to_tensor(np.random.default_rng(5).normal(size=(2, 12, 3)).astype("float32"))

    def of(function):
        return gradient_of(lambda x, *start: upstream * function(x, list(start)), inputs, *states)

    found = of(lambda x, start: parallel_recurrence(cell, x, start))
    expected = of(lambda x, start: loop(cell, x, start)[0])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
        assert np.abs(b).max() > 0.01


@each_cell
@pytest.mark.parametrize("method", ["newton", "constant"])
def test_gradients_of_weights(kind, method):
    """As arguments, put into the cell while it is called."""
    cell, inputs = cell_of(kind), data(12)
    upstream = ops.convert_to_tensor(np.random.default_rng(5).normal(size=(2, 12, 3)).astype("float32"))

    def of(function):
        def call(*weights):
            with keras.StatelessScope(state_mapping=list(zip(cell.trainable_variables, weights))):
                return upstream * function()

        return gradient_of(call, *(numpy(w).astype("float32") for w in cell.trainable_variables))

    found = of(lambda: parallel_recurrence(cell, inputs, method=method))
    expected = of(lambda: loop(cell, inputs)[0])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
        assert np.abs(b).max() > 0.01


@each_cell
def test_padding(kind):
    """Padding anywhere carries the state on and has outputs of 0; what lies in it does not matter."""
    cell, inputs = cell_of(kind), data(12)
    mask = np.array([[1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]], bool)
    found, states = parallel_recurrence(cell, inputs, padding_mask=mask, return_state=True)
    expected, last = loop(cell, inputs, mask=mask)
    np.testing.assert_allclose(numpy(found), numpy(expected), atol=1e-5)
    for a, b in zip(states, last, strict=True):
        np.testing.assert_allclose(numpy(a), numpy(b), atol=1e-5)
    changed = parallel_recurrence(cell, np.where(mask[..., None], inputs, 7.0).astype("float32"), padding_mask=mask)
    np.testing.assert_allclose(numpy(changed), numpy(found), atol=1e-6)


@keras.saving.register_keras_serializable(package="tests")
class LeakyCell(keras.layers.Layer):
    """A user's cell whose output is not its state."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.output_size = 1

    def build(self, inputs_shape):
        self.kernel = self.add_weight(shape=(inputs_shape[-1], self.units), name="kernel")
        self.built = True

    def get_initial_state(self, batch_size):
        return [ops.ones((batch_size, self.units))]

    def call(self, inputs, states):
        new = 0.6 * states[0] + ops.tanh(ops.matmul(inputs, self.kernel))
        return ops.sum(ops.square(new), axis=-1, keepdims=True), [new]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_cells_of_the_user():
    cell, inputs = LeakyCell(3, dtype="float32"), data(12)
    found = parallel_recurrence(cell, inputs)
    assert found.shape == (2, 12, 1)
    np.testing.assert_allclose(numpy(found), numpy(loop(cell, inputs)[0]), atol=1e-5)


def test_chaos_is_an_error():
    """A cell that amplifies: the loop's own result means little, and no other passes for it."""
    cell, inputs = cell_of("simple", units=8, scale=12.0), data(64)
    with pytest.raises(ValueError, match="has not converged after 12 iterations by 'newton'.*keras.layers.RNN"):
        parallel_recurrence(cell, inputs, iterations=12)


def test_too_few_iterations_are_an_error():
    with pytest.raises(ValueError, match="after 1 iterations by 'constant'"):
        parallel_recurrence(cell_of("gru"), data(12), method="constant", iterations=1)


# The layer


def network(length=12, **options):
    inputs, mask = keras.Input((length, 2)), keras.Input((length,), dtype="bool")
    rnn = ParallelRNN(CELLS["gru"](3), **options)
    return keras.Model([inputs, mask], rnn(inputs, padding_mask=mask)), rnn


def test_layer_is_the_function():
    """The last real output, all outputs, states."""
    x, mask = data(12), np.arange(12) < np.array([[5], [12]])
    model, rnn = network(return_sequences=True, return_state=True)
    expected, last = loop(rnn.cell, x, mask=mask)
    outputs, states = model([x, mask])
    np.testing.assert_allclose(numpy(outputs), numpy(expected), atol=1e-5)
    np.testing.assert_allclose(numpy(states), numpy(last[0]), atol=1e-5)
    rnn.return_sequences = rnn.return_state = False
    found = numpy(rnn(x, padding_mask=mask))
    np.testing.assert_allclose(found, numpy(expected)[np.arange(2), [4, 11]], atol=1e-5)
    assert not numpy(rnn(x, padding_mask=np.zeros((2, 12), bool))).any()


def test_layer_trains_and_predicts(tmp_path):
    """Compiled where the backend compiles; the loss falls; saved, loaded, the same."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(64, 6, 2)).astype("float32")
    y = np.tanh(x[:, -2:, 0].sum(1, keepdims=True))
    inputs = keras.Input((6, 2))
    hidden = ParallelRNN(CELLS["gru"](4), iterations=5, tolerance=1e-3, name="rnn")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile(keras.optimizers.Adam(0.05), "mse")
    losses = model.fit(x, y, batch_size=64, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    predicted = model.predict(x, verbose=0)
    cell = model.get_layer("rnn").cell
    np.testing.assert_allclose(predicted, numpy(model.layers[-1](loop(cell, x)[0][:, -1])), atol=1e-5)
    model.save(tmp_path / "x.keras")
    np.testing.assert_allclose(
        keras.models.load_model(tmp_path / "x.keras").predict(x, verbose=0), predicted, atol=1e-6
    )


def test_compiled_code_gives_nan_where_it_does_not_converge():
    """A row that amplifies, one that does not: the numbers of the one are NaN, those of the other right; torch raises."""
    x = data(16, width=2)
    x[1] = 0.0
    cell = cell_of("simple", units=3, scale=8.0)
    cell.weights[-1].assign(np.zeros(3))  # without a bias the state of the second row stays 0
    inputs = keras.Input((16, 2))
    model = keras.Model(inputs, ParallelRNN(cell, return_sequences=True, iterations=4)(inputs))
    if BACKEND == "torch":
        with pytest.raises(ValueError, match="has not converged after 4 iterations"):
            model.predict(x, verbose=0)
        return
    found = model.predict(x, verbose=0)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], 0, atol=1e-6)


def test_config_round_trip():
    layer = ParallelRNN(CELLS["lstm"](3), "input_linear", 20, 1e-4, return_sequences=True, return_state=True, name="r")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    twin = keras.saving.deserialize_keras_object(config)
    assert twin.get_config() == layer.get_config() and config["registered_name"] == "zoo>ParallelRNN"


def test_mixed_precision():
    """The recurrence is computed in float32, its outputs leave in the compute dtype."""
    layer = ParallelRNN(cell_of("gru"), dtype="mixed_bfloat16", return_sequences=True)
    found = layer(ops.cast(data(12), "bfloat16"))
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    np.testing.assert_allclose(numpy(found), numpy(loop(layer.cell, data(12))[0]), atol=0.02)
    with pytest.raises(ValueError, match="computes in bfloat16.*dtype='float32'"):
        ParallelRNN(keras.layers.GRUCell(3, dtype="mixed_bfloat16"))


def test_refuses_what_it_cannot_do():
    cell = CELLS["gru"](3)
    for options, message in (
        ({"method": "secant"}, "method='secant'; expected one of newton"),
        ({"iterations": 0}, "iterations=0"),
        ({"tolerance": None}, "expected one of the two"),
    ):
        with pytest.raises(ValueError, match=message):
            ParallelRNN(cell, **options)
    with pytest.raises(ValueError, match="has dropout"):
        ParallelRNN(keras.layers.GRUCell(3, dropout=0.1, dtype="float32"))
    with pytest.raises(ValueError, match="static length"):
        parallel_recurrence(cell, np.zeros((2, 0, 2), "float32"))
