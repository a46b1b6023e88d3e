"""x W + b: one kernel on torch, in float32 on AMD's processors one twice as fast as torch's own; gradients on JAX."""

from functools import cache

import keras
from keras import ops


def affine(x, kernel, bias):
    """x W + b; adding the bias apart is 5 to 15 % of a projection on torch, XLA fuses it itself.

    Args:
        x: float `[..., m]`. kernel: float `[m, k]`. bias: float `[k]` or None.
    """
    if keras.backend.backend() == "torch":
        import torch

        x, kernel, bias = (part if part is None else ops.convert_to_tensor(part) for part in (x, kernel, bias))
        if not torch.compiler.is_compiling() and _takes_onednn(x, kernel):  # torch.compile chooses for itself
            return onednn().apply(x, kernel, bias)
        if bias is not None:
            return torch.nn.functional.linear(x, kernel.t(), bias)
    if keras.backend.backend() == "jax":
        product = jax_product()(*map(ops.convert_to_tensor, (x, kernel)))
    else:
        product = ops.matmul(x, kernel)
    return product if bias is None else ops.add(product, bias)


@cache
def jax_product():
    """x W for JAX with the gradient of `by_weights`, where its own has gᵀx: 5 to 16 % of a step of RoFormerV2-small.

    The projections of one x share its copy, and a wide g is never copied.
    """
    import jax
    from jax import numpy as jnp

    @jax.custom_vjp
    def product(x, kernel):
        return ops.matmul(x, kernel)

    def forward(x, kernel):
        return product(x, kernel), (x, kernel)

    def backward(saved, upstream):
        x, kernel = saved
        rows, pulled = x.reshape(-1, x.shape[-1]), upstream.reshape(-1, upstream.shape[-1])
        by_x = jnp.matmul(upstream, kernel.T)
        return by_x.astype(x.dtype), by_weights(rows, pulled, jnp.matmul).astype(kernel.dtype)

    product.defvjp(forward, backward)
    return product


def by_weights(x, upstream, product):
    """xᵀg, the gradient of the weights, with the narrower factor first: as a transpose, what stands first is copied.

    Args:
        x: `[T, m]`. upstream: `[T, k]`. product: of two matrices.
    """
    return product(x.T, upstream) if x.shape[1] <= upstream.shape[1] else product(upstream.T, x).T


def _takes_onednn(x, kernel):
    """float32 on a CPU; oneDNN refuses empty arrays."""
    import torch

    if not (x.is_cpu and x.dtype == kernel.dtype == torch.float32 and x.numel() and torch.backends.mkldnn.enabled):
        return False
    return onednn_is_faster()


@cache
def onednn_is_faster():
    """Whether torch's float32 products are MKL's on a processor where MKL keeps to AVX2, though it has AVX-512.

    So it is with all that Intel has not made. On a core of Zen 5 products of 2,048 rows with 384 x 1,536 weights run at 97
    GFLOP/s by MKL and at 216 by oneDNN, which comes with torch too; their gradients at 95 and 200.
    """
    import torch

    if not (torch.backends.mkl.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    processor = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch does not tell
    return str(processor.get("cpu_name")).startswith("AMD") and bool(processor.get("avx512_f"))


@cache
def onednn():
    """The torch function, made when it is first used: torch is imported by no other backend."""
    import torch

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
            by_x = product(upstream, kernel.t()) if for_x else None
            by_kernel = by_weights(x, rows, product) if for_kernel else None
            return by_x, by_kernel, rows.sum(0) if for_bias else None

    def product(a, b):
        # torch.compile also takes the gradients of what ran without it
        return torch.matmul(a, b) if torch.compiler.is_compiling() else OneDNNAffine.apply(a, b, None)

    return OneDNNAffine
