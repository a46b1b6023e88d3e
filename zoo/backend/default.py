"""What each function of `zoo.backend` does, in `keras.ops`: for every backend that has nothing of its own for it."""

import contextlib
import functools
import math
import threading

import keras
import numpy as np
from keras import ops

# What is compiled


def compiles_each_shape(model):
    """Whether a new shape of inputs costs a model seconds: compiled it does, in TensorFlow's graphs and eager torch not."""
    return not model.run_eagerly and bool(model.jit_compile)


def ignoring_distribution():
    """Name of the backend where it would accept a `keras.distribution` and then do nothing, else None."""
    return keras.backend.backend()


def compiled(function):
    """A function of tensors that is compiled once a shape, also where the caller runs op by op.

    JAX and TensorFlow spend 0.1 ms on each small operation outside of a compiled step; torch does not.
    """
    return function


# Formulas of layers


def affine(x, kernel, bias):
    """x W + b.

    Args:
        x: float `[..., m]`. kernel: float `[m, k]`. bias: float `[k]` or None.
    """
    product = ops.matmul(x, kernel)
    return product if bias is None else ops.add(product, bias)


def dense_lookup(table, ids):
    """Rows of a table, with a dense gradient.

    Args:
        table: float `[V, d]`, a variable or tensor.
        ids: int `[...]`.

    Returns:
        float `[..., d]`; NaN for an id that is not from 0 to V - 1, where the backend cannot raise.
    """
    raise NotImplementedError(keras.backend.backend())


def layer_norm(x, gamma, beta, epsilon):
    """(x − mean) / sqrt(var + ε) · γ + β over the last axis, in float32, in the dtype of x.

    Keras' formula, x / std − mean / std, loses digits where the mean is large; the compilers fuse the plain one.

    Args:
        x: float `[..., d]`. gamma, beta: float `[d]`, or None for 1 and 0.
    """
    wide = ops.cast(x, "float32")
    wide = wide - ops.mean(wide, axis=-1, keepdims=True)
    normal = wide * ops.rsqrt(ops.mean(ops.square(wide), axis=-1, keepdims=True) + epsilon)
    if gamma is not None:
        normal = normal * ops.cast(gamma, "float32") + ops.cast(beta, "float32")
    return ops.cast(normal, x.dtype)


def dropout(x, rate, noise_shape, seed):
    """Dropout in training.

    Args:
        x: float. rate: float in (0, 1). noise_shape: tuple or None, see `keras.layers.Dropout`. seed:
            `keras.random.SeedGenerator`.
    """
    return keras.random.dropout(x, rate, noise_shape=noise_shape, seed=seed)


def rotate_pairs(x, cos, sin):
    """Features 2i, 2i+1 turned by the angle i.

    Args:
        x: float32 `[..., s]`. cos, sin: float32 `[..., s/2]`, broadcastable to the pairs.
    """
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = ops.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1)  # [..., s/2, 2]
    return ops.reshape(rotated, ops.shape(x))


def row_cross_entropy(labels, logits):
    """−log softmax(logits)[label] of each row.

    Args:
        labels: int `[N]`. logits: float32 `[N, V]`.
    """
    return ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)


# Gradients and updates


def values(variables):
    """The tensors of variables."""
    return [variable.value for variable in variables]


class MicroSteps:
    """Forward and backward passes of a model apart from each other, for gradients that are cached between them.

    Both run in training mode and draw dropout masks from the model's seeds, so that a backward pass sees the masks
    of the forward pass when the seeds have been put back. `forward`, `loss` and `backward` are each backend's own.

    Args:
        model: a compiled keras.Model, called with a dict of arrays.
    """

    def __init__(self, model):
        self.model, self.optimizer = model, model.optimizer

    def forward(self, x):
        """Output of the model as a NumPy array; advances the seeds, keeps no activations."""
        raise NotImplementedError

    def loss(self, outputs, labels, weights):
        """Loss of outputs, float32 arrays, and its gradient by them: float, float32 array."""
        raise NotImplementedError

    def loss_of(self, outputs, labels, weights):
        return self.model.compute_loss(None, labels, outputs, weights, training=True)

    def backward(self, x, upstream):
        """Gradients of sum(output · upstream) by the trainable variables, list of tensors; advances the seeds."""
        raise NotImplementedError

    def update(self, gradients):
        """One step of the optimizer that the model was compiled with when this was made."""
        self.built_optimizer().apply(gradients, self.model.trainable_variables)

    def built_optimizer(self):
        if not self.optimizer.built:
            self.optimizer.build(self.model.trainable_variables)
        return self.optimizer


