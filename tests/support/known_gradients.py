"""A model whose gradients are its inputs, so that an optimizer can be fed by hand through all of Keras' training."""

import keras
import numpy as np
from keras import ops

SHAPES = {  # path -> shape; 20 numbers
    "token_embedding/embeddings": (4, 2),
    "layer_0/kernel": (2, 3),
    "layer_0/bias": (3,),
    "classifier/kernel": (3, 1),
}
SIZE = sum(int(np.prod(shape)) for shape in SHAPES.values())
STARTS = np.cumsum([0, *(int(np.prod(shape)) for shape in SHAPES.values())])


class Weights(keras.layers.Layer):
    """Holds some of the weights; its output is their product with its part of the input."""

    def __init__(self, paths, **kwargs):
        super().__init__(**kwargs)
        self.paths = list(paths)
        self.own = [self.add_weight(shape=SHAPES[path], name=path.split("/")[1]) for path in paths]
        self.built = True

    def call(self, x):
        parts = []
        for path, weight in zip(self.paths, self.own):
            start = STARTS[list(SHAPES).index(path)]
            part = x[:, start : start + int(np.prod(SHAPES[path]))]
            parts.append(ops.sum(part * ops.reshape(weight, (1, -1)), axis=-1))
        return sum(parts)

    def get_config(self):
        return {**super().get_config(), "paths": self.paths}


def made(optimizer, dtype=None, **options):
    """A compiled model with the same weights each time; its loss is the mean of its outputs."""
    inputs, layers = keras.Input((SIZE,)), {}
    for path in SHAPES:
        layers.setdefault(path.split("/")[0], []).append(path)
    outputs = [Weights(paths, name=name, dtype=dtype)(inputs) for name, paths in layers.items()]
    model = keras.Model(inputs, ops.cast(sum(outputs), "float32"))
    model.set_weights(start())
    model.compile(optimizer, loss=mean_output, **options)
    return model


def mean_output(_, outputs):
    return ops.mean(outputs)


def start(seed=3):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.5, shape).astype("float32") for shape in SHAPES.values()]


def gradients(steps, seed=4, scale=0.1):
    """One row a step, float32 `[steps, 20]`; some rows of the embedding have none."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, scale, (steps, SIZE)) * np.exp(rng.normal(0, 1, (steps, 1)))
    rows[::2, :4] = 0
    rows[1::3, 4:6] = 0
    return rows.astype("float32")


def split(row):
    """A row as float64 arrays of the weights' shapes."""
    pieces = np.split(np.asarray(row, "float64"), STARTS[1:-1])
    return [piece.reshape(shape) for piece, shape in zip(pieces, SHAPES.values())]


def train(model, rows):
    """One step a row; the weights after each."""
    history = []
    for row in rows:
        model.train_on_batch(row[None], np.zeros((1, 1), "float32"))
        history.append([weight.copy() for weight in model.get_weights()])
    return history
