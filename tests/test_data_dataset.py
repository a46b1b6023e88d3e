"""`Batches` under `fit`: what the model is trained on is the plan, also after a resume (row R5)."""

import keras
import numpy as np
import pytest

from zoo.data import Batches, BatchPlan, PredictionPlan

LENGTHS = [3] * 20 + [20] * 9 + [40] * 4


def collate(batch):
    """Rows as inputs of the batch's length and as targets, so that the loss sees which rows it got."""
    x = np.repeat(batch.indices[:, None], batch.length, axis=1).astype("float32")
    return x, batch.indices.astype("float32"), batch.weights


@pytest.fixture
def recorder():
    """A compiled model that takes any length, and the list of the rows of each training step."""
    steps = []

    def loss(y_true, y_pred):
        try:
            steps.append(keras.ops.convert_to_numpy(y_true).reshape(-1).astype(int).tolist())
        except TypeError:  # JAX traces the loss once with abstract values, to build the model
            pass
        return keras.ops.mean(y_pred) * 0.0

    inputs = keras.Input((None,))
    outputs = keras.layers.Dense(1)(keras.ops.mean(inputs, axis=1, keepdims=True))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss, run_eagerly=True, jit_compile=False)
    return model, steps


def fit(model, batches, **options):
    model.fit(batches, shuffle=False, verbose=0, callbacks=[batches.epoch_callback()], **options)


def expected(plan, *epochs):
    return [batch.indices.tolist() for epoch in epochs for batch in plan(epoch)]


@pytest.mark.parametrize(
    "settings",
    [{}, {"last": "pad"}, {"buckets": None}, {"shuffle": False}, {"batch_size": 33}, {"batch_size": 17}],
    ids=str,
)
def test_fit_trains_on_the_plan(recorder, settings):
    model, steps = recorder
    plan = BatchPlan(LENGTHS, **{"batch_size": 4, "seed": 2, **settings})
    fit(model, Batches(plan, collate), epochs=3)
    assert steps[-3 * len(plan) :] == expected(plan, 0, 1, 2)


def test_one_dataset_serves_several_fits(recorder):
    """The second fit reads shapes anew, after an epoch whose first batches had one length."""
    model, steps = recorder
    plan = BatchPlan(LENGTHS, 4, seed=2)
    batches = Batches(plan, collate)
    fit(model, batches, epochs=1)
    fit(model, batches, initial_epoch=1, epochs=2)
    assert steps[-2 * len(plan) :] == expected(plan, 0, 1)


def test_fit_that_does_not_follow_epochs_is_an_error(recorder):
    model, _ = recorder
    batches = Batches(BatchPlan(LENGTHS, 4), collate)
    with pytest.raises(RuntimeError, match="batches.epoch_callback"):
        model.fit(batches, epochs=4, shuffle=False, verbose=0)


def test_validation_on_a_prediction_plan(recorder):
    model, steps = recorder
    plan = PredictionPlan(LENGTHS, 8)
    validation = Batches(plan, collate)
    batches = Batches(BatchPlan(LENGTHS, 33), collate)
    fit(model, batches, epochs=4, validation_data=validation)
    assert steps[-len(plan) :] == [batch.indices.tolist() for batch in plan]
    assert len(list(validation)) == len(plan) == 5
