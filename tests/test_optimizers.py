"""Optimizer wrappers against loops in NumPy float64, through all of Keras' training."""

import json

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.known_gradients import SHAPES, Weights, gradients, made, mean_output, split, start, train
from support.layer_checks import BACKEND
from support.tiny_models import PAIRS, backbone, matcher, scatter_weights, to_numpy

import zoo
from zoo.callbacks import Resume
from zoo.optimizers import (
    EvaluateAverages,
    ExcludeFromDecay,
    ExponentialMovingAverage,
    LayerAdaptation,
    LayerwiseLearningRate,
    LazyUpdates,
    Lookahead,
    PiecewiseLinear,
    WarmupDecay,
    averaged_weights,
    layer_decay,
)

RATE, DECAY = 0.02, 0.1
PATHS = list(SHAPES)
NOTHING_DECAYS = [("bias", (3,)), ("kernel", (3, 2))]
JIT = BACKEND == "jax"  # what "auto" stands for; the others are held to the same numbers in test_compiled
ROWS = gradients(12)


def adamw(rate=RATE, **options):
    return keras.optimizers.AdamW(rate, weight_decay=DECAY, epsilon=1e-5, **options)


class Replay:
    """AdamW in float64, as Keras writes it: ε beside sqrt(v), decay before the step."""

    def __init__(self, decays=(True, True, True, True)):
        self.weights = [weight.astype("float64") for weight in start()]
        self.m = [np.zeros_like(weight) for weight in self.weights]
        self.v = [np.zeros_like(weight) for weight in self.weights]
        self.decays, self.t = decays, 0

    def step(self, row, rate=RATE, change=None):
        """One step; `change(path, before, after, gradient)` gives the weight that is kept."""
        self.t += 1
        for i, (path, g) in enumerate(zip(PATHS, split(row))):
            w = self.weights[i]
            after = w * (1 - rate * DECAY) if self.decays[i] else w
            self.m[i] = 0.9 * self.m[i] + 0.1 * g
            self.v[i] = 0.999 * self.v[i] + 0.001 * g * g
            scale = rate * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
            after = after - scale * self.m[i] / (np.sqrt(self.v[i]) + 1e-5)
            self.weights[i] = after if change is None else change(path, w, after, g)
        return [weight.copy() for weight in self.weights]


def layerwise():
    factors = {"token_embedding/": 0.25, "layer_0/": 0.5, "bias": 3.0, "classifier": 0.0}
    product = dict(zip(PATHS, (0.25, 0.5, 1.5, 0.0)))
    replay = Replay()
    change = lambda path, before, after, g: before + product[path] * (after - before)  # noqa: E731
    return LayerwiseLearningRate(adamw(), factors), [replay.step(row, change=change) for row in ROWS]


def excluded():
    replay = Replay(decays=(True, True, False, True))
    return ExcludeFromDecay(adamw()), [replay.step(row) for row in ROWS]


def lamb():
    """The paper's: the decay is part of the step whose length is adapted; biases keep their steps and their decay."""

    def change(path, before, after, g):
        if path.endswith("bias"):
            return after
        step = (after - before) / RATE
        return before + RATE * np.linalg.norm(before) / np.linalg.norm(step) * step

    replay = Replay()
    return LayerAdaptation(adamw()), [replay.step(row, change=change) for row in ROWS]


def lookahead():
    replay, slow, expected = Replay(), [weight.astype("float64") for weight in start()], []
    for number, row in enumerate(ROWS, 1):
        replay.step(row)
        if number % 5 == 0:
            slow = [s + 0.3 * (w - s) for s, w in zip(slow, replay.weights)]
            replay.weights = [s.copy() for s in slow]
        expected.append([weight.copy() for weight in replay.weights])
    return Lookahead(adamw(), steps=5, step_size=0.3), expected


def lazy():
    def change(path, before, after, g):
        return np.where((g != 0).any(-1, keepdims=True), after, before) if path.startswith("token") else after

    replay = Replay()
    return LazyUpdates(adamw()), [replay.step(row, change=change) for row in ROWS]


def scheduled():
    """Warm-up over 4 steps, down to a half at step 9, level from there."""
    rates = RATE * np.interp(np.arange(len(ROWS)), [0, 4, 9], [0, 1, 0.5])
    replay = Replay()
    expected = [replay.step(row, rate) for row, rate in zip(ROWS, rates)]
    return ExcludeFromDecay(adamw(PiecewiseLinear(RATE, {4: 1, 9: 0.5})), pattern="^$"), expected


