"""Computing without the padding: the real tokens of a batch side by side, in rows again only where tokens meet.

`RealTokens` travel through zoo's blocks in the place of the padding mask; x is then `[1, T, d]`. A backbone decides when,
see `zoo.backend.padding_is_left_out`; users of a layer need not know.
"""

from keras import ops

from zoo.backend import put_rows, take_rows


class RealTokens:
    """Where the T real tokens of a padded batch stand, for layers that compute each token by itself.

    Not where each shape is compiled: T is another number in every batch.

    Args:
        padding_mask: bool `[B, n]`, True at real tokens. The first of a row is always computed, as `"cls"` reads it.
    """

    def __init__(self, padding_mask):
        self.mask = ops.cast(padding_mask, "bool")
        self.shape = tuple(ops.shape(self.mask))
        computed = ops.logical_or(self.mask, ops.arange(self.shape[1], dtype="int32") == 0)
        self.places = ops.nonzero(ops.reshape(computed, (-1,)))[0]  # in the batch, [T]

    def flat(self, x):
        """Real tokens alone: `[B, n]` -> `[1, T]`, `[B, n, d]` -> `[1, T, d]`."""
        rest = x.shape[2:]
        return ops.reshape(take_rows(ops.reshape(x, (-1, *rest)), self.places), (1, -1, *rest))

    def first(self, x):
        """The first token of each row: `[1, T, d]` -> `[B, 1, d]`."""
        firsts = ops.nonzero(self.places % self.shape[1] == 0)[0]  # among the T tokens, [B]
        return ops.expand_dims(take_rows(_rows(x), firsts), 1)

    def padded(self, x):
        """In their rows again, 0 at padding: `[1, T, d]` -> `[B, n, d]`."""
        return ops.reshape(put_rows(_rows(x), self.places, self.shape[0] * self.shape[1]), (*self.shape, x.shape[-1]))


def tokens_and_mask(padding_mask):
    """What a layer was given as padding mask: `RealTokens` or None, and the mask bool `[B, n]` or None."""
    return (padding_mask, padding_mask.mask) if isinstance(padding_mask, RealTokens) else (None, padding_mask)


def first_tokens(x, padding_mask):
    """The first token of each row, `[B, 1, d]`."""
    return padding_mask.first(x) if isinstance(padding_mask, RealTokens) else x[:, :1]


def _rows(x):
    """`[1, T, d]` -> `[T, d]`; the gradient of x[0] would be a copy on TensorFlow."""
    return ops.reshape(x, (-1, x.shape[-1]))
