"""Recurrent layers computed for all steps at once (DEER, arXiv 2309.12252; kexue.fm/archives/9783).

The states x_t = f(x_{t−1}, u_t) of all t are the solution of one equation. Each iteration replaces f by a line through
the last guess y, with slopes A_t:

    x_t = A_t x_{t−1} + f(y_{t−1}, u_t) − A_t y_{t−1}

which is solved for all t in O(log T) steps of products. With the Jacobian as slope this is Newton's method. Whatever the
slopes are, n iterations make the first n states exact, since each passes exactness on to one more.
"""

import keras
from keras import ops

from zoo.backend import gradient_inside, has_value
from zoo.backend.arguments import PlainNumbers

METHODS = ("newton", "input_linear", "constant")
EAGER, COMPILED = 100, 12  # most iterations where none are asked for
LARGEST = 1e8  # guesses are kept below it: a far one is as good as any, but infinity would spread


def parallel_recurrence(
    cell,
    inputs,
    initial_state=None,
    method="newton",
    iterations=None,
    tolerance=1e-5,
    padding_mask=None,
    return_state=False,
):
    """A recurrent cell over a sequence, all steps at once; equals the loop over steps where it converges.

    For cells that forget: the loop's number of steps becomes a number of iterations, a handful if states far back hardly
    matter. Each takes the cell's time S-fold and S³ for each step, S the size of the state, so it pays for long
    sequences and small states on hardware with room for them.

    Gradients are those of the solution, not of the iterations: they come from one linear recurrence.

    Args:
        cell: a built or unbuilt Keras cell in float32 or float64 (`SimpleRNNCell`, `GRUCell`, `LSTMCell`, a user's) without
            dropout, whose rows do not depend on each other. A user's is called as `cell(inputs, states)`, with states a list.
        inputs: float `[B, T, m]`, T static.
        initial_state: list of float `[B, S_i]`, one tensor, or None for the cell's own.
        method: slopes: `"newton"`, the Jacobian at the last guess; `"input_linear"`, that at the state 0, which sees the
            inputs alone; `"constant"`, that at state and inputs 0. The cheaper, the more iterations.
        iterations: int, how many at most; None is 100, or 12 in a compiled function.
        tolerance: float or None, the largest last change of a state x that counts as converged, in units of 1 + |x|.
            None takes the result after the iterations as it is, a stack of linear recurrences.
        padding_mask: bool `[B, T]`, True at real steps; padding leaves the state as it is and has outputs of 0.
        return_state: bool.

    Returns:
        float `[B, T, units]` in the cell's dtype; with return_state also the list of the last states `[B, S_i]`.

    Raises:
        ValueError: no convergence (a compiled function cannot raise: its outputs are NaN in every row that did not
            converge); an unknown method, a length that is not static, a cell in half precision or with dropout.
    """
    check_method(method, iterations, tolerance)
    check_cell(cell)
    batch, length = ops.shape(inputs)[0], inputs.shape[1]
    if length is None or not length:
        raise ValueError(f"inputs of shape {tuple(inputs.shape)}; expected a static length T >= 1 in the second place")
    inputs = ops.cast(inputs, cell.compute_dtype)
    states = cell.get_initial_state(batch_size=batch) if initial_state is None else initial_state
    states = [
        ops.cast(state, cell.compute_dtype) for state in (states if isinstance(states, list | tuple) else [states])
    ]
    problem = _Recurrence(cell, inputs, states, padding_mask)
    guess = ops.zeros((batch, length, problem.size), cell.compute_dtype)
    problem.slopes = None if method == "newton" else problem.fixed_slopes(method)
    count = min(iterations or (EAGER if has_value(guess) else COMPILED), length)
    for _ in range(count):
        new = ops.nan_to_num(problem.solved(guess, problem.slopes), nan=0.0, posinf=LARGEST, neginf=-LARGEST)
        new = ops.stop_gradient(ops.clip(new, -LARGEST, LARGEST))
        change = _change(new, guess)
        guess = new
        if tolerance is not None and has_value(guess) and float(ops.convert_to_numpy(ops.max(change))) <= tolerance:
            break
    # The last step is Newton's whatever the method: its slopes are what the gradient of the solution is made of.
    solution = problem.solved(guess)
    if tolerance is not None:
        solution = _checked(solution, _change(solution, guess), tolerance, cell, method, count)
    outputs, _ = problem.step(problem.before(solution))
    outputs = ops.where(ops.isnan(solution[:, -1:, :1]), float("nan"), outputs)  # a row's first outputs too
    if padding_mask is not None:
        outputs = ops.where(problem.real, outputs, 0.0)
    if not return_state:
        return outputs
    return outputs, ops.split(solution[:, -1], problem.splits, axis=-1) if problem.splits else [solution[:, -1]]