def recipe():
    """LAMB with a schedule, exclusion from decay and layer-wise rates: the wrappers stack."""
    rates = np.maximum(RATE * np.interp(np.arange(len(ROWS)), [0, 4, 9], [0, 1, 0.5]), 1e-7)
    replay, expected = Replay(decays=(True, True, False, True)), []
    for rate, row in zip(rates, ROWS):

        def change(path, before, after, g, rate=rate):
            if not path.endswith("bias") and (after != before).any():
                after = before + rate * np.linalg.norm(before) / np.linalg.norm(after - before) * (after - before)
            return before + (0.5 if path.startswith("layer_0") else 1) * (after - before)

        expected.append(replay.step(row, rate if replay.t else 0.0, change))
    inner = ExcludeFromDecay(adamw(PiecewiseLinear(RATE, {4: 1, 9: 0.5})))
    return LayerwiseLearningRate(LayerAdaptation(inner), {"layer_0/": 0.5}), expected


CASES = {f.__name__: f for f in (layerwise, excluded, lamb, lookahead, lazy, scheduled, recipe)}


def assert_follows(model, expected):
    for weights, reference in zip(train(model, ROWS), expected, strict=True):
        for weight, values in zip(weights, reference):
            assert_close(weight, values, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_equals_its_formula(case):
    optimizer, expected = CASES[case]()
    assert_follows(made(optimizer, jit_compile=JIT), expected)


@pytest.mark.parametrize("case", CASES)
def test_described_and_rebuilt_it_is_the_same(case):
    """Through the JSON of a config, an optimizer comes back with all that it does (Keras loses its decay exclusions)."""
    optimizer, expected = CASES[case]()
    config = keras.optimizers.serialize(optimizer)
    twin = keras.optimizers.deserialize(json.loads(json.dumps(config)))
    assert keras.optimizers.serialize(twin) == config
    if BACKEND == "torch":  # the numbers themselves once: they are the formula's
        assert_follows(made(twin), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch.compile warns of Keras' code
@pytest.mark.parametrize("case", CASES)
def test_compiled(case):
    """XLA on TensorFlow, torch.compile on torch."""
    optimizer, expected = CASES[case]()
    assert_follows(made(optimizer, jit_compile=True), expected)


def average_of(history, momentum, bias_correction):
    """By hand: a sum from 0 divided by what is missing, or a recursion from the initial weights."""
    initial = [weight.astype("float64") for weight in start()]
    average = [weight * (not bias_correction) for weight in initial]
    for weights in history:
        average = [momentum * a + (1 - momentum) * w for a, w in zip(average, weights)]
    return [a / (1 - momentum ** len(history) if bias_correction else 1) for a in average]


@pytest.mark.parametrize("bias_correction", [False, True])
def test_averages_start_at_the_initial_weights(bias_correction):
    model = made(ExponentialMovingAverage(adamw(), 0.9, bias_correction), jit_compile=JIT)
    model.optimizer.build(model.trainable_variables)
    model.set_weights([weight * 0 + 9 for weight in start()])
    model.set_weights(start())  # weights loaded after the build are the initial ones
    history = train(model, ROWS)
    own = model.get_weights()
    for weight, value in zip(own, history[-1]):
        assert (weight == value).all()
    with averaged_weights(model):
        for weight, expected in zip(model.get_weights(), average_of(history, 0.9, bias_correction)):
            assert_close(weight, expected, atol=2e-6)
    assert all((a == b).all() for a, b in zip(model.get_weights(), own))
    model.optimizer.finalize_variable_values(model.trainable_variables)
    assert_close(model.get_weights()[0], average_of(history, 0.9, bias_correction)[0], atol=2e-6)


def test_between_epochs_the_model_has_the_averages(tmp_path):
    """Validation and checkpoints see averages, training goes on from its own weights, and so does Resume."""

    class Seen(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.weights = []

        def on_epoch_end(self, epoch, logs=None):
            self.weights.append(self.model.get_weights())

    def fit(model, epochs, callbacks, first=0):
        zeros = np.zeros((len(ROWS), 1), "float32")
        model.fit(ROWS, zeros, 1, epochs, 0, callbacks, shuffle=False, initial_epoch=first)

    model, seen = made(ExponentialMovingAverage(adamw(), 0.9), jit_compile=JIT), Seen()
    fit(model, 2, [Resume(tmp_path / "run"), EvaluateAverages(), seen])
    history = train(made(adamw(), jit_compile=JIT), np.concatenate([ROWS, ROWS]))
    for epoch, weights in enumerate(seen.weights, 1):
        for weight, expected in zip(weights, average_of(history[: epoch * len(ROWS)], 0.9, False)):
            assert_close(weight, expected, atol=3e-6)
    assert all((a == b).all() for a, b in zip(model.get_weights(), seen.weights[-1]))

    resumed = made(ExponentialMovingAverage(adamw(), 0.9), jit_compile=JIT)
    resume = Resume(tmp_path / "run")
    assert resume.restore(resumed) == 2
    assert_close(resumed.get_weights()[0], history[-1][0], atol=3e-6)


@pytest.mark.parametrize("micro_batch_size", [None, 2])
def test_a_task_validates_its_averages(micro_batch_size):
    """Validation sees what the model has when `fit` is over: the averages."""
    model = scatter_weights(matcher())
    model.compile(ExponentialMovingAverage(keras.optimizers.SGD(0.1), 0.9))
    options = {"validation_data": PAIRS, "callbacks": [EvaluateAverages()], "micro_batch_size": micro_batch_size}
    history = model.fit(PAIRS, batch_size=4, epochs=1, verbose=0, **options).history
    for variable, average in model.optimizer.averages:
        assert (to_numpy(variable) == to_numpy(average)).all()
    metrics = model.evaluate(PAIRS, verbose=0)
    assert history["val_spearman"][0] == pytest.approx(metrics["spearman"], abs=1e-9)
    assert history["val_auc"][0] == pytest.approx(metrics["auc"], abs=1e-9)


def test_whole_state_survives_a_keras_file(tmp_path):
    """Slots of wrappers and of the inner optimizer, multipliers, exclusions: training goes on as if nothing was."""

    def optimizer():
        stack = LayerwiseLearningRate(ExcludeFromDecay(adamw()), {"layer_0/": 0.5})
        return ExponentialMovingAverage(Lookahead(stack, steps=3), 0.9)

    whole = made(optimizer(), jit_compile=JIT)
    expected = train(whole, ROWS)[-1]
    half = made(optimizer(), jit_compile=JIT)
    train(half, ROWS[:7])
    half.save(tmp_path / "half.keras")
    objects = {"Weights": Weights, "mean_output": mean_output}
    loaded = keras.models.load_model(tmp_path / "half.keras", custom_objects=objects)
    assert type(loaded.optimizer) is ExponentialMovingAverage
    for weight, value in zip(train(loaded, ROWS[7:])[-1], expected):
        assert_close(weight, value, atol=1e-7)
    with averaged_weights(loaded), averaged_weights(whole):
        for weight, value in zip(loaded.get_weights(), whole.get_weights()):
            assert_close(weight, value, atol=1e-7)


def test_layer_decay():
    """The last layer of zoo's and keras-hub's models gets the rate, the first rate^L, embeddings rate^(L + 1)."""
    model = zoo.TextClassifier(
        zoo.BERT(vocabulary_size=9, num_layers=2, hidden_dim=4, num_heads=2, intermediate_dim=4), num_classes=2
    )
    factors = layer_decay(model, 0.5)
    optimizer = LayerwiseLearningRate(keras.optimizers.SGD(0.1), factors)
    optimizer.build(model.trainable_variables)
    found = {v.path: optimizer.factor(v) for v in model.trainable_variables}
    assert found["token_embedding/embeddings"] == found["embedding_norm/gamma"] == 0.125
    assert found["layer_0/attention/query/kernel"] == 0.25 and found["layer_1/feedforward_norm/beta"] == 0.5
    assert found["classifier/kernel"] == 1
    zoo.freeze(model, "embedding")
    assert "embedding" not in layer_decay(model, 0.5)
    with pytest.raises(ValueError, match="no weight of Sequential has layer_0/"):
        layer_decay(keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)]), 0.5)