def gradient_function(model, objective, variables):
    """A function to a loss and its gradients, compiled where the backend compiles. Advances the model's seeds.

    Args:
        model: a compiled keras.Model, whose optimizer scales the loss that is differentiated.
        objective: function of tensors, or nested dicts of them, to a scalar loss.
        variables: list of trainable variables, by which it is differentiated.

    Returns:
        function of the objective's arguments as arrays, to (float, list of tensors in the order of the variables).
    """
    raise NotImplementedError(keras.backend.backend())


def gram_matrix(gradients):
    """Products of gradients.

    Args:
        gradients: n lists of tensors, each of the same shapes.

    Returns:
        float32 `[n, n]`.
    """
    rows = [[ops.cast(part, "float32") for part in gradient] for gradient in gradients]
    products = {}
    for i, a in enumerate(rows):
        for j, b in enumerate(rows[: i + 1]):
            products[i, j] = products[j, i] = sum((ops.sum(x * y) for x, y in zip(a, b)), ops.zeros((), "float32"))
    return ops.stack([ops.stack([products[i, j] for j in range(len(rows))]) for i in range(len(rows))])


def weighted_sum(gradients, factors):
    """Σ w_i g_i of n lists of tensors of the same shapes, as such a list; factors float32 `[n]`."""
    return [sum(ops.cast(factors[i], part.dtype) * part for i, part in enumerate(parts)) for parts in zip(*gradients)]


def to_arrays(gradients):
    """Gradients as float32 NumPy arrays, None for none."""
    return [None if gradient is None else ops.convert_to_numpy(ops.cast(gradient, "float32")) for gradient in gradients]


def dense_gradient(gradient):
    """A gradient as a tensor, None for none."""
    return gradient


def outside_graph():
    """A context outside the graph that is being traced, in which variables have values (`tf.init_scope`)."""
    return contextlib.nullcontext()


def snapshot(tensors):
    """The same float32 tensors, all computed before any variable that is assigned later changes."""
    return list(tensors)


def add_product(variable, left, right):
    """variable += left · right, in one pass over it where the backend can.

    Args:
        variable: of any shape, with n · m entries, taken as `[n, m]`.
        left: `[n, k]`. right: `[k, m]`.
    """
    variable.assign_add(ops.reshape(ops.matmul(left, right), variable.shape))


def fused_adam(base):
    """A class to inherit from instead of `keras.optimizers.Adam` or `AdamW`, with the backend's kernel for their steps."""
    return base


def allow_no_decay(optimizer):
    """Let an optimizer take steps in which nothing decays."""


# Inside `fit` and `encode`


def has_value(tensor):
    """Whether a tensor's numbers are there to look at: not while JAX or TensorFlow trace a function."""
    return True


def latest_values(model, name, tensors=None):
    """Values of the optimizer's variables of this name between two steps of `fit`, a list of floats."""
    variables = model.optimizer.variables
    tensors = values(variables) if tensors is None else tensors
    return [float(ops.convert_to_numpy(x)) for x, variable in zip(tensors, variables) if variable.name == name]


