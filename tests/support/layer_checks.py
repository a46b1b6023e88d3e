"""What every layer has to pass, whatever it computes; the test files hold only numbers and laws."""

import json

import keras
import numpy as np
from keras import ops

from support.arrays import assert_close

BACKEND = keras.backend.backend()
# XLA on the CPU lacks some float16 products with float32 sums: float16 is left to the other backends.
HALF_POLICIES = ("mixed_bfloat16",) if BACKEND == "jax" else ("mixed_bfloat16", "mixed_float16")


def numpy(x):
    return np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")), "float64")


def call(layer, inputs):
    """The layer on a dict of arrays, the first one by position."""
    first, *rest = (ops.convert_to_tensor(array) for array in inputs.values())
    return layer(first, **dict(zip(list(inputs)[1:], rest)))


def randomise(model, seed=0):
    """Draw every weight at random, gains and biases too: one that the layer forgets then shows."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if len(variable.shape) > 1:
            values = rng.normal(0, variable.shape[0] ** -0.5, variable.shape)
        else:
            values = rng.normal(0.3, 0.5, variable.shape)
        variable.assign(values.astype("float32"))
    return model


def built(layer, inputs, seed=0):
    """The layer built on symbolic inputs, with random weights."""
    functional(layer, inputs)
    return randomise(layer, seed)


def rebuilt(layer, inputs, dtype=None):
    """A second layer from the first one's config as JSON, with its weights; in another policy if given."""
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    if dtype is not None:
        config["config"]["dtype"] = dtype
    twin = keras.saving.deserialize_keras_object(config)
    functional(twin, inputs)
    assert [(v.path.split("/")[1:], v.shape) for v in twin.weights] == [
        (v.path.split("/")[1:], v.shape) for v in layer.weights
    ]
    for old, new in zip(layer.weights, twin.weights):
        new.assign(old)
    return twin


def functional(layer, inputs):
    """The layer inside a functional model; every input has a batch axis."""
    symbols = {name: keras.Input(array.shape[1:], dtype=str(array.dtype), name=name) for name, array in inputs.items()}
    rest = dict(symbols)
    first = rest.pop(next(iter(symbols)))
    return keras.Model(symbols, layer(first, **rest))


def check_layer(layer, inputs, tmp_path, half_tolerance=0.03, output_dtype=None, weights=None):
    """Config round trip, weights file, symbolic output, compiled prediction, half precision.

    Args:
        layer: not yet built.
        inputs: dict of arrays, each with a batch axis; the first is passed by position.
        half_tolerance: float, largest error in half precision in units of the largest output.
        output_dtype: dtype of the output where it is not the policy's compute dtype.
        weights: number of weights, or None.
    """
    built(layer, inputs)
    assert weights is None or len(layer.weights) == weights
    expected = numpy(call(layer, inputs))
    size = max(1.0, np.abs(expected).max())
    assert_close(numpy(call(rebuilt(layer, inputs), inputs)), expected, atol=0)

    model = functional(layer, inputs)
    output = call(layer, inputs)
    assert model.output.dtype == keras.backend.standardize_dtype(output.dtype)
    assert [a for a, b in zip(model.output.shape, output.shape) if a not in (None, b)] == []
    if layer.weights:
        model.save_weights(tmp_path / "layer.weights.h5")
        old = [numpy(v) for v in layer.weights]
        randomise(layer, seed=1)
        model.load_weights(tmp_path / "layer.weights.h5")
        for variable, array in zip(layer.weights, old):
            assert_close(variable, array, atol=0)
    if BACKEND != "torch":  # torch compiles for a minute and is used eagerly
        model.compile(jit_compile=True)
        assert_close(model.predict(inputs, verbose=0), expected, atol=1e-5 * size)
    for policy in HALF_POLICIES:
        output = call(rebuilt(layer, inputs, policy), inputs)
        compute_dtype = keras.DTypePolicy(policy).compute_dtype
        assert keras.backend.standardize_dtype(output.dtype) == (output_dtype or compute_dtype)
        assert_close(output, expected, atol=half_tolerance * size)


def gradients(layer, inputs, upstream):
    """Gradients of sum(upstream · output) by the trainable variables, as the backend gives them, in order."""
    upstream = ops.convert_to_tensor(upstream)
    if BACKEND == "jax":
        import jax

        fixed = [v.value for v in layer.non_trainable_variables]
        first, *rest = (ops.convert_to_tensor(array) for array in inputs.values())
        options = dict(zip(list(inputs)[1:], rest))

        def loss(trainable):
            return ops.sum(layer.stateless_call(trainable, fixed, first, **options)[0] * upstream)

        return jax.grad(loss)([v.value for v in layer.trainable_variables])
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = ops.sum(call(layer, inputs) * upstream)
        return tape.gradient(loss, [v.value for v in layer.trainable_variables])
    layer.zero_grad()
    ops.sum(call(layer, inputs) * upstream).backward()
    return [v.value.grad for v in layer.trainable_variables]
