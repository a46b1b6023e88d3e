"""Token, segment and position embeddings, with dense gradients on every backend."""

import keras
from keras import ops

from zoo.backend import affine, dense_lookup
from zoo.backend.arguments import PlainNumbers, of_plain_numbers


@keras.saving.register_keras_serializable(package="zoo")
class TokenEmbedding(keras.layers.Embedding):
    """Keras' Embedding with a dense gradient, and a tied output.

    Inputs: ids int `[B, n]` give rows float `[B, n, d]`, NaN for an id beyond the table inside compiled functions, an error
    elsewhere (`zoo.models.checked_ids`); with `reverse=True`, hidden states float `[B, n, d]`
    give logits `x Eᵀ`, float32 `[B, n, V]`.
    """

    __init__ = of_plain_numbers(keras.layers.Embedding.__init__)

    def add_weight(self, *args, **options):
        # Under mixed precision Keras would cast the whole table for the rows of a batch, and its gradient back.
        return super().add_weight(*args, **{**options, "autocast": False})

    def call(self, inputs, reverse=False):
        if reverse:
            table = ops.cast(self.embeddings, self.compute_dtype)
            return ops.cast(affine(ops.cast(inputs, self.compute_dtype), ops.transpose(table), None), "float32")
        return ops.cast(dense_lookup(self.embeddings, ops.cast(inputs, "int32")), self.compute_dtype)

    def compute_output_spec(self, inputs, reverse=False):
        if reverse:
            return keras.KerasTensor((*inputs.shape[:-1], self.input_dim), dtype="float32")
        return keras.KerasTensor((*inputs.shape, self.output_dim), dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="zoo")
class SegmentEmbedding(PlainNumbers, keras.layers.Layer):
    """Adds the row of each token's segment. A product with one-hot rows: its gradient is dense.

    Args:
        num_segments: int.

    Inputs: x float `[B, n, d]`, segment_ids int `[B, n]` or None (all 0). Output: float `[B, n, d]`, NaN where the segment has
    no row.
    """

    def __init__(self, num_segments, embeddings_initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.num_segments = num_segments
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)

    def build(self, x_shape):
        self.embeddings = self.add_weight(
            shape=(self.num_segments, x_shape[-1]), initializer=self.embeddings_initializer, name="embeddings"
        )

    def call(self, x, segment_ids=None):
        if segment_ids is None:
            return x + self.embeddings[0]
        # not ops.one_hot: on torch it looks at the values, which no tracing can follow
        segment_ids = ops.cast(segment_ids, "int32")
        one_hot = ops.equal(segment_ids[..., None], ops.arange(self.num_segments, dtype="int32"))
        known = ops.any(one_hot, axis=-1, keepdims=True)
        one_hot = ops.where(known, ops.cast(one_hot, x.dtype), float("nan"))
        return x + ops.matmul(one_hot, ops.convert_to_tensor(self.embeddings))

    def compute_output_spec(self, x, segment_ids=None):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "num_segments": self.num_segments,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
        }


@keras.saving.register_keras_serializable(package="zoo")
class PositionEmbedding(PlainNumbers, keras.layers.Layer):
    """Adds a trained row per position (BERT).

    Args:
        max_sequence_length: int, number of rows; a longer input is an error.

    Inputs: x float `[B, n, d]`, positions int `[B, n]` or None (0 .. n-1). Output: float `[B, n, d]`.
    """

    def __init__(self, max_sequence_length, embeddings_initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.max_sequence_length = max_sequence_length
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)

    def build(self, x_shape):
        self.embeddings = self.add_weight(
            shape=(self.max_sequence_length, x_shape[-1]), initializer=self.embeddings_initializer, name="embeddings"
        )

    def call(self, x, positions=None):
        if positions is not None:
            return x + ops.cast(dense_lookup(self.embeddings, ops.cast(positions, "int32")), x.dtype)
        self.check_length(x.shape[1])
        return x + ops.convert_to_tensor(self.embeddings)[: ops.shape(x)[1]]

    def check_length(self, length):
        """Raise ValueError where an input of a length, None if that is not known, has more positions than there are rows."""
        if length is not None and length > self.max_sequence_length:
            raise ValueError(
                f"{self.name}: the input has {length} positions, the model was built for {self.max_sequence_length}; "
                "shorten the texts (max_length of the tokenizer)"
            )

    def compute_output_spec(self, x, positions=None):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "max_sequence_length": self.max_sequence_length,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
        }
