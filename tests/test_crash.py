"""Rows R3 to R6, R9 and R10 of the threat table: kills, full disks, resumed trainings, NaN, Ctrl-C, closed pipes.

The whole matrix of resumed trainings, some minutes a backend:

    KERAS_BACKEND=jax python -m pytest -m slow tests/test_crash.py
"""

import errno
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from support.resume_cases import CASES, CI, EPOCHS, run_cases, train
from support.tiny_models import PAIRS, matcher
from test_saving import kill_savers, number_of, version

import zoo
from zoo.callbacks import BestPreset, NonFiniteError, Resume, StopOnNaN
from zoo.store import Folder, saving, write_folder

HERE = pathlib.Path(__file__).parent
FLOAT16 = keras.backend.backend() != "jax"  # XLA on the CPU lacks some float16 products


def start(*arguments, **options):
    """A child Python process that finds zoo and the tests."""
    paths = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    command, environment = [sys.executable, *map(str, arguments)], {**os.environ, "PYTHONPATH": paths}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
    try:
        return subprocess.Popen(command, env=environment, **pipes, **options)
    finally:
        signal.signal(signal.SIGINT, before)


def wait_for_lines(path, count, process, seconds=300):
    """Wait until a file has so many lines; fails when the process ends before."""
    end = time.monotonic() + seconds
    while not path.exists() or path.read_text(encoding="ascii").count("\n") < count:
        assert process.poll() is None, f"ended with {process.returncode}: {process.stderr.read()[-2000:]}"
        assert time.monotonic() < end, f"{path} has no {count} lines after {seconds} s"
        time.sleep(0.002)


# R3, R4: saving


@pytest.mark.neutral
@pytest.mark.parametrize("rounds", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_R03_killed_saves_leave_one_of_the_last_two_versions(tmp_path, rounds):
    kill_savers(tmp_path, rounds)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.neutral
def test_R04_full_disk_leaves_the_earlier_version(tmp_path, monkeypatch):
    """A disk that is full after N bytes, for N all over the new version."""
    write_folder(tmp_path, version(1, size=3000))
    written, room = [0], [0]
    write = saving._Hashed.write

    def limited(file, content):
        size = memoryview(content).nbytes
        if written[0] + size > room[0]:
            write(file, bytes(content)[: room[0] - written[0]])  # what still fits is on the disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written[0] += size
        return write(file, content)

    monkeypatch.setattr(saving._Hashed, "write", limited)
    failed = 0
    for room[0] in range(0, 10**6, 997):
        written[0] = 0
        try:
            write_folder(tmp_path, version(2, size=3000))
        except OSError as error:
            assert error.errno == errno.ENOSPC and str(tmp_path) in str(error) and "bytes" in str(error)
            assert number_of(tmp_path) == 1
            assert not [name for name in os.listdir(tmp_path) if name.startswith(".saving")]
            failed += 1
        else:
            break
    assert failed > 20 and number_of(tmp_path) == 2


# R5: a killed training


def check_equal(end, expected):
    assert end.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(end[name], array), name


def steps_of(folder, case):
    """A number of steps after which to strike: in the middle, not at a save, not at the end of an epoch."""
    return random.Random(f"{folder.name} {case}").randint(3, 9)


def strike(folder, cases, case, steps, number):
    """Start the cases and send a signal when one of them has done so many steps; (exit status, what it told)."""
    process = start(HERE / "support" / "resume_cases.py", folder, *cases)
    wait_for_lines(folder / case / "trace", steps, process)
    time.sleep(random.Random(steps).uniform(0, 0.03))
    process.send_signal(number)
    _, errors = process.communicate(timeout=600)
    return process.returncode, errors


def check_resumed(folder, case, lost=2):
    """The trace of a training that was broken off is that of an unbroken one, a few steps done twice; and so is its end."""
    lines, expected = train(case)
    traced = (folder / case / "trace").read_text(encoding="ascii").splitlines()
    assert len(lines) == 6 * EPOCHS and set(traced) == set(lines)
    assert len(traced) <= len(lines) + lost  # a state every second step
    with np.load(folder / case / "end.npz", allow_pickle=False) as end:
        check_equal(dict(end), expected)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """One command, started until it is through: killed in the first case, in the second, then Ctrl-C in the second."""
    folder = tmp_path_factory.mktemp("broken")
    first, second = CI
    statuses = [strike(folder, CI, case, steps_of(folder, case), signal.SIGKILL)[0] for case in CI]
    assert statuses == [-signal.SIGKILL] * 2
    done = len((folder / second / "trace").read_text(encoding="ascii").splitlines())
    interrupted = strike(folder, CI, second, done + 3, signal.SIGINT)
    state = Folder(folder / second / "state").json("state.json")
    last = (folder / second / "trace").read_text(encoding="ascii").splitlines()[-1]
    run_cases(folder, CI)
    return folder, interrupted, state, last


@pytest.mark.parametrize("case", CI)
def test_R05_killed_trainings_go_on_to_the_same_bits(broken, case):
    check_resumed(broken[0], case)


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(case for case in CASES if FLOAT16 or case != "float16"))
def test_R05_every_kind_of_training_goes_on_to_the_same_bits(tmp_path, case):
    status, _ = strike(tmp_path, [case], case, steps_of(tmp_path, case), signal.SIGKILL)
    assert status == -signal.SIGKILL
    run_cases(tmp_path, [case])
    check_resumed(tmp_path, case)


