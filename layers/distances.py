"""Positions as numbers: what biases and bent rotary distances are functions of."""

from keras import ops


def counted(positions, length):
    """Positions float32 `[1 or B, n]` from int or float `[n]` or `[B, n]`; None counts 0 .. length - 1."""
    positions = ops.cast(ops.arange(length) if positions is None else positions, "float32")
    return positions if len(positions.shape) == 2 else ops.expand_dims(positions, 0)


def distances(query_positions, key_positions):
    """How far each key lies to the left of each query: `[1 or B, n]`, `[1 or B, m]` -> `[1 or B, n, m]`."""
    return ops.expand_dims(query_positions, -1) - ops.expand_dims(key_positions, -2)
