"""x W + b and its gradients, also by the product that torch takes on some processors only."""

import sys
import types

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close

from zoo import backend
from zoo.backend import affine, value_and_gradient

TORCH = keras.backend.backend() == "torch"


@pytest.fixture(params=["own", "oneDNN"] if TORCH else ["own"])
def product(request, monkeypatch):
    """Each way this backend can take, whatever the processor of this machine."""
    if TORCH:
        monkeypatch.setattr(backend.torch, "onednn_is_faster", lambda: request.param == "oneDNN")
    return request.param


def numbers(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype("float32")


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 7), (2, 5, 7), (2, 3, 1, 7), (0, 7)], ids=str)
@pytest.mark.parametrize("width", [4, 9])
def test_product_and_gradients(product, shape, width, with_bias):
    x, kernel, bias, upstream = numbers(*shape), numbers(7, width), numbers(width), numbers(*shape[:-1], width)
    given = bias if with_bias else None
    assert_close(affine(x, kernel, given), x.astype("float64") @ kernel + (bias if with_bias else 0), atol=1e-5)
    rows, pulled = x.reshape(-1, 7).astype("float64"), upstream.reshape(-1, width)
    through = lambda y: ops.sum(ops.multiply(y, upstream))
    by_x = value_and_gradient(lambda part: through(affine(part, kernel, given)), x)[1]
    by_kernel = value_and_gradient(lambda part: through(affine(x, part, given)), kernel)[1]
    assert_close(by_x, upstream.astype("float64") @ kernel.T, atol=1e-5)
    assert_close(by_kernel, rows.T @ pulled, atol=1e-5)
    if with_bias:
        by_bias = value_and_gradient(lambda part: through(affine(x, kernel, part)), bias)[1]
        assert_close(by_bias, pulled.sum(0), atol=1e-5)


def test_inputs_and_weights_that_are_views(product):
    x, kernel = numbers(7, 6), numbers(4, 7)
    turned = affine(ops.transpose(ops.convert_to_tensor(x)), ops.transpose(ops.convert_to_tensor(kernel)), None)
    assert_close(turned, x.T.astype("float64") @ kernel.T, atol=1e-5)
    cut = affine(ops.convert_to_tensor(numbers(5, 9))[:, 1:8], kernel.T, None)
    assert_close(cut, numbers(5, 9)[:, 1:8].astype("float64") @ kernel.T, atol=1e-5)


def test_half_precision_stays_half(product):
    x, kernel, bias = (ops.cast(numbers(*shape), "bfloat16") for shape in ((5, 64), (64, 8), (8,)))
    y = affine(x, kernel, bias)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    exact = [ops.convert_to_numpy(ops.cast(part, "float32")).astype("float64") for part in (x, kernel, bias)]
    assert_close(ops.cast(y, "float32"), exact[0] @ exact[1] + exact[2], atol=0.15)


def test_gradient_of_a_gradient(product):
    """|∂(x W · x W)/∂x|² by W, through the kernel's own gradient: a penalty on gradients can be trained with."""
    a, w = numbers(5, 7), numbers(7, 4)
    if keras.backend.backend() == "jax":
        import jax

        first = jax.grad(lambda x, kernel: (affine(x, kernel, None) ** 2).sum())  # 2 x W Wᵀ
        second = jax.grad(lambda kernel: (first(a, kernel) ** 2).sum())(w)
    elif TORCH:
        import torch

        x, kernel = (torch.tensor(part, requires_grad=True) for part in (a, w))
        (first,) = torch.autograd.grad((affine(x, kernel, None) ** 2).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), kernel)
    else:
        return
    a, w = a.astype("float64"), w.astype("float64")
    by_square = 8 * a.T @ a @ w @ w.T  # |2 a M|² by M = W Wᵀ
    assert_close(second, (by_square + by_square.T) @ w, rtol=1e-4)


def test_torch_compile_sees_torch_s_own_product(product):
    """Its compiler refuses oneDNN's with weights that are views, and the choice must not cut the graph in two."""
    if not TORCH:
        return
    import torch

    x, kernel = torch.tensor(numbers(3, 7)), torch.tensor(numbers(7, 4), requires_grad=True)
    graphs = []
    compiled = torch.compile(
        lambda: affine(x, kernel, None), fullgraph=True, backend=lambda graph, _: graphs.append(graph.code) or graph
    )
    assert_close(compiled(), x.double() @ kernel.double(), atol=1e-5)
    assert len(graphs) == 1 and "mkldnn" not in graphs[0] and "OneDNN" not in graphs[0]


@pytest.mark.parametrize("width", [4, 9])
def test_torch_compile_takes_gradients_of_what_ran_without_it(width):
    """As in training, where it stops compiling after a few shapes, and still sees the gradient's Python."""
    if not TORCH:
        return
    import torch

    x, kernel, upstream = (torch.tensor(numbers(*shape)) for shape in ((3, 7), (7, width), (3, width)))
    ctx = types.SimpleNamespace(saved_tensors=(x, kernel), needs_input_grad=(True, True, True))
    graphs = []
    compiled = torch.compile(
        backend.torch.OneDNNAffine.backward, fullgraph=True, backend=lambda graph, _: graphs.append(graph.code) or graph
    )
    by_x, by_kernel, by_bias = compiled(ctx, upstream)
    assert_close(by_x, upstream.double() @ kernel.double().T, atol=1e-5)
    assert_close(by_kernel, x.double().T @ upstream.double(), atol=1e-5)
    assert_close(by_bias, upstream.double().sum(0), atol=1e-5)
    assert len(graphs) == 1 and "mkldnn" not in graphs[0] and "OneDNN" not in graphs[0]


def test_only_float32_on_a_cpu_takes_another_product(monkeypatch):
    if not TORCH:
        return
    import torch

    taken, apply = [], backend.torch.OneDNNAffine.apply
    monkeypatch.setattr(backend.torch, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(backend.torch.OneDNNAffine, "apply", lambda *parts: taken.append(1) or apply(*parts))
    for dtype, times in (("float32", 1), ("float64", 1), ("bfloat16", 1), ("float32", 2)):
        affine(torch.ones(3, 4, dtype=getattr(torch, dtype)), torch.ones(4, 2, dtype=getattr(torch, dtype)), None)
        assert len(taken) == times
    affine(torch.ones(0, 4), torch.ones(4, 2), None)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    affine(torch.ones(3, 4), torch.ones(4, 2), None)
    assert len(taken) == 2, "empty, or oneDNN is switched off"


def test_one_backend_alone_is_imported():
    """The modules of the other two import libraries that need not be installed."""
    loaded = {name for name in ("torch", "jax", "tensorflow") if f"zoo.backend.{name}" in sys.modules}
    assert loaded == {keras.backend.backend()}
    assert all(callable(getattr(backend, name)) for name in backend.__all__)
