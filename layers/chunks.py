"""Sequences in chunks of equal length: how attention becomes linear in n without a state for every token."""

from keras import ops


def check_chunk_length(chunk_length):
    """Raise ValueError where it is no number of tokens."""
    if isinstance(chunk_length, bool) or not isinstance(chunk_length, int) or chunk_length < 1:
        raise ValueError(f"chunk_length={chunk_length!r}; expected a whole number of at least 1")


def chunk_size(length, limit):
    """c: the limit, or the whole sequence where it is shorter, so that short batches are not padded up."""
    return min(length, limit) if isinstance(length, int) else ops.minimum(length, limit)


def split_chunks(x, size):
    """`[..., n, w]` -> `[..., G, c, w]`, G = ceil(n / c), with zeros after the last token."""
    *leading, length, width = ops.shape(x)
    padding = -length % size
    if not isinstance(padding, int) or padding:
        x = ops.pad(x, [[0, 0]] * len(leading) + [[0, padding], [0, 0]])
    return ops.reshape(x, (*leading, (length + padding) // size, size, width))


def merge_chunks(x, length):
    """`[..., G, c, w]` -> `[..., n, w]`, what was padded cut off."""
    *leading, count, size, width = ops.shape(x)
    return ops.reshape(x, (*leading, count * size, width))[..., :length, :]


def sum_of_earlier(x):
    """Exclusive cumulative sum over the chunks of `[..., G, r, w]`: chunk g gets the sum of chunks h < g.

    Shifted before it is summed: subtracting a chunk from the inclusive sum would leave the rounding error of its own
    tokens there, and with it a trace of the future.
    """
    return ops.cumsum(ops.concatenate([ops.zeros_like(x[..., :1, :, :]), x[..., :-1, :, :]], axis=-3), axis=-3)
