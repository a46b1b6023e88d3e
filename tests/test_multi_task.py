"""Several tasks over one backbone: factors of their gradients in closed form, updates, and all that a task can do."""

import json
import re

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close, randomise, to_numpy
from support.tiny_models import PAIRS, TEXTS, backbone

import zoo
import zoo.store
from zoo import training
from zoo.backend.variables import weights_of
from zoo.callbacks import Resume, StopOnNaN
from zoo.callbacks.stop_on_nan import NonFiniteError
from zoo.losses import CoSENT, CosineRegression
from zoo.tasks.prior_loss import prior_loss
from zoo.training.task_step import TaskStep

ROWS = [(text, index % 3) for index, text in enumerate(TEXTS)]
BOTH = {"match": PAIRS, "topic": ROWS}
NAMES = ["match", "topic"]


def multi(combine=None, names=NAMES, dropout=0.0, dtype=None):
    shared = backbone(dropout=dropout, dtype=dtype)
    tasks = {
        "match": zoo.RepresentationMatcher(shared, max_length=16),
        "topic": zoo.TextClassifier(shared, 3, max_length=16, dropout=dropout),
    }
    return zoo.MultiTask({name: tasks[name] for name in names}, combine)


class Scaled(keras.losses.Loss):
    """CoSENT times a factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.loss = factor, CoSENT()

    def __call__(self, y_true, y_pred, sample_weight=None):
        return self.factor * self.loss(y_true, y_pred, sample_weight)


# Factors, without a model


def factors(way, losses, gram=None, **more):
    return way.factors(NAMES[: len(losses)], np.array(losses, "float64"), gram, **more)


@pytest.mark.neutral
def test_factors_by_losses():
    assert factors(training.WeightedSum(), [3.0, 4.0])[0].tolist() == [1, 1]
    assert factors(training.WeightedSum({"topic": 0.25}), [3.0, 4.0])[1].tolist() == [1, 0.25]
    assert training.WeightedSum({"topic": 0.25}).value(NAMES, [3.0, 4.0]) == 4.0
    assert factors(training.RealTimeLoss(), [0.5, 4.0])[0].tolist() == [2, 0.25]
    assert factors(training.InitialLoss(), [9.0, 9.0], first=np.array([2.0, 4.0]))[0].tolist() == [0.5, 0.25]
    assert factors(training.PriorLoss(), [9.0, 9.0], prior=np.array([2.0, 4.0]))[0].tolist() == [0.5, 0.25]


@pytest.mark.neutral
@pytest.mark.parametrize("power", [-50.0, -1.0, 0.0, 0.5, 1.0, 3.0, 200.0])
def test_generalized_mean_is_the_gradient_of_its_formula(power):
    losses = np.array([0.4, 1.7])

    def mean(x):
        return np.exp(np.log(x).mean()) if power == 0 else np.mean(x**power) ** (1 / power)

    step = 1e-6
    slopes = [(mean(losses + step * unit) - mean(losses - step * unit)) / (2 * step) for unit in np.eye(2)]
    np.testing.assert_allclose(factors(training.GeneralizedMean(power), losses)[0], slopes, atol=1e-6)


@pytest.mark.neutral
def test_factors_by_gradients():
    g = np.array([[3.0, 4.0], [0.0, -2.0]])
    shared, own = factors(training.GradientNormalization(), [1.0, 1.0], g @ g.T)
    np.testing.assert_allclose(shared, [1 / 5, 1 / 2])
    np.testing.assert_allclose(own, shared)
    shared, own = factors(training.MinNorm(), [1.0, 1.0], g @ g.T)
    np.testing.assert_allclose(shared, training.min_norm_weights(g @ g.T))
    assert own.tolist() == [1, 1]
    shared, own = factors(training.PrimaryTask("match"), [1.0, 1.0], g @ g.T)
    np.testing.assert_allclose(shared, [1, 2.0])  # <g_0, g_1> = -8, |g_1|² = 4
    assert own.tolist() == [1, 1]
    assert factors(training.PrimaryTask("topic"), [1.0, 1.0], abs(g) @ abs(g).T)[0].tolist() == [0, 1]
    shared, own = factors(training.GradientNormalization(), [1.0, 1.0], np.diag([4.0, 0.0]))
    assert shared.tolist() == [0.5, 0] and own.tolist() == [0.5, 1]


@pytest.mark.neutral
def test_what_cannot_be_divided_by():
    for way in (training.RealTimeLoss(), training.GeneralizedMean(0)):
        with pytest.raises(ValueError, match=r"the loss of 'match' is 0, by which nothing can be divided"):
            factors(way, [0.0, 1.0])


@pytest.mark.neutral
def test_ways_say_their_arguments():
    for way in (training.WeightedSum({"match": 2.0}), training.GeneralizedMean(-1), training.PrimaryTask("topic")):
        again = type(way).from_config(way.get_config())
        assert again.get_config() == way.get_config() and type(again) is type(way)


# One step


@pytest.fixture(scope="module")
def trained():
    """(model, step, inputs, labels, weights, gradients by task): a batch of both tasks, and what Keras finds alone."""
    model = multi()
    randomise(model.backbone, spread=0.3)
    model.compile(keras.optimizers.SGD(1.0))
    data = model.batches(BOTH, batch_size=12)
    inputs, labels, weights = data[0] if data._within_epoch else data.batch_at(0)
    start = {path: to_numpy(v) for path, v in weights_of(model).items()}
    gradients, losses = {}, {}
    for name, task in model.tasks.items():
        task.compile(keras.optimizers.SGD(1.0))
        losses[name] = float(task.train_on_batch(inputs[name], labels[name], weights[name]))
        gradients[name] = {path: start[path] - to_numpy(v) for path, v in weights_of(model).items()}
        put_back(model, start)
    return model, TaskStep(model), (inputs, labels, weights), start, gradients, losses


def put_back(model, start):
    for path, variable in weights_of(model).items():
        variable.assign(start[path].astype("float32"))


def is_shared(path):
    return not path.startswith(("match/", "topic/"))


def update(trained, way):
    model, step, batch, start, _, losses = trained
    model.combine = step.ways = way
    model._prior_losses = {"match": 2.0, "topic": 5.0}
    found = step(*batch)
    assert found == pytest.approx(losses, rel=1e-5)
    moved = {path: start[path] - to_numpy(v) for path, v in weights_of(model).items()}
    put_back(model, start)
    return moved


def gram_of(gradients):
    flat = [np.concatenate([g.ravel() for path, g in gradients[name].items() if is_shared(path)]) for name in NAMES]
    return np.array(flat) @ np.array(flat).T


WAYS = {
    "sum": training.WeightedSum({"topic": 0.5}),
    "initial": training.InitialLoss(),
    "prior": training.PriorLoss(),
    "real time": training.RealTimeLoss(),
    "mean": training.GeneralizedMean(2),
    "normalization": training.GradientNormalization(),
    "min norm": training.MinNorm(),
    "primary": training.PrimaryTask("topic"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_update_is_the_weighted_sum_of_the_gradients_that_keras_finds(trained, way):
    model, _, _, _, gradients, losses = trained
    model.first_losses.assign([4.0, 0.5])
    values = np.array([losses[name] for name in NAMES])
    reference = {"first": np.array([4.0, 0.5]), "prior": np.array([2.0, 5.0])}
    shared, own = WAYS[way].factors(NAMES, values, gram_of(gradients), **reference)
    for path, moved in update(trained, WAYS[way]).items():
        wanted = sum((shared if is_shared(path) else own)[i] * gradients[name][path] for i, name in enumerate(NAMES))
        assert_close(moved, wanted, atol=2e-5 * max(1.0, np.abs(wanted).max()))


def test_no_loss_rises_to_first_order(trained):
    gradients = trained[4]
    gram = gram_of(gradients)
    for way, weak in (("min norm", NAMES), ("primary", ["match"])):
        moved = update(trained, WAYS[way])
        for name in weak:
            slope = sum(np.sum(gradients[name][path] * step) for path, step in moved.items())
            assert slope >= -1e-6 * gram.max(), f"{way}: {name} rises"


def test_agreeing_gradients_leave_the_update_to_the_primary_task(trained):
    """Twice the same task: the shared weights move by one gradient."""
    shared = backbone()
    tasks = {name: zoo.RepresentationMatcher(shared, max_length=16) for name in ("a", "b")}
    model = zoo.MultiTask(tasks, training.PrimaryTask("a"))
    model.compile(keras.optimizers.SGD(1.0))
    inputs, labels, weights = (part["match"] for part in trained[2])
    start = {path: to_numpy(v) for path, v in weights_of(model).items()}
    step = TaskStep(model)
    found = []
    for way in (training.PrimaryTask("a"), training.WeightedSum()):
        step.ways = way
        step(*(dict.fromkeys(tasks, part) for part in (inputs, labels, weights)))
        found.append({path: start[path] - to_numpy(v) for path, v in weights_of(model).items()})
        put_back(model, start)
    for path, alone in found[0].items():
        assert_close(2 * alone, found[1][path], atol=1e-6)
    assert max(np.abs(moved).max() for moved in found[0].values()) > 1e-3


@pytest.mark.parametrize("way", ["real time", "normalization"])
def test_a_loss_times_a_thousand_changes_nothing(trained, way):
    before = update(trained, WAYS[way])
    model, old, batch, start, *_ = trained
    model.tasks["match"].compile(loss=Scaled(1000.0))
    step = TaskStep(model)
    step.ways = WAYS[way]
    step(*batch)
    for path, variable in weights_of(model).items():
        assert_close(start[path] - to_numpy(variable), before[path], atol=1e-5 * max(1, np.abs(before[path]).max()))
    put_back(model, start)
    model.tasks["match"].compile(keras.optimizers.SGD(1.0))


def test_a_task_that_a_step_has_not(trained):
    model, step, (inputs, labels, weights), start, gradients, _ = trained
    step.ways = training.RealTimeLoss()
    none = {name: array[:0] for name, array in inputs["match"].items()}
    losses = step(
        {**inputs, "match": none}, {**labels, "match": labels["match"][:0]}, {**weights, "match": weights["match"][:0]}
    )
    assert list(losses) == ["topic"]
    for path, variable in weights_of(model).items():
        assert_close(start[path] - to_numpy(variable), gradients["topic"][path] / losses["topic"], atol=1e-5)
    put_back(model, start)


# Training


def test_one_task_alone_trains_to_the_same_bits():
    weights = []
    for alone in (True, False):
        keras.utils.set_random_seed(1)
        model = multi(names=["match"], dropout=0.2)
        trainer = model.tasks["match"] if alone else model
        records = PAIRS if alone else {"match": PAIRS}
        trainer.fit(records, batch_size=4, epochs=2, verbose=0)
        weights.append({path: to_numpy(v) for path, v in weights_of(model).items()})
    assert all((weights[0][path] == weights[1][path]).all() for path in weights[0])


def test_fit_evaluate_predict_and_the_preset(tmp_path):
    keras.utils.set_random_seed(1)
    model = multi(training.MinNorm())
    history = model.fit(BOTH, batch_size=4, epochs=2, verbose=0, validation_data=BOTH).history
    assert {
        "loss",
        "match_loss",
        "topic_loss",
        "val_match_spearman",
        "val_match_accuracy",
        "val_topic_accuracy",
    } <= set(history)
    np.testing.assert_allclose(history["loss"], np.add(history["match_loss"], history["topic_loss"]), rtol=1e-5)
    match, topic = model.tasks["match"], model.tasks["topic"]
    assert match.decision is not None
    assert model.evaluate(BOTH, verbose=0) == {
        "match": match.evaluate(PAIRS, verbose=0),
        "topic": topic.evaluate(ROWS, verbose=0),
    }
    scores = model.predict({"match": PAIRS, "topic": TEXTS}, verbose=0)
    assert (scores["match"] == match.score(PAIRS)).all() and scores["topic"].shape == (12, 3)
    model.save_to_preset(tmp_path / "both")
    again = zoo.MultiTask.from_preset(tmp_path / "both")
    assert isinstance(again.combine, training.MinNorm) and again.tasks["match"].decision == match.decision
    for name, array in again.predict({"match": PAIRS, "topic": TEXTS}, verbose=0).items():
        assert_close(array, scores[name], atol=1e-6)
    assert again.tasks["topic"].backbone is again.tasks["match"].backbone is again.backbone
    with pytest.raises(zoo.store.PresetError, match="holds a MultiTask of match, topic; load it by zoo.MultiTask"):
        zoo.RepresentationMatcher.from_preset(tmp_path / "both")
    # each task is one of its own afterwards
    match.save_to_preset(tmp_path / "match")
    assert_close(zoo.RepresentationMatcher.from_preset(tmp_path / "match").score(PAIRS), scores["match"], atol=1e-6)
    copy = zoo.MultiTask.from_config(model.get_config())
    assert copy.task_config() == model.task_config()


def test_steps_of_one_task(tmp_path):
    model = multi(training.RealTimeLoss())
    data = model.batches(BOTH, batch_size=2, mixture=training.Mixture(shares={"match": 3, "topic": 1}, steps=8))
    seen = [[name for name in NAMES if len(labels[name])] for _, labels, _ in data]
    assert sorted(seen) == [["match"]] * 6 + [["topic"]] * 2
    assert seen == [[name for name in NAMES if len(labels[name])] for _, labels, _ in data]
    history = model.fit(BOTH, batch_size=4, verbose=0, mixture=training.Mixture(alpha=1)).history
    assert all(np.isfinite(history[f"{name}_loss"]).all() for name in NAMES)
    with pytest.raises(ValueError, match="MinNorm compares the tasks of a step"):
        multi(training.MinNorm()).fit(BOTH, mixture=training.Mixture())


@pytest.mark.parametrize(
    "dtype, optimizer",
    [
        ("mixed_bfloat16", lambda: keras.optimizers.AdamW(0.01, gradient_accumulation_steps=2)),
        ("mixed_float16", lambda: keras.optimizers.AdamW(0.01)),
        ("float32", lambda: zoo.optimizers.LowRank(keras.optimizers.AdamW(0.01), rank=2)),
    ],
)
def test_dtypes_accumulation_low_rank_and_going_on(tmp_path, dtype, optimizer):
    """A training that is cut and goes on ends where the whole one ends, first losses included."""
    if dtype == "mixed_float16" and keras.backend.backend() == "jax":
        pytest.skip("XLA's CPU has no float16 products")
    ends = []
    for cut in (False, True):
        for epochs in (1, 2) if cut else (2,):
            keras.utils.set_random_seed(1)
            model = multi(
                training.GradientNormalization() if dtype == "mixed_float16" else training.InitialLoss(), dtype=dtype
            )
            model.compile(optimizer())
            callbacks = [Resume(tmp_path / str(cut), every_steps=2), StopOnNaN()]
            model.fit(BOTH, batch_size=4, epochs=epochs, callbacks=callbacks, verbose=0)
        ends.append({path: to_numpy(v) for path, v in weights_of(model).items()})
    for path, end in ends[0].items():
        assert np.isfinite(end).all()
        assert_close(ends[1][path], end, atol=0)


def test_a_nan_is_caught_before_it_does_harm():
    model = multi(training.MinNorm())
    model.compile(keras.optimizers.SGD(0.1), loss={"match": Scaled(float("nan"))})
    before = [to_numpy(v) for v in weights_of(model).values()]
    with pytest.raises(NonFiniteError, match="the loss is not finite"):
        model.fit(BOTH, batch_size=12, callbacks=[StopOnNaN()], verbose=0)
    assert all((a == to_numpy(b)).all() for a, b in zip(before, weights_of(model).values()))


@pytest.mark.parametrize("way", [training.GradientNormalization(), training.MinNorm(), training.WeightedSum()])
def test_heads_over_a_frozen_backbone(way):
    """Heads are trained all the same, also where one task has nothing to train."""
    model = multi(way)
    model.backbone.trainable = False
    model.compile(keras.optimizers.SGD(0.1))
    before = {path: to_numpy(v) for path, v in weights_of(model).items()}
    model.fit(BOTH, batch_size=12, verbose=0)
    moved = {path for path, v in weights_of(model).items() if np.abs(to_numpy(v) - before[path]).max() > 0}
    assert moved == {"topic/classifier/kernel", "topic/classifier/bias"}


def test_a_loss_of_ones_own_leaves_the_rest_of_a_task_as_it_was():
    model = multi()
    optimizer = keras.optimizers.SGD(1.0)
    model.tasks["topic"].compile(optimizer)
    model.compile(loss={"topic": zoo.losses.TaiLr(0.1)})
    assert model.tasks["topic"].optimizer is optimizer and isinstance(model.tasks["topic"].loss, zoo.losses.TaiLr)
    with pytest.raises(TypeError, match="loss='mse'; expected a dict from the names of the tasks"):
        model.compile(loss="mse")


def test_the_default_rate_is_smaller_for_trained_tasks(tmp_path):
    model = multi()
    rate = float(model.default_optimizer().learning_rate)
    model.save_to_preset(tmp_path / "both")
    again = zoo.MultiTask.from_preset(tmp_path / "both")
    assert float(again.default_optimizer().learning_rate) == pytest.approx(rate / 8)


def test_a_task_may_be_called_like_a_column():
    shared = backbone()
    model = zoo.MultiTask({"text": zoo.TextClassifier(shared, 3, max_length=16)})
    history = model.fit({"text": ROWS}, validation_data={"text": ROWS}, verbose=0).history
    assert "val_text_accuracy" in history


def test_sizes_of_a_preset_are_checked_before_memory_is_filled(tmp_path):
    folder = tmp_path / "both"
    multi().save_to_preset(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["task"]["config"]["tasks"]["topic"]["config"]["num_classes"] = 20_000_000
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    zoo.store.seal(folder)
    with pytest.raises(zoo.store.PresetError, match="topic/classifier/kernel"):
        zoo.MultiTask.from_preset(folder)
    for wrong in ([1], {"topic": 1}, {"topic": {"class": "TextClassifier", "config": 1}}):
        config["task"]["config"]["tasks"] = wrong
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        zoo.store.seal(folder)
        with pytest.raises(zoo.store.PresetError, match="expected"):
            zoo.MultiTask.from_preset(folder)


def test_losses_of_the_best_constant_output():
    model = multi()
    model.compile(loss={"match": CosineRegression(0, 1)})
    match, topic = model.tasks["match"], model.tasks["topic"]
    shares = np.bincount([label for _, label in ROWS]) / len(ROWS)
    assert prior_loss(topic, topic.batches(ROWS, 32)) == pytest.approx(-np.sum(shares * np.log(shares)), rel=1e-5)
    labels = np.array([pair[2] for pair in PAIRS])
    assert prior_loss(match, match.batches(PAIRS, 32)) == pytest.approx(labels.var(), abs=2e-3)
    match.compile(loss=CoSENT())
    ordered = np.sum(labels[:, None] > labels[None])
    assert prior_loss(match, match.batches(PAIRS, 32)) == pytest.approx(np.log1p(ordered), rel=1e-5)
    topic.compile(loss=zoo.losses.TaiLr(0.5))
    two = [(text, int(index % 4 == 0)) for index, text in enumerate(TEXTS)]  # shares 3 to 1
    grid = np.linspace(1e-4, 1 - 1e-4, 2000)
    least = min(0.75 * -np.log(0.5 + 0.5 * p) / 0.5 + 0.25 * -np.log(0.5 + 0.5 * (1 - p)) / 0.5 for p in grid)
    assert prior_loss(topic, topic.batches(two, 32)) == pytest.approx(least, rel=0.02)
    pair = zoo.InteractionMatcher(model.backbone, max_length=16)
    pair.compile(loss="mse")
    graded = [(a, b, 50.0 + index) for index, (a, b, _) in enumerate(PAIRS)]
    assert prior_loss(pair, pair.batches(graded, 7)) == pytest.approx(np.var(np.arange(len(PAIRS))), abs=0.01)
    match.compile(loss=zoo.losses.InfoNCE())
    assert prior_loss(match, match.batches([pair[:2] for pair in PAIRS[:6]], 6)) == pytest.approx(np.log(6), rel=1e-4)


# What is refused


def test_what_multi_task_refuses():
    one, other = backbone(), backbone()
    match, topic = zoo.RepresentationMatcher(one), zoo.TextClassifier(other, 3)
    with pytest.raises(ValueError, match="'topic' has another backbone than 'match'; make both from one object"):
        zoo.MultiTask({"match": match, "topic": topic})
    with pytest.raises(ValueError, match="no tasks"):
        zoo.MultiTask({})
    with pytest.raises(TypeError, match="'topic' is a MaskedLM; expected a RepresentationMatcher"):
        zoo.MultiTask({"match": match, "topic": zoo.MaskedLM(one)})
    with pytest.raises(ValueError, match="'a/b' as name of a task"):
        zoo.MultiTask({"a/b": match})
    with pytest.raises(ValueError, match="stands under two names"):
        zoo.MultiTask({"a": match, "b": match})
    with pytest.raises(ValueError, match=r"PrimaryTask\('nli'\): no such task; the tasks are match"):
        zoo.MultiTask({"match": match}, training.PrimaryTask("nli"))
    with pytest.raises(TypeError, match="expected an object such as zoo.training.WeightedSum"):
        zoo.MultiTask({"match": match}, "sum")
    for given, meant in (
        ("min_norm", "MinNorm()"),
        (training.MinNorm, "MinNorm()"),
        ("primary", "PrimaryTask(...)"),
        ("generalized mean", "GeneralizedMean(...)"),
    ):
        with pytest.raises(TypeError, match=re.escape(f"expected an object such as zoo.training.{meant}")):
            zoo.MultiTask({"match": match}, given)
    with pytest.raises(TypeError, match=r"tasks is the list .*expected a dict from a name to each task"):
        zoo.MultiTask([match])
    for power in ("2", None, True, float("nan")):
        with pytest.raises(ValueError, match="GeneralizedMean: power="):
            training.GeneralizedMean(power)
    model = multi()
    with pytest.raises(TypeError, match="got a dict of nothing"):
        model.fit({})
    with pytest.raises(TypeError, match="got a dict of 1"):
        model.fit({1: PAIRS})
    with pytest.raises(TypeError, match="a dict from the names of the tasks, match, topic, to their records; got list"):
        model.fit(PAIRS)
    with pytest.raises(TypeError, match="got a dict of match, other"):
        model.fit({"match": PAIRS, "other": ROWS})
    with pytest.raises(ValueError, match="no records for topic"):
        model.fit({"match": PAIRS})
    with pytest.raises(ValueError, match="no micro_batch_size"):
        model.fit(BOTH, micro_batch_size=2)
    with pytest.raises(ValueError, match="MultiTask takes no metrics"):
        model.compile(metrics=["accuracy"])
    with pytest.raises(ValueError, match="loss for other; the tasks are match, topic"):
        model.compile(loss={"other": CoSENT()})


def test_a_way_of_ones_own_trains_but_is_not_saved(tmp_path):
    class Half(training.TaskWeights):
        def factors(self, names, losses, gram=None, first=None, prior=None):
            return (np.full(len(names), 0.5),) * 2

    model = multi(Half())
    model.fit(BOTH, batch_size=12, verbose=0)
    with pytest.raises(ValueError, match="combine=Half, a class of your own, cannot be saved"):
        model.save_to_preset(tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_files_name_only_known_tasks(tmp_path):
    for entry in ({"class": "MultiTask", "config": {}}, {"class": "os", "config": {}}, "x"):
        with pytest.raises(ValueError, match="expected {'class': name, 'config': arguments}"):
            zoo.MultiTask.from_backbone(backbone(), {"match": entry})
    task = {"class": "RepresentationMatcher", "config": {}}
    with pytest.raises(ValueError, match="combine="):
        zoo.MultiTask.from_backbone(backbone(), {"match": task}, {"class": "TaskWeights", "config": {}})


def test_the_functional_call():
    model = multi()
    data = model.batches(BOTH, batch_size=4)
    inputs, _, _ = data.batch_at(0)
    outputs = model(keras.tree.map_structure(ops.convert_to_tensor, inputs))
    assert {name: tuple(output.shape)[1:] for name, output in outputs.items()} == {"match": (2, 16), "topic": (3,)}
