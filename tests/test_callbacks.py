"""Resume: a restart changes nothing, a state is put back whole or not at all, and callbacks keep what they remember.

Kills, and the kinds of optimizers, are in test_crash.py.
"""

import shutil

import keras
import numpy as np
import pytest
from conftest import GOLDENS
from support.tiny_models import PAIRS, backbone, matcher

import zoo
from zoo.callbacks import BestPreset, Resume
from zoo.store import PresetError, write_folder


def made(seed, optimizer=None, **options):
    keras.utils.set_random_seed(seed)
    model = zoo.InteractionMatcher(backbone(), dropout=0.3, max_length=16, **options)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 2, 0.7)
    model.compile(optimizer or keras.optimizers.AdamW(schedule))
    return model


def small(seed=0):
    """A model that compiles at once: y = w x + b of what dropout leaves."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(0.1), "mse", metrics=["mae"])
    return model


class Numbers(keras.utils.PyDataset):
    """Six batches an epoch, others in each."""

    num_batches, epoch = 6, 0

    def __init__(self, seed=0):
        super().__init__()
        self.seed = seed

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, self.epoch, index])
        return rng.normal(size=(4, 3)).astype("float32"), rng.normal(size=(4, 2)).astype("float32")

    def epoch_callback(self):
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(self, "epoch", epoch))

    def identity(self):
        return {"seed": self.seed}


class Trace(keras.callbacks.Callback):
    """(epoch, step, loss) of every step; an error after so many."""

    def __init__(self, dies_after=None):
        super().__init__()
        self.lines, self.dies_after = [], dies_after

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.lines.append((self.epoch, batch, logs["loss"]))
        if len(self.lines) == self.dies_after:
            raise RuntimeError("killed")


def weights_of(model):
    return [keras.ops.convert_to_numpy(v).copy() for v in (*model.weights, *model.optimizer.variables)]


def check_equal(a, b):
    assert len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three epochs without a break: the trace, and the state as it was after the second."""
    folder = tmp_path_factory.mktemp("run")
    trace = Trace()

    class Copy(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                shutil.copytree(folder / "now", folder / "second")

    model = made(seed=1)
    history = model.fit(
        PAIRS, batch_size=4, epochs=3, seed=5, callbacks=[Resume(folder / "now"), trace, Copy()], verbose=0
    )
    return folder, trace.lines, weights_of(model), history


def test_a_restart_changes_nothing(run):
    """Weights, moments, schedule, dropout masks, order of rows and history go on as if nothing had happened."""
    folder, lines, weights, history = run
    model, trace = made(seed=99), Trace()
    callbacks = [trace, Resume(folder / "second")]
    again = model.fit(PAIRS, batch_size=4, epochs=3, seed=5, callbacks=callbacks, verbose=0)
    assert trace.lines == lines[4:] and len(lines) == 6
    assert (again.history, again.epoch) == (history.history, [0, 1, 2])
    check_equal(weights_of(model), weights)


def test_a_finished_training_is_finished(run):
    """The same script once more trains nothing and ends with the same model and history."""
    folder, _, weights, history = run
    model, trace = made(seed=98), Trace()
    callbacks = [Resume(folder / "now"), trace]
    again = model.fit(PAIRS, batch_size=4, epochs=3, seed=5, callbacks=callbacks, verbose=0)
    assert trace.lines == [] and again.history == history.history
    check_equal(weights_of(model), weights)


def test_nothing_to_resume(tmp_path):
    model = made(seed=2)
    before = model.get_weights()
    assert Resume(tmp_path / "none").restore(model) == 0
    check_equal(model.get_weights(), before)


@pytest.mark.parametrize("dies_after", [4, 6, 9])
def test_inside_an_epoch_of_any_model(tmp_path, dies_after):
    """A keras.Model of the user's: steps that were done reach no callback again, means of the epoch go on."""
    data, whole, trace = Numbers(), small(), Trace()
    expected = whole.fit(data, epochs=3, shuffle=False, verbose=0, callbacks=[data.epoch_callback(), trace])
    for seed, dies in ((0, dies_after), (7, None)):
        data, model, second = Numbers(), small(seed), Trace(dies)
        resume = Resume(tmp_path, every_steps=2, callbacks=[data.epoch_callback(), second], data=data)
        try:
            history = model.fit(data, epochs=3, shuffle=False, verbose=0, callbacks=[resume])
        except RuntimeError:
            first = second
    saved = {4: (0, 2), 6: (0, 4), 9: (1, 2)}[dies_after]  # what was whole on the disk
    assert first.lines == trace.lines[:dies_after]
    assert second.lines == trace.lines[saved[0] * 6 + saved[1] :]
    assert history.history == expected.history and history.epoch == [0, 1, 2]
    check_equal(weights_of(model), weights_of(whole))


def test_other_data_are_named(tmp_path):
    for seed in (0, 1):
        data = Numbers(seed)
        resume = Resume(tmp_path, callbacks=[data.epoch_callback()], data=data)
        if seed:
            with pytest.raises(PresetError, match="training on seed 0; this is training on seed 1"):
                small().fit(data, epochs=2, shuffle=False, verbose=0, callbacks=[resume])
        else:
            small().fit(data, epochs=1, shuffle=False, verbose=0, callbacks=[resume])


def test_other_pairs_are_named(run):
    folder, _, _, _ = run
    others = [*PAIRS[:-1], (*PAIRS[-1][:2], 1 - PAIRS[-1][2])]
    with pytest.raises(PresetError, match=r"content .*; this is training on .*content "):
        made(seed=3).fit(others, batch_size=8, epochs=3, callbacks=[Resume(folder / "second")], verbose=0)


def test_callbacks_serve_a_second_training(tmp_path):
    """The data, the validation records and the callbacks beside a Resume are those of the `fit` that runs."""
    model, resume, stop = made(seed=3), Resume(tmp_path), zoo.callbacks.StopOnNaN()
    first = model.fit(PAIRS, batch_size=4, validation_data=PAIRS, callbacks=[resume, stop, Trace()], verbose=0)
    data, trace = resume.data, Trace()
    assert stop.data is data and "val_spearman" in first.history
    with pytest.raises(PresetError, match="this is training on"):
        model.fit(PAIRS[:5], batch_size=4, epochs=2, callbacks=[resume, stop], verbose=0)
    assert resume.data is not data and stop.data is resume.data
    second = model.fit(PAIRS, batch_size=4, epochs=2, callbacks=[resume, trace], verbose=0)
    assert "val_spearman" in first.history and len(second.history.get("val_spearman", ())) < 2
    assert stop not in resume.callbacks and len(trace.lines) == 2
    given = Numbers()
    mine = zoo.callbacks.StopOnNaN(given)
    model.fit(PAIRS, batch_size=4, callbacks=mine, verbose=0)
    assert mine.data is given, "what a user has given stays"


def test_a_state_of_another_training_is_refused_whole(run):
    folder, _, _, _ = run
    model = made(seed=3, optimizer=keras.optimizers.SGD(0.1))
    before = model.get_weights()
    names = r"InteractionMatcher with AdamW, \d+ variables, this training of InteractionMatcher with SGD, \d+ variables"
    with pytest.raises(PresetError, match=rf"state\.safetensors: .*{names}: of another model or optimizer"):
        Resume(folder / "now").restore(model)
    wider = made(seed=4, optimizer=keras.optimizers.AdamW(0.1), pooling="attention")
    with pytest.raises(PresetError, match="another model or optimizer"):
        Resume(folder / "now").restore(wider)
    check_equal(model.get_weights(), before)


def test_a_damaged_state_is_refused(run, tmp_path):
    folder, _, _, _ = run
    shutil.copytree(folder / "now", tmp_path / "state")
    file = tmp_path / "state" / "state.safetensors"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    model = made(seed=3)
    before = model.get_weights()
    with pytest.raises(PresetError, match=r"state\.safetensors"):
        Resume(tmp_path / "state").restore(model)
    check_equal(model.get_weights(), before)


def test_states_of_the_first_format_are_read(tmp_path):
    """Epoch 3, variable i filled with i + 1: written by the first version of Resume."""
    shutil.copytree(GOLDENS / "resume_format_1", tmp_path / "state")
    model = small()
    assert Resume(tmp_path / "state").restore(model) == 3
    for variables, first in ((model.layers[1].variables, 2), (model.optimizer.variables, 4)):
        for number, variable in enumerate(variables):
            value = keras.ops.convert_to_numpy(variable.value)
            assert np.array_equal(value, np.full(value.shape, first + number)), variable.path
    assert (keras.ops.convert_to_numpy(model.layers[0].seed_generator.state.value) == 1).all()
    data, trace = Numbers(), Trace()
    resume = Resume(tmp_path / "state", callbacks=[data.epoch_callback(), trace])
    model.fit(data, epochs=4, shuffle=False, verbose=0, callbacks=[resume])
    assert [line[:2] for line in trace.lines] == [(3, step) for step in range(6)]


def test_a_newer_format_is_named(tmp_path):
    write_folder(tmp_path, {"state.json": b'{"format": 3, "epoch": 1}', "state.safetensors": b""})
    with pytest.raises(PresetError, match="format 3, this zoo reads up to 2"):
        Resume(tmp_path).restore(small())


def test_callbacks_remember(tmp_path):
    """Patience, best values, best weights and a halved learning rate are those of an unbroken training."""

    class Scores(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = [3.0, 2.0, 2.5, 2.6, float("nan"), 2.7, 2.8][epoch]

    def fit(folder, dies_after):
        data, model = Numbers(), small(seed=2)
        early = keras.callbacks.EarlyStopping(patience=4, restore_best_weights=True)
        plateau = keras.callbacks.ReduceLROnPlateau(patience=2, factor=0.5)
        resume = Resume(
            folder, callbacks=[data.epoch_callback(), Scores(), early, plateau, Trace(dies_after)], data=data
        )
        try:
            history = model.fit(data, epochs=7, shuffle=False, verbose=0, callbacks=[resume])
        except RuntimeError:
            return None
        rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        return (
            weights_of(model),
            (early.best, early.wait, early.best_epoch, early.stopped_epoch, plateau.wait),
            rate,
            history,
        )

    assert fit(tmp_path / "killed", 15) is None and fit(tmp_path / "killed", 7) is None
    (weights, memory, rate, history), expected = fit(tmp_path / "killed", None), fit(tmp_path / "whole", None)
    assert memory == expected[1] == (2.0, 4, 1, 5, memory[4]) and rate == expected[2] < 0.1
    check_equal(weights, expected[0])
    assert repr(history.history) == repr(expected[3].history) and len(history.epoch) == 6
    # Early stopping ended it: started again it stays ended, though there is one epoch more to train.
    weights, _, _, history = fit(tmp_path / "killed", 1)
    check_equal(weights, expected[0])
    assert len(history.epoch) == 6


def test_one_resume_at_a_time(tmp_path):
    with pytest.raises(ValueError, match="2 Resume callbacks"):
        made(1).fit(PAIRS, callbacks=[Resume(tmp_path / "a"), Resume(tmp_path / "b")])
    with pytest.raises(ValueError, match="every_steps=0"):
        Resume(tmp_path, every_steps=0)


def test_best_preset_needs_its_metric(tmp_path):
    with pytest.raises(ValueError, match="mode='auto'"):
        BestPreset(tmp_path, "loss", mode="auto")
    with pytest.raises(ValueError, match="monitor='val_spearman' is not among the metrics: loss, mae"):
        small().fit(Numbers(), shuffle=False, callbacks=[BestPreset(tmp_path / "best", "val_spearman")], verbose=0)


def test_best_preset_refuses_before_the_first_step(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "README.md").write_text("mine")
    (tmp_path / "file").write_text("mine")
    model = matcher()
    model.compile()
    for folder, monitor, says, data in (
        ("own", "val_spearman", "holds README.md, and no manifest.json says that zoo wrote", PAIRS),
        ("file", "val_spearman", "is a file; expected the path of a folder", PAIRS),
        ("best", "val_spearmann", "BestPreset watches 'val_spearmann'.*did you mean val_spearman", PAIRS),
        ("best", "val_spearman", "BestPreset watches 'val_spearman'.*give validation_data", None),
        ("best", "val_a_spearmann", "did you mean val_a_spearman", {"a": PAIRS, "b": PAIRS}),
    ):
        best = BestPreset(tmp_path / folder, monitor)
        for callbacks in ([best], [Resume(tmp_path / "run", callbacks=[best])]):
            with pytest.raises((ValueError, PresetError), match=says):
                model.fit(PAIRS, validation_data=data, callbacks=callbacks, verbose=0)
        assert int(model.optimizer.iterations) == 0
    model.fit(PAIRS, validation_data={"a": PAIRS}, callbacks=[BestPreset(tmp_path / "best", "val_a_auc")], verbose=0)


def test_less_is_better_where_the_name_says_loss(tmp_path):
    for monitor, mode in (
        ("val_loss", "min"),
        ("val_cross_entropy", "min"),
        ("val_spearman", "max"),
        ("val_f1", "max"),
    ):
        assert BestPreset(tmp_path, monitor).mode == mode
    assert BestPreset(tmp_path, "val_loss", mode="max").mode == "max"
