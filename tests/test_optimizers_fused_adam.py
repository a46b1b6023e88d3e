"""The fused step is Keras' own: against the formula in float64 and against Keras, alone and in a model's training."""

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import BACKEND
from support.tiny_models import PAIRS, matcher

from zoo.optimizers import ExcludeFromDecay, FusedAdam, FusedAdamW

CLASSES = {FusedAdam: keras.optimizers.Adam, FusedAdamW: keras.optimizers.AdamW}
SHAPES = [(7, 5), (5,), (3, 2, 4)]


def gradients():
    rng = np.random.default_rng(0)
    return [[rng.normal(size=shape).astype("float32") for shape in SHAPES] for _ in range(6)]


def trained(optimizer, dtype="float32"):
    variables = [keras.Variable(np.full(shape, 0.5, "float32"), dtype=dtype) for shape in SHAPES]
    for step in gradients():
        optimizer.apply([ops.convert_to_tensor(gradient, dtype) for gradient in step], variables)
    return [np.asarray(ops.convert_to_numpy(ops.cast(variable, "float32")), "float64") for variable in variables]


def formula(rate, epsilon, decay=0.0):
    """Keras' Adam (ε beside the square root before its correction) with decoupled decay, float64."""
    weights = [np.full(shape, 0.5) for shape in SHAPES]
    m, v = ([np.zeros(shape) for shape in SHAPES] for _ in range(2))
    for t, step in enumerate(gradients(), 1):
        alpha = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for i, gradient in enumerate(np.float64(g) for g in step):
            weights[i] *= 1 - decay * rate
            m[i] = 0.9 * m[i] + 0.1 * gradient
            v[i] = 0.999 * v[i] + 0.001 * gradient**2
            weights[i] -= alpha * m[i] / (np.sqrt(v[i]) + epsilon)
    return weights


@pytest.mark.parametrize("epsilon", [1e-7, 1e-2])
def test_equals_the_formula(epsilon):
    for found, expected in zip(trained(FusedAdam(0.01, epsilon=epsilon)), formula(0.01, epsilon)):
        assert_close(found, expected, atol=1e-6)
    for found, expected in zip(
        trained(FusedAdamW(0.01, epsilon=epsilon, weight_decay=0.1)), formula(0.01, epsilon, 0.1)
    ):
        assert_close(found, expected, atol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    "options, dtype",
    [
        ({"amsgrad": True}, "float32"),
        ({"clipnorm": 0.5}, "float32"),
        ({"global_clipnorm": 1.0, "use_ema": True}, "float32"),
        ({"gradient_accumulation_steps": 3}, "float32"),
        ({}, "bfloat16"),
        (
            {"learning_rate": keras.optimizers.schedules.CosineDecay(0.0, 4, warmup_target=0.02, warmup_steps=2)},
            "float32",
        ),
    ],
    ids=["amsgrad", "clipnorm", "average", "accumulation", "bfloat16", "schedule"],
)
def test_equals_keras_with_every_option(cls, options, dtype):
    options = {"learning_rate": 0.01, **options}
    for found, expected in zip(trained(cls(**options), dtype), trained(CLASSES[cls](**options), dtype)):
        assert_close(found, expected, atol=1e-6)


@pytest.mark.parametrize("transposed", ["gradient", "weight"])
def test_memory_may_lie_in_any_order(transposed):
    """A transposed view has the numbers of its copy, and another order in memory on torch."""
    rng = np.random.default_rng(1)
    start, *steps = (ops.convert_to_tensor(rng.normal(size=(4, 3)).astype("float32")) for _ in range(4))
    results = []
    for cls in (FusedAdam, keras.optimizers.Adam):
        variable = keras.Variable(ops.convert_to_numpy(start).T.copy())
        if transposed == "weight" and BACKEND == "torch":
            variable.value.data = start.clone().t()
        optimizer = cls(0.1, epsilon=1.0)
        for step in steps:
            gradient = ops.convert_to_numpy(step).T.copy() if transposed == "weight" else ops.transpose(step)
            optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
        results.append(ops.convert_to_numpy(variable))
    assert_close(*results, atol=1e-6)


