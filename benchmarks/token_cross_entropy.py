"""Cross entropy of tokens, loss and gradients through a layer of logits, beside Keras' own loss.

    KERAS_BACKEND=torch python benchmarks/token_cross_entropy.py

1,216 and 8,192 places of width 256 over 6,000 classes: a masked-language-model and a causal batch of 64 rows x 128
tokens. Milliseconds, medians of alternating training steps (SGD) of a model that is nothing but this layer.

Two cores of an AMD EPYC, 22 November 2026:

     1,216 places: keras     80.2 ms, zoo     59.3 ms, 1.35
     8,192 places: keras    869.9 ms, zoo    566.8 ms, 1.53
"""

import statistics
import time

import keras
import numpy as np
from absl import app, flags

from zoo.losses import TokenCrossEntropy

RUNS = flags.DEFINE_integer("runs", 15, "Steps of each.")
WIDTH, CLASSES, ROWS = 256, 6000, 64


def step(loss, places):
    """A training step of the head over `places` places, as a function of nothing."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((places // ROWS, WIDTH)), keras.layers.Dense(CLASSES)])
    model.compile(keras.optimizers.SGD(0.1), loss)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, places // ROWS, WIDTH)).astype("float32")
    y = rng.integers(0, CLASSES, x.shape[:2])
    return lambda: float(model.train_on_batch(x, y))


def main(_):
    print(f"backend {keras.backend.backend()}, {RUNS.value} steps each")
    for places in (1216, 8192):
        losses = {"keras": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "zoo": TokenCrossEntropy()}
        steps, times = {name: step(loss, places) for name, loss in losses.items()}, {name: [] for name in losses}
        for run in range(RUNS.value + 2):
            for name, one in steps.items():
                start = time.perf_counter()
                one()
                if run >= 2:  # the first compile
                    times[name].append(1e3 * (time.perf_counter() - start))
        ms = {name: statistics.median(values) for name, values in times.items()}
        print(
            f"{places:6,} places: keras {ms['keras']:8.1f} ms, zoo {ms['zoo']:8.1f} ms, {ms['keras'] / ms['zoo']:.2f}"
        )


if __name__ == "__main__":
    app.run(main)
