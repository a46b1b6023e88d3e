"""−log softmax(logits)[label] of many rows of logits, without another array of their size beside the gradient."""

from functools import cache

import keras
from keras import ops

BLOCK = 2**20  # logits at a time: what is computed of them stays in a processor's cache


def row_cross_entropy(labels, logits):
    """Cross entropy of each row.

    On torch's CPU the gradient, softmax − one-hot, is computed with the loss, block by block of rows that stay in
    the cache; the plain form writes log-probabilities, their gradient and that of the logits to memory, whole.

    Args:
        labels: int `[N]`. logits: float32 `[N, V]`.
    """
    if keras.backend.backend() == "torch":
        logits, labels = ops.convert_to_tensor(logits), ops.convert_to_tensor(labels, "int64")
        if logits.device.type == "cpu":
            return blocked().apply(logits, labels)
    return ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)


@cache
def blocked():
    """The torch function, made when it is first used: torch is imported by no other backend."""
    import torch

    class BlockedCrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, logits, labels):
            rows = max(1, BLOCK // logits.shape[-1])
            losses = logits.new_empty(len(logits))
            gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
            for first in range(0, len(logits), rows):
                block, label = logits[first : first + rows], labels[first : first + rows, None]
                scores = torch.log_softmax(block, -1)
                losses[first : first + rows] = -scores.gather(1, label)[:, 0]
                if gradient is not None:
                    part = gradient[first : first + rows]
                    torch.exp(scores, out=part)
                    part.scatter_add_(1, label, part.new_full((1, 1), -1.0).expand_as(label))
            ctx.save_for_backward(gradient)
            return losses

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, upstream):
            (gradient,) = ctx.saved_tensors
            return gradient * upstream[:, None], None

    return BlockedCrossEntropy
