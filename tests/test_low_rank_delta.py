"""Deltas on and off a base: exactly, several at once, and on no other base."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.tiny_models import PAIRS, matcher, scatter_weights

import zoo
from zoo.store import PresetError, safetensors_bytes, write_folder

RNG = np.random.default_rng(4)
KERNELS = {"first/kernel": (9, 12), "second/kernel": (12, 2, 8)}


def made(seed=1, dtype=None, units=12):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((9,))
    x = keras.layers.Dense(units, activation="tanh", name="first", dtype=dtype)(inputs)
    x = keras.layers.EinsumDense("bd,dhs->bhs", (2, 8), bias_axes="s", name="second", dtype=dtype)(x)
    return keras.Model(inputs, x)


def weights(model):
    return {v.path: ops.convert_to_numpy(ops.cast(v, "float32")) for v in model.weights}


def same(a, b):
    return all((a[path] == b[path]).all() for path in a)


def trained(seed=1, **options):
    """(delta, weights after some steps of random gradients, weights before)"""
    model = made()
    before = weights(model)
    optimizer = zoo.optimizers.LowRank(keras.optimizers.SGD(0.1), rank=2, seed=seed, **options)
    rng = np.random.default_rng(seed)
    for _ in range(4):
        gradients = [rng.normal(size=tuple(v.shape)).astype("float32") for v in model.trainable_variables]
        optimizer.apply([ops.convert_to_tensor(g) for g in gradients], model.trainable_variables)
    return optimizer.extract(), weights(model), before


@pytest.fixture(scope="module")
def runs():
    return trained(seed=1, full_rank="first/bias"), trained(seed=2), trained(seed=3)


def test_puts_on_what_was_trained_and_takes_it_off_for_good(runs, tmp_path):
    delta, after, before = runs[0]
    delta.save(tmp_path / "delta")
    size = (tmp_path / "delta" / "low_rank_delta.safetensors").stat().st_size
    assert size < 4 * (2 * (9 + 12) + 2 * (12 + 16) + 12) + 1000
    loaded = zoo.LowRankDelta.load(tmp_path / "delta")
    assert loaded.base_sha256 == delta.base_sha256 and set(loaded.factors) == set(KERNELS)
    assert set(loaded.values) == {"first/bias"}
    model = made()
    adapters = zoo.Adapters(model)
    assert same(weights(model), before)
    adapters.apply(loaded)
    for path, value in weights(model).items():
        assert_close(value, after[path], atol=1e-6)
    assert np.abs(after["second/kernel"] - before["second/kernel"]).max() > 0.1
    adapters.remove(loaded)
    assert same(weights(model), before)


def test_a_thousand_cycles_leave_no_trace(runs):
    """Nothing drifts: the weights are the very bits, those of the base and those with one delta on."""
    (one, _, before), (two, _, _), _ = runs
    model = made()
    adapters = zoo.Adapters(model)
    adapters.apply(one)
    alone = weights(model)
    for _ in range(500):
        adapters.apply(two)
        adapters.remove(one)
        adapters.apply(one)
        adapters.remove(two)
    assert same(weights(model), alone)
    adapters.remove(one)
    assert same(weights(model), before)


def test_several_add_up_in_any_order(runs):
    deltas = [run[0] for run in runs]
    before = runs[0][2]
    results = []
    for order in ((0, 1, 2), (2, 0, 1)):
        model = made()
        adapters = zoo.Adapters(model)
        for index in order:
            adapters.apply(deltas[index])
        results.append(weights(model))
        adapters.remove(deltas[0])
        adapters.remove(deltas[2])
        assert adapters.active == (deltas[1],)
        alone = made()
        zoo.Adapters(alone).apply(deltas[1])
        assert same(weights(model), weights(alone))
    for path, shape in KERNELS.items():
        total = before[path] + sum((d.factors[path][0] @ d.factors[path][1]).reshape(shape) for d in deltas)
        for result in results:
            assert_close(result[path], total, atol=1e-6)


def test_half_precision_comes_back_too(runs):
    """The kernels of a bfloat16 model are another base: a delta made on it goes on, and off bit by bit."""
    model = made(dtype="bfloat16")
    optimizer = zoo.optimizers.LowRank(keras.optimizers.SGD(0.1), rank=2)
    before = weights(model)
    gradients = [ops.ones(v.shape, "bfloat16") for v in model.trainable_variables]
    optimizer.apply(gradients, model.trainable_variables)
    delta, after, twin = optimizer.extract(), weights(model), made(dtype="bfloat16")
    adapters = zoo.Adapters(twin)
    adapters.apply(delta)
    assert same(weights(twin), after) and not same(after, before)
    adapters.remove(delta)
    assert same(weights(twin), before)


GOOD = {"threshold": 0.5, "metric": "f1", "value": 0.75, "pairs": 7, "sha256": "0" * 64}


def test_each_delta_has_its_threshold(tmp_path):
    """On with the delta, the base's when it is off again, and none where none fits these scores."""
    trainee = scatter_weights(matcher())
    trainee.compile(zoo.optimizers.LowRank(keras.optimizers.SGD(0.1), rank=2))
    trainee.fit(PAIRS, batch_size=4, validation_data=PAIRS, verbose=0)
    zoo.LowRankDelta.of(trainee).save(tmp_path / "delta")
    delta = zoo.LowRankDelta.load(tmp_path / "delta")
    assert delta.decision == trainee.decision is not None
    bare = zoo.LowRankDelta(delta.factors, {}, delta.base_sha256)
    base = scatter_weights(matcher(decision=GOOD))
    adapters = zoo.Adapters(base)
    adapters.apply(delta)
    assert base.decision == trainee.decision
    assert (base.classify(PAIRS) == trainee.classify(PAIRS)).all()
    adapters.apply(bare)
    assert base.decision is None
    adapters.remove(delta)
    with pytest.raises(ValueError, match="no threshold yet: call fit_threshold"):
        base.classify(PAIRS)
    adapters.remove(bare)
    assert base.decision == GOOD
    other = scatter_weights(matcher(pooling="cls", decision=GOOD))
    zoo.Adapters(other).apply(delta)
    assert other.decision is None, "a threshold of other scores"


