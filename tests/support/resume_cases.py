"""Trainings that are killed and started again: the cases, and the script that a child process runs.

    python tests/support/resume_cases.py FOLDER CASE [CASE ...]

trains one case after the other. Each writes a line a step to FOLDER/CASE/trace and its end to FOLDER/CASE/end.npz; a
case whose end is there is left out, so that the same command, started again after a kill, does what is left.
"""

import os
import pathlib
import sys
import time

import keras
import numpy as np

import zoo
from support.tiny_models import PAIRS, backbone
from zoo.callbacks import Resume

EPOCHS = 3
ADAMW = {"learning_rate": 0.02, "weight_decay": 0.01}


def schedule():
    return keras.optimizers.schedules.ExponentialDecay(0.02, 5, 0.7)


# Case -> arguments of the model, optimizer, dtype policy, arguments of fit.
CASES = {
    "adam_dropout": ({"dropout": 0.3}, lambda: keras.optimizers.AdamW(schedule(), weight_decay=0.01), None, {}),
    "bfloat16_accumulation": (
        {"dropout": 0.3},
        lambda: keras.optimizers.AdamW(**ADAMW, gradient_accumulation_steps=3),
        "mixed_bfloat16",
        {},
    ),
    "average": ({"dropout": 0.3}, lambda: keras.optimizers.AdamW(**ADAMW, use_ema=True, ema_momentum=0.8), None, {}),
    "averages_evaluated": (
        {"dropout": 0.3},
        lambda: zoo.optimizers.ExponentialMovingAverage(keras.optimizers.AdamW(**ADAMW), momentum=0.8),
        None,
        {},
    ),
    "float16": ({"dropout": 0.3}, lambda: keras.optimizers.AdamW(**ADAMW), "mixed_float16", {}),
    "big_batch": ({"dropout": 0.3}, lambda: keras.optimizers.AdamW(**ADAMW), None, {"micro_batch_size": 2}),
    "low_rank": (
        {"dropout": 0.3},
        lambda: zoo.optimizers.LowRank(keras.optimizers.AdamW(**ADAMW), rank=2),
        None,
        {},
    ),
    "low_rank_projection": (
        {"dropout": 0.3},
        lambda: zoo.optimizers.LowRank(
            keras.optimizers.AdamW(**ADAMW), rank=2, form=zoo.optimizers.RandomProjection(refresh_every=3)
        ),
        None,
        {},
    ),
}
CI = ("adam_dropout", "bfloat16_accumulation")


class Trace(keras.callbacks.Callback):
    """Writes the loss of each step, in full, before the next one begins."""

    def __init__(self, path, pause):
        super().__init__()
        self.path, self.pause, self.lines = path, pause, []

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self.weights = self.model.get_weights()

    def on_train_batch_end(self, batch, logs=None):
        self.lines.append(f"{self.epoch} {batch} {logs['loss']!r}")
        if self.path is not None:
            with open(self.path, "a", encoding="ascii") as file:
                file.write(self.lines[-1] + "\n")
            time.sleep(self.pause)


def train(case, folder=None, seed=3, pause=0.0):
    """Train a case from where it is.

    Args:
        folder: where states and trace go, or None: without a break.
        seed: int, of what a new process begins with; a resumed one must not depend on it.

    Returns:
        (lines of the trace, arrays of the end by name).
    """
    arguments, optimizer, dtype, fit = CASES[case]
    keras.utils.set_random_seed(seed)
    matcher = zoo.InteractionMatcher(backbone(dropout=0.3, dtype=dtype), max_length=16, **arguments)
    matcher.compile(optimizer(), metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)])
    trace = Trace(folder and folder / "trace", pause)
    early = keras.callbacks.EarlyStopping("val_loss", mode="min", patience=2, restore_best_weights=True)
    callbacks = [Scores(), early, trace]
    if case == "averages_evaluated":
        callbacks.insert(0, zoo.optimizers.EvaluateAverages())
    if folder is not None:
        callbacks.append(Resume(folder / "state", every_steps=2))
    history = matcher.fit(PAIRS * 3, batch_size=4, epochs=EPOCHS, seed=5, callbacks=callbacks, verbose=0, **fit)
    end = {f"best/{index}": weight for index, weight in enumerate(matcher.get_weights())}
    end |= {f"last/{index}": weight for index, weight in enumerate(trace.weights)}
    end |= {f"history/{name}": np.array(values) for name, values in history.history.items()}
    end |= {f"optimizer/{index}": keras.ops.convert_to_numpy(v) for index, v in enumerate(matcher.optimizer.variables)}
    return trace.lines, end | {"early": np.array([early.best, early.wait, early.best_epoch], "float64")}


class Scores(keras.callbacks.Callback):
    """Validation without a compiled function of its own: each epoch is worse than the one before."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = float(epoch)


def run_cases(folder, cases):
    """Train one case after the other, from where each is; those that have ended are left out."""
    for case in cases:
        place = pathlib.Path(folder) / case
        place.mkdir(exist_ok=True)
        if not (place / "end.npz").exists():
            seed = 100 + os.getpid() if (place / "state").exists() else 3  # all that matters is in the state
            _, end = train(case, place, seed, pause=0.05)
            np.savez(place / "new.npz", **end)
            os.replace(place / "new.npz", place / "end.npz")


if __name__ == "__main__":
    run_cases(sys.argv[1], sys.argv[2:])