@pytest.fixture
def other_device(monkeypatch):
    """Where torch's kernel for the CPU takes nothing, as on a GPU: calls of the multi-tensor operations, by name."""
    if BACKEND != "torch":
        return None
    import torch

    from zoo import backend

    calls = []
    monkeypatch.setattr(backend.torch, "takes_fused_adam", lambda *tensors: False)
    for name in ("_foreach_mul_", "_foreach_add_", "_foreach_sqrt"):
        operation = getattr(torch, name)
        monkeypatch.setattr(
            torch, name, lambda *a, name=name, operation=operation, **k: calls.append(name) or operation(*a, **k)
        )
    return calls


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"gradient_accumulation_steps": 3}], ids=str)
def test_elsewhere_torch_takes_one_step_for_all_variables(cls, options, other_device, monkeypatch):
    """The operations of Keras' own multi-tensor step, and its numbers to the last digit; no variable by itself."""
    if BACKEND != "torch":
        return
    monkeypatch.setattr(keras.optimizers.Adam, "update_step", None)
    found = trained(cls(0.01, **options))
    ours = list(other_device)
    other_device.clear()
    expected = trained(CLASSES[cls](0.01, **options))
    assert ours == other_device and "_foreach_sqrt" in ours
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_kernel_takes_float32_in_main_memory():
    if BACKEND != "torch":
        return
    import torch

    from zoo.backend.torch import takes_fused_adam

    whole, half = torch.ones(4, 3), torch.ones(4, 3, dtype=torch.bfloat16)
    assert takes_fused_adam(whole, whole, whole, whole)
    assert takes_fused_adam(torch.ones(3, 4).t(), whole, whole, whole), "a gradient is copied"
    assert not takes_fused_adam(whole, torch.ones(3, 4).t(), whole, whole)
    assert not takes_fused_adam(half, whole, whole, whole) and not takes_fused_adam(whole, half, whole, whole)
    elsewhere = torch.ones(4, 3, device="meta")  # as one on a GPU, which no test machine has
    assert not takes_fused_adam(elsewhere, elsewhere, elsewhere, elsewhere)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_trains_a_matcher_as_keras_does(dtype):
    weights = []
    for cls in (keras.optimizers.AdamW, FusedAdamW):
        keras.utils.set_random_seed(1)
        model = matcher(dtype=dtype)
        model.compile(ExcludeFromDecay(cls(1e-3, weight_decay=0.1)))
        model.fit(PAIRS, epochs=2, batch_size=8, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        assert_close(one, other, atol=1e-5 if dtype == "float32" else 2e-3)


@pytest.mark.parametrize("cls", CLASSES)
def test_rows_of_foreign_lookups_add_up(cls):
    """TensorFlow's own gather gives a gradient of rows, here row 1 twice: as the same step with the dense gradient."""
    if BACKEND != "tensorflow":
        return
    import tensorflow as tf

    rows, results = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, -6.0]]), []
    sparse = tf.IndexedSlices(rows, tf.constant([1, 0, 1]), tf.constant([3, 2]))
    for gradient in (sparse, tf.constant([[3.0, 4.0], [6.0, -4.0], [0.0, 0.0]])):
        variable = keras.Variable(np.ones((3, 2), "float32"))
        cls(0.1).apply([gradient], [variable])
        results.append(ops.convert_to_numpy(variable))
    assert_close(*results, atol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_config(cls):
    optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(cls(0.02, beta_1=0.8, epsilon=1e-3)))
    assert type(optimizer) is cls
    assert (float(optimizer.learning_rate), optimizer.beta_1, optimizer.epsilon) == (pytest.approx(0.02), 0.8, 1e-3)
