"""Big batches from parts: the gradient of the whole batch, under dropout too, whatever the parts."""

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.tiny_models import PAIRS, backbone, matcher, scatter_weights, to_numpy

import zoo
from zoo.data import as_pairs
from zoo.data.batching import BatchPlan
from zoo.losses import CoSENT, InfoNCE
from zoo.training.gradient_cache import BigBatchStep, micro_batches

PAIRS = PAIRS[:6] + [("上下", "人民", 0.5)]
WHOLE, PART = 8, 3  # 7 pairs and one row that fills up; parts of 3, 3 and 1 with two that fill up


@pytest.fixture(scope="module")
def model():
    return scatter_weights(matcher())


@pytest.fixture(scope="module")
def big_batch(model):
    """(parts, inputs, labels, weights): the pairs as parts and as one batch."""
    encoded, rows = model.encode_records(as_pairs(PAIRS))
    labels = np.array([pair[2] for pair in PAIRS], "float32")
    plan = BatchPlan(encoded.lengths[rows], WHOLE, buckets=(16,), seed=1, last="pad")
    (batch,) = plan(0)
    parts = []
    for part in plan.micro_batches(batch, PART):
        inputs = encoded.batch(rows[batch.indices[part.indices]], part.length)
        parts.append((part.indices, part.weights, inputs))
    assert [real.sum() for _, real, _ in parts] == [3, 3, 1] and batch.weights.sum() == 7
    return parts, encoded.batch(rows[batch.indices], batch.length), labels[batch.indices], batch.weights


def test_D12_gradient_of_info_nce_is_that_of_the_whole_batch(model, big_batch):
    """Against Keras' own step on the one big batch: SGD with rate 1 moves the weights by the gradient."""
    parts, inputs, labels, weights = big_batch
    model.compile(keras.optimizers.SGD(1.0), InfoNCE())
    start = model.get_weights()
    loss, gradients = BigBatchStep(model).gradients(parts, labels, weights)
    assert all((a == b).all() for a, b in zip(start, model.get_weights())), "gradients alone move nothing"
    before = {v.path: to_numpy(v) for v in model.trainable_variables}
    plain = float(model.train_on_batch(inputs, labels, weights))
    assert loss == pytest.approx(plain, rel=1e-5)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        moved = before[variable.path] - to_numpy(variable)
        assert np.abs(moved).max() > 0
        assert_close(gradient, moved, atol=1e-5 * max(1.0, np.abs(moved).max()))
    model.set_weights(start)


def test_fit_in_parts_equals_fit(model):
    """CoSENT over two epochs of a full and a short batch: the same weights and the same numbers in between."""
    start = model.get_weights()
    pairs = [(a, b, int(label)) for a, b, label in PAIRS]
    results = []
    for micro_batch_size in (None, PART):
        model.set_weights(start)
        model.decision = None
        model.compile(keras.optimizers.SGD(0.02, momentum=0.9))
        history = model.fit(
            pairs, batch_size=4, epochs=2, seed=2, micro_batch_size=micro_batch_size, validation_data=pairs, verbose=0
        ).history
        results.append((history, model.get_weights(), model.decision["threshold"]))
    (plain, weights, threshold), (history, in_parts, other_threshold) = results
    model.set_weights(start)
    assert set(history) == set(plain)
    for name in plain:
        if name != "loss":  # Keras' mean counts the rows that fill up a batch
            np.testing.assert_allclose(history[name], plain[name], atol=1e-5)
    for a, b in zip(in_parts, weights, strict=True):
        assert_close(a, b, atol=1e-5)
    assert threshold == pytest.approx(other_threshold, abs=1e-5)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(weights, start)), "something must have been learned"


