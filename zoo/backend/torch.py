"""What torch has of its own, and what only its CPU needs. See `default` for what each function does."""

import contextlib
import ctypes
import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import torch
from keras import ops
from torch.optim.adam import adam

from . import default
from .traced_step import traced_step as compiled_step  # noqa: F401

# Formulas of layers


def affine(x, kernel, bias):
    """One kernel for product and bias; in float32 on AMD's processors one that is twice as fast as torch's own choice."""
    x, kernel, bias = (part if part is None else ops.convert_to_tensor(part) for part in (x, kernel, bias))
    if not torch.compiler.is_compiling() and _takes_onednn(x, kernel):  # torch.compile chooses for itself
        return OneDNNAffine.apply(x, kernel, bias)
    return torch.matmul(x, kernel) if bias is None else torch.nn.functional.linear(x, kernel.t(), bias)


def _takes_onednn(x, kernel):
    """float32 on a CPU; oneDNN refuses empty arrays."""
    if not (x.is_cpu and x.dtype == kernel.dtype == torch.float32 and x.numel() and torch.backends.mkldnn.enabled):
        return False
    return onednn_is_faster()


@functools.cache
def onednn_is_faster():
    """Whether torch's float32 products are MKL's on a processor where MKL keeps to AVX2, though it has AVX-512.

    So it is with all that Intel has not made. On a core of Zen 5 products of 2,048 rows with 384 x 1,536 weights run at 97
    GFLOP/s by MKL and at 216 by oneDNN, which comes with torch too; their gradients at 95 and 200.
    """
    if not (torch.backends.mkl.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    processor = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch does not tell
    return str(processor.get("cpu_name")).startswith("AMD") and bool(processor.get("avx512_f"))


class OneDNNAffine(torch.autograd.Function):
    """torch has the product (its own compiler uses it), and no gradient of it; the gradients are products again."""

    @staticmethod
    def forward(ctx, x, kernel, bias):
        ctx.save_for_backward(x, kernel)
        return torch.ops.mkldnn._linear_pointwise(x, kernel.t(), bias, "none", [], "")

    @staticmethod
    def backward(ctx, upstream):
        (x, kernel), (for_x, for_kernel, for_bias) = ctx.saved_tensors, ctx.needs_input_grad
        x, rows = x.flatten(0, -2), upstream.flatten(0, -2)  # [T, m], [T, k]
        by_x = _product(upstream, kernel.t()) if for_x else None
        by_kernel = None
        if for_kernel:  # the narrower factor first: as a transpose, what stands first is copied
            by_kernel = _product(x.t(), rows) if x.shape[1] <= rows.shape[1] else _product(rows.t(), x).t()
        return by_x, by_kernel, rows.sum(0) if for_bias else None


def _product(a, b):
    # torch.compile also takes the gradients of what ran without it
    return torch.matmul(a, b) if torch.compiler.is_compiling() else OneDNNAffine.apply(a, b, None)


def dense_lookup(table, ids):
    """An id beyond the table is an error here anyway, on a CPU; Keras would count ids below 0 from the end."""
    table = ops.convert_to_tensor(table)
    if torch.compiler.is_compiling():
        return torch.nn.functional.embedding(ids, table)
    try:
        return torch.nn.functional.embedding(ids, table)
    except IndexError as error:
        raise ValueError(
            f"ids from {int(ids.min())} to {int(ids.max())} for a table of {len(table):,} rows, which go from 0 to "
            f"{len(table) - 1}"
        ) from error


def layer_norm(x, gamma, beta, epsilon):
    x = ops.convert_to_tensor(x)
    if x.device.type == "cpu":  # its kernel reads half and writes half, and computes in float32 with float32 gains
        gamma, beta = (None if part is None else ops.convert_to_tensor(part) for part in (gamma, beta))
        return torch.nn.functional.layer_norm(x, x.shape[-1:], gamma, beta, epsilon)
    return ops.layer_normalization(x, gamma, beta, epsilon=epsilon)


def dropout(x, rate, noise_shape, seed):
    """On a CPU each element costs 16 random bits and not a number of its own: the rate is a multiple of 1/65,536.

    torch draws one after the other on one core, which was a tenth of a training step. Its global generator gives the seed
    of NumPy's fastest one, which draws 64 bits in 1.6 ns (torch's: 2.8); Keras' seed is not used.
    """
    x = ops.convert_to_tensor(x)
    if noise_shape is not None or rate >= 1 or x.device.type != "cpu" or torch.compiler.is_compiling():
        return default.dropout(x, rate, noise_shape, seed)
    draw = np.random.Generator(np.random.SFC64(int(torch.randint(2**63 - 1, ()))))
    bits = draw.integers(-(2**63), 2**63, (x.numel() + 3) // 4, dtype=np.int64)
    bits, threshold = torch.from_numpy(bits).view(torch.int16), round(rate * 2**16) - 2**15
    kept = (bits[: x.numel()] >= threshold).view(x.shape)
    return x * kept.to(x.dtype).mul_(1 / (1 - rate))


def rotate_pairs(x, cos, sin):
    """A product of complex numbers: one pass over x."""
    if any(step % 2 for step in (*x.stride()[:-1], x.storage_offset())) or x.stride(-1) != 1:
        x = x.contiguous()  # a cut at odd places holds no complex numbers
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2)


def row_cross_entropy(labels, logits):
    """Keras makes one-hot rows of the labels, as large as the logits."""
    labels, logits = ops.convert_to_tensor(labels, "int64"), ops.convert_to_tensor(logits)
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


# Gradients and updates


def gradient_inside(function, x):
    """The gradient of a scalar function at a tensor, as a tensor that nothing is differentiated through.

    Unlike `value_and_gradient` it may be asked for anywhere: in a model's call, traced or not, with gradients switched off.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(x), x)
    return gradient


def value_and_gradient(function, x):
    """A scalar function and its gradient at an array.

    Args:
        function: from a float32 tensor to a scalar tensor, written with `keras.ops`.
        x: float32 array.

    Returns:
        float, float32 NumPy array of the shape of x.
    """
    x = ops.convert_to_tensor(x).clone().requires_grad_()
    value = function(x)
    (gradient,) = torch.autograd.grad(value, x)
    return float(value.detach()), ops.convert_to_numpy(gradient)


def gradients_of(model, x, y, sample_weight):
    """Gradients of a compiled model's loss by its trainable variables, computed op by op.

    Returns:
        list of float32 NumPy arrays, None where the loss does not depend on a variable.
    """
    loss = model.compute_loss(x, y, model(x, training=True), sample_weight, training=True)
    variables = default.values(model.trainable_variables)
    return default.to_arrays(torch.autograd.grad(loss, variables, allow_unused=True))


class MicroSteps(default.MicroSteps):
    def forward(self, x):
        with torch.no_grad():
            return ops.convert_to_numpy(self.model(x, training=True))

    def loss(self, outputs, labels, weights):
        labels = ops.convert_to_tensor(labels)
        return value_and_gradient(lambda y_pred: self.loss_of(y_pred, labels, weights), outputs)

    def backward(self, x, upstream):
        objective = (self.model(x, training=True) * ops.convert_to_tensor(upstream)).sum()
        variables = default.values(self.model.trainable_variables)
        return list(torch.autograd.grad(objective, variables, allow_unused=True, materialize_grads=True))


def gradient_function(model, objective, variables):
    def gradients(*inputs):
        loss = objective(*keras.tree.map_structure(ops.convert_to_tensor, inputs))
        if not variables:  # torch refuses to differentiate by nothing
            return float(loss.detach()), []
        scaled = model.optimizer.scale_loss(loss)
        found = torch.autograd.grad(scaled, default.values(variables), allow_unused=True, materialize_grads=True)
        return float(loss.detach()), list(found)

    return gradients


def add_product(variable, left, right):
    with torch.no_grad():
        matrix = variable.value.view(left.shape[0], right.shape[1])
        matrix.addmm_(left.to(matrix.dtype), right.to(matrix.dtype))


def fused_adam(base):
    """torch's kernel for float32 weights on a CPU, Keras' own multi-tensor step for all others.

    Keras gives that step to exactly its own classes and so to no subclass: the class is that of an object it makes.
    """

    class Fused(type(base())):
        def _backend_update_step(self, grads, trainable_variables, learning_rate):
            fused, others = [], []
            for gradient, variable in zip(grads, trainable_variables):
                index = self._get_variable_index(variable)
                parts = variable, self._momentums[index], self._velocities[index]
                tensors = [gradient.detach(), *(part.value.detach() for part in parts)]
                if not self.amsgrad and takes_fused_adam(*tensors):
                    fused.append([tensors[0].contiguous(), *tensors[1:]])
                else:
                    others.append((gradient, variable))
            if fused:
                _fused_adam_step(self, *map(list, zip(*fused)), learning_rate)
            if others:
                super()._backend_update_step(*map(list, zip(*others)), learning_rate)

    return Fused


def takes_fused_adam(gradient, *changed):
    """Whether torch's kernel takes a gradient, a weight and its two moments.

    It walks through raw memory, whatever the strides; a gradient may be copied, what is changed may not.
    """
    if any(part.device.type != "cpu" or part.dtype != torch.float32 for part in (gradient, *changed)):
        return False
    return all(part.is_contiguous() for part in changed)


@torch.no_grad()
def _fused_adam_step(optimizer, gradients, weights, first, second, learning_rate):
    steps = float(optimizer.iterations)
    counts = [torch.tensor(steps, dtype=torch.float32) for _ in weights]  # whatever torch's default type
    adam(
        weights, gradients, first, second, [], counts, fused=True, amsgrad=False,
        beta1=optimizer.beta_1, beta2=optimizer.beta_2, lr=float(learning_rate), weight_decay=0.0, maximize=False,
        # torch adds it after the bias correction, Keras before
        eps=optimizer.epsilon / (1 - optimizer.beta_2 ** (steps + 1)) ** 0.5,
    )  # fmt: skip


def allow_no_decay(optimizer):
    """Keras gives torch an empty list then, which it refuses."""
    optimizer._apply_weight_decay = functools.partial(_decay_of_some, optimizer)


def _decay_of_some(optimizer, variables):
    if any(optimizer._use_weight_decay(variable) for variable in variables):
        type(optimizer)._apply_weight_decay(optimizer, variables)


# Inside `fit` and `encode`


def random_state():
    """Keras' Dropout draws from its own seed, except on torch, where it draws from torch's global generators."""
    states = {"torch_cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"torch_cuda_{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return {name: state.numpy().copy() for name, state in states.items()}


def set_random_state(states):
    for name, state in states.items():
        state = torch.from_numpy(np.array(state, "uint8"))
        device = name.removeprefix("torch_cuda_")
        if name == "torch_cpu":
            torch.set_rng_state(state)
        elif device.isdecimal() and int(device) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, int(device))


def looked_at(x):
    if not isinstance(x, torch.Tensor):
        return default.looked_at(x)
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return None if traced or x.device.type != "cpu" or type(x) is not torch.Tensor else x.detach().numpy()


def padding_is_left_out(model, mask, training):
    """On a CPU: in batches of mixed lengths padding is an eighth of all tokens."""
    if default.compiles_each_shape(model) or torch.compiler.is_compiling():
        return False
    return isinstance(mask, torch.Tensor) and mask.device.type == "cpu" and default.much_padding(mask)


def take_rows(x, places):
    return x.index_select(0, places)


def put_rows(x, places, count):
    return x.new_zeros((count, x.shape[1])).index_add_(0, places, x)  # on one core as fast as a copy of them


class _Cores:
    """The number of torch's threads, put back whenever something that changes it ends; several may run at a time."""

    def __init__(self):
        self.lock, self.running, self.number = threading.Lock(), 0, None

    @contextlib.contextmanager
    def put_back(self):
        """Yields the number as it was before the first of those that run now."""
        with self.lock:
            if not self.running:
                self.number = torch.get_num_threads()
            self.running += 1
            number = self.number
        try:
            yield number
        finally:
            with self.lock:
                self.running -= 1
                torch.set_num_threads(number)


CORES = _Cores()  # torch has one number for the whole process


def concurrently(function, items):
    """On a CPU in threads, a core each.

    An operation of a small model is too short to be shared by cores, and Python between two of them leaves all cores but
    one idle. While results are being taken, torch's operations in other threads of the process may have fewer cores; the
    number is put back when the last result is taken, at an error, and when the generator is closed.
    """
    if ops.zeros(()).device.type != "cpu" or len(items) < 2:
        yield from map(function, items)
        return
    with CORES.put_back() as cores:
        workers = min(cores, len(items))
        if workers < 2:
            yield from map(function, items)
            return
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(cores // workers,))
        try:
            yield from pool.map(function, items)
        finally:
            pool.shutdown(cancel_futures=True)


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # numbers of glibc's malloc.h


def keep_freed_memory():
    """Where torch takes its memory from glibc.

    A training step makes and frees some hundred arrays of megabytes. By default glibc returns the large ones to the
    system, which hands them out again page by page, each filled with zeros: a tenth to a quarter of a step on a CPU.
    The process stays as large as it has once been.
    """
    library = _glibc()
    if library is None:
        return False
    # Before glibc 2.35 no threshold above 32 MB is taken
    large = library.mallopt(MMAP_THRESHOLD, 2**30) or library.mallopt(MMAP_THRESHOLD, 2**25)
    return bool(large and library.mallopt(TRIM_THRESHOLD, -1))


def give_back_freed_memory():
    """Where torch takes its memory from glibc.

    Batches of ever other sizes leave the memory in pieces that fit no later array: a training of 256 pairs a step, which
    holds 1 GB between steps, had grown to 12 GB in ten epochs; it grows as fast with glibc's own options. Once an epoch
    this costs a tenth of a second, and the next step some 0.3 s for new pages.
    """
    if library := _glibc():
        library.malloc_trim(0)


def _glibc():
    """The C library of this process where it is glibc, else None."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None  # others number their options differently


def ordering_in_float64(labels, scores, weights, widest=300.0):
    """Value and gradient of `zoo.losses.ordering.ordering_loss` in float64, whose exponentials hold scores of ordinary spread.

    Keras' operations cost some 20 µs each on torch, whatever they compute: more than the whole of this.

    Args:
        widest: float, the largest difference of scores.

    Returns:
        (loss, gradient `[B]`), float32, or None where another way has to be taken: not on torch's CPU, or wider.
    """
    if scores.device.type != "cpu":
        return None
    labels, order = torch.sort(labels)
    x, weights = scores[order].double(), weights[order].double()
    present = weights > 0
    if not bool(present.any()):
        return None
    low, high = torch.aminmax(x[present])
    if not float(high - low) <= widest:
        return None
    x = torch.where(present, x, high)
    up, down = weights * torch.exp(x - high), weights * torch.exp(low - x)
    below = torch.nn.functional.pad(torch.cumsum(up, 0), (1, 0))[torch.searchsorted(labels, labels)]
    above = torch.nn.functional.pad(torch.cumsum(down.flip(0), 0).flip(0), (0, 1))
    above = above[torch.searchsorted(labels, labels, right=True)]
    lower, scale = down * below, torch.exp(high - low)
    surplus = scale * lower.sum()
    gradient = torch.empty_like(scores)
    gradient[order] = ((up * above - lower) * (scale / (1 + surplus))).float()
    return torch.log1p(surplus).float(), gradient