def test_mistakes_are_named():
    def apply(optimizer):
        optimizer.build(made("sgd").trainable_variables)

    with pytest.raises(ValueError, match=r"no trainable variable matches \['layer_9/'\]; paths look like token_emb"):
        apply(LayerwiseLearningRate("sgd", {"layer_9/": 0.5, "layer_0/": 0.5}))
    with pytest.raises(ValueError, match="factors of at least 0"):
        LayerwiseLearningRate("sgd", {"layer_0/": -1})
    with pytest.raises(ValueError, match="outermost"):
        Lookahead(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()))
    with pytest.raises(ValueError, match=r"ExponentialMovingAverage\(Lookahead"):
        Lookahead(ExcludeFromDecay(ExponentialMovingAverage(adamw())))
    with pytest.raises(ValueError, match="without weight_decay"):
        ExcludeFromDecay(keras.optimizers.SGD())
    with pytest.raises(ValueError, match="gradient_accumulation_steps=2"):
        LazyUpdates(keras.optimizers.SGD(gradient_accumulation_steps=2))
    with pytest.raises(ValueError, match="at least one step"):
        PiecewiseLinear(0.1, {})
    with pytest.raises(ValueError, match="no averages"), averaged_weights(made("sgd")):
        pass


@pytest.mark.parametrize("inner", ["FusedAdamW", "SGD"])
@pytest.mark.parametrize("accumulated", [None, 2])
def test_steps_in_which_nothing_decays(inner, accumulated):
    """What decays has no gradient: the others take the steps of an optimizer without decay."""
    cls = getattr(zoo.optimizers, inner, None) or getattr(keras.optimizers, inner)
    results = []
    for decay in (0.5, 0.0):
        variables = [keras.Variable(np.ones(shape, "float32"), name=name) for name, shape in NOTHING_DECAYS]
        optimizer = cls(0.1, weight_decay=decay, gradient_accumulation_steps=accumulated)
        optimizer = LayerwiseLearningRate(ExcludeFromDecay(optimizer) if decay else optimizer, {"bias": 0.5})
        optimizer.build(variables)
        chosen = variables[:1]
        for _ in range(2):
            optimizer.apply([keras.ops.ones(v.shape) for v in chosen], chosen)
        results.append([to_numpy(v) for v in variables])
    for one, other in zip(*results):
        assert_close(one, other, atol=1e-7)
    assert (results[0][0] < 1).all() and (results[0][1] == 1).all()


