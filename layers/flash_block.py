"""The block of a FLASH model: `GAUBlock` with chunks."""

import keras

from zoo.layers.blocks import GAUBlock
from zoo.layers.dropout import Dropout
from zoo.layers.flash import MixedChunkAttention


@keras.saving.register_keras_serializable(package="zoo")
class FLASHBlock(GAUBlock):
    """`GAUBlock` whose unit is a `MixedChunkAttention`: linear in the length.

    The unit's weights keep the names they have in `GAUBlock`, with two more heads for the attention between chunks.

    Args:
        chunk_length, causal: see `MixedChunkAttention`. A causal model says so here; it is built with
            `attention_mask="bidirectional"`, since a mask of all pairs would be quadratic again.
        normalization: inside the chunks.
        See `GAUBlock` for the rest; there are no `attention_options`.

    Inputs and output: those of `TransformerBlock`, without attention_mask.

    Raises:
        ValueError: attention_options are given; a cache is asked for.
    """

    def __init__(
        self, expanded_dim, key_dim=128, chunk_length=256, causal=False, normalization="squared_relu", **kwargs
    ):
        super().__init__(expanded_dim, key_dim, normalization=normalization, **kwargs)
        if self.attention_options.given:
            raise ValueError(f"{self.attention_options!r} in a FLASHBlock; they act on pairs of tokens, chunks do not")
        self.chunk_length, self.causal = chunk_length, causal

    def build(self, x_shape):
        arguments = self.attention_arguments()
        del arguments["attention_options"]
        self.gau = MixedChunkAttention(
            self.expanded_dim,
            self.key_dim,
            self.chunk_length,
            self.causal,
            activation=self.activation,
            name="gau",
            **arguments,
        )
        self.gau.build(x_shape)
        self.gau_norm = self.make_norm("gau_norm", x_shape)
        self.gau_residual = self.make_residual("gau_residual")
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy)

    def empty_cache(self, batch_size, capacity):
        raise ValueError(
            f"{self.name}: a FLASHBlock decodes without a cache; call the model on the whole text at every token"
        )
