"""compiled_step: the same numbers as the plain function, with the weights of the moment and a state that goes on."""

import keras
import numpy as np
from keras import ops
from support.arrays import assert_close

from zoo.backend import compiled_step


def test_a_loop_with_a_state_and_new_weights():
    """The state is written at an index, read before and after; two layers compute the same of the inputs."""
    weight = keras.Variable(np.array([1.0, 2.0, 3.0], "float32"))
    plain = {"state": np.zeros((4, 3)), "weight": np.array([1.0, 2.0, 3.0])}

    def function(state, index, x, mask):
        before = ops.sum(state[0])
        angle = ops.cos(x) + ops.cos(x)  # what is merged must be the same still
        state = ops.slice_update(state[0], [index, 0], (angle * weight)[None])
        after = ops.sum(state if mask is None else state * mask)
        return (before, after), (state,)

    step, state = compiled_step(function, [weight]), (ops.zeros((4, 3)),)
    x, mask = np.array([0.5, -1.0, 2.0], "float32"), np.array([1.0, 0.0, 1.0], "float32")
    for turn in range(6):
        given = ops.convert_to_tensor(mask) if turn % 2 else None
        (before, after), state = step(state, turn % 4, ops.convert_to_tensor(x), given)
        assert_close(before, plain["state"].sum(), atol=1e-5)
        plain["state"][turn % 4] = 2 * np.cos(x.astype("float64")) * plain["weight"]
        assert_close(state[0], plain["state"], atol=1e-5)
        assert_close(after, (plain["state"] * (mask if turn % 2 else 1)).sum(), atol=1e-5)
        x, plain["weight"] = x + 0.25, plain["weight"] * -0.5
        weight.assign(plain["weight"].astype("float32"))


def test_steps_record_no_gradients():
    weight = keras.Variable(np.ones(2, "float32"))
    step = compiled_step(lambda state, x: (x * weight, state), [weight])
    for _ in range(3):
        out, _ = step((), ops.ones(2))
    assert not getattr(out, "requires_grad", False)
