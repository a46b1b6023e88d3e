"""Time of a recurrent layer against length: all steps at once beside Keras' own loop, inference and training.

    KERAS_BACKEND=torch python benchmarks/parallel_recurrence.py [--lengths=16,64,256] [--out=FILE]

A cell whose states fade (recurrent weights of spectral norm 0.5), one row. On a CPU there is nothing to gain from doing
S times the work at once but the loop's overhead; the gain is for accelerators. A step of training is `train_on_batch` of a
model of this layer alone, compiled where the backend compiles.
"""

import json
import os
import time

import keras
import numpy as np
from absl import app, flags
from keras import ops

from zoo.layers import ParallelRNN, parallel_recurrence

F = flags.FLAGS
flags.DEFINE_list("lengths", "16,64,256,1024,4096,16384", "Steps of a row.")
flags.DEFINE_integer("longest_training", 4096, "Steps up to which training is measured: the loop keeps each of them.")
flags.DEFINE_integer("units", 4, "Numbers of the state.")
flags.DEFINE_integer("repeat", 3, "Runs, of which the fastest counts.")
flags.DEFINE_string("out", None, "Where to store the numbers.")


def fastest(function):
    function()  # whatever is compiled or made once
    times = []
    for _ in range(F.repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def training(layer, x):
    """Seconds of a step of training."""
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    model.compile("sgd", "mse")
    x = ops.convert_to_numpy(x)
    return fastest(lambda: float(model.train_on_batch(x, x)))


def main(_):
    cell = keras.layers.GRUCell(F.units, dtype="float32")
    cell.build((None, F.units))
    rng = np.random.default_rng(0)
    for weight in cell.weights:
        values = rng.normal(0, 0.5, weight.shape)
        weight.assign(values * 0.5 / np.linalg.norm(values, 2) if "recurrent" in weight.path else values)
    loop = keras.layers.RNN(cell, return_sequences=True)
    rows = []
    for length in map(int, F.lengths):
        x = ops.convert_to_tensor(rng.normal(size=(1, length, F.units)).astype("float32"))
        row = {"length": length, "loop": fastest(lambda x=x: ops.convert_to_numpy(loop(x)))}
        for method in ("newton", "constant"):
            found = lambda x=x, method=method: ops.convert_to_numpy(parallel_recurrence(cell, x, method=method))
            row[method] = fastest(found)
        if length <= F.longest_training:
            row["loop, training"] = training(keras.layers.RNN(cell, return_sequences=True), x)
            row["newton, training"] = training(ParallelRNN(cell, return_sequences=True), x)
        row["off"] = float(np.abs(ops.convert_to_numpy(loop(x) - parallel_recurrence(cell, x))).max())
        rows.append(row)
        print({name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}, flush=True)
    if F.out:
        with open(F.out, "w", encoding="utf-8") as file:
            found = {"backend": keras.backend.backend(), "units": F.units, "cores": os.cpu_count(), "seconds": rows}
            json.dump(found, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    app.run(main)