def test_nothing_but_norms_and_biases_under_the_default_optimizer():
    model = zoo.RepresentationMatcher(backbone("BERT"), max_length=16)
    zoo.freeze(model, "(embeddings|kernel)$")
    assert all(v.path.endswith(("bias", "gamma", "beta", "scale")) for v in model.trainable_variables)
    before = model.get_weights()
    model.fit(PAIRS, batch_size=4, verbose=0)
    assert any((a != b).any() for a, b in zip(before, model.get_weights()))


def test_what_keras_asks_for_is_the_inner_optimizers():
    """Rate, its callbacks, loss scale."""
    optimizer = Lookahead(keras.optimizers.Adam(0.5, loss_scale_factor=8.0))
    assert float(optimizer.scale_loss(2.0)) == 16
    optimizer.learning_rate = 0.25
    assert float(optimizer.inner.learning_rate) == float(optimizer.learning_rate) == 0.25
    outer = keras.optimizers.LossScaleOptimizer(optimizer)
    assert optimizer.inner.loss_scale_factor is None and float(outer.learning_rate) == 0.25


def test_piecewise_linear_equals_interpolation():
    schedule = PiecewiseLinear(3.0, {10: 1, 30: 0.5, 40: 0})
    steps = np.arange(60)
    expected = 3 * np.interp(steps, [0, 10, 30, 40], [0, 1, 0.5, 0])
    twin = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert twin.get_config() == schedule.get_config()
    for one in (schedule, twin):
        np.testing.assert_allclose([float(one(step)) for step in steps], expected, atol=1e-6)
    assert float(PiecewiseLinear(3.0, {0: 1})(0)) == float(PiecewiseLinear(3.0, {"0": 1})(99)) == 3
    assert float(schedule(10_000_000)) == 0


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize("warmup, warm", [({}, 5), ({"warmup_share": 0.07}, 3), ({"warmup_steps": 0}, 0)])
def test_warmup_decay_follows_its_formula(shape, warmup, warm):
    schedule = WarmupDecay(3.0, 50, **warmup, end=0.3, shape=shape)
    steps = np.arange(80)
    done = np.clip((steps - warm) / (50 - warm), 0, 1)
    falling = 0.3 + 2.7 * {"linear": 1 - done, "cosine": (1 + np.cos(np.pi * done)) / 2}[shape]
    expected = np.where(steps < warm, 3 * steps / max(warm, 1), falling)
    twin = keras.optimizers.schedules.deserialize(
        json.loads(json.dumps(keras.optimizers.schedules.serialize(schedule)))
    )
    assert type(twin) is WarmupDecay and twin.get_config() == schedule.get_config()
    for one in (schedule, twin):
        np.testing.assert_allclose([float(one(step)) for step in steps], expected, atol=1e-6)