def test_refused_and_left_alone(runs):
    """Wrong base, wrong model, twice, not on, changed in between: the model is as it was."""
    (one, _, _), (two, _, _), _ = runs
    model = made(seed=5)
    before = weights(model)
    with pytest.raises(ValueError, match=f"of a base with SHA-256 {one.base_sha256}"):
        zoo.Adapters(model).apply(one)
    assert same(weights(model), before)
    narrow = made(units=10)
    with pytest.raises(ValueError, match=r"first/kernel, whose shape is \(9, 10\)"):
        zoo.Adapters(narrow).apply(one)
    other = keras.Sequential([keras.Input((9,)), keras.layers.Dense(12, name="third")])
    with pytest.raises(ValueError, match="first/bias and 2 more variables that Sequential lacks"):
        zoo.Adapters(other).apply(one)
    model = made()
    adapters = zoo.Adapters(model)
    with pytest.raises(ValueError, match="is not on"):
        adapters.remove(one)
    adapters.apply(one)
    with pytest.raises(ValueError, match="counts once"):
        adapters.apply(one)
    clashing = zoo.LowRankDelta(two.factors, {"first/bias": np.ones(12, "float32")}, two.base_sha256)
    with pytest.raises(ValueError, match="first/bias was trained at full rank"):
        adapters.apply(clashing)
    with pytest.raises(ValueError, match="not at its base"):
        zoo.Adapters(model).apply(two)
    model.get_layer("first").kernel.assign_add(ops.ones((9, 12)))
    before = weights(model)
    for change in (lambda: adapters.remove(one), lambda: adapters.apply(two)):
        with pytest.raises(ValueError, match="have been changed"):
            change()
    assert same(weights(model), before) and adapters.active == (one,)


def test_damaged_and_foreign_files(runs, tmp_path):
    delta = runs[0][0]
    delta.save(tmp_path / "delta")
    file = tmp_path / "delta" / "low_rank_delta.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(PresetError, match=r"low_rank_delta\.safetensors"):
        zoo.LowRankDelta.load(tmp_path / "delta")
    a, b = np.ones((3, 2), "float32"), np.ones((2, 4), "float32")
    good = {"zoo_low_rank_delta": "1", "base_sha256": "0" * 64}
    cases = [
        ({"k/low_rank_a": a, "k/low_rank_b": b}, {}, "no low-rank delta of version 1"),
        ({"k/low_rank_a": a, "k/low_rank_b": b}, {**good, "base_sha256": "short"}, "no low-rank delta of version 1"),
        ({"k/low_rank_a": a}, good, r"factors of k have shapes \[\(3, 2\), None\]"),
        ({"k/low_rank_a": a, "k/low_rank_b": b[:1]}, good, r"\(3, 2\), \(1, 4\)"),
        (
            {"k/low_rank_a": a, "k/low_rank_b": b},
            {**good, "decision": json.dumps(GOOD | {"threshold": "high"})},
            "delta.safetensors: decision: threshold='high'",
        ),
        ({"k/low_rank_a": a, "k/low_rank_b": b}, {**good, "decision": "[NaN"}, "delta.safetensors: decision: "),
        ({"k/low_rank_a": a, "k/low_rank_b": b * np.nan}, good, "k/low_rank_b is not float32, or holds NaN"),
        ({"k/low_rank_a": a, "k/low_rank_b": b.astype("float64")}, good, "k/low_rank_b is not float32"),
    ]
    for arrays, metadata, words in cases:
        write_folder(tmp_path / "bad", {"low_rank_delta.safetensors": safetensors_bytes(arrays, metadata)})
        with pytest.raises(PresetError, match=words):
            zoo.LowRankDelta.load(tmp_path / "bad")
    with pytest.raises(PresetError):
        zoo.LowRankDelta.load(tmp_path / "none")