def linear_recurrence(slopes, offsets):
    """x_t = A_t x_{t−1} + b_t from x_0 = 0, for all t in about 2 log₂ T steps; nothing here is a loop over time.

    Args:
        slopes: A, float `[B or 1, T or 1, S, S]`. offsets: b, float `[B, T, S]`, T static.

    Returns:
        float `[B, T, S]`.
    """
    length = offsets.shape[1]
    if length == 1:
        return offsets
    shared = slopes.shape[1] == 1
    if length % 2:
        offsets = ops.pad(offsets, [[0, 0], [0, 1], [0, 0]])
        slopes = slopes if shared else ops.pad(slopes, [[0, 0], [0, 1], [0, 0], [0, 0]])
    half, size = (length + 1) // 2, offsets.shape[-1]
    pairs = ops.reshape(offsets, (-1, half, 2, size))
    first, second = pairs[:, :, 0], pairs[:, :, 1]
    if shared:
        slope_first = slope_second = slopes
    else:
        both = ops.reshape(slopes, (-1, half, 2, size, size))
        slope_first, slope_second = both[:, :, 0], both[:, :, 1]
    # Two steps in one, half as many of them: x_{2i+1} = A₂ A₁ x_{2i−1} + A₂ b₁ + b₂.
    ends = linear_recurrence(ops.matmul(slope_second, slope_first), _times(slope_second, first) + second)
    before = ops.pad(ends[:, :-1], [[0, 0], [1, 0], [0, 0]])
    starts = _times(slope_first, before) + first
    return ops.reshape(ops.stack([starts, ends], axis=2), (-1, 2 * half, size))[:, :length]