def test_warmup_decay_equals_keras_schedules():
    steps = np.arange(130)
    cosine = keras.optimizers.schedules.CosineDecay(0.0, 90, alpha=0.02, warmup_target=2.0, warmup_steps=10)
    line = keras.optimizers.schedules.PolynomialDecay(2.0, 100, 0.04)
    ours = WarmupDecay(2.0, 100, end=0.04, shape="cosine"), WarmupDecay(2.0, 100, warmup_steps=0, end=0.04)
    for one, other in zip(ours, (cosine, line)):
        np.testing.assert_allclose(
            [float(one(step)) for step in steps], [float(other(step)) for step in steps], atol=2e-6
        )


def test_warmup_of_a_share_is_rounded_down_as_a_whole_number_is():
    """0.07 * 100 is 7.000000000000001 and 0.29 * 100 is 28.999999999999996 in floats."""
    for share, total, warm in ((0.07, 100, 7), (0.29, 100, 29), (0.1, 19, 1), (0.0, 9, 0)):
        rates = [float(WarmupDecay(1.0, total, warmup_share=share)(step)) for step in (max(warm - 1, 0), warm)]
        assert rates == pytest.approx([1 - 1 / warm if warm else 1, 1])


@pytest.mark.parametrize("jit_compile", sorted({False, JIT}))
def test_warmup_decay_inside_wrappers(jit_compile):
    """The rate of each step is that of the schedule, in training itself: SGD's steps are rate times gradient."""
    rows, schedule = gradients(12), WarmupDecay(0.5, 10, warmup_steps=4, end=0.1)
    rates = [0.5 * t / 4 if t < 4 else 0.1 + 0.4 * max(0, 10 - t) / 6 for t in range(12)]
    weights = [weight.astype("float64") for weight in start()]
    expected = []
    for rate, row in zip(rates, rows):
        weights = [weight - rate * gradient for weight, gradient in zip(weights, split(row))]
        expected.append(weights)
    optimizer = LayerwiseLearningRate(Lookahead(keras.optimizers.SGD(schedule), step_size=1.0), {"kernel": 1.0})
    for found, wanted in zip(train(made(optimizer, jit_compile=jit_compile), rows), expected):
        for weight, value in zip(found, wanted):
            assert_close(weight, value, atol=1e-5)


def test_warmup_decay_under_low_rank():
    """LowRank's inner optimizer sees the schedule: with a rate of 0 at step 0 nothing moves, then something does."""
    model = made(
        zoo.optimizers.LowRank(keras.optimizers.SGD(WarmupDecay(0.5, 4, warmup_steps=2)), rank=1), jit_compile=JIT
    )
    before = [weight.copy() for weight in model.get_weights()]
    first, second, *_ = train(model, gradients(4))
    assert all((a == b).all() for a, b in zip(first, before))
    assert any((a != b).any() for a, b in zip(second, before))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"warmup_steps": 1, "warmup_share": 0.1}, "expected one of them"),
        ({"warmup_steps": 10}, "10 steps of warm-up, total_steps=10"),
        ({"warmup_share": -0.1}, "expected 0 <= warm-up"),
        ({"total_steps": 0}, "total_steps=0"),
        ({"shape": "exponential"}, "'linear' or 'cosine'"),
        ({"end": -1.0}, "at least 0"),
    ],
)
def test_warmup_decay_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        WarmupDecay(**{"peak": 1.0, "total_steps": 10, **options})
