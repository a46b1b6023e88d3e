"""Batches of rows on torch's CPU: in groups of similar length, and a batch for each core."""

from concurrent.futures import ThreadPoolExecutor

import keras
from keras import ops


def in_groups_by_length(function, inputs):
    """A function of rows of tokens, computed where shapes may differ (torch's CPU) for groups of similar length.

    Their padding is cut off, which changes no row: a fifth of a batch of mixed lengths need not be computed.

    Args:
        function: of a dict like `inputs`, gives a tensor `[B, d]`, each row a function of its own row.
        inputs: dict of tensors `[B, n]`, among them `padding_mask`.
    """
    if keras.backend.backend() != "torch":
        return function(inputs)
    import torch

    mask = inputs["padding_mask"]
    if any(tuple(x.shape) != tuple(mask.shape) for x in inputs.values()):
        return function(inputs)
    if not isinstance(mask, torch.Tensor) or mask.device.type != "cpu" or torch.compiler.is_compiling():
        return function(inputs)
    rows, width = mask.shape
    lengths = (mask.bool() * torch.arange(1, width + 1)).amax(1).clamp(min=1)
    order = lengths.argsort(stable=True)
    groups = [(part, int(lengths[part].max())) for part in order.chunk(max(1, min(4, rows * width // 1024)))]
    # A group costs about as much as 32 more tokens
    if sum(len(part) * longest + 32 for part, longest in groups) > 0.95 * rows * width:
        return function(inputs)
    cut = [function({name: x[part, :longest] for name, x in inputs.items()}) for part, longest in groups]
    return torch.cat(cut)[order.argsort()]


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
