"""One way to compare arrays of any backend."""

import numpy as np


def assert_close(actual, expected, atol=1e-5, rtol=0.0):
    """Same shape, no NaN, no element further apart than `atol + rtol |expected|`."""
    actual, expected = _as_float64(actual), _as_float64(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    excess = np.abs(actual - expected) - rtol * np.abs(expected)
    if actual.size and not np.max(excess) <= atol:  # also true for NaN
        worst = np.unravel_index(np.argmax(excess), excess.shape)
        raise AssertionError(
            f"max excess {excess[worst]:.3e} over atol {atol:.1e} at {tuple(map(int, worst))}: "
            f"{actual[worst]!r}, expected {expected[worst]!r}"
        )


def _as_float64(array):
    if not isinstance(array, np.ndarray | np.generic | list | tuple | int | float):
        import keras

        array = keras.ops.convert_to_numpy(array)
    return np.asarray(array, dtype=np.float64)
