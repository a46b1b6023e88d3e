"""What TensorFlow has of its own, see `default` for what each function does."""

import keras
import tensorflow as tf
from keras import ops

from . import default
from .default import values


def compiled(function):
    return tf.function(function, reduce_retracing=True, autograph=False)


def compiled_step(function, variables):
    step = tf.function(function, autograph=False)
    # a Python int would be traced anew for each of its values
    tensor = lambda x: tf.constant(x, "int32") if isinstance(x, int) else x
    return lambda state, *inputs: step(state, *map(tensor, inputs))


# Formulas of layers


def dense_lookup(table, ids):
    """TensorFlow's own gather gives a sparse gradient, whose repeated rows Keras' Adam, AdamW and `global_clipnorm` do
    not add up: repeated ids would be trained with wrong numbers. And of ids beyond the table it gives 0 on a GPU, the last row
    under XLA and an error on a CPU.
    """
    table = tf.convert_to_tensor(table)
    known = tf.logical_and(ids >= 0, ids < table.shape[0])
    places = tf.where(known, ids, 0)
    spoilt = tf.where(known, tf.constant(0.0, table.dtype), tf.constant(float("nan"), table.dtype))

    @tf.custom_gradient
    def lookup(rows):
        def gradient(upstream):
            flat = tf.reshape(upstream, [-1, rows.shape[-1]])
            return tf.math.unsorted_segment_sum(flat, tf.reshape(places, [-1]), rows.shape[0])

        return tf.gather(rows, places) + spoilt[..., None], gradient

    return lookup(table)


def rotate_pairs(x, cos, sin):
    sin = ops.stack([-sin, sin], axis=-1)
    return x * ops.repeat(cos, 2, axis=-1) + _swap_pairs(x) * ops.reshape(sin, (*ops.shape(sin)[:-2], -1))


@tf.custom_gradient
def _swap_pairs(x):
    """Features 2i and 2i+1 in each other's places: TensorFlow's slices of every second one take ten times as long.

    A pair is one number of 64 bits, whose halves change places. It would be one complex number too, but not under XLA.
    """
    pairs, half = tf.bitcast(tf.reshape(x, (*ops.shape(x)[:-1], -1, 2)), tf.uint64), tf.constant(32, tf.uint64)
    pairs = tf.bitwise.bitwise_or(tf.bitwise.left_shift(pairs, half), tf.bitwise.right_shift(pairs, half))
    return tf.reshape(tf.bitcast(pairs, tf.float32), tf.shape(x)), _swap_pairs


