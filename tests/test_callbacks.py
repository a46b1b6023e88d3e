"""Resume: a restart changes nothing, and a state is put back whole or not at all."""

import shutil

import keras
import numpy as np
import pytest
from tiny_models import PAIRS, backbone

import zoo
from zoo.callbacks import Resume
from zoo.store import PresetError


def made(seed, optimizer=None):
    keras.utils.set_random_seed(seed)
    model = zoo.InteractionMatcher(backbone(), dropout=0.3, max_length=16)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 2, 0.7)
    model.compile(optimizer or keras.optimizers.AdamW(schedule))
    return model


class Trace(keras.callbacks.Callback):
    """The loss of every batch."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three epochs without a break: the trace, and the state as it was after the second."""
    folder = tmp_path_factory.mktemp("run")
    trace = Trace()

    class Copy(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                shutil.copytree(folder / "now", folder / "second")

    model = made(seed=1)
    model.fit(PAIRS, batch_size=4, epochs=3, seed=5, callbacks=[trace, Resume(folder / "now"), Copy()], verbose=0)
    return folder, trace.losses, model.get_weights()


def test_a_restart_changes_nothing(run):
    """Weights, moments, schedule, dropout masks and the order of rows go on as if nothing had happened."""
    folder, losses, weights = run
    model = made(seed=99)
    resume = Resume(folder / "second")
    start = resume.restore(model)
    assert start == 2
    trace = Trace()
    model.fit(PAIRS, batch_size=4, epochs=3, initial_epoch=start, seed=5, callbacks=[trace, resume], verbose=0)
    assert trace.losses == losses[4:] and len(losses) == 6
    assert all((a == b).all() for a, b in zip(model.get_weights(), weights))
    assert resume.restore(model) == 3


def test_nothing_to_resume(tmp_path):
    model = made(seed=2)
    before = model.get_weights()
    assert Resume(tmp_path / "none").restore(model) == 0
    assert all((a == b).all() for a, b in zip(model.get_weights(), before))


def test_a_state_of_another_training_is_refused_whole(run):
    folder, _, _ = run
    model = made(seed=3, optimizer=keras.optimizers.SGD(0.1))
    before = model.get_weights()
    with pytest.raises(PresetError, match=r"state\.safetensors: .*another model or optimizer"):
        Resume(folder / "now").restore(model)
    keras.utils.set_random_seed(4)
    wider = zoo.InteractionMatcher(backbone(), dropout=0.3, max_length=16, pooling="attention")
    wider.compile(keras.optimizers.AdamW(0.1))
    with pytest.raises(PresetError, match="another model or optimizer"):
        Resume(folder / "now").restore(wider)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before))


def test_a_damaged_state_is_refused(run, tmp_path):
    folder, _, _ = run
    shutil.copytree(folder / "now", tmp_path / "state")
    file = tmp_path / "state" / "state.safetensors"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    model = made(seed=3)
    before = model.get_weights()
    with pytest.raises(PresetError, match=r"state\.safetensors"):
        Resume(tmp_path / "state").restore(model)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before))
