"""Cross entropy of tokens against float64 NumPy, its closed-form gradient, and Keras' own."""

import keras
import numpy as np
import pytest
from keras import ops

from zoo.backend import value_and_gradient
from zoo.losses import TokenCrossEntropy

SHAPES = [(3, 5, 7), (4, 2), (2, 110, 6000)]  # the last is more than one block of rows
WEIGHTED = [False, True]


def example(shape, weighted):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 5, shape).astype("float32")
    labels = rng.integers(0, shape[-1], shape[:-1]).astype("int32")
    labels.flat[0], labels.flat[-1] = 0, shape[-1] - 1
    weights = (rng.random(shape[:-1]) < 0.6).astype("float32") if weighted else None
    return labels, logits, weights


def oracle(labels, logits, weights):
    """Mean over places by weight, and its gradient (softmax − one-hot) w / Σw, in float64."""
    wide = logits.astype("float64") - logits.max(-1, keepdims=True)
    probabilities = np.exp(wide) / np.exp(wide).sum(-1, keepdims=True)
    chosen = np.eye(logits.shape[-1])[labels]
    weights = np.ones(labels.shape) if weights is None else weights.astype("float64")
    losses = -np.log((probabilities * chosen).sum(-1))
    scale = weights / weights.sum()
    return (losses * scale).sum(), (probabilities - chosen) * scale[..., None]


@pytest.mark.parametrize("weighted", WEIGHTED)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_and_gradient_are_those_of_the_formula(shape, weighted):
    labels, logits, weights = example(shape, weighted)
    value, gradient = value_and_gradient(
        lambda x: TokenCrossEntropy()(labels, ops.convert_to_tensor(x), sample_weight=weights), logits
    )
    expected, slope = oracle(labels, logits, weights)
    assert value == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, slope, atol=2e-7, rtol=1e-4)


@pytest.mark.parametrize("weighted", WEIGHTED)
@pytest.mark.parametrize("reduction", ["mean_with_sample_weight", "sum_over_batch_size", "sum", None])
def test_reductions_are_those_of_keras(reduction, weighted):
    labels, logits, weights = example(SHAPES[0], weighted)
    known = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    ours = ops.convert_to_numpy(TokenCrossEntropy(reduction)(labels, logits, sample_weight=weights))
    theirs = ops.convert_to_numpy(known(labels, logits, sample_weight=weights))
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_logits_are_summed_up_in_float32(dtype):
    labels, logits, _ = example(SHAPES[2], False)
    half = ops.cast(logits, dtype)
    expected, _ = oracle(labels, ops.convert_to_numpy(ops.cast(half, "float32")), None)
    assert float(TokenCrossEntropy()(labels, half)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_is_that_of_keras_own_loss(jit_compile):
    labels, logits, weights = example(SHAPES[0], True)
    trained = []
    for loss in (
        TokenCrossEntropy(),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight"),
    ):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((5, 7)), keras.layers.Dense(7)])
        jit = jit_compile and keras.backend.backend() != "torch"
        model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=jit)
        history = [float(model.train_on_batch(logits, labels, sample_weight=weights)) for _ in range(3)]
        trained.append((history, model.get_weights()))
    np.testing.assert_allclose(trained[0][0], trained[1][0], rtol=1e-5)
    for ours, theirs in zip(trained[0][1], trained[1][1]):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_config_round_trip():
    loss = TokenCrossEntropy("sum", name="tokens")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is TokenCrossEntropy and again.get_config() == loss.get_config()
    assert again.reduction == "sum"