# R6: an adapter goes on, and comes off again


def test_R06_an_adapter_goes_on_and_merges_exactly(tmp_path):
    """Killed and resumed, LowRank has the factors of an unbroken training; on and off 1,000 times the base is the base."""

    def made():
        keras.utils.set_random_seed(1)
        model = matcher(dropout=0.2)
        model.compile(zoo.optimizers.LowRank(keras.optimizers.AdamW(0.01), rank=2))
        return model

    class Die(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise RuntimeError("killed")

    whole, base = made(), made()
    whole.fit(PAIRS, batch_size=2, epochs=2, verbose=0)
    resume = [Resume(tmp_path / "run", every_steps=1)]
    with pytest.raises(RuntimeError, match="killed"):
        made().fit(PAIRS, batch_size=2, epochs=2, verbose=0, callbacks=[*resume, Die()])
    resumed = made()
    resumed.fit(PAIRS, batch_size=2, epochs=2, verbose=0, callbacks=[Resume(tmp_path / "run", every_steps=1)])
    expected, delta = whole.optimizer.extract(), resumed.optimizer.extract()
    assert delta.base_sha256 == expected.base_sha256 and delta.factors.keys() == expected.factors.keys()
    for path, factors in expected.factors.items():
        assert all(np.array_equal(a, b) for a, b in zip(delta.factors[path], factors)), path

    delta.save(tmp_path / "delta")
    delta, texts = zoo.LowRankDelta.load(tmp_path / "delta"), [text for pair in PAIRS for text in pair[:2]]
    before, adapters = [weight.copy() for weight in base.get_weights()], zoo.Adapters(base)
    for _ in range(1000):
        adapters.apply(delta)
        adapters.remove(delta)
    assert all(np.array_equal(a, b) for a, b in zip(base.get_weights(), before))
    adapters.apply(delta)
    assert np.abs(base.encode(texts) - resumed.encode(texts)).max() <= 1e-6
    with pytest.raises(ValueError, match="SHA-256"):
        zoo.Adapters(whole).apply(delta)


# R9: NaN


class Spoiling:
    """A loss that is NaN, or has a NaN gradient, in the batches that hold a pair labelled 7."""

    def __init__(self, gradient_alone=False):
        self.gradient_alone = gradient_alone

    def __call__(self, y_true, y_pred):
        bad = keras.ops.equal(y_true, 7.0)
        error = keras.ops.square(y_pred - keras.ops.minimum(y_true, 1.0))
        if self.gradient_alone:  # the root is 0 or 1, its slope at 0 is infinite, and infinity times 0 is NaN
            return error + keras.ops.sqrt(keras.ops.where(bad, 0.0 * y_pred, 1.0))
        return keras.ops.where(bad, float("nan"), error)


RECORDS = [(a, b, 7 if index == 5 else label) for index, (a, b, label) in enumerate(PAIRS)]


def spoiled(gradient_alone=False, **options):
    keras.utils.set_random_seed(1)
    model = zoo.InteractionMatcher(matcher().backbone, max_length=16)
    loss = Spoiling(gradient_alone)
    model.compile(keras.optimizers.AdamW(0.01), loss=lambda y_true, y_pred: loss(y_true, y_pred), **options)
    return model


class Snapshots(keras.callbacks.Callback):
    """Weights and moments before each step."""

    def on_train_batch_begin(self, batch, logs=None):
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        self.last = state_of(self.model)


def state_of(model):
    return [keras.ops.convert_to_numpy(v).copy() for v in (*model.weights, *model.optimizer.variables)]


@pytest.mark.parametrize("gradient_alone", [False, True])
@pytest.mark.parametrize("fit", [{}, {"micro_batch_size": 1}])
def test_R09_nan_stops_before_the_update(tmp_path, gradient_alone, fit):
    """Neither a weight nor a moment moves; the message has step, rows and tensor; the saved state has no NaN."""
    model, seen = spoiled(gradient_alone), Snapshots()
    callbacks = [StopOnNaN(), seen, Resume(tmp_path, every_steps=1)]
    with pytest.raises(NonFiniteError) as caught:
        model.fit(RECORDS, batch_size=2, epochs=3, callbacks=callbacks, verbose=0, **fit)
    step = zoo.data.BatchPlan([1] * len(PAIRS), 2, last="pad")  # as many batches
    message = str(caught.value)
    found = int(message.split("step ")[1].split(",")[0])
    assert message.startswith("epoch 0, step ") and 0 <= found < len(step)
    rows = message.split("rows ")[1].split(" of")[0].split(", ")
    assert "5" in rows and len(rows) <= 2
    tensor = r"First: the gradient of \S+" if gradient_alone else r"First: the loss"
    assert re.search(tensor, message), message
    assert all(np.array_equal(a, b) for a, b in zip(state_of(model), seen.last))
    if found:
        arrays = Folder(tmp_path).safetensors("state.safetensors")
        assert all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f")


def test_R09_nan_metric_is_never_the_best(tmp_path):
    """NaN first, then better and worse numbers, then NaN: the preset is that of the best number."""
    values = iter([float("nan"), 0.3, 0.7, 0.5, float("nan")])

    class Scores(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_x"] = next(values)

    model, best = matcher(), BestPreset(tmp_path / "best", "val_x")
    model.compile(keras.optimizers.AdamW(0.01))
    weights = {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            weights[epoch] = self.model.get_weights()
            assert (tmp_path / "best" / "config.json").exists() == (epoch > 0)

    model.fit(PAIRS, batch_size=8, epochs=5, callbacks=[Scores(), best, Keep()], verbose=0)
    assert (best.best, best.best_epoch) == (0.7, 2)
    loaded = zoo.RepresentationMatcher.from_preset(tmp_path / "best").get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(loaded, weights[2]))
    values = iter([float("nan")])
    stopped = [Scores(), StopOnNaN(), BestPreset(tmp_path / "b", "val_x")]
    with pytest.raises(NonFiniteError, match="epoch 0: val_x is nan"):
        model.fit(PAIRS, batch_size=8, epochs=1, callbacks=stopped, verbose=0)
    assert not (tmp_path / "b").exists()


@pytest.mark.skipif(not FLOAT16, reason="XLA on the CPU lacks some float16 products")
def test_R09_float16_recovers_from_an_overflow():
    """A loss scale that overflows every gradient is halved until one does not, and no step is an error."""
    keras.utils.set_random_seed(1)
    model = zoo.InteractionMatcher(matcher(dtype="mixed_float16").backbone, max_length=16)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(0.01), initial_scale=2.0**30)
    model.compile(optimizer)
    before = model.get_weights()
    model.fit(PAIRS, batch_size=8, epochs=25, callbacks=[StopOnNaN()], verbose=0)
    assert float(optimizer.dynamic_scale) < 2.0**30 and int(optimizer.inner_optimizer.iterations) > 0
    after = model.get_weights()
    assert all(np.isfinite(weight).all() for weight in after)
    assert any((a != b).any() for a, b in zip(before, after))


# R10: Ctrl-C and closed pipes

ENDLESS = """
from zoo.command_line import run
def main(_):
    print(1, flush=True)
    while True:
        pass
run(main)
"""

PIPED = """
import sys
from absl import app
from zoo.command_line import run
def main(_):
    for number in range(100_000):
        print("line", number)
run(main)
"""


def test_R10_ctrl_c_leaves_a_state_to_go_on_from(broken):
    """The first Ctrl-C saves between two steps, and no step is lost; that it goes on from there shows R5."""
    folder, (status, errors), state, last = broken
    assert status in (130, -signal.SIGINT), errors[-2000:]  # of a process that SIGINT ended a shell shows 130
    assert f"the state of the training is in {folder / CI[1] / 'state'}" in errors
    epoch, step = map(int, last.split()[:2])
    assert (state["epoch"], state["position"]) in [(epoch, step + 1), (epoch + 1, 0)]


@pytest.mark.neutral
def test_R10_closed_stdout_ends_without_a_traceback():
    process = start("-c", PIPED)
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    with process.stderr:
        errors = process.stderr.read()
    assert process.wait(60) == 141 and errors == ""


@pytest.mark.neutral
def test_R10_ctrl_c_in_a_command_is_one_line_and_130():
    process = start("-c", ENDLESS)
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors == "\nInterrupted.\n"