def dropout(x, rate, noise_shape, seed):
    """16 random bits an element, and not a number of its own: the rate is a multiple of 1/65,536."""
    x = ops.convert_to_tensor(x)
    if noise_shape is not None or rate >= 1:
        return default.dropout(x, rate, noise_shape, seed)
    size, threshold = tf.size(x), round(rate * 2**16) - 2**15  # of whole numbers from -2^15 on
    bits = tf.random.stateless_uniform([(size + 3) // 4], tf.cast(seed.next(), tf.int64), None, None, tf.int64)
    kept = tf.reshape(tf.bitcast(bits, tf.int16), [-1])[:size] >= threshold
    return x * (tf.cast(tf.reshape(kept, tf.shape(x)), x.dtype) * (1 / (1 - rate)))


# Gradients and updates


def dense_gradient(gradient):
    """That of a lookup in foreign layers comes as rows, repeated ones not added up."""
    return None if gradient is None else tf.convert_to_tensor(gradient)


def gradient_inside(function, x):
    x = tf.stop_gradient(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tf.stop_gradient(tape.gradient(value, x))


def has_value(tensor):
    return tf.executing_eagerly()


def value_and_gradient(function, x):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return float(value), ops.convert_to_numpy(tape.gradient(value, x))


def gradients_of(model, x, y, sample_weight):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True), sample_weight, training=True)
    gradients = tape.gradient(loss, values(model.trainable_variables))
    return default.to_arrays(map(dense_gradient, gradients))


class MicroSteps(default.MicroSteps):
    def __init__(self, model):
        super().__init__(model)

        def gradients(x, upstream):
            with tf.GradientTape() as tape:
                objective = tf.reduce_sum(model(x, training=True) * upstream)
            # a variable that the output does not depend on (a foreign backbone's pooler) has gradient 0
            none = tf.UnconnectedGradients.ZERO
            found = tape.gradient(objective, values(model.trainable_variables), unconnected_gradients=none)
            return list(map(dense_gradient, found))

        self._forward = tf.function(lambda x: model(x, training=True), reduce_retracing=True)
        self._backward = tf.function(gradients, reduce_retracing=True)

    def forward(self, x):
        return ops.convert_to_numpy(self._forward(_tensors(x)))

    def loss(self, outputs, labels, weights):
        labels = ops.convert_to_tensor(labels)
        return value_and_gradient(lambda y_pred: self.loss_of(y_pred, labels, weights), outputs)

    def backward(self, x, upstream):
        return self._backward(_tensors(x), ops.convert_to_tensor(upstream))


def _tensors(arrays):
    return {name: ops.convert_to_tensor(array) for name, array in arrays.items()}


def gradient_function(model, objective, variables):
    def gradients(*inputs):
        with tf.GradientTape() as tape:
            loss = objective(*inputs)
            scaled = model.optimizer.scale_loss(loss)
        none = tf.UnconnectedGradients.ZERO
        return loss, list(map(dense_gradient, tape.gradient(scaled, values(variables), unconnected_gradients=none)))

    if not model.run_eagerly:
        gradients = tf.function(gradients, reduce_retracing=True, jit_compile=bool(model.jit_compile), autograph=False)

    def of_arrays(*inputs):
        loss, found = gradients(*keras.tree.map_structure(ops.convert_to_tensor, inputs))
        return float(loss), found

    return of_arrays


def padding_is_left_out(model, mask, training):
    """A graph is one for all batches and leaves the padding out of all of them, in training alone: a graph that is used or
    exported stays the plain one.
    """
    if default.compiles_each_shape(model):
        return False
    return default.much_padding(mask) if tf.executing_eagerly() else bool(training)


def take_rows(x, places):
    """TensorFlow's gather; its own gradient adds rows up one by one, as places may repeat there."""
    if not x.dtype.is_floating:
        return tf.gather(x, places)

    @tf.custom_gradient
    def take(x):
        return tf.gather(x, places), lambda upstream: put_rows(upstream, places, tf.shape(x)[0])

    return take(x)


def put_rows(x, places, count):
    """TensorFlow's scatter, with the gradient of distinct places."""

    @tf.custom_gradient
    def put(x):
        rows = tf.scatter_nd(tf.expand_dims(places, 1), x, tf.cast([count, tf.shape(x)[1]], places.dtype))
        return rows, lambda upstream: take_rows(upstream, places)

    return put(x)


def predict_function(model):
    """One graph for batches of all lengths: Keras' own is traced for some, with a warning that nobody can act on."""
    if model.run_eagerly or tf.distribute.has_strategy():
        return default.predict_function(model)
    made = {}

    def predict(inputs):
        inputs = {name: tf.convert_to_tensor(x) for name, x in inputs.items()}
        specs = {name: tf.TensorSpec([None, *x.shape[1:-1], None], x.dtype) for name, x in inputs.items()}
        jit = bool(model.jit_compile)  # another one after `compile`, as other variables after `quantize`
        key = str(sorted(specs.items())), jit, tuple(map(id, model.variables))
        if key not in made:
            made[key] = tf.function(
                lambda x: model(x, training=False), input_signature=[specs], autograph=False, jit_compile=jit
            )
        return keras.tree.map_structure(ops.convert_to_numpy, made[key](inputs))

    return predict


def looked_at(x):
    if not tf.is_tensor(x):
        return default.looked_at(x)
    return x.numpy() if hasattr(x, "numpy") and tf.executing_eagerly() and "GPU" not in x.device else None


def outside_graph():
    return tf.init_scope()


def snapshot(tensors):
    """TensorFlow's graph optimizer drops the order of a read and an update where it sees another path between them, and
    later removes that path (the `IdentityN` over all gradients that Keras' optimizers put there): such a read then sees
    now the old and now the new value. Data has to flow.
    """
    packed = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
    parts = tf.split(packed, [tensor.shape.num_elements() for tensor in tensors])
    return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors)]


def add_product(variable, left, right):
    product = tf.matmul(*(ops.cast(side, variable.dtype) for side in (left, right)))
    variable.value.assign_add(tf.reshape(product, variable.shape))


def fused_adam(base):
    class Fused(base):  # type: ignore[valid-type]
        def update_step(self, gradient, variable, learning_rate):
            index = self._get_variable_index(variable)
            parts = variable, self._momentums[index], self._velocities[index]
            # Keras gives TensorFlow's own variables beside its own
            parts = [part if isinstance(part, tf.Variable) else part.value for part in parts]
            if self.amsgrad or any(part.dtype != tf.float32 for part in parts):
                super().update_step(gradient, variable, learning_rate)
                return
            steps = tf.cast(self.iterations, tf.float32) + 1
            tf.raw_ops.ResourceApplyAdam(
                var=parts[0].handle, m=parts[1].handle, v=parts[2].handle, grad=tf.cast(gradient, tf.float32),
                lr=tf.cast(learning_rate, tf.float32), beta1=self.beta_1, beta2=self.beta_2, epsilon=self.epsilon,
                beta1_power=tf.pow(self.beta_1, steps), beta2_power=tf.pow(self.beta_2, steps),
            )  # fmt: skip

    return Fused


def refuse_non_finite(optimizer):
    return default.refuse_non_finite(optimizer, _guard_apply)


def _guard_apply(optimizer):
    default.guard_apply(optimizer, lambda gradient: getattr(gradient, "values", gradient))  # of a sparse one its rows
