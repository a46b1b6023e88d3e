"""The only module that asks which backend runs (TensorFlow, JAX or PyTorch)."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from keras import ops


def dense_lookup(table, ids):
    """Rows of a table, with a dense gradient on every backend.

    TensorFlow's own gather gives a sparse gradient whose repeated rows Keras' Adam, AdamW and
    `global_clipnorm` do not add up, so that repeated ids are trained with wrong numbers there.

    Args:
        table: float `[V, d]`, a variable or tensor.
        ids: int `[...]`.

    Returns:
        float `[..., d]`.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.take(table, ids, axis=0)
    import tensorflow as tf

    @tf.custom_gradient
    def lookup(rows):
        def gradient(upstream):
            flat = tf.reshape(upstream, [-1, rows.shape[-1]])
            return tf.math.unsorted_segment_sum(flat, tf.reshape(ids, [-1]), rows.shape[0])

        return tf.gather(rows, ids), gradient

    return lookup(tf.convert_to_tensor(table))


def dense_gradient(gradient):
    """A gradient as a tensor: TensorFlow's of a lookup in foreign layers comes as rows, repeated ones not added up."""
    if gradient is None or keras.backend.backend() != "tensorflow":
        return gradient
    import tensorflow as tf

    return tf.convert_to_tensor(gradient)