def test_metrics_of_compile_see_every_pair_once(model):
    """Neither batches, nor parts, nor the rows that fill them up count; nothing is learned in between."""
    start, pairs = model.get_weights(), [(a, b, int(label)) for a, b, label in PAIRS]
    expected = np.abs(model.score(pairs) - [pair[2] for pair in pairs]).mean()
    for micro_batch_size in (None, PART):
        model.compile(keras.optimizers.SGD(0.0), metrics=[keras.metrics.MeanAbsoluteError(name="distance")])
        for epochs in (1, 2):
            history = model.fit(
                pairs, batch_size=4, epochs=epochs, micro_batch_size=micro_batch_size, validation_data=pairs, verbose=0
            ).history
            assert_close(history["distance"], [expected] * epochs, atol=1e-6)
            assert len(history["val_spearman"]) == epochs
    model.set_weights(start)
    model.decision = None


def test_both_passes_see_the_same_dropout_masks(big_batch):
    """Along a direction, the gradient is the difference quotient of the loss under the same seeds."""
    _, _, labels, weights = big_batch
    # One dropout alone, before the head: JAX takes seconds to compile each.
    model = scatter_weights(zoo.InteractionMatcher(backbone(), dropout=0.5, max_length=16))
    model.compile(keras.optimizers.SGD(1.0), CoSENT(scale=3.0))
    encoded, rows = model.encode_records(as_pairs(PAIRS))
    cuts = [
        (np.array(part), np.array(real))
        for part, real in (([6, 0, 3], [1, 1, 1]), ([5, 4, 1], [1, 1, 1]), ([2, 2, 2], [1, 0, 0]))
    ]
    parts = [(part, real, encoded.batch(rows[part], 16)) for part, real in cuts]
    step = BigBatchStep(model)
    seeds = [v for v in model.variables if "seed" in v.path]
    states = [keras.ops.convert_to_numpy(v) for v in seeds]
    start = [to_numpy(v) for v in model.trainable_variables]

    def loss_and_gradients(distance, direction):
        for variable, value, move in zip(model.trainable_variables, start, direction):
            variable.assign(value + distance * move)
        for seed, state in zip(seeds, states):
            seed.assign(state)
        keras.utils.set_random_seed(0)  # torch's dropout draws from its global generator
        return step.gradients(parts, labels, weights)

    still = [np.zeros_like(value) for value in start]
    loss, gradients = loss_and_gradients(0.0, still)
    gradients = [to_numpy(g) for g in gradients]
    assert loss_and_gradients(0.0, still)[0] == loss
    assert step.gradients(parts, labels, weights)[0] != loss, "seeds move on, so the next batch has other masks"
    length = np.sqrt(sum((g**2).sum() for g in gradients))
    direction = [g / length for g in gradients]
    up, down = (loss_and_gradients(distance, direction)[0] for distance in (1e-3, -1e-3))
    assert (up - down) / 2e-3 == pytest.approx(length, rel=0.02)


def test_float16_scales_the_loss_and_reports_it_unscaled(model, big_batch):
    """JAX on CPU computes no attention in float16, so it trains in bfloat16, without a scale."""
    parts, _, labels, weights = big_batch
    is_jax = keras.backend.backend() == "jax"
    half = scatter_weights(matcher(dtype="mixed_bfloat16" if is_jax else "mixed_float16"))
    half.compile(keras.optimizers.SGD(0.001))
    assert type(half.optimizer).__name__ == ("SGD" if is_jax else "LossScaleOptimizer")
    step = BigBatchStep(half)
    losses = [step(parts, labels, weights) for _ in range(3)]
    truth, scores = np.array([pair[2] for pair in PAIRS]), model.score(PAIRS).astype("float64")
    differences = 20 * (scores[None, :] - scores[:, None])[truth[:, None] > truth[None, :]]
    assert losses[0] == pytest.approx(np.log1p(np.exp(differences).sum()), rel=0.05)
    assert losses[2] < losses[0]
    assert all(np.isfinite(w).all() for w in half.get_weights())


