"""How large signals are in a fresh model: second moments, measured by sampling and from closed forms.

kexue.fm/archives/8620: y = x W has E y² = m E w² E x²; depth multiplies what is not 1.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import initializers as starts
from keras import ops

from zoo.backend.variables import backbone_of, to_numpy
from zoo.layers.ntk_dense import NTKDense
from zoo.layers.residuals import ScaledInitializer

TRUNCATED = 0.7737413  # variance of a standard normal that is cut at 2


@dataclasses.dataclass(frozen=True)
class InitializationReport:
    """What `initialization_report` found; `str` gives it as two tables.

    Attributes:
        layers: list of dicts, one for each dense layer and embedding: layer (path), shape, weights and
            weights_expected (E w²), output and output_expected (E y² for inputs drawn from N(0, 1); of an embedding
            that of its rows). Expected values come from the initializer and the activation; NaN where the initializer
            has no closed form here.
        hidden_states: list of dicts, embedding output first, empty for a model without a backbone: second_moment
            (E x²), to_previous and to_embedding (mean cosine with the layer before and with the embedding output),
            and to_embedding_expected, the product of the cosines so far: what it is if every branch adds a direction
            of its own. Plain post-norm loses a factor of sqrt(2) for each branch that is as large as its input.
    """

    layers: list
    hidden_states: list

    def __str__(self) -> str:
        return "\n\n".join(_table(rows) for rows in (self.layers, self.hidden_states) if rows)


def initialization_report(
    model: Any, batch_size: int = 4, length: int = 32, samples: int = 1000, seed: int = 0
) -> InitializationReport:
    """Second moments of a model's layers: sampled, and what its initializers promise. Changes nothing, prints nothing.

    Args:
        model: built keras.Model: a backbone, a task, or any other model (dense layers only).
        batch_size, length: of the random token ids whose hidden states are measured.
        samples: int, inputs drawn from N(0, 1) for each dense layer.
        seed: int.

    Returns:
        InitializationReport.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dense):
            rows.append(_dense(layer, rng, samples))
        elif isinstance(getattr(layer, "embeddings", None), keras.Variable):
            rows.append(_embedding(layer))
    order = {weight.path.rpartition("/")[0]: index for index, weight in reversed(list(enumerate(model.weights)))}
    rows.sort(key=lambda row: order[row["layer"]])  # Keras lists the layers of a block from the last one
    return InitializationReport(rows, _hidden_states(backbone_of(model), rng, batch_size, length))


def second_moment(initializer, shape):
    """E w² of a matrix `[m, units]` that an initializer draws, or NaN where it has no closed form here."""
    if isinstance(initializer, ScaledInitializer):
        return initializer.gain**2 * second_moment(initializer.base, shape)
    if isinstance(initializer, starts.VarianceScaling):
        fan = {"fan_in": shape[0], "fan_out": shape[-1], "fan_avg": (shape[0] + shape[-1]) / 2}[initializer.mode]
        return initializer.scale / max(1.0, fan)
    if isinstance(initializer, starts.RandomNormal):
        return initializer.mean**2 + initializer.stddev**2
    if isinstance(initializer, starts.TruncatedNormal):
        return initializer.mean**2 + TRUNCATED * initializer.stddev**2
    if isinstance(initializer, starts.RandomUniform):
        low, high = initializer.minval, initializer.maxval
        return (low**2 + low * high + high**2) / 3
    if isinstance(initializer, starts.Orthogonal):
        return initializer.gain**2 / max(shape)
    if isinstance(initializer, starts.Zeros):
        return 0.0
    return float("nan")


def activated_moment(activation, moment):
    """E φ(y)² for y ~ N(0, moment), by quadrature."""
    # The trapezoidal rule on a fine grid: Gauss-Hermite's few points are off by percents where φ has a kink.
    z = np.linspace(-10, 10, 20001)
    phi = ops.convert_to_numpy(activation(ops.convert_to_tensor((np.sqrt(moment) * z).astype("float32"))))
    return float(np.sum(np.square(phi.astype("float64")) * np.exp(-(z**2) / 2)) * (z[1] - z[0]) / np.sqrt(2 * np.pi))


def _dense(layer, rng, samples):
    kernel = to_numpy(layer.kernel).astype("float64")
    expected = second_moment(layer.kernel_initializer, kernel.shape)
    scale = layer.gain**2 if isinstance(layer, NTKDense) else kernel.shape[0]
    moment = scale * expected  # of x W; biases start at 0
    out = layer(rng.standard_normal((samples, kernel.shape[0])).astype("float32"))
    return {
        "layer": layer.kernel.path.removesuffix("/kernel"),
        "shape": kernel.shape,
        "weights": float(np.mean(kernel**2)),
        "weights_expected": expected,
        "output": float(np.mean(np.square(ops.convert_to_numpy(ops.cast(out, "float32")), dtype="float64"))),
        "output_expected": activated_moment(layer.activation, moment) if np.isfinite(moment) else moment,
    }


def _embedding(layer):
    table = to_numpy(layer.embeddings).astype("float64")
    found = float(np.mean(table**2))
    expected = second_moment(getattr(layer, "embeddings_initializer", None), table.shape)
    return {
        "layer": layer.embeddings.path.removesuffix("/embeddings"),
        "shape": table.shape,
        "weights": found,
        "weights_expected": expected,
        "output": found,
        "output_expected": expected,
    }


def _hidden_states(backbone, rng, batch_size, length):
    if not hasattr(backbone, "hidden_states"):
        return []
    inputs = {"token_ids": rng.integers(0, backbone.vocabulary_size, (batch_size, length), "int32")}
    inputs["padding_mask"] = np.ones((batch_size, length), bool)  # id 0 too is a word here
    if "position_ids" in backbone.input:
        inputs["position_ids"] = np.tile(np.arange(length, dtype="float32"), (batch_size, 1))
    states = backbone.hidden_states(inputs, training=False)
    states = [ops.convert_to_numpy(ops.cast(x, "float32")).astype("float64") for x in states]
    rows, product = [], 1.0
    for index, x in enumerate(states):
        to_previous = _cosine(states[max(index - 1, 0)], x)
        product *= to_previous
        rows.append(
            {
                "hidden_state": index,
                "second_moment": float(np.mean(x**2)),
                "to_previous": to_previous,
                "to_embedding": _cosine(states[0], x),
                "to_embedding_expected": product,
            }
        )
    return rows


def _cosine(a, b):
    return float(np.mean(np.sum(a * b, -1) / np.sqrt(np.sum(a * a, -1) * np.sum(b * b, -1))))


def _table(rows):
    """Rows of equal keys as text, numbers with four digits."""
    text = [list(rows[0])]
    text += [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*text)]
    left = isinstance(next(iter(rows[0].values())), str)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if left and not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in text
    )
