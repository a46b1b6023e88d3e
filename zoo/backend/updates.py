"""What optimizers do to variables: values before and after an update, whole updates, updates that are refused."""

import contextlib
import functools

import keras
from keras import ops


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


def fused_adam(base):
    """`keras.optimizers.Adam` or `AdamW`, as a base class whose steps are the backend's fused kernel where it has one.

    torch: its kernel for float32 weights on a CPU, Keras' own multi-tensor step for all others, which Keras gives to
    exactly its own classes and so to no subclass. TensorFlow: its kernel. JAX: the class itself, XLA fuses the step.
    """
    if keras.backend.backend() == "torch":
        return _torch_adam(type(base()))  # Keras makes an object of the class that has the multi-tensor step
    return _tensorflow_adam(base) if keras.backend.backend() == "tensorflow" else base


def _torch_adam(base):
    class Fused(base):
        def _backend_update_step(self, grads, trainable_variables, learning_rate):
            others = []
            if self.amsgrad:
                others = list(zip(grads, trainable_variables))
            else:
                step, others = _split(self, grads, trainable_variables)
                _fused_adam_step(self, step, learning_rate)
            if others:
                super()._backend_update_step(*map(list, zip(*others)), learning_rate)

    return Fused


def _split(optimizer, gradients, variables):
    """(gradient, weights, moments) tensors that torch's fused kernel takes, and the other (gradient, variable) pairs."""
    fused, others = [], []
    for gradient, variable in zip(gradients, variables):
        index = optimizer._get_variable_index(variable)
        parts = variable, optimizer._momentums[index], optimizer._velocities[index]
        tensors = [gradient.detach(), *(part.value.detach() for part in parts)]
        if takes_fused_adam(*tensors):
            fused.append([gradient.detach().contiguous(), *tensors[1:]])
        else:
            others.append((gradient, variable))
    return fused, others


def takes_fused_adam(gradient, *changed):
    """Whether torch's kernel takes a gradient, a weight and its two moments.

    It walks through raw memory, whatever the strides; a gradient may be copied, what is changed may not.
    """
    import torch

    if any(part.device.type != "cpu" or part.dtype != torch.float32 for part in (gradient, *changed)):
        return False
    return all(part.is_contiguous() for part in changed)


def _fused_adam_step(optimizer, parts, learning_rate):
    if not parts:
        return
    import torch
    from torch.optim.adam import adam

    gradients, weights, first, second = map(list, zip(*parts))
    steps = float(optimizer.iterations)
    with torch.no_grad():
        adam(
            weights, gradients, first, second, [], [torch.tensor(steps) for _ in weights], fused=True, amsgrad=False,
            beta1=optimizer.beta_1, beta2=optimizer.beta_2, lr=float(learning_rate), weight_decay=0.0, maximize=False,
            # torch adds it after the bias correction, Keras before
            eps=optimizer.epsilon / (1 - optimizer.beta_2 ** (steps + 1)) ** 0.5,
        )  # fmt: skip


def _tensorflow_adam(base):
    import tensorflow as tf

    class Fused(base):
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


def allow_no_decay(optimizer):
    """Let an optimizer take steps in which nothing decays: Keras gives torch an empty list then, which it refuses."""
    if keras.backend.backend() == "torch":
        optimizer._apply_weight_decay = functools.partial(_decay_of_some, optimizer)


def _decay_of_some(optimizer, variables):
    if any(optimizer._use_weight_decay(variable) for variable in variables):
        type(optimizer)._apply_weight_decay(optimizer, variables)


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