def test_frozen_weights_stay(model, big_batch):
    parts, _, labels, weights = big_batch
    frozen = zoo.freeze(model, "embedding|layer_0/attention")
    model.compile(keras.optimizers.SGD(0.1), InfoNCE())
    start = {v.path: to_numpy(v) for v in model.weights}
    BigBatchStep(model)(parts, labels, weights)
    moved = {v.path for v in model.weights if (to_numpy(v) != start[v.path]).any()}
    assert moved == set(start) - set(frozen) and moved
    zoo.freeze(model, "", frozen=False)
    model.set_weights([start[v.path] for v in model.weights])


def test_stopping_and_progress(model):
    """Callbacks may stop inside an epoch; each sees the mean loss so far."""
    seen = []

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs["loss"])
            self.model.stop_training = len(seen) == 3

    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(PAIRS, batch_size=4, epochs=9, micro_batch_size=PART, callbacks=[Stop()], verbose=0)
    assert len(seen) == 3 and len(history.history["loss"]) == 2
    with pytest.raises(ValueError, match="micro_batch_size=0"):
        model.fit(PAIRS, micro_batch_size=0)


def test_micro_batches_are_those_of_the_plan(model, big_batch):
    """Cut from arrays they are, to the last token, what the plan of the records would collate; none is lost."""
    parts, inputs, _, weights = big_batch
    cut = micro_batches(inputs, weights, PART, buckets=(16,))
    assert len(cut) == len(parts)
    for (rows, real, arrays), (expected_rows, expected_real, expected) in zip(cut, parts):
        assert (rows == expected_rows).all() and (real == expected_real).all()
        assert set(arrays) == set(expected)
        for name in arrays:
            assert arrays[name].dtype == expected[name].dtype and (arrays[name] == expected[name]).all()
    shorter = micro_batches(inputs, weights, PART, buckets=None)
    assert min(part["token_ids"].shape[-1] for *_, part in shorter) < 16
    for rows, real, arrays in shorter:
        lengths = inputs["padding_mask"][rows].sum(-1)
        assert arrays["token_ids"].shape[-1] == lengths[real > 0].max()
    assert sorted(np.concatenate([rows[real > 0] for rows, real, _ in shorter])) == np.flatnonzero(weights).tolist()


def test_arrays_and_datasets_train_in_parts_too(model, big_batch):
    """The same step from arrays as from records, since the parts are cut from what Keras' fit reads."""
    _, inputs, labels, weights = big_batch
    start, results = model.get_weights(), []
    for micro_batch_size in (None, PART):
        model.set_weights(start)
        model.compile(keras.optimizers.SGD(0.1), InfoNCE())
        model.fit(
            inputs, labels, sample_weight=weights, batch_size=WHOLE, shuffle=False, micro_batch_size=micro_batch_size,
            verbose=0,
        )  # fmt: skip
        results.append(model.get_weights())
    model.set_weights(start)
    for a, b in zip(*results, strict=True):
        assert_close(a, b, atol=1e-5)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(results[0], start))


def test_a_training_in_parts_goes_on_after_a_break(tmp_path):
    """Ctrl-C inside an epoch, and again from the state: the same weights, bit for bit, as without the break."""
    stops = {"at": None}

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if stops["at"] == batch:
                raise KeyboardInterrupt

    def train(folder):
        keras.utils.set_random_seed(3)
        task = scatter_weights(matcher(dropout=0.2))
        task.compile(keras.optimizers.Adam(0.01), metrics=[keras.metrics.MeanAbsoluteError(name="distance")])
        callbacks = [zoo.callbacks.Resume(folder, every_steps=1), Break()]
        history = task.fit(
            PAIRS, batch_size=2, epochs=2, micro_batch_size=1, callbacks=callbacks, verbose=0
        ).history  # fmt: skip
        return task.get_weights(), history

    whole, expected = train(tmp_path / "whole")
    stops["at"] = 2
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut")
    stops["at"] = None
    resumed, history = train(tmp_path / "cut")
    for a, b in zip(resumed, whole, strict=True):
        assert (a == b).all()
    assert history == expected