def pass_over(model, steps, put_back_metrics):
    """Let the first steps of an epoch of `fit` read their batches and compute nothing: they were done before a break.

    Args:
        model: a model inside `fit`, before the first step of the epoch.
        steps: int.
        put_back_metrics: function that gives the model's metrics their values; False when there are too few of them.
    """
    function, ready = model.train_function, put_back_metrics()
    if function is None:  # big batches, whose loop knows by itself where it begins
        return
    logs, left = model.get_metrics_result() if ready else {}, -(-steps // model.steps_per_execution)

    def step(*arguments):
        nonlocal ready, logs, left
        *state, batches = arguments  # torch: a list of batches; TensorFlow: an iterator; JAX: its state and an iterator
        if not isinstance(batches, list):
            batches = [batch for _, batch in zip(range(model.steps_per_execution), batches)]
        if not ready:  # TensorFlow makes metrics when it first computes them
            model.test_step(batches[0])
            put_back_metrics()
            ready, logs = True, model.get_metrics_result()
        left -= 1
        if not left:
            model.train_function = function
        return (logs, *state) if state else logs

    model.train_function = step


def refuse_non_finite(optimizer, guard=None):
    """Make an optimizer leave weights and moments as they are when the loss or a gradient is NaN or infinite.

    A LossScaleOptimizer does so by itself. Costs one sum over each gradient.

    Args:
        guard: function of the optimizer that lets it apply only finite gradients; the backend's.

    Returns:
        bool, whether anything was changed; a function that was compiled before does not know of the change.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) or getattr(optimizer, "refuses_non_finite", False):
        return False
    scale_loss = optimizer.scale_loss

    def scaled(loss):
        # A loss that is not finite makes every gradient NaN. A factor, since `where` of the loss would do so always.
        return scale_loss(loss) * ops.stop_gradient(
            ops.cast(ops.where(ops.isfinite(loss), 1.0, float("nan")), loss.dtype)
        )

    (guard or guard_apply)(optimizer)
    optimizer.scale_loss, optimizer.refuses_non_finite = scaled, True
    return True


def guard_apply(optimizer, parts=lambda gradient: gradient):
    """For `refuse_non_finite`; `parts` gives the numbers of a gradient."""
    apply = optimizer.apply

    def guarded(gradients, trainable_variables=None):
        if not optimizer.built:  # not inside the branch, where TensorFlow makes no variables
            optimizer.build(list(trainable_variables))
        finite = all_finite([None if gradient is None else parts(gradient) for gradient in gradients])
        ops.cond(finite, lambda: apply(gradients, trainable_variables), lambda: None)

    optimizer.apply = guarded


def all_finite(gradients):
    """Whether all numbers are finite: the sum of a tensor is only if all of it is. None counts as such."""
    sums = [ops.cast(ops.sum(gradient), "float32") for gradient in gradients if gradient is not None]
    return ops.isfinite(ops.sum(ops.stack(sums)))


def random_state():
    """States of generators that are no Keras variables, by name: uint8 arrays."""
    return {}


def set_random_state(states):
    """Put generators back into states that `random_state` gave; those that this machine lacks are passed over."""


def concurrently(function, items):
    """Results of a function that does not train, for each item, in their order.

    Args:
        function: of one item; it may run in several threads. items: sequence.

    Yields:
        results.
    """
    yield from map(function, items)


def predict_function(model):
    """A function from a batch of arrays to the outputs of a model; it may be called from several threads at once."""
    return functools.partial(keras.Model.predict_on_batch, model)  # zoo's own lets one thread in at a time


def weights_kept(model, trains=False):
    """A context in which an error in one of Keras' verbs leaves the weights, and all other variables, as they were.

    Args:
        trains: bool, whether the verb is `fit`.

    Raises:
        RuntimeError: another thread's `fit` has the weights; JAX alone.
    """
    return contextlib.nullcontext()


class ReadingVerbs:
    """A `keras.Model` whose `predict` and `evaluate` on arrays leave its weights where they are; mixed in before it."""


def looked_at(x):
    """The numbers of an array or tensor, or None where they are not there or to look at them costs something.

    They are not while a function is traced or compiled, and on a GPU they cost a wait.
    """
    return np.asarray(x) if isinstance(x, np.ndarray | list | tuple) else None


def padding_is_left_out(model, mask, training):
    """Whether a batch is computed without its padding: where a new shape costs nothing, from 5 % of it on.

    Args:
        model: that computes it. mask: bool `[B, n]`, True at real tokens. training: bool or None.
    """
    return False


def much_padding(mask):
    return int(ops.sum(ops.cast(mask, "int32"))) < 0.95 * math.prod(mask.shape)


def take_rows(x, places):
    """Rows `[T, ...]` at distinct places of `[N, ...]`."""
    return ops.take(x, places, axis=0)


def put_rows(x, places, count):
    """Rows of `[T, d]` at distinct places of zeros `[count, d]`."""
    return ops.scatter(ops.expand_dims(places, 1), x, (count, x.shape[1]))


def keep_freed_memory():
    """Let this process keep the memory of arrays it frees, for the next ones, until `give_back_freed_memory`.

    Returns:
        bool, whether something was changed.
    """
    return False


def give_back_freed_memory():
    """Give the system all memory that this process has freed."""


# Sorting


def sorting_order(x):
    """Places of `x` `[n]` in rising order, and for each of them how many numbers are smaller; int32 `[n]` twice."""
    order = ops.cast(ops.argsort(x), "int32")
    x = ops.take(x, order)
    return order, ops.cast(ops.searchsorted(x, x), "int32")


def ordering_in_float64(labels, scores, weights, widest=300.0):
    """Value and gradient of `zoo.losses.ordering.ordering_loss` at once, or None where there is no shorter way to them."""
    return None


# Once

_MAKING = threading.RLock()  # of the process: an object that holds a lock could not be copied


def made_once(owner, name, make):
    """The attribute of an object, made by the first thread that asks for it.

    Args:
        owner: object with a `__dict__`; Keras does not track the attribute. name: str. make: function of nothing.
    """
    if name not in vars(owner):
        with _MAKING:
            if name not in vars(owner):
                vars(owner)[name] = make()
    return vars(owner)[name]
