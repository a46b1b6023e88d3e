"""Arrays of any backend: one way to compare them, to read them, to fill a model with them."""

import numpy as np


def assert_close(actual, expected, atol=1e-5, rtol=0.0):
    """Same shape, no NaN, no element further apart than `atol + rtol |expected|`."""
    actual, expected = to_numpy(actual), to_numpy(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    excess = np.abs(actual - expected) - rtol * np.abs(expected)
    if actual.size and not np.max(excess) <= atol:  # also true for NaN
        worst = np.unravel_index(np.argmax(excess), excess.shape)
        raise AssertionError(
            f"max excess {excess[worst]:.3e} over atol {atol:.1e} at {tuple(map(int, worst))}: "
            f"{actual[worst]!r}, expected {expected[worst]!r}"
        )


def to_numpy(array):
    """A number, list, array or variable of any backend in float64."""
    if not isinstance(array, np.ndarray | np.generic | list | tuple | int | float):
        import keras

        array = keras.ops.convert_to_numpy(array)
    return np.asarray(array, dtype=np.float64)


def randomise(model, seed=7, spread=0.3):
    """Draw every weight at random, gains and biases too: one that is forgotten then shows.

    `spread` is the standard deviation, gains lie around one. With None it is that of each matrix's fan-in, so that what passes
    through a layer keeps its size.
    """
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if spread is not None:
            values = rng.normal(0.0, spread, variable.shape).astype("float32") + variable.path.endswith("gamma")
        elif len(variable.shape) > 1:
            values = rng.normal(0, variable.shape[0] ** -0.5, variable.shape)
        else:
            values = rng.normal(0.3, 0.5, variable.shape)
        variable.assign(values.astype("float32"))
    return model