def eagerly():
    """A context in which variables have values to look at, also where TensorFlow is tracing a graph."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.init_scope()


def together(tensors):
    """The same float32 tensors, of which none is there before all are.

    For what is computed from variables before an update. TensorFlow's graph optimizer drops the order of a read and an
    update where it sees another path between them, and later removes that path (the `IdentityN` over all gradients that
    Keras' optimizers put there): such a read then sees now the old and now the new value. Data has to flow.
    """
    if keras.backend.backend() != "tensorflow":
        return list(tensors)
    import tensorflow as tf

    packed = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
    results, start = [], 0
    for tensor in tensors:
        size = tensor.shape.num_elements()
        results.append(tf.reshape(tf.slice(packed, [start], [size]), tensor.shape))
        start += size
    return results


def add_product(variable, left, right):
    """variable += left · right, in one pass over it where the backend can.

    Args:
        variable: of any shape, with n · m entries, taken as `[n, m]`.
        left: `[n, k]`. right: `[k, m]`.
    """
    if keras.backend.backend() == "torch":
        import torch

        with torch.no_grad():
            variable.value.view(left.shape[0], right.shape[1]).addmm_(left, right)
        return
    product = ops.reshape(ops.matmul(left, right), variable.shape)
    if keras.backend.backend() == "tensorflow":
        variable.value.assign_add(product)
    else:
        variable.assign_add(product)


def fused_adam_step(variable, gradient, momentum, velocity, learning_rate, iterations, beta_1, beta_2, epsilon):
    """Keras' Adam step of one variable by torch's kernel; False, and nothing done, where there is none.

    Args:
        variable, momentum, velocity: variables, changed. gradient: tensor. learning_rate: scalar. iterations: int, steps
            before this one. beta_1, beta_2, epsilon: float.
    """
    if keras.backend.backend() != "torch":
        return False
    from zoo.backend_torch import fused_adam_step

    return fused_adam_step(variable, gradient, momentum, velocity, learning_rate, iterations, beta_1, beta_2, epsilon)


def affine(x, kernel, bias):
    """x W + b, in one kernel on torch, where adding the bias apart is 5 to 15 % of a projection; XLA fuses it itself.

    Args:
        x: float `[..., m]`. kernel: float `[m, k]`. bias: float `[k]` or None.
    """
    if bias is not None and keras.backend.backend() == "torch":
        import torch

        x, kernel, bias = (ops.convert_to_tensor(part) for part in (x, kernel, bias))
        return torch.nn.functional.linear(x, kernel.t(), bias)
    product = ops.matmul(x, kernel)
    return product if bias is None else ops.add(product, bias)


def layer_norm(x, gamma, beta, epsilon):
    """(x − mean) / sqrt(var + ε) · γ + β over the last axis, in float32, in the dtype of x.

    torch has one kernel for it. Elsewhere Keras' formula, x / std − mean / std, loses digits where the mean is large,
    and the compilers fuse the plain one.

    Args:
        x: float `[..., d]`. gamma, beta: float `[d]`, or None for 1 and 0.
    """
    if keras.backend.backend() == "torch":
        import torch

        x = ops.convert_to_tensor(x)
        if x.device.type == "cpu":  # its kernel reads half and writes half, and computes in float32 with float32 gains
            gamma, beta = (None if part is None else ops.convert_to_tensor(part) for part in (gamma, beta))
            return torch.nn.functional.layer_norm(x, x.shape[-1:], gamma, beta, epsilon)
        return ops.layer_normalization(x, gamma, beta, epsilon=epsilon)
    wide = ops.cast(x, "float32")
    wide = wide - ops.mean(wide, axis=-1, keepdims=True)
    normal = wide * ops.rsqrt(ops.mean(ops.square(wide), axis=-1, keepdims=True) + epsilon)
    if gamma is not None:
        normal = normal * ops.cast(gamma, "float32") + ops.cast(beta, "float32")
    return ops.cast(normal, x.dtype)


def dropout(x, rate, noise_shape, seed):
    """Dropout in training; on torch's CPU each element costs 16 random bits and not a number of its own.

    torch draws one after the other on one core, which was a tenth of a training step. Its global generator is the
    source either way; `seed` is that of the other backends.

    Args:
        x: float. rate: float in (0, 1), there a multiple of 1/65,536. noise_shape: tuple or None, see
            `keras.layers.Dropout`. seed: `keras.random.SeedGenerator`.
    """
    if keras.backend.backend() == "torch":
        import torch

        x = ops.convert_to_tensor(x)
        if x.device.type == "cpu" and noise_shape is None and rate < 1:
            bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
            kept = (bits[: x.numel()] >= round(rate * 2**16) - 2**15).view(x.shape)
            return x * kept.to(x.dtype).mul_(1 / (1 - rate))
    return keras.random.dropout(x, rate, noise_shape=noise_shape, seed=seed)


def rotate_pairs(x, cos, sin):
    """Features 2i, 2i+1 turned by the angle i: a product of complex numbers, one pass on torch; XLA fuses the plain form.

    Args:
        x: float32 `[..., s]`. cos, sin: float32 `[..., s/2]`, broadcastable to the pairs.
    """
    if keras.backend.backend() == "torch":
        import torch

        if any(step % 2 for step in (*x.stride()[:-1], x.storage_offset())) or x.stride(-1) != 1:
            x = x.contiguous()  # a cut at odd places holds no complex numbers
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2)
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = ops.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1)  # [..., s/2, 2]
    return ops.reshape(rotated, ops.shape(x))


def compiles_each_shape(model):
    """Whether a new shape of inputs costs a model seconds: compiled it does, in TensorFlow's graphs and eager torch not."""
    return not model.run_eagerly and (keras.backend.backend() == "jax" or bool(model.jit_compile))


def ignoring_distribution():
    """Name of the backend where it would accept a `keras.distribution` and then do nothing, else None."""
    name = keras.backend.backend()
    return None if name == "jax" else name


def compiled(function):
    """A function of tensors that is compiled once a shape, also where the caller runs op by op.

    JAX and TensorFlow spend 0.1 ms on each small operation outside of a compiled step; torch does not.
    """
    name = keras.backend.backend()
    if name == "jax":
        import jax

        return jax.jit(function)
    if name == "tensorflow":
        import tensorflow as tf

        return tf.function(function, reduce_retracing=True, autograph=False)
    return function


def compiled_step(function, variables):
    """`function(state, *inputs)` -> (outputs, state), compiled once a shape, for loops that carry a state; no gradients.

    Args:
        function: of tensors, arrays, ints (compiled as tensors) and None; reads the variables itself.
        variables: every variable that it reads; each call sees the values of its time. On JAX the memory of the state is
            handed on to the next one, so that a cache is written in place: the caller's state is gone.
    """
    name = keras.backend.backend()
    if name == "jax":
        import jax

        def pure(state, values, *inputs):
            with keras.StatelessScope(state_mapping=list(zip(variables, values))):
                return function(state, *inputs)

        step = jax.jit(pure, donate_argnums=0)
        return lambda state, *inputs: step(state, _values(variables), *inputs)
    if name == "tensorflow":
        import tensorflow as tf

        step = tf.function(function, autograph=False)
        # a Python int would be traced anew for each of its values
        tensor = lambda x: tf.constant(x, "int32") if isinstance(x, int) else x
        return lambda state, *inputs: step(state, *map(tensor, inputs))
    from zoo.backend_torch import traced_step  # imports torch

    return traced_step(function, variables)


def in_groups_by_length(function, inputs):
    """A function of rows of tokens, computed where shapes may differ (torch's CPU) for groups of similar length.

    Their padding is cut off, which changes no row: a fifth of a batch of mixed lengths need not be computed.

    Args:
        function: of a dict like `inputs`, gives a tensor `[B, d]`, each row a function of its own row.
        inputs: dict of tensors `[B, n]`, among them `padding_mask`.
    """
    if keras.backend.backend() != "torch":
        return function(inputs)
    from zoo.backend_torch import in_groups_by_length

    return in_groups_by_length(function, inputs)


def concurrently(function, items):
    """Results of a function that does not train, for each item, in their order; on torch's CPU in threads, a core each.

    An operation of a small model is too short to be shared by cores, and Python between two of them leaves all cores but
    one idle. The compilers of the other backends share a whole step.

    Args:
        function: of one item; it may run in several threads. items: sequence.

    Yields:
        results.
    """
    cores = 1
    if keras.backend.backend() == "torch" and ops.zeros(()).device.type == "cpu":
        import torch

        cores = torch.get_num_threads()
    workers = min(cores, len(items))
    if workers < 2:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(cores // workers,))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # a library below torch has one number for all threads


def random_state():
    """States of generators that are no Keras variables, by name: uint8 arrays.

    Keras' Dropout draws from its own seed, except on torch, where it draws from torch's global generators.
    """
    if keras.backend.backend() != "torch":
        return {}
    import torch

    states = {"torch_cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"torch_cuda_{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return {name: state.numpy().copy() for name, state in states.items()}


def set_random_state(states):
    """Put generators back into states that `random_state` gave; those that this machine lacks are passed over."""
    if keras.backend.backend() != "torch":
        return
    import torch

    for name, state in states.items():
        state = torch.from_numpy(np.array(state, "uint8"))
        device = name.removeprefix("torch_cuda_")
        if name == "torch_cpu":
            torch.set_rng_state(state)
        elif device.isdecimal() and int(device) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, int(device))


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


def latest_values(model, name):
    """Values of the optimizer's variables of this name between two steps of `fit`, a list of floats."""
    found = [index for index, variable in enumerate(model.optimizer.variables) if variable.name == name]
    values = _values(model.optimizer.variables)
    if keras.backend.backend() == "jax" and getattr(model, "_jax_state", None) and not model._jax_state_synced:
        values = model._jax_state["optimizer_variables"]  # inside an epoch the variables themselves are empty
    return [float(ops.convert_to_numpy(values[index])) for index in found]


def refuse_non_finite(optimizer):
    """Make an optimizer leave weights and moments as they are when the loss or a gradient is NaN or infinite.

    A LossScaleOptimizer does so by itself. Costs one sum over each gradient.

    Returns:
        bool, whether anything was changed; a function that was compiled before does not know of the change.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) or getattr(optimizer, "refuses_non_finite", False):
        return False
    scale_loss, name = optimizer.scale_loss, keras.backend.backend()

    def finite(gradients):
        # A tensor's sum is finite only if all of it is.
        if name == "tensorflow":  # a sparse gradient counts by its rows
            gradients = [getattr(gradient, "values", gradient) for gradient in gradients]
        sums = [ops.cast(ops.sum(gradient), "float32") for gradient in gradients if gradient is not None]
        return ops.isfinite(ops.sum(ops.stack(sums)))

    def scaled(loss):
        # A loss that is not finite makes every gradient NaN. A factor, since `where` of the loss would do so always.
        return scale_loss(loss) * ops.stop_gradient(ops.where(ops.isfinite(loss), 1.0, float("nan")))

    if name == "jax":
        stateless_apply = optimizer.stateless_apply

        def guarded(optimizer_variables, gradients, trainable_variables):
            return ops.cond(
                finite(gradients),
                lambda: stateless_apply(optimizer_variables, gradients, trainable_variables),
                lambda: (list(trainable_variables), list(optimizer_variables)),
            )

        optimizer.stateless_apply = guarded
    else:
        apply = optimizer.apply

        def guarded(gradients, trainable_variables=None):
            if not optimizer.built:  # not inside the branch, where TensorFlow makes no variables
                optimizer.build(list(trainable_variables))
            ops.cond(finite(gradients), lambda: apply(gradients, trainable_variables), lambda: None)

        optimizer.apply = guarded
    optimizer.scale_loss, optimizer.refuses_non_finite = scaled, True
    return True


def gradients_of(model, x, y, sample_weight):
    """Gradients of a compiled model's loss by its trainable variables, computed op by op.

    Returns:
        list of float32 NumPy arrays, None where the loss does not depend on a variable.
    """
    name, variables = keras.backend.backend(), _values(model.trainable_variables)
    if name == "jax":
        import jax

        state = (_values(model.non_trainable_variables), _values(model.metrics_variables))
        gradients, _ = jax.grad(model.compute_loss_and_updates, has_aux=True)(
            variables, *state, x, y, sample_weight, True, _values(model.optimizer.variables)
        )
    elif name == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True), sample_weight, training=True)
        gradients = [None if g is None else tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
    else:
        import torch

        loss = model.compute_loss(x, y, model(x, training=True), sample_weight, training=True)
        gradients = torch.autograd.grad(loss, variables, allow_unused=True)
    return [None if g is None else ops.convert_to_numpy(ops.cast(g, "float32")) for g in gradients]


class MicroSteps:
    """Forward and backward passes of a model apart from each other, for gradients that are cached between them.

    Both run in training mode and draw dropout masks from the model's seeds, so that a backward pass sees the masks
    of the forward pass when the seeds have been put back.

    Args:
        model: a compiled keras.Model, called with a dict of arrays.
    """

    def __init__(self, model):
        self.model, self.optimizer = model, model.optimizer
        self.name = keras.backend.backend()
        if self.name == "jax":
            import jax

            def outputs(trainable, state, x):
                return model.stateless_call(trainable, state, x, training=True)

            def objective(trainable, state, x, upstream):
                y, state = outputs(trainable, state, x)
                return (y * upstream).sum(), state

            self._forward = jax.jit(outputs)
            self._backward = jax.jit(jax.grad(objective, has_aux=True))
            self._update = jax.jit(self.optimizer.stateless_apply)
            self._loss = jax.jit(jax.value_and_grad(self._loss_of))
        elif self.name == "tensorflow":
            import tensorflow as tf

            def gradients(x, upstream):
                with tf.GradientTape() as tape:
                    objective = tf.reduce_sum(model(x, training=True) * upstream)
                variables = _values(model.trainable_variables)
                # a variable that the output does not depend on (a foreign backbone's pooler) has gradient 0
                none = tf.UnconnectedGradients.ZERO
                return [
                    tf.convert_to_tensor(g) for g in tape.gradient(objective, variables, unconnected_gradients=none)
                ]

            self._forward = tf.function(lambda x: model(x, training=True), reduce_retracing=True)
            self._backward = tf.function(gradients, reduce_retracing=True)

    def forward(self, x):
        """Output of the model as a NumPy array; advances the seeds, keeps no activations."""
        if self.name == "torch":
            import torch

            with torch.no_grad():
                return ops.convert_to_numpy(self.model(x, training=True))
        x = {name: ops.convert_to_tensor(array) for name, array in x.items()}
        if self.name == "tensorflow":
            return ops.convert_to_numpy(self._forward(x))
        y, state = self._forward(_values(self.model.trainable_variables), self._state(), x)
        self._set_state(state)
        return ops.convert_to_numpy(y)

    def loss(self, outputs, labels, weights):
        """Loss of outputs, float32 arrays, and its gradient by them: float, float32 array."""
        labels = ops.convert_to_tensor(labels)
        if self.name != "jax":
            return value_and_gradient(lambda y_pred: self._loss_of(y_pred, labels, weights), outputs)
        value, gradient = self._loss(outputs, labels, weights)
        return float(value), ops.convert_to_numpy(gradient)

    def _loss_of(self, outputs, labels, weights):
        return self.model.compute_loss(None, labels, outputs, weights, training=True)

    def backward(self, x, upstream):
        """Gradients of sum(output · upstream) by the trainable variables, list of tensors; advances the seeds."""
        upstream = ops.convert_to_tensor(upstream)
        if self.name == "torch":
            variables = _values(self.model.trainable_variables)
            import torch

            objective = (self.model(x, training=True) * upstream).sum()
            return list(torch.autograd.grad(objective, variables, allow_unused=True, materialize_grads=True))
        x = {name: ops.convert_to_tensor(array) for name, array in x.items()}
        if self.name == "tensorflow":
            return self._backward(x, upstream)
        gradients, state = self._backward(_values(self.model.trainable_variables), self._state(), x, upstream)
        self._set_state(state)
        return list(gradients)

    def update(self, gradients):
        """One step of the optimizer that the model was compiled with when this was made."""
        variables = self.model.trainable_variables
        if not self.optimizer.built:
            self.optimizer.build(variables)
        if self.name != "jax":
            self.optimizer.apply(gradients, variables)
            return
        state = self.optimizer.variables  # one compiled function instead of some ten small ones a weight
        values, new_state = self._update(_values(state), gradients, _values(variables))
        for variable, value in zip([*variables, *state], [*values, *new_state]):
            variable.assign(value)

    def _state(self):
        return _values(self.model.non_trainable_variables)

    def _set_state(self, values):
        for variable, value in zip(self.model.non_trainable_variables, values):
            variable.assign(value)


def _values(variables):
    return [variable.value for variable in variables]


def value_and_gradient(function, x):
    """A scalar function and its gradient at an array.

    Args:
        function: from a float32 tensor to a scalar tensor, written with `keras.ops`.
        x: float32 array.

    Returns:
        float, float32 NumPy array of the shape of x.
    """
    name = keras.backend.backend()
    if name == "jax":
        import jax

        value, gradient = jax.value_and_grad(function)(ops.convert_to_tensor(x))
    elif name == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        gradient = tape.gradient(value, x)
    else:
        x = ops.convert_to_tensor(x).clone().requires_grad_()
        value = function(x)
        import torch

        (gradient,) = torch.autograd.grad(value, x)
    return float(ops.convert_to_numpy(value)), ops.convert_to_numpy(gradient)