class _Recurrence:
    """A cell, its inputs and its first state, for all steps at once; states lie side by side in `[B, T, S]`."""

    def __init__(self, cell, inputs, states, padding_mask):
        self.cell, self.inputs = cell, inputs
        sizes = [state.shape[-1] for state in states]
        self.size, self.splits = sum(sizes), [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
        self.start = ops.concatenate(states, axis=-1)[:, None]  # [B, 1, S]
        self.real = None if padding_mask is None else ops.cast(padding_mask, "bool")[..., None]
        self.length = inputs.shape[1]
        self.slopes = None  # those of a method with fixed ones

    def cell_rows(self, inputs, states):
        """Outputs `[N, units]` and new states `[N, S]` of rows of inputs `[N, m]` and states `[N, S]`."""
        parts = ops.split(states, self.splits, axis=-1) if self.splits else [states]
        outputs, parts = self.cell(inputs, parts)
        return outputs, ops.concatenate(parts if isinstance(parts, list | tuple) else [parts], axis=-1)

    def step(self, before):
        """f of all steps: outputs `[B, T, units]`, states `[B, T, S]`, from the states before them."""
        rows = ops.reshape(self.inputs, (-1, self.inputs.shape[-1]))
        outputs, states = self.cell_rows(rows, ops.reshape(before, (-1, self.size)))
        states = ops.reshape(states, (-1, self.length, self.size))
        if self.real is not None:
            states = ops.where(self.real, states, before)
        return ops.reshape(outputs, (-1, self.length, outputs.shape[-1])), states

    def before(self, states):
        """Each step's state before it."""
        return ops.concatenate([self.start, states[:, :-1]], axis=1)

    def solved(self, guess, slopes=None):
        """The solution with f replaced by its lines through a guess; None takes the Jacobian's slopes."""
        given = ops.stop_gradient(self.before(guess))
        slopes = self.jacobian(given) if slopes is None else slopes
        _, states = self.step(given)
        # Of the first step the state before is known: its slope is part of the offset, and so is that state's gradient.
        known = _times(slopes[:, :1], self.start - given[:, :1])
        offsets = states - _times(slopes, given)
        first = states[:, :1] + known
        return linear_recurrence(slopes, ops.concatenate([first, offsets[:, 1:]], axis=1))

    def jacobian(self, before, inputs=None):
        """∂f/∂x `[B, T, S, S]` at states `[B, T, S]`, one row for each number of the new state.

        S copies of every state are stepped, and of copy i only number i is looked at: one gradient gives all rows.
        """
        inputs = self.inputs if inputs is None else inputs
        rows = ops.reshape(before, (-1, self.size))
        count, size = ops.shape(rows)[0], self.size
        inputs = ops.stop_gradient(ops.tile(ops.reshape(inputs, (-1, inputs.shape[-1])), (size, 1)))
        own = ops.eye(size, dtype=rows.dtype)[:, None]  # [S, 1, S]

        def looked_at(copies):
            _, new = self.cell_rows(inputs, ops.reshape(copies, (-1, size)))
            return ops.sum(ops.reshape(new, (size, -1, size)) * own)

        slopes = gradient_inside(looked_at, ops.broadcast_to(rows[None], (size, count, size)))
        slopes = ops.reshape(ops.transpose(slopes, (1, 0, 2)), (*ops.shape(before)[:2], size, size))
        if self.real is None or slopes.shape[1] != self.length:
            return slopes
        return ops.where(self.real[..., None], slopes, ops.eye(size, dtype=slopes.dtype))

    def fixed_slopes(self, method):
        """Slopes that do not depend on the guess."""
        zeros = lambda *shape: ops.zeros(shape, self.inputs.dtype)
        if method == "input_linear":
            return self.jacobian(zeros(*ops.shape(self.inputs)[:2], self.size))
        return self.jacobian(zeros(1, 1, self.size), zeros(1, 1, self.inputs.shape[-1]))


def _times(matrices, vectors):
    return ops.squeeze(ops.matmul(matrices, vectors[..., None]), -1)


def _change(new, old):
    """The largest change of each row, in units of 1 + |x|: `[B]`."""
    return ops.stop_gradient(ops.max(ops.abs(new - old) / (1.0 + ops.abs(old)), axis=(1, 2)))


def _checked(solution, change, tolerance, cell, method, count):
    """The solution; ValueError, or NaN where a function is being compiled, for rows that have not converged."""
    if has_value(solution):
        worst = float(ops.convert_to_numpy(ops.max(change)))
        if not worst <= tolerance:
            raise ValueError(
                f"{cell.name} has not converged after {count} iterations by {method!r}: the last one changed a state by "
                f"{worst:.3g}, expected at most tolerance={tolerance}. Cells that do not forget cannot be computed in "
                "parallel: use keras.layers.RNN(cell). Else allow more iterations, or initialise the recurrent kernel "
                "smaller"
            )
        return solution
    return ops.where((change <= tolerance)[:, None, None], solution, float("nan"))


def check_method(method, iterations, tolerance):
    """Raise ValueError for what `parallel_recurrence` does not know."""
    if method not in METHODS:
        raise ValueError(f"method={method!r}; expected one of {', '.join(METHODS)}")
    if iterations is not None and (isinstance(iterations, bool) or iterations != int(iterations) or iterations < 1):
        raise ValueError(f"iterations={iterations!r}; expected a whole number of at least 1, or None")
    if tolerance is None and iterations is None:
        raise ValueError("tolerance=None without iterations; expected one of the two to end the iterations")


def check_cell(cell):
    """Raise ValueError for a cell that cannot be computed in parallel."""
    if cell.compute_dtype not in ("float32", "float64"):
        raise ValueError(
            f"{cell.name} computes in {cell.compute_dtype}, in which products of many slopes mean nothing; make it with "
            "dtype='float32'"
        )
    if getattr(cell, "dropout", 0) or getattr(cell, "recurrent_dropout", 0):
        raise ValueError(f"{cell.name} has dropout, whose masks belong to steps; use dropout before the layer")


@keras.saving.register_keras_serializable(package="zoo")
class ParallelRNN(PlainNumbers, keras.layers.Layer):
    """`keras.layers.RNN` computed for all steps at once, see `parallel_recurrence`.

    Args:
        cell, method, iterations, tolerance: as there. A cell made under a mixed policy needs `dtype="float32"`.
        return_sequences: bool, outputs of all steps, or of the last real one.
        return_state: bool, the last states too.

    Inputs: float `[B, T, m]`; padding_mask bool `[B, T]`; initial_state as in `parallel_recurrence`. Output: float
    `[B, T, units]` or `[B, units]` in the compute dtype, 0 at padding; with return_state a list of it and the states.
    """

    def __init__(
        self,
        cell,
        method="newton",
        iterations=None,
        tolerance=1e-5,
        return_sequences=False,
        return_state=False,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        check_method(method, iterations, tolerance)
        check_cell(cell)
        self.cell, self.method, self.iterations, self.tolerance = cell, method, iterations, tolerance
        self.return_sequences, self.return_state = return_sequences, return_state

    def build(self, inputs_shape):
        if not self.cell.built:
            self.cell.build((inputs_shape[0], inputs_shape[-1]))

    def call(self, inputs, padding_mask=None, initial_state=None):
        outputs, states = parallel_recurrence(
            self.cell,
            inputs,
            initial_state,
            self.method,
            self.iterations,
            self.tolerance,
            padding_mask,
            return_state=True,
        )
        if not self.return_sequences:
            outputs = outputs[:, -1] if padding_mask is None else _last_real(outputs, padding_mask)
        outputs = ops.cast(outputs, self.compute_dtype)
        return [outputs, *(ops.cast(state, self.compute_dtype) for state in states)] if self.return_state else outputs

    def compute_output_spec(self, inputs, padding_mask=None, initial_state=None):
        width, sizes = self.cell.output_size, self.cell.state_size
        shape = (*inputs.shape[:2], width) if self.return_sequences else (inputs.shape[0], width)
        outputs = keras.KerasTensor(shape, dtype=self.compute_dtype)
        if not self.return_state:
            return outputs
        sizes = sizes if isinstance(sizes, list | tuple) else [sizes]
        return [outputs, *(keras.KerasTensor((inputs.shape[0], size), dtype=self.compute_dtype) for size in sizes)]

    def get_config(self):
        return {
            **super().get_config(),
            "cell": keras.saving.serialize_keras_object(self.cell),
            "method": self.method,
            "iterations": self.iterations,
            "tolerance": self.tolerance,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
        }

    @classmethod
    def from_config(cls, config):
        return cls(
            keras.saving.deserialize_keras_object(config["cell"]), **{k: v for k, v in config.items() if k != "cell"}
        )


def _last_real(outputs, padding_mask):
    """Outputs `[B, units]` of the last real step of each row, 0 where there is none."""
    steps = ops.arange(1, outputs.shape[1] + 1, dtype="int32")
    last = ops.max(ops.where(ops.cast(padding_mask, "bool"), steps, 0), axis=1)
    return ops.sum(ops.where((steps == last[:, None])[..., None], outputs, 0.0), axis=1)
